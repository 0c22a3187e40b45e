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
		return errors.New("a break cannot be planted: fewer than two pods run")
	}
	switch doc.Plant {
	case PlantDoubleAddress:
		ip := running[0].Status.PodIP
		return k.patchStatus(ctx, running[1], map[string]any{"podIP": ip, "podIPs": []any{map[string]any{"$patch": "replace"}, map[string]any{"ip": ip}}})
	case PlantPhaseBack:
		return k.patchStatus(ctx, running[0], map[string]any{"phase": corev1.PodPending})
	case PlantRestartsFall:
		return errors.Join(k.restarts(ctx, running[0], 3), k.restarts(ctx, running[0], 1))
	case PlantLostRequests:
		k.r.mu.Lock()
		defer k.r.mu.Unlock()
		if len(k.r.sampler.loads) == 0 {
			return errors.New("a break cannot be planted: there is no load")
		}
		k.r.sampler.loads[0].counts.Served--
		return nil
	case PlantOrphan:
		gone := metav1.OwnerReference{APIVersion: "example.invalid/v1", Kind: "Gone", Name: "gone", UID: "00000000-0000-0000-0000-000000000001"}
		_, err := k.r.client.CoreV1().ConfigMaps(running[0].Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "orphan", OwnerReferences: []metav1.OwnerReference{gone}}}, metav1.CreateOptions{})
		return err
	case PlantIgnoreBudget:
		return nil // acts in evictions
	}
	return fmt.Errorf("there is no break called %q", doc.Plant)
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
