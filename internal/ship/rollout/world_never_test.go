package rollout

import (
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// never checks before each Op that it does nothing that must never be done.
func (w *world) never(o Op) {
	w.t.Helper()
	switch o.Verb {
	case Patch:
		switch b := o.Before.(type) {
		case *appsv1.ReplicaSet:
			w.neverStarve(w.sets[b.Name], *o.After.(*appsv1.ReplicaSet).Spec.Replicas)
		case *corev1.Service:
			w.neverDeaf(b, o.After.(*corev1.Service))
		case *unstructured.Unstructured:
			w.neverMislead(b, o.After.(*unstructured.Unstructured))
		}
	case Delete:
		if rs, ok := o.Before.(*appsv1.ReplicaSet); ok {
			h := rs.Labels[HashLabel]
			if h == w.ro.Status.StableRS || h == hashOfTemplate(w.ro) || *rs.Spec.Replicas > 0 {
				w.t.Fatalf("deletes %s, which is needed", rs.Name)
			}
		}
	case PatchStatus:
		w.neverForget(&o.Before.(*rollouts.Rollout).Status, &o.After.(*rollouts.Rollout).Status)
	}
}

// neverStarve: a canary without a router keeps enough pods, and no ReplicaSet is taken away that traffic comes to.
func (w *world) neverStarve(rs *appsv1.ReplicaSet, to int32) {
	w.t.Helper()
	if to >= *rs.Spec.Replicas {
		return
	}
	if w.ro.Spec.Strategy.Canary != nil && !routed(w.ro) {
		_, unavailable := surgeAndUnavailable(w.ro)
		was, is := int32(0), int32(0)
		for _, s := range w.sets {
			n := min(s.Status.AvailableReplicas, *s.Spec.Replicas)
			was += n
			if s == rs {
				n = min(n, to)
			}
			is += n
		}
		if is < min(was, *w.ro.Spec.Replicas-unavailable) {
			w.t.Fatalf("scaling %s from %d to %d leaves %d of %d pods available", rs.Name, *rs.Spec.Replicas, to, is, was)
		}
	}
	w.neverUndercut(rs, to)
	if to > 0 || *w.ro.Spec.Replicas == 0 {
		return
	}
	h := rs.Labels[HashLabel]
	pingPong := routed(w.ro) && w.ro.Spec.Strategy.Canary.PingPong != nil // their weights are checked by lost
	for name, svc := range w.svcs {
		if !pingPong && w.main(name) && svc.Spec.Selector[HashLabel] == h {
			for _, s := range w.sets {
				if s != rs && s.Status.AvailableReplicas > 0 && *s.Spec.Replicas > 0 {
					w.t.Fatalf("%s is scaled to 0 while the service %s selects it", rs.Name, name)
				}
			}
		}
	}
	if !routed(w.ro) {
		return
	}
	if w.objects[routeRef] == nil {
		return
	}
	if canary, _, _ := unstructured.NestedString(w.objects[routeRef].Object, "spec", "canaryHash"); w.weight() > 0 && canary == h && rs.Status.AvailableReplicas > 0 {
		w.t.Fatalf("%s is scaled to 0 while it has weight %d", rs.Name, w.weight())
	}
}

// neverUndercut: what all clients come to, or may have to come back to, keeps all its pods.
func (w *world) neverUndercut(rs *appsv1.ReplicaSet, to int32) {
	w.t.Helper()
	b, h := w.ro.Spec.Strategy.BlueGreen, rs.Labels[HashLabel]
	if to >= *w.ro.Spec.Replicas || w.ro.Status.CurrentPodHash != hashOfTemplate(w.ro) {
		return
	}
	switch {
	case b != nil && w.svcs[b.ActiveService] != nil && w.svcs[b.ActiveService].Spec.Selector[HashLabel] == h:
		w.t.Fatalf("%s is scaled from %d to %d while the active Service selects it", rs.Name, *rs.Spec.Replicas, to)
	case routed(w.ro) && !dynamicStable(w.ro) && w.ro.Status.StableRS == h && w.ro.Status.StableRS != w.ro.Status.CurrentPodHash:
		w.t.Fatalf("%s is scaled from %d to %d while it is the stable one", rs.Name, *rs.Spec.Replicas, to)
	}
}

func hashOfTemplate(ro *rollouts.Rollout) string {
	return Hash(&ro.Spec.Template, ro.Status.CollisionCount)
}

// main is whether a Service is the one that clients come by.
func (w *world) main(name string) bool {
	if w.ro.Spec.Strategy.BlueGreen != nil {
		return name == "active"
	}
	_, stable := Services(w.ro)
	return name == stable
}

// lost is the share of the traffic that comes to nobody although somebody could serve it, in percent.
func (w *world) lost() int64 {
	if *w.ro.Spec.Replicas == 0 {
		return 0
	}
	pods, all := map[string]int32{}, int32(0)
	for _, rs := range w.sets {
		n := min(rs.Status.AvailableReplicas, *rs.Spec.Replicas)
		pods[rs.Labels[HashLabel]] += n
		all += n
	}
	deaf := func(name string) bool {
		h := ""
		if svc := w.svcs[name]; svc != nil {
			h = svc.Spec.Selector[HashLabel]
		}
		return h != "" && pods[h] == 0 && all > 0
	}
	if route := w.objects[routeRef]; routed(w.ro) && route != nil {
		canary, _, _ := unstructured.NestedString(route.Object, "spec", "canary")
		stable, _, _ := unstructured.NestedString(route.Object, "spec", "stable")
		sum, share := int64(0), w.weight()*100/int64(maxTraffic(w.ro))
		if deaf(canary) {
			sum += share
		}
		if deaf(stable) {
			sum += 100 - share
		}
		return sum
	}
	for name := range w.svcs {
		if w.main(name) && deaf(name) {
			return 100
		}
	}
	return 0
}

// neverDeaf: a Service is not pointed to where nobody answers while somebody does elsewhere.
func (w *world) neverDeaf(before, after *corev1.Service) {
	w.t.Helper()
	to := after.Spec.Selector[HashLabel]
	if before.Name == "preview" || to == before.Spec.Selector[HashLabel] || to == "" || *w.ro.Spec.Replicas == 0 {
		return
	}
	for _, rs := range w.sets {
		if rs.Labels[HashLabel] == to && rs.Status.AvailableReplicas == 0 && before.Spec.Selector[HashLabel] != "" && w.main(before.Name) {
			w.t.Fatalf("service %s is switched to %s, which has no pods available", before.Name, rs.Name)
		}
	}
}

// neverMislead: no side gets more traffic, and none is pointed elsewhere with traffic on it, while it has no pods and the other
// has.
func (w *world) neverMislead(before, after *unstructured.Unstructured) {
	w.t.Helper()
	if *w.ro.Spec.Replicas == 0 { // nobody is to serve
		return
	}
	side := func(u *unstructured.Unstructured, name string) (share int64, hash string, pods int32) {
		share, _, _ = unstructured.NestedInt64(u.Object, "spec", "weight")
		if name == "stable" {
			share = int64(maxTraffic(w.ro)) - share
		}
		hash, _, _ = unstructured.NestedString(u.Object, "spec", name+"Hash")
		for _, rs := range w.sets {
			if rs.Labels[HashLabel] == hash {
				pods = rs.Status.AvailableReplicas
			}
		}
		return share, hash, pods
	}
	for name, opposite := range map[string]string{"canary": "stable", "stable": "canary"} {
		was, wasHash, _ := side(before, name)
		is, hash, pods := side(after, name)
		_, _, others := side(after, opposite)
		if wasHash != "" && pods == 0 && others > 0 && is > 0 && (is > was || hash != wasHash) {
			w.t.Fatalf("the %s gets %d after %d (%s after %s), and has no pods", name, is, was, hash, wasHash)
		}
	}
}

// neverForget: pauses survive a change of size, and no inconclusive result is passed over.
func (w *world) neverForget(was, is *rollouts.RolloutStatus) {
	w.t.Helper()
	inconclusive := slices.ContainsFunc(was.PauseConditions, func(c argo.PauseCondition) bool { return c.Reason == argo.PauseReasonInconclusiveAnalysis })
	if inconclusive && is.StableRS != was.StableRS && !was.PromoteFull && is.CurrentPodHash == was.CurrentPodHash && w.ro.Spec.RollbackWindow == nil {
		w.t.Fatalf("promoted past an inconclusive result")
	}
	if len(was.PauseConditions) > 0 && len(is.PauseConditions) == 0 && is.CurrentPodHash == was.CurrentPodHash && is.CurrentStepHash == was.CurrentStepHash &&
		!is.Abort && !was.PromoteFull && is.StableRS == was.StableRS {
		timed := was.PauseConditions[0].Reason == argo.PauseReasonCanaryPauseStep || was.PauseConditions[0].Reason == argo.PauseReasonBlueGreenPause
		moved := was.CurrentStepIndex != nil && is.CurrentStepIndex != nil && *was.CurrentStepIndex != *is.CurrentStepIndex
		if !timed || !moved && w.ro.Spec.Strategy.Canary != nil {
			w.t.Fatalf("pauses %v are gone", was.PauseConditions)
		}
	}
}
