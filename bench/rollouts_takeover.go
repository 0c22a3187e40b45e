package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// takeOver lets the peer begin an update, Fairway go on with it, and the peer end it, and counts the pods that are lost.
func takeOver(ctx context.Context, o options, peer string) error {
	f, err := openField(ctx, o, peer, 3)
	if err != nil {
		return err
	}
	defer f.stop()
	fmt.Println("take-over: Argo Rollouts begins an update, fairway goes on with it, Argo Rollouts ends it")
	r := simpleRollout("web", 5)
	pause := map[string]any{"pause": map[string]any{}}
	r.Object["spec"].(map[string]any)["strategy"] = map[string]any{"canary": map[string]any{"steps": []any{
		map[string]any{"setWeight": int64(20)}, pause, map[string]any{"setWeight": int64(60)}, pause}}}
	all := f.any.Resource(rolloutsResource).Namespace("default")
	if _, err := all.Create(ctx, r, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := f.settled(ctx, 1, "img:v1"); err != nil {
		return err
	}
	update := []byte(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"img:v2"}]`)
	if _, err := all.Patch(ctx, "web", types.JSONPatchType, update, metav1.PatchOptions{}); err != nil {
		return err
	}
	if err := f.paused(ctx); err != nil {
		return err
	}
	promote := func() error {
		_, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"pauseConditions":null}}`), metav1.PatchOptions{}, "status")
		return err
	}
	controllers := []struct {
		name, program string
		args          []string
		then          func() error // what must come of a promotion
	}{
		{"fairway", filepath.Join(o.bin, "fairway"), []string{"controller", "--kubeconfig", f.kubeconfig, "--capabilities=-metrics"}, func() error { return f.canaryPods(ctx, 3) }},
		{"Argo Rollouts", peer, []string{"--kubeconfig", f.kubeconfig}, func() error { return f.settled(ctx, 1, "img:v2") }},
	}
	for _, c := range controllers {
		f.stopLast()
		before, err := f.pods(ctx)
		if err != nil {
			return err
		}
		if err := f.start(f.dir, c.program, c.args...); err != nil {
			return err
		}
		const watched = 70 * time.Second // longer than what a successor waits for
		time.Sleep(watched)
		after, err := f.pods(ctx)
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%s takes over in mid-step: pods replaced or restarted of %d", c.name, len(before)), "", float64(lost(before, after)))
		began := time.Now()
		if err := promote(); err != nil {
			return err
		}
		if err := c.then(); err != nil {
			return fmt.Errorf("%s does not go on after a promotion: %w", c.name, err)
		}
		row(c.name+" goes on after a promotion", "s", time.Since(began).Seconds())
	}
	return nil
}

// stopLast ends the process that was started last.
func (f *field) stopLast() {
	last := &cluster{processes: f.processes[len(f.processes)-1:]}
	last.stop()
	f.processes = f.processes[:len(f.processes)-1]
}

// pods of the default namespace: restarts by UID.
func (f *field) pods(ctx context.Context) (map[types.UID]int32, error) {
	list, err := f.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[types.UID]int32{}
	for i := range list.Items {
		p := &list.Items[i]
		if p.DeletionTimestamp == nil {
			out[p.UID] = 0
			for _, s := range p.Status.ContainerStatuses {
				out[p.UID] += s.RestartCount
			}
		}
	}
	return out, nil
}

func lost(before, after map[types.UID]int32) (n int) {
	for uid, restarts := range before {
		if now, ok := after[uid]; !ok || now != restarts {
			n++
		}
	}
	return n + max(0, len(after)-len(before))
}

// canaryPods waits for a number of available pods of the new revision, and the pause after it.
func (f *field) canaryPods(ctx context.Context, n int64) error {
	return until(ctx, func() (bool, error) {
		r, err := f.any.Resource(rolloutsResource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		pods, _, _ := unstructured.NestedInt64(r.Object, "status", "updatedReplicas")
		pauses, _, _ := unstructured.NestedSlice(r.Object, "status", "pauseConditions")
		return pods == n && len(pauses) > 0, nil
	})
}
