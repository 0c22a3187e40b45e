package rollout

import (
	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// size of a ReplicaSet: the pods it should have, has, and those that are available.
type size struct{ spec, created, available int32 }

// split of the pods of a Rollout between the canary and the stable ReplicaSet.
type split struct{ canary, stable int32 }

// basic is the arithmetic of a canary without a router, whose weight is its share of the pods.
type basic struct {
	replicas, weight, maxWeight int32
	surge, unavailable          int32
	canary                      size
	stable                      *size // nil when there is none beside the canary
	older                       int32 // pods that all other ReplicaSets should have
}

// target is the split that comes nearest to the weight, were all pods available. It may have one pod more than the replicas
// where surge allows it, and leaves neither side empty unless the weight says so.
func (b basic) target() split {
	if b.stable == nil {
		return split{b.replicas, 0}
	}
	if b.replicas == 0 {
		return split{}
	}
	n, w, m := int64(b.replicas), int64(b.weight), int64(b.maxWeight)
	floor, ceil := n*w/m, (n*w+m-1)/m
	zero := w == 0 || w == m || n == 1 && b.surge == 0
	tied := func(total int64) bool { return 2*(total*w%m) == m }
	type option struct{ canary, total int64 }
	var options [4]option
	k := 0
	add := func(ok bool, canary, total int64) {
		if ok {
			options[k] = option{canary, total}
			k++
		}
	}
	add(ceil < n || zero, ceil, n)
	add(!tied(n) && (floor != 0 || zero), floor, n)
	add(b.surge > 0, ceil, n+1)
	add(b.surge > 0 && !tied(n+1) && (floor != 0 || zero), floor, n+1)
	if k == 0 {
		return split{0, b.replicas}
	}
	best := options[0]
	for _, o := range options[1:k] {
		// |canary·M/total − w| compared without division
		if abs(o.canary*m-w*o.total)*best.total < abs(best.canary*m-w*best.total)*o.total {
			best = o
		}
	}
	return split{int32(best.canary), int32(best.total - best.canary)}
}

// next is the split of this pass: as near to the target as surge and unavailability allow now.
func (b basic) next() split {
	want := b.target()
	now := split{canary: b.canary.spec}
	total := b.canary.spec + b.older
	if b.stable != nil {
		now.stable = b.stable.spec
		total += b.stable.spec
	}
	limit := b.replicas + b.surge
	room := limit - total
	if b.stable != nil && room > 0 && now.stable < want.stable {
		grown := min(want.stable, now.stable+room)
		room -= grown - now.stable
		now.stable = grown
	}
	if room > 0 && now.canary < want.canary {
		now.canary = min(want.canary, now.canary+room)
	}
	if b.older > 0 { // those go first; but pods of the stable that serve nobody and are not wanted make room
		if b.stable != nil && now.stable > want.stable {
			now.stable = max(want.stable, min(now.stable, b.stable.available))
		}
		return now
	}
	floor := b.replicas - b.unavailable
	increasing := want.canary >= b.canary.spec
	removable := counted(&b.canary, !increasing) + counted(b.stable, increasing)
	if removable <= floor {
		return now
	}
	spare := removable - floor
	switch {
	case !increasing:
		if b.canary.spec > want.canary {
			now.canary = max(want.canary, b.canary.spec-spare)
		}
		now.canary, now.stable = clip(&b.canary, b.stable, now.canary, now.stable, limit, floor)
	case b.stable != nil:
		if b.stable.spec > want.stable {
			now.stable = max(want.stable, b.stable.spec-spare)
		}
		now.stable, now.canary = clip(b.stable, &b.canary, now.stable, now.canary, limit, floor)
	}
	return now
}

// counted pods are those that may go without counting against availability: all that should be, on the side that shrinks;
// only available ones on the other.
func counted(s *size, all bool) int32 {
	switch {
	case s == nil:
		return 0
	case all:
		return s.spec
	}
	return min(s.spec, s.available)
}

// clip keeps both sides together within the limit: the other side gives way first, but not below what keeps enough pods
// available; the shrinking side gives the rest.
func clip(shrinking, other *size, shrunk, others, limit, floor int32) (int32, int32) {
	if other == nil {
		return shrunk, others
	}
	over := max(0, shrunk+others-limit)
	others -= over
	available := min(shrinking.available, shrunk) + min(other.available, others)
	lost := max(0, other.available-others)
	others += min(lost, max(0, floor-available))
	return shrunk - max(0, shrunk+others-limit), others
}

// carries is the number of pods for a weight, rounded up.
func carries(replicas, weight, maxWeight int32) int32 {
	return int32((int64(replicas)*int64(weight) + int64(maxWeight) - 1) / int64(maxWeight))
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}

// currentStep of a canary; nil when there are no steps or all are done.
func (p *pass) currentStep() *argo.CanaryStep {
	if i := p.stepIndex(); i >= 0 && i < p.steps() {
		return &p.ro.Spec.Strategy.Canary.Steps[i]
	}
	return nil
}

// stepIndex is −1 without steps.
func (p *pass) stepIndex() int {
	if p.steps() == 0 {
		return -1
	}
	return int(orDefault(p.was.CurrentStepIndex, 0))
}

func (p *pass) steps() int { return steps(p.ro) }

func steps(ro *rollouts.Rollout) int {
	if c := ro.Spec.Strategy.Canary; c != nil {
		return len(c.Steps)
	}
	return 0
}

// stepWeight is what the steps say: that of the last setWeight at or before the current step, all after the last step, none
// before the first or when aborted.
func (p *pass) stepWeight() int32 {
	if p.was.Abort {
		return 0
	}
	if p.currentStep() == nil {
		return maxTraffic(p.ro)
	}
	return p.weightBefore(p.stepIndex() + 1)
}

// weightBefore is that of the last setWeight before step i.
func (p *pass) weightBefore(i int) int32 {
	for i = min(i, p.steps()) - 1; i >= 0; i-- {
		if w := p.ro.Spec.Strategy.Canary.Steps[i].SetWeight; w != nil {
			return *w
		}
	}
	return 0
}

// scaleStep is the setCanaryScale in force; nil when the canary follows its weight.
func (p *pass) scaleStep() *argo.SetCanaryScale {
	if !routed(p.ro) || p.currentStep() == nil {
		return nil
	}
	if _, never, _ := abortDelay(p.ro); p.was.Abort && !never {
		return nil
	}
	for i := p.stepIndex(); i >= 0; i-- {
		if s := p.ro.Spec.Strategy.Canary.Steps[i].SetCanaryScale; s != nil {
			if s.MatchTrafficWeight {
				return nil
			}
			return s
		}
	}
	return nil
}

// canaryScale is a fixed number of canary pods, or the weight that their number follows.
func (p *pass) canaryScale() (replicas *int32, weight int32) {
	if p.was.PromoteFull || p.was.StableRS == "" || p.promoted() {
		return nil, maxTraffic(p.ro)
	}
	if s := p.scaleStep(); s != nil {
		if s.Replicas != nil {
			return s.Replicas, 0
		}
		if s.Weight != nil {
			return nil, *s.Weight
		}
	}
	return nil, p.canaryWeight()
}

// canaryWeight is that of the steps, or with a dynamic stable the next one down on an abort: the largest weight of a step that
// needs fewer pods than the stable lacks and the canary has.
func (p *pass) canaryWeight() int32 {
	if !p.was.Abort || !dynamicStable(p.ro) || p.fresh == nil || p.stable == nil {
		return p.stepWeight()
	}
	n := replicasOf(p.ro)
	busy := n - p.stable.available()
	if _, _, set := abortDelay(p.ro); !set {
		busy = max(busy, p.fresh.available()) // else the canary keeps its pods until the delay is over
	}
	steps := p.ro.Spec.Strategy.Canary.Steps
	for i := len(steps) - 1; i >= 0; i-- {
		if w := steps[i].SetWeight; w != nil && carries(n, *w, maxTraffic(p.ro)) < busy {
			return *w
		}
	}
	return 0
}

// routedSplit is the split of a canary with a router, while weights are in force.
func (p *pass) routedSplit(weights *argo.TrafficWeights) split {
	n, m := replicasOf(p.ro), maxTraffic(p.ro)
	fixed, w := p.canaryScale()
	s := split{stable: n}
	if fixed != nil {
		s.canary = *fixed
	} else {
		s.canary = p.atLeast(carries(n, w, m))
	}
	if !dynamicStable(p.ro) {
		return s
	}
	s.stable = carries(n, m-w, m)
	if step := p.stepWeight(); fixed == nil && step < w && p.scaleStep() != nil && !p.was.PromoteFull {
		s.stable = carries(n, m-step, m) // a step down gives the stable revision more than its pods beside the canary's could carry
	}
	if weights != nil {
		// pods follow traffic, never the other way round
		s.stable = max(s.stable, carries(n, weights.Stable.Weight, m))
		if p.was.Abort {
			s.canary = max(s.canary, carries(n, weights.Canary.Weight, m))
		}
	}
	return split{p.atLeast(s.canary), p.atLeast(s.stable)}
}

// atLeast minPodsPerReplicaSet, unless there are to be none.
func (p *pass) atLeast(n int32) int32 {
	least := p.ro.Spec.Strategy.Canary.MinPodsPerReplicaSet
	if n == 0 || least == nil {
		return n
	}
	return max(n, min(*least, replicasOf(p.ro)))
}

// basicSplit is the arithmetic of a canary without a router, as things stand.
func (p *pass) basicSplit() basic {
	_, w := p.canaryScale()
	b := basic{replicas: replicasOf(p.ro), weight: w, maxWeight: maxTraffic(p.ro)}
	b.surge, b.unavailable = surgeAndUnavailable(p.ro)
	if p.fresh != nil {
		b.canary = p.fresh.sizes()
	}
	if p.distinctStable() {
		s := p.stable.sizes()
		b.stable = &s
	}
	for i := range p.sets {
		if rs := &p.sets[i]; p.other(rs) {
			b.older += rs.size
		}
	}
	return b
}

// canarySplit of this pass.
func (p *pass) canarySplit(weights *argo.TrafficWeights) split {
	if routed(p.ro) {
		return p.routedSplit(weights)
	}
	return p.basicSplit().next()
}

// thresholdMet is whether enough pods of rs are available for going on: all of them, or those that replicaProgressThreshold
// is content with.
func (p *pass) thresholdMet(rs *replicaSet, want int32) bool {
	if rs == nil {
		return false
	}
	t := p.ro.Spec.Strategy.Canary.ReplicaProgressThreshold
	if t == nil || t.Value < 0 {
		return rs.size == want && rs.available() == want
	}
	if t.Type == argo.ProgressTypePercentage {
		return want == 0 || int64(rs.available())*100 >= int64(t.Value)*int64(want)
	}
	return rs.available() >= t.Value
}

// scaledAsWanted is whether the pods are what the current step wants.
func (p *pass) scaledAsWanted(weights *argo.TrafficWeights) bool {
	want := p.canarySplit(weights)
	if !p.thresholdMet(p.fresh, want.canary) {
		return false
	}
	if !dynamicStable(p.ro) && (p.stable == nil || p.stable.size != want.stable || p.stable.created() != want.stable) {
		return false
	}
	if routed(p.ro) {
		return true
	}
	for i := range p.sets {
		if rs := &p.sets[i]; p.other(rs) && rs.available() != 0 {
			return false
		}
	}
	return true
}
