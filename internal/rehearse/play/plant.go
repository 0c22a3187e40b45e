package play

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Breaks that a document can plant, each a fault of the house itself that its invariants must catch. They exist to test
// the tests; a document that comes from a scenario has none.
const (
	PlantDoubleAddress = "double-address" // a kubelet gives a pod the address of another
	PlantPhaseBack     = "phase-back"     // a kubelet reports a running pod pending
	PlantRestartsFall  = "restarts-fall"  // a kubelet forgets the restarts of a container
	PlantIgnoreBudget  = "ignore-budget"  // evictions do not ask disruption budgets
	PlantLostRequests  = "lost-requests"  // requests vanish from the account of a load
	PlantOrphan        = "orphan"         // an object outlives its owner
	PlantReadyLie      = "ready-lie"      // a kubelet calls a pod ready whose containers are not
	PlantOverfull      = "overfull"       // the scheduler fills a node beyond what it can hold
	PlantIgnoreQuota   = "ignore-quota"   // admission does not ask quotas
	PlantSilentPending = "silent-pending" // the scheduler forgets a pod
	PlantLeftWaiting   = "left-waiting"   // the scheduler leaves a pod waiting for which there is room
	PlantHalfDone      = "half-done"      // an object that is being deleted never goes
	PlantLostNode      = "lost-node"      // a node stays out of use though nothing is wrong with it
	PlantPanic         = "panic"          // a goroutine panics
	PlantWait          = "wait"           // the run waits for what never comes, while the cluster goes on
	PlantSpin          = "spin"           // a goroutine never lets go
	PlantStuckRollout  = "stuck-rollout"  // the Deployment controller stops in the middle of a rollout
	PlantStarve        = "starve"         // what a Rollout's active Service selects loses pods
	PlantDeaf          = "deaf"           // a Rollout's active Service is led to nobody
	PlantForget        = "forget"         // a Rollout forgets its stable revision
	PlantStorm         = "storm"          // a Rollout is written over and over
	PlantRestless      = "restless"       // a Rollout at rest is written now and then
)

// plantAfter is when the break happens, counted from the start of measuring.
const plantAfter = 3 * time.Minute

// plant breaks the run once, when it is time.
func (k *checker) plant(ctx context.Context, now time.Time) error {
	doc := k.r.doc
	if doc.Plant == "" || k.planted || now.Before(k.r.start.Add(plantAfter)) {
		return nil
	}
	k.planted = true
	pods, err := k.sortedPods()
	if err != nil {
		return err
	}
	var running []*corev1.Pod
	for _, p := range pods {
		if isReady(p) && p.Status.Phase == corev1.PodRunning && !p.Spec.HostNetwork {
			running = append(running, p)
		}
	}
	if len(running) < 2 {
		return errors.New("fewer than two pods run")
	}
	if act := rolloutBreaks[doc.Plant]; act != nil {
		return act(ctx, k)
	}
	if act := breaks[doc.Plant]; act != nil {
		return act(ctx, k, running[0], running[1])
	}
	return fmt.Errorf("there is no break called %q", doc.Plant)
}

// breaks act through the API, as the broken part of the house would, on pods that run. What is nothing acts elsewhere.
var breaks = map[string]func(ctx context.Context, k *checker, a, b *corev1.Pod) error{
	PlantIgnoreBudget: nothing, // acts in evictions
	PlantIgnoreQuota:  nothing, // acts in admission
	PlantDoubleAddress: func(ctx context.Context, k *checker, a, b *corev1.Pod) error {
		ip := a.Status.PodIP
		return k.patchStatus(ctx, b, map[string]any{"podIP": ip, "podIPs": []any{map[string]any{"$patch": "replace"}, map[string]any{"ip": ip}}})
	},
	PlantPanic: func(context.Context, *checker, *corev1.Pod, *corev1.Pod) error {
		go func() { panic("a planted panic") }()
		return nil
	},
	PlantWait: func(context.Context, *checker, *corev1.Pod, *corev1.Pod) error { <-make(chan struct{}); return nil },
	PlantSpin: func(context.Context, *checker, *corev1.Pod, *corev1.Pod) error {
		for i := 0; ; i++ {
			_ = i
		}
	},
	PlantPhaseBack: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		return k.patchStatus(ctx, a, map[string]any{"phase": corev1.PodPending})
	},
	PlantRestartsFall: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		return errors.Join(k.restarts(ctx, a, 3), k.restarts(ctx, a, 1))
	},
	PlantReadyLie: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		return k.patchStatus(ctx, a, map[string]any{"containerStatuses": []any{map[string]any{"name": a.Spec.Containers[0].Name, "ready": false}}})
	},
	PlantLostRequests: func(_ context.Context, k *checker, _, _ *corev1.Pod) error {
		k.r.mu.Lock()
		defer k.r.mu.Unlock()
		if len(k.r.sampler.loads) == 0 {
			return errors.New("there is no load")
		}
		k.r.sampler.loads[0].counts.Served--
		return nil
	},
	PlantOrphan: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		gone := metav1.OwnerReference{APIVersion: "example.invalid/v1", Kind: "Gone", Name: "gone", UID: "00000000-0000-0000-0000-000000000001"}
		return k.leave(ctx, a.Namespace, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "orphan", OwnerReferences: []metav1.OwnerReference{gone}}})
	},
	PlantHalfDone: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		err := k.leave(ctx, a.Namespace, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "going", Finalizers: []string{"example.invalid/nobody"}}})
		return errors.Join(err, k.r.client.CoreV1().ConfigMaps(a.Namespace).Delete(ctx, "going", metav1.DeleteOptions{}))
	},
	PlantOverfull: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		return k.patchNode(ctx, a.Spec.NodeName, map[string]any{"status": map[string]any{"allocatable": map[string]any{"cpu": "1m"}}}, "status")
	},
	PlantLostNode: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		return k.patchNode(ctx, "spare-000", map[string]any{"spec": map[string]any{"unschedulable": true}})
	},
	PlantSilentPending: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		_, err := k.r.client.CoreV1().Pods(a.Namespace).Create(ctx, forgotten(a), metav1.CreateOptions{})
		return err
	},
	PlantLeftWaiting: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		p, err := k.r.client.CoreV1().Pods(a.Namespace).Create(ctx, forgotten(a), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		return k.patchStatus(ctx, p, map[string]any{"conditions": []any{map[string]any{"type": corev1.PodScheduled, "status": "False", "reason": "Unschedulable", "message": "no reason at all"}}})
	},
	PlantStuckRollout: func(ctx context.Context, k *checker, a, _ *corev1.Pod) error {
		patch := asJSON(map[string]any{"spec": map[string]any{"paused": true, "template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"release": "next"}}}}})
		_, err := k.r.client.AppsV1().Deployments(a.Namespace).Patch(ctx, a.Labels["app"], types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	},
}

func nothing(context.Context, *checker, *corev1.Pod, *corev1.Pod) error { return nil }

// forgotten is a pod that no scheduler looks at.
func forgotten(like *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "forgotten"}, Spec: corev1.PodSpec{SchedulerName: "nobody",
		Containers: []corev1.Container{{Name: "main", Image: like.Spec.Containers[0].Image}}}}
}

func (k *checker) leave(ctx context.Context, ns string, o *corev1.ConfigMap) error {
	_, err := k.r.client.CoreV1().ConfigMaps(ns).Create(ctx, o, metav1.CreateOptions{})
	return err
}

func (k *checker) patchNode(ctx context.Context, name string, patch map[string]any, sub ...string) error {
	_, err := k.r.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, asJSON(patch), metav1.PatchOptions{}, sub...)
	return err
}

func (k *checker) patchStatus(ctx context.Context, p *corev1.Pod, status map[string]any) error {
	_, err := k.r.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, asJSON(map[string]any{"status": status}), metav1.PatchOptions{}, "status")
	return err
}

func (k *checker) restarts(ctx context.Context, p *corev1.Pod, n int) error {
	s := p.Status.ContainerStatuses[0]
	return k.patchStatus(ctx, p, map[string]any{"containerStatuses": []any{map[string]any{"name": s.Name, "restartCount": n}}})
}

// evictRegardless removes a pod as an eviction does, without asking its budgets.
func (k *checker) evictRegardless(ctx context.Context, ns, name string) error {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	err := k.patchStatus(ctx, p, map[string]any{"conditions": []any{map[string]any{"type": corev1.DisruptionTarget, "status": "True", "reason": evictionReason}}})
	if err != nil {
		return err
	}
	return k.r.client.CoreV1().Pods(ns).Delete(ctx, name, metav1.DeleteOptions{})
}
