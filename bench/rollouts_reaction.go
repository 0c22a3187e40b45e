package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// reactionRest is how long a cluster and a controller run before they are measured, as those of users have: what a start leaves
// is over.
const reactionRest = 75 * time.Second

// reaction measures the time from sending a promotion or an abort to the new weight in the routing object, as a watcher of
// that object sees it; and the part of it that is the controller's, from when a watcher of the Rollout sees what was asked.
func reaction(ctx context.Context, o options) error {
	peer, err := buildPeer(ctx, o)
	if err != nil {
		return err
	}
	fmt.Println("reaction: a promotion's and an abort's way to the routing object")
	if err := reactionOf(ctx, o, "fairway", ""); err != nil {
		return err
	}
	return reactionOf(ctx, o, "Argo Rollouts", peer)
}

func reactionOf(ctx context.Context, o options, name, program string) error {
	f, err := openField(ctx, o, program, 2)
	if err != nil {
		return err
	}
	defer f.stop()
	if err := f.routedApp(ctx); err != nil {
		return err
	}
	all := f.any.Resource(rolloutsResource).Namespace("default")
	if err := f.settled(ctx, 1, "img:v1"); err != nil {
		return err
	}
	w, err := f.client.NetworkingV1().Ingresses("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web-web-canary"})
	if err != nil {
		return err
	}
	defer w.Stop()
	weights := weightsOf(w)
	asked, err := all.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=web"})
	if err != nil {
		return err
	}
	defer asked.Stop()
	f.versions = versionsOf(asked)
	time.Sleep(reactionRest)
	var promoted, aborted reactions
	for update := range routedUpdates {
		if err := f.update(ctx, weights, fmt.Sprintf("img:v%d", update+2)); err != nil {
			return err
		}
		for weight := 2; weight <= routedSteps; weight++ {
			if err := f.reacted(ctx, weights, `{"status":{"pauseConditions":null}}`, strconv.Itoa(weight), &promoted); err != nil {
				return err
			}
		}
		if update == routedUpdates-1 {
			break
		}
		if err := f.reacted(ctx, weights, `{"status":{"pauseConditions":null}}`, "0", &reactions{}); err != nil {
			return err
		}
		if err := f.settled(ctx, 1, fmt.Sprintf("img:v%d", update+2)); err != nil {
			return err
		}
	}
	const aborts = 150
	for range aborts {
		if err := f.reacted(ctx, weights, `{"status":{"abort":true}}`, "0", &aborted); err != nil {
			return err
		}
		if err := f.degraded(ctx); err != nil { // a retry before that would take the abort back unseen
			return err
		}
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"abort":false}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if _, err := await(ctx, weights, "1"); err != nil {
			return err
		}
	}
	rowQuantiles(name+": promotion to the weight, as a watcher sees it", promoted.whole)
	rowQuantiles(name+": of it, from the promotion being seen", promoted.own)
	rowQuantiles(name+": abort patch to weight 0", aborted.whole)
	rowQuantiles(name+": of it, from the abort being seen", aborted.own)
	return nil
}

// reactions in milliseconds: from sending the patch, and from a watcher seeing the patched Rollout, to a watcher seeing the weight.
type reactions struct{ whole, own []float64 }

// betweenActions is how long after a pause has begun a person acts at the earliest.
const betweenActions = 100 * time.Millisecond

// reacted patches the status of the Rollout that rests in a pause, and adds how much later a watcher sees the weight.
func (f *field) reacted(ctx context.Context, weights <-chan news, patch, weight string, into *reactions) error {
	if err := f.paused(ctx); err != nil {
		return err
	}
	time.Sleep(betweenActions)
	began := time.Now()
	patched, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		return err
	}
	followed, err := await(ctx, weights, weight)
	if err != nil {
		return err
	}
	asked, err := await(ctx, f.versions, patched.GetResourceVersion())
	if err != nil {
		return err
	}
	into.whole = append(into.whole, followed.Sub(began).Seconds()*1000)
	into.own = append(into.own, max(0, followed.Sub(asked).Seconds()*1000))
	return nil
}

// update the Rollout to an image, and wait for the first weight.
func (f *field) update(ctx context.Context, weights <-chan news, image string) error {
	patch := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"` + image + `"}]`)
	if _, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "web", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	_, err := await(ctx, weights, "1")
	return err
}

func rowQuantiles(what string, ms []float64) {
	slices.Sort(ms)
	row(fmt.Sprintf("%s, p50 of %d", what, len(ms)), "ms", ms[len(ms)/2])
	row(what+", p99", "ms", ms[min(len(ms)-1, len(ms)*99/100)])
}

// The routed Rollout goes through routedSteps weights, one after each promotion, in each of routedUpdates updates: what an API
// server does with a status grows with the object, and nobody has a hundred weights.
const routedSteps, routedUpdates = 9, 25

// routedApp makes a Rollout of one replica behind an Ingress, with a pause after every weight.
func (f *field) routedApp(ctx context.Context) error {
	for _, name := range []string{"stable", "canary"} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := f.client.CoreV1().Services("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	prefix := networkingv1.PathTypePrefix
	class := "nginx"
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "web.example.com",
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "stable", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}}}}}}
	if _, err := f.client.NetworkingV1().Ingresses("default").Create(ctx, in, metav1.CreateOptions{}); err != nil {
		return err
	}
	r := simpleRollout("web", 1)
	steps := []any{map[string]any{"setCanaryScale": map[string]any{"replicas": int64(1)}}}
	for weight := range int64(routedSteps) {
		steps = append(steps, map[string]any{"setWeight": weight + 1}, map[string]any{"pause": map[string]any{}})
	}
	r.Object["spec"].(map[string]any)["strategy"] = map[string]any{"canary": map[string]any{"canaryService": "canary", "stableService": "stable", "steps": steps,
		"abortScaleDownDelaySeconds": int64(600), "trafficRouting": map[string]any{"nginx": map[string]any{"stableIngress": "web"}}}}
	_, err := f.any.Resource(rolloutsResource).Namespace("default").Create(ctx, r, metav1.CreateOptions{})
	return err
}

// news is what a watch has told, and when.
type news struct {
	what string
	at   time.Time
}

// weightsOf sends the weight of each version of the canary Ingress.
func weightsOf(w watch.Interface) <-chan news {
	return told(w, func(in *networkingv1.Ingress) string {
		return in.Annotations["nginx.ingress.kubernetes.io/canary-weight"]
	})
}

// versionsOf sends each version of the Rollout.
func versionsOf(w watch.Interface) <-chan news {
	return told(w, (*unstructured.Unstructured).GetResourceVersion)
}

func told[T any](w watch.Interface, what func(T) string) <-chan news {
	out := make(chan news, 10_000)
	go func() {
		defer close(out)
		for e := range w.ResultChan() {
			if o, ok := e.Object.(T); ok {
				out <- news{what(o), time.Now()}
			}
		}
	}()
	return out
}

// await returns when it was told what is wanted.
func await(ctx context.Context, told <-chan news, want string) (time.Time, error) {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case got, ok := <-told:
			if !ok {
				return time.Time{}, errors.New("the watch has ended")
			}
			if got.what == want {
				return got.at, nil
			}
		case <-late.C:
			return time.Time{}, fmt.Errorf("a watch does not tell %s within a minute", want)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// paused waits until the Rollout rests in a pause.
func (f *field) paused(ctx context.Context) error {
	return f.shows(ctx, func(status map[string]any) bool {
		pauses, _, _ := unstructured.NestedSlice(status, "pauseConditions")
		return len(pauses) > 0
	})
}

// degraded waits until the status says that the update is aborted.
func (f *field) degraded(ctx context.Context) error {
	return f.shows(ctx, func(status map[string]any) bool { return status["abortedAt"] != nil && status["phase"] == "Degraded" })
}

func (f *field) shows(ctx context.Context, done func(status map[string]any) bool) error {
	return until(ctx, func() (bool, error) {
		r, err := f.any.Resource(rolloutsResource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		status, _ := r.Object["status"].(map[string]any)
		return done(status), nil
	})
}
