package rollout

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// parseDeadline of an annotation. One that is not readable is none: the ReplicaSet is scaled down.
func parseDeadline(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}

// timeLeft is whether rs waits for its deadline.
func (p *pass) timeLeft(rs *replicaSet) bool {
	if rs == nil || rs.deadline() == "" {
		return false
	}
	at, ok := parseDeadline(rs.deadline())
	return ok && at.After(p.now)
}

// delay the scaling down of rs.
func (p *pass) delay(rs *replicaSet, d time.Duration) {
	at := p.now.Add(d).UTC().Truncate(time.Second)
	p.edit(rs).Annotations[DeadlineAnnotation] = at.Format(time.RFC3339)
	p.wakeAt(at, "an old ReplicaSet is scaled down")
}

// dropDeadlines of the ReplicaSets in use, one of which may be an old one used again.
func (p *pass) dropDeadlines() {
	if !p.delaysAbort() {
		p.dropDeadline(p.fresh)
	}
	if p.distinctStable() {
		p.dropDeadline(p.stable)
	}
}

func (p *pass) dropDeadline(rs *replicaSet) {
	if rs.deadline() != "" {
		delete(p.edit(rs).Annotations, DeadlineAnnotation)
	}
}

// delaysAbort is whether the aborted revision keeps its pods for a while.
func (p *pass) delaysAbort() bool {
	if !p.aborted() || !p.distinctStable() || p.ro.Spec.Strategy.Canary != nil && !routed(p.ro) {
		return false
	}
	_, never, set := abortDelay(p.ro)
	return !never && (set || !dynamicStable(p.ro))
}

// olds are the ReplicaSets that are neither new nor stable and have pods, newest revision first.
func (p *pass) olds() []*replicaSet {
	var olds []*replicaSet
	for i := range p.sets {
		if rs := &p.sets[i]; p.other(rs) && rs.size > 0 {
			olds = append(olds, rs)
		}
	}
	slices.SortStableFunc(olds, func(a, b *replicaSet) int {
		if c := cmp.Compare(b.revision(), a.revision()); c != 0 {
			return c
		}
		return b.is.CreationTimestamp.Compare(a.is.CreationTimestamp.Time)
	})
	return olds
}

// scaleOldCanaries scales down what is neither new nor stable: pods that are not available first, the rest as far as enough
// pods stay available.
func (p *pass) scaleOldCanaries() {
	olds := p.olds()
	if len(olds) == 0 || routed(p.ro) && p.ro.Spec.Strategy.Canary.TrafficRouting.ALB != nil && p.promoted() &&
		!p.targetsVerified(Base(p.ro).StableService, p.fresh.hash) {
		return
	}
	available := int32(0)
	for i := range p.sets {
		available += p.sets[i].lasting()
	}
	for _, rs := range slices.Backward(olds) {
		if rs.available() < rs.size && !(routed(p.ro) && p.referenced(rs)) {
			want := rs.available()
			if want == 0 && !p.relieve(rs) {
				want = 1
			}
			p.scale(rs, want)
		}
	}
	_, unavailable := surgeAndUnavailable(p.ro)
	spare := available - (replicasOf(p.ro) - unavailable)
	waiting := int32(0)
	for _, rs := range olds {
		if spare <= 0 {
			return
		}
		if rs.size == 0 || routed(p.ro) && p.referenced(rs) {
			continue
		}
		want := int32(0)
		switch {
		case !routed(p.ro):
			want = max(0, rs.size-spare)
		case (p.promoted() || rs.deadline() != "") && !dynamicStable(p.ro):
			want = p.afterDelay(rs, &waiting, rs.size)
		}
		if want == 0 && !p.relieve(rs) {
			want = 1
		}
		spare -= rs.size - want
		p.scale(rs, want)
	}
}

// scaleOldBlueGreens scales down what is neither new nor stable after its delay.
func (p *pass) scaleOldBlueGreens() {
	if p.halted() == "inconclusive analysis" {
		return
	}
	b := p.ro.Spec.Strategy.BlueGreen
	if b.PostPromotionAnalysis != nil && b.ScaleDownDelaySeconds == nil && !p.skipsPost() && !successful(p.runs.post) {
		return // the old pods are the way back
	}
	waiting := int32(0)
	for _, rs := range p.olds() {
		if p.referenced(rs) {
			continue
		}
		p.scale(rs, p.afterDelay(rs, &waiting, replicasOf(p.ro)))
	}
}

// afterDelay is the size of a ReplicaSet that is no longer used: keep until its deadline, which it is given now when it has
// none, and then 0. No more than the limit wait at a time, the newest.
func (p *pass) afterDelay(rs *replicaSet, waiting *int32, keep int32) int32 {
	*waiting++
	if *waiting > scaleDownLimit(p.ro) {
		return 0
	}
	if rs.deadline() == "" {
		d := scaleDownDelay(p.ro)
		if d <= 0 {
			return 0
		}
		p.delay(rs, d)
		return rs.size
	}
	if at, ok := parseDeadline(rs.deadline()); ok && at.After(p.now) {
		p.wakeAt(at, "an old ReplicaSet is scaled down")
		return keep
	}
	return 0
}

// referenced is whether traffic may still come to rs: by what the status records, by a Service, or by an Istio subset.
func (p *pass) referenced(rs *replicaSet) bool {
	h := rs.hash
	if h == "" {
		return false
	}
	switch h {
	case p.was.StableRS, p.was.CurrentPodHash, p.was.BlueGreen.ActiveSelector, p.was.BlueGreen.PreviewSelector:
		return true
	}
	if w := p.was.Canary.Weights; w != nil && (h == w.Canary.PodTemplateHash || h == w.Stable.PodTemplateHash) {
		return true
	}
	idle := p.idleService()
	for _, name := range ServiceNames(p.ro) {
		if svc := p.s.Services[name]; svc != nil && name != idle && svc.Spec.Selector[HashLabel] == h {
			return true
		}
	}
	return p.inSubset(h)
}

// idleService is the one of ping and pong that has no part in the traffic now: it goes on selecting the revision that was stable
// before, until the next update takes it. "" = none.
func (p *pass) idleService() string {
	c := p.ro.Spec.Strategy.Canary
	if c == nil || c.PingPong == nil {
		return ""
	}
	if w := p.was.Canary.Weights; w == nil || w.Canary.Weight > 0 {
		return ""
	}
	canary, _ := Services(p.ro)
	return canary
}

// inSubset is whether a subset of the DestinationRule selects the hash.
func (p *pass) inSubset(hash string) bool {
	if !routed(p.ro) || p.ro.Spec.Strategy.Canary.TrafficRouting.Istio == nil {
		return false
	}
	rule := p.ro.Spec.Strategy.Canary.TrafficRouting.Istio.DestinationRule
	if rule == nil {
		return false
	}
	for ref, o := range p.s.Objects {
		if ref.Kind != "DestinationRule" || ref.Name != rule.Name || o == nil {
			continue
		}
		subsets, _, _ := unstructured.NestedSlice(o.Object, "spec", "subsets")
		for _, s := range subsets {
			if m, ok := s.(map[string]any); ok {
				if got, _, _ := unstructured.NestedString(m, "labels", HashLabel); got == hash {
					return true
				}
			}
		}
	}
	return false
}

// forget deletes the oldest ReplicaSets beyond the history limit; their runs and experiments follow, see outlived. One with pods
// stays.
func (p *pass) forget() {
	limit := int(orDefault(p.ro.Spec.RevisionHistoryLimit, defaultHistoryLimit))
	alive := 0
	for i := range p.sets {
		if rs := &p.sets[i]; p.other(rs) && rs.was != nil && rs.was.DeletionTimestamp == nil {
			alive++
		}
	}
	for i := range p.sets {
		if alive <= limit {
			return
		}
		rs := &p.sets[i]
		if !p.other(rs) || rs.was == nil || rs.was.DeletionTimestamp != nil {
			continue
		}
		alive--
		if rs.size != 0 || rs.is != rs.was || !idle(rs.was) || p.referenced(rs) {
			continue
		}
		rs.gone = true
		p.op(Op{Verb: Delete, Before: rs.was})
	}
}

// idle is whether a ReplicaSet has neither pods nor a change ahead.
func idle(rs *appsv1.ReplicaSet) bool {
	return rs.Status.Replicas == 0 && orDefault(rs.Spec.Replicas, defaultReplicas) == 0 && rs.Generation <= rs.Status.ObservedGeneration
}
