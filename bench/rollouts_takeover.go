package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// handedOver is how long a controller is watched after it has taken over: longer than a successor waits for the one before.
const handedOver = 75 * time.Second

// takeOver lets the peer bring Rollouts into every state that lasts, hands them to Fairway and back, and holds what is there
// after each hand-over against what was there before: pods, ReplicaSets and the status in mid-step. In the end the peer
// brings all of them to their end.
func takeOver(ctx context.Context, o options) error {
	peer, err := buildPeer(ctx, o)
	if err != nil {
		return err
	}
	f, err := openField(ctx, o, peer, 5)
	if err != nil {
		return err
	}
	defer f.stop()
	fmt.Println("take-over: Argo Rollouts begins updates, fairway takes over, Argo Rollouts again, each in mid-step")
	if err := f.begin(ctx); err != nil {
		return fmt.Errorf("bringing Rollouts into their states by Argo Rollouts: %w", err)
	}
	for _, c := range []struct{ name, program string }{{"fairway", ourProgram(o)}, {"Argo Rollouts", peer}} {

		before, err := f.standing(ctx)
		if err != nil {
			return err
		}
		f.stopLast()
		if err := f.start(f.dir, c.program, beside(o, c.program, f.kubeconfig)...); err != nil {
			return err
		}
		time.Sleep(handedOver)
		if err := f.alive(); err != nil {
			return err
		}
		after, err := f.standing(ctx)
		if err != nil {
			return err
		}
		changed := before.changes(after)
		row(c.name+" takes over: things changed that should not, of "+fmt.Sprint(len(before)), "", float64(len(changed)))
		if len(changed) > 0 {
			return fmt.Errorf("%s has changed when it took over:\n  %s", c.name, strings.Join(changed, "\n  "))
		}
		began := time.Now()
		if err := f.proceed(ctx, c.name); err != nil {
			return fmt.Errorf("%s does not go on: %w", c.name, err)
		}
		row(c.name+" goes on after promotions, to all as wanted", "s", time.Since(began).Seconds())
	}
	return nil
}

// state is what is to be the same after a hand-over, by what it is of.
type state map[string]string

func (s state) changes(now state) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if now[k] != s[k] {
			out = append(out, fmt.Sprintf("%s: was %q, is %q", k, s[k], now[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, ok := s[k]; !ok {
			out = append(out, fmt.Sprintf("%s: new, %q", k, now[k]))
		}
	}
	return out
}

// statusKept are the fields of a Rollout's status that say where it is; the rest of it may be written again.
var statusKept = []string{"phase", "abort", "currentPodHash", "currentStepIndex", "currentStepHash", "stableRS", "pauseConditions", "controllerPause",
	"canary", "blueGreen", "updatedReplicas", "replicas", "readyReplicas", "availableReplicas", "HPAReplicas", "promoteFull"}

// standing is what is there: pods with their restarts, sizes of ReplicaSets, what Services select, weights of Ingresses, where
// Rollouts, analyses and experiments are.
func (f *field) standing(ctx context.Context) (state, error) {
	out := state{}
	pods, err := f.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp != nil {
			continue
		}
		restarts := int32(0)
		for _, s := range p.Status.ContainerStatuses {
			restarts += s.RestartCount
		}
		out["pod "+p.Name] = fmt.Sprintf("%s, %d restarts", p.UID, restarts)
	}
	sets, err := f.client.AppsV1().ReplicaSets("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range sets.Items {
		out["ReplicaSet "+sets.Items[i].Name] = sizeOf(&sets.Items[i])
	}
	services, err := f.client.CoreV1().Services("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range services.Items {
		out["Service "+services.Items[i].Name] = fmt.Sprint(services.Items[i].Spec.Selector)
	}
	ingresses, err := f.client.NetworkingV1().Ingresses("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range ingresses.Items {
		out["Ingress "+ingresses.Items[i].Name] = fmt.Sprint(ingresses.Items[i].Annotations)
	}
	return out, f.standingKinds(ctx, out)
}

// standingKinds adds what the kinds of argoproj.io say to a state.
func (f *field) standingKinds(ctx context.Context, out state) error {
	for _, kind := range []string{"rollouts", "analysisruns", "experiments"} {
		list, err := f.any.Resource(rolloutsResource.GroupVersion().WithResource(kind)).Namespace("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			u := &list.Items[i]
			if kind != "rollouts" {
				out[u.GetKind()+" "+u.GetName()] = fmt.Sprint(u.Object["status"].(map[string]any)["phase"])
				continue
			}
			status, _ := u.Object["status"].(map[string]any)
			for _, field := range statusKept {
				if v := status[field]; v != nil {
					out["Rollout "+u.GetName()+": "+field] = fmt.Sprint(v)
				}
			}
		}
	}
	return nil
}

func sizeOf(rs *appsv1.ReplicaSet) string {
	return fmt.Sprintf("%d of revision %s, deadline %q", *rs.Spec.Replicas, rs.Annotations["rollout.argoproj.io/revision"], rs.Annotations["scale-down-deadline"])
}

// begin makes a Rollout for every state that is to be handed over, and brings it there.
func (f *field) begin(ctx context.Context) error {
	for _, text := range strings.Split(handedOverObjects, "---\n") {
		if err := f.create(ctx, text); err != nil {
			return err
		}
	}
	for _, name := range handedOverRollouts {
		if err := f.reaches(ctx, name, "Healthy", -1); err != nil {
			return err
		}
	}
	update := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"img:v2"}]`)
	for _, name := range handedOverRollouts {
		kind := rolloutsResource
		if name == "referring" {
			kind = appsv1.SchemeGroupVersion.WithResource("deployments")
		}
		if _, err := f.any.Resource(kind).Namespace("default").Patch(ctx, name, types.JSONPatchType, update, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	if err := f.reaches(ctx, "aborted", "Paused", 1); err != nil {
		return err
	}
	if err := f.patchStatus(ctx, "aborted", `{"status":{"abort":true}}`); err != nil {
		return err
	}
	if err := f.reaches(ctx, "held", "Paused", 1); err != nil {
		return err
	}
	if _, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "held", types.MergePatchType, []byte(`{"spec":{"paused":true}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	for _, s := range []struct {
		name, phase string
		step        int64
	}{{"stepping", "Paused", 1}, {"green", "Paused", -1}, {"aborted", "Degraded", -1}, {"held", "Paused", 1}, {"referring", "Paused", 1}, {"analysing", "Progressing", 1}, {"trying", "Progressing", 1}, {"routed", "Paused", 1}} {
		if err := f.reaches(ctx, s.name, s.phase, s.step); err != nil {
			return err
		}
	}
	for _, kind := range []string{"analysisruns", "experiments"} {
		if err := f.runs(ctx, kind); err != nil {
			return err
		}
	}
	time.Sleep(15 * time.Second) // an abort's old pods go, delays pass
	return nil
}

// proceed promotes what waits, and sees to it that what comes of that is what should.
func (f *field) proceed(ctx context.Context, by string) error {
	if by == "fairway" {
		for _, name := range []string{"stepping", "referring", "routed"} {
			if err := f.patchStatus(ctx, name, `{"status":{"pauseConditions":null}}`); err != nil {
				return err
			}
			if err := f.reaches(ctx, name, "Paused", 3); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "held", types.MergePatchType, []byte(`{"spec":{"paused":false}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := f.patchStatus(ctx, "aborted", `{"status":{"abort":false}}`); err != nil {
		return err
	}
	if err := f.reaches(ctx, "aborted", "Paused", 1); err != nil {
		return err
	}
	for _, name := range handedOverRollouts {
		body := `{"status":{"promoteFull":true}}`
		if name == "green" {
			body = `{"status":{"pauseConditions":null}}`
		}
		if err := f.patchStatus(ctx, name, body); err != nil {
			return err
		}
	}
	for _, name := range handedOverRollouts {
		if err := f.reaches(ctx, name, "Healthy", -1); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) patchStatus(ctx context.Context, name, body string) error {
	_, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{}, "status")
	return err
}

// reaches waits until a Rollout is in a phase, at a step unless that is negative.
func (f *field) reaches(ctx context.Context, name, phase string, step int64) error {
	const within = 2 * time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("rollout %s is not %s at step %d within %v", name, phase, step, within))
	defer cancel()
	var last *unstructured.Unstructured
	err := until(ctx, func() (bool, error) {
		if err := f.alive(); err != nil {
			return false, err
		}
		var err error
		if last, err = f.any.Resource(rolloutsResource).Namespace("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		is, _, _ := unstructured.NestedString(last.Object, "status", "phase")
		observed, _, _ := unstructured.NestedString(last.Object, "status", "observedGeneration")
		at, _, _ := unstructured.NestedInt64(last.Object, "status", "currentStepIndex")
		return is == phase && observed == fmt.Sprint(last.GetGeneration()) && (step < 0 || at == step), nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w; its status is %v", err, last.Object["status"])
	}
	return err
}

// runs waits until something of a kind is running.
func (f *field) runs(ctx context.Context, kind string) error {
	return until(ctx, func() (bool, error) {
		list, err := f.any.Resource(rolloutsResource.GroupVersion().WithResource(kind)).Namespace("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool {
			phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
			return phase == "Running"
		}), nil
	})
}

// stopLast ends the process that was started last.
func (f *field) stopLast() {
	last := &cluster{processes: f.processes[len(f.processes)-1:]}
	last.stop()
	f.processes = f.processes[:len(f.processes)-1]
}
