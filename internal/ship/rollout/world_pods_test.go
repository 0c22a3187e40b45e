package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// makePods lets the ReplicaSet controller do its work on one ReplicaSet.
func (w *world) makePods(rs *appsv1.ReplicaSet) {
	pods := w.pods[rs.UID]
	for int32(len(pods)) < *rs.Spec.Replicas {
		pod := &corev1.Pod{ObjectMeta: *rs.Spec.Template.ObjectMeta.DeepCopy(), Spec: *rs.Spec.Template.Spec.DeepCopy()}
		pod.Namespace, pod.Name = rs.Namespace, fmt.Sprintf("%s-%d", rs.Name, w.version)
		w.stamp(pod)
		pods = append(pods, pod)
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { // those that are not ready go first
		return cmp.Compare(rankPod(a), rankPod(b))
	})
	w.pods[rs.UID] = pods[:min(len(pods), int(*rs.Spec.Replicas))]
	w.count()
}

func rankPod(p *corev1.Pod) int {
	if ready(p) {
		return 0
	}
	return 1
}

func ready(p *corev1.Pod) bool {
	return len(p.Status.Conditions) > 0 && p.Status.Conditions[0].Status == corev1.ConditionTrue
}

func (w *world) setReady(p *corev1.Pod, yes bool) {
	s := corev1.ConditionFalse
	if yes {
		s = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: s, LastTransitionTime: metav1.Time{Time: w.now}}}
	w.count()
}

// count pods into the status of their ReplicaSets.
func (w *world) count() {
	for _, rs := range w.sets {
		var st appsv1.ReplicaSetStatus
		st.ObservedGeneration = rs.Generation
		for _, p := range w.pods[rs.UID] {
			st.Replicas++
			if ready(p) {
				st.ReadyReplicas++
				st.AvailableReplicas++
			}
		}
		st.FullyLabeledReplicas = 0
		if !reflect.DeepEqual(st, rs.Status) {
			rs.Status = st
			w.stamp(rs)
		}
	}
}

// settle lets everything happen that happens by itself, with no time passing: pods of good images become ready.
func (w *world) settle() {
	w.t.Helper()
	for range 60 {
		before := w.version
		w.reconcile()
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			rs := w.sets[name]
			if rs == nil {
				continue // deleted meanwhile
			}
			w.makePods(rs)
			w.reconcile()
			for _, p := range slices.Clone(w.pods[rs.UID]) {
				if !ready(p) && !strings.Contains(p.Spec.Containers[0].Image, "bad") {
					w.setReady(p, true)
					w.reconcile()
				}
			}
		}
		if w.version == before {
			return
		}
	}
	w.t.Fatalf("the world does not come to rest")
}

// pass lets time pass until the plan wants to be asked again, or for d at most, and then settle.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 200 {
		w.settle()
		if at := w.plan.RequeueAt; at.IsZero() || at.After(end) {
			break
		} else if !at.After(w.now) {
			w.t.Fatalf("the plan wakes at %s, which is past", at)
		} else {
			w.now = at
		}
	}
	w.now = end
	w.settle()
}

// user changes the Rollout.
func (w *world) user(f func(ro *rollouts.Rollout)) {
	spec := w.ro.Spec.DeepCopy()
	f(w.ro)
	w.stamp(w.ro)
	if !reflect.DeepEqual(spec, &w.ro.Spec) {
		w.ro.Generation++
	}
}

func (w *world) update(image string) {
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Template = tmpl(image) })
}

func (w *world) set(image string) *appsv1.ReplicaSet {
	t := tmpl(image)
	return w.sets["web-"+Hash(&t, nil)]
}

func hashOf(image string) string {
	t := tmpl(image)
	return Hash(&t, nil)
}
