package rollout

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// needsRestart is whether the moment has come to replace the pods made before it.
func needsRestart(ro *rollouts.Rollout, now time.Time) bool {
	at := ro.Spec.RestartAt
	return at != nil && (ro.Status.RestartedAt == nil || !at.Equal(ro.Status.RestartedAt)) && !now.Before(at.Time)
}

// restart evicts pods that are older than spec.restartAt, as many at a time as may be unavailable and at least one. It says
// whether it evicted any: then nothing is known of what is available.
func (p *pass) restart() bool {
	if at := p.ro.Spec.RestartAt; at != nil && at.After(p.now) {
		p.wakeAt(at.Time, "pods are restarted")
	}
	if !needsRestart(p.ro, p.now) {
		return false
	}
	at := p.ro.Spec.RestartAt
	var old []*corev1.Pod
	available, wanted := int32(0), int32(0)
	for _, rs := range p.byPriority() {
		wanted += rs.size
		if rs.was == nil {
			continue
		}
		for _, pod := range p.s.Pods[rs.was.UID] {
			if pod.DeletionTimestamp != nil {
				continue
			}
			if p.podAvailable(pod) {
				available++
			}
			if pod.CreationTimestamp.Before(at) {
				old = append(old, pod)
			}
		}
	}
	if len(old) == 0 {
		p.st.RestartedAt = at
		return false
	}
	_, unavailable := surgeAndUnavailable(p.ro)
	budget := available - (max(replicasOf(p.ro), wanted) - max(unavailable, 1))
	evicted := false
	for _, pod := range old {
		if budget <= 0 {
			break
		}
		if t, ok := p.s.Refused[pod.UID]; ok && p.now.Before(t.Add(restartRetry)) {
			p.wakeAt(t.Add(restartRetry), "evictions are tried again")
			continue
		}
		p.op(Op{Verb: Evict, Before: pod})
		budget--
		evicted = true
	}
	if evicted {
		p.wakeAt(p.now.Add(restartRetry), "evictions are tried again")
	}
	p.because("Restarting", "pods made before "+at.UTC().Format(time.RFC3339)+" are being replaced")
	return evicted
}

// byPriority is stable, new, then the others by age.
func (p *pass) byPriority() []*replicaSet {
	all := make([]*replicaSet, len(p.sets))
	for i := range p.sets {
		all[i] = &p.sets[i]
	}
	rank := func(rs *replicaSet) int {
		switch rs {
		case p.stable:
			return 0
		case p.fresh:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b *replicaSet) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

// podAvailable is whether a pod has been ready for minReadySeconds.
func (p *pass) podAvailable(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			wait := time.Duration(p.ro.Spec.MinReadySeconds) * time.Second
			return c.Status == corev1.ConditionTrue && (wait == 0 || !p.now.Before(c.LastTransitionTime.Add(wait)))
		}
	}
	return false
}
