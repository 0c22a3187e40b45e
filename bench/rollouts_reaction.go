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

// reaction measures the time from sending a promotion or an abort to the new weight in the routing object, as a watcher of
// that object sees it.
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
	var promoted, aborted []float64
	for update := range routedUpdates {
		if err := f.update(ctx, weights, fmt.Sprintf("img:v%d", update+2)); err != nil {
			return err
		}
		for weight := 2; weight <= routedSteps; weight++ {
			took, err := f.reacted(ctx, weights, `{"status":{"pauseConditions":null}}`, strconv.Itoa(weight))
			if err != nil {
				return err
			}
			promoted = append(promoted, took)
		}
		if update == routedUpdates-1 {
			break
		}
		if _, err := f.reacted(ctx, weights, `{"status":{"pauseConditions":null}}`, "0"); err != nil {
			return err
		}
		if err := f.settled(ctx, 1, fmt.Sprintf("img:v%d", update+2)); err != nil {
			return err
		}
	}
	const aborts = 150
	for range aborts {
		took, err := f.reacted(ctx, weights, `{"status":{"abort":true}}`, "0")
		if err != nil {
			return err
		}
		aborted = append(aborted, took)
		if err := f.degraded(ctx); err != nil { // a retry before that would take the abort back unseen
			return err
		}
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"abort":false}}`), metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
		if err := await(ctx, weights, "1"); err != nil {
			return err
		}
	}
	rowQuantiles(name+": promotion to the weight, as a watcher sees it", promoted)
	rowQuantiles(name+": abort patch to weight 0", aborted)
	return nil
}

// betweenActions is how long after a pause has begun a person acts at the earliest.
const betweenActions = 100 * time.Millisecond

// reacted patches the status of the Rollout that rests in a pause, and returns how many milliseconds later a watcher sees the weight.
func (f *field) reacted(ctx context.Context, weights <-chan string, patch, weight string) (float64, error) {
	if err := f.paused(ctx); err != nil {
		return 0, err
	}
	time.Sleep(betweenActions)
	began := time.Now()
	if _, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		return 0, err
	}
	err := await(ctx, weights, weight)
	return time.Since(began).Seconds() * 1000, err
}

// update the Rollout to an image, and wait for the first weight.
func (f *field) update(ctx context.Context, weights <-chan string, image string) error {
	patch := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"` + image + `"}]`)
	if _, err := f.any.Resource(rolloutsResource).Namespace("default").Patch(ctx, "web", types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return await(ctx, weights, "1")
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

// weightsOf sends the weight of each version of the canary Ingress.
func weightsOf(w watch.Interface) <-chan string {
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for e := range w.ResultChan() {
			if in, ok := e.Object.(*networkingv1.Ingress); ok {
				out <- in.Annotations["nginx.ingress.kubernetes.io/canary-weight"]
			}
		}
	}()
	return out
}

func await(ctx context.Context, weights <-chan string, want string) error {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		select {
		case got, ok := <-weights:
			if !ok {
				return errors.New("the watch has ended")
			}
			if got == want {
				return nil
			}
		case <-late.C:
			return fmt.Errorf("the weight does not become %s within a minute", want)
		case <-ctx.Done():
			return ctx.Err()
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
