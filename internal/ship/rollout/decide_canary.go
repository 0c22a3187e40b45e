package rollout

import (
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// canary is a pass over a Rollout with the canary strategy.
func (p *pass) canary() {
	p.noteIncomplete()
	p.leavePause()
	p.findRuns()
	if p.restart() {
		p.stuck = true // until it is known what is available
		p.finish()
		return
	}
	p.ephemeral()
	p.forget()
	p.release()
	p.canaryServices()
	if !p.route() || !p.experiment() || !p.analyse() {
		p.stuck = true
		p.finish()
		return
	}
	if len(p.adding) == 0 {
		p.scaleCanary()
		if !p.resized {
			p.canaryPause()
			p.stepPlugin()
		}
	}
	p.settleCanary()
	p.finish()
}

// scaleCanary sizes the ReplicaSets: stable, new, and once these are as they should be the others.
func (p *pass) scaleCanary() {
	if p.halted() != "" && !p.scaling {
		return
	}
	p.dropDeadlines()
	want := p.canarySplit(p.was.Canary.Weights)
	if routed(p.ro) {
		if p.was.Canary.Weights == nil {
			want.stable = replicasOf(p.ro) // until it is on record what traffic it has, it may have all
		}
		want.canary = p.routedSplit(p.st.Canary.Weights).canary
		if want.canary == 0 && p.serves(p.fresh) {
			want.canary = p.fresh.size // its traffic goes first
		}
	}
	if p.scaling && p.halted() != "" && p.fresh.size == 0 {
		want.stable = replicasOf(p.ro) // a paused Rollout starts nothing, so the stable pods are all there are
	}
	if p.distinctStable() {
		if want.stable == 0 && !p.relieve(p.stable) {
			want.stable = 1
		}
		p.scale(p.stable, want.stable)
	}
	if want.canary == 0 && p.distinctStable() && !p.relieve(p.fresh) {
		want.canary = min(1, p.fresh.size)
	}
	p.scaleNew(want.canary)
	if !p.resized {
		p.scaleOldCanaries()
	}
}

// settleCanary says how far the update is after this pass.
func (p *pass) settleCanary() {
	n := int32(p.steps())
	p.st.CurrentStepIndex = p.was.CurrentStepIndex
	if p.was.PromoteFull || p.withinWindow() {
		p.unpause, p.unabort = true, true
		if n > 0 {
			p.st.CurrentStepIndex = &n
		}
	}
	if reason := p.promotion(); reason != "" {
		p.promote(reason)
		return
	}
	if p.aborted() {
		first := int32(0)
		switch {
		case n == 0:
		case p.promoted():
			p.st.CurrentStepIndex = &n
		default:
			p.st.CurrentStepIndex = &first
		}
		return
	}
	p.climb()
	if n > 0 && p.st.CurrentStepIndex == nil {
		first := int32(0)
		p.st.CurrentStepIndex = &first
	}
}

// promotion is why the new revision of a canary is the stable one from now on; "" = not yet.
func (p *pass) promotion() string {
	if p.stable == nil {
		return "Initial deploy"
	}
	n := replicasOf(p.ro)
	if p.aborted() || p.fresh.available() < n && !p.thresholdMet(p.fresh, n) {
		return ""
	}
	if p.was.PromoteFull {
		return "Full promotion requested"
	}
	if p.fastRollback() {
		return p.fastReason()
	}
	if p.inconclusive() || len(p.adding) > 0 {
		return ""
	}
	if k := p.steps(); k == 0 || p.stepIndex() >= k {
		return fmt.Sprintf("Completed all %d canary steps", k)
	}
	return ""
}

func (p *pass) fastReason() string {
	if p.withinWindow() {
		return "Rollback within window"
	}
	return "Fast rollback"
}

// promote makes the new revision the stable one.
func (p *pass) promote(reason string) {
	p.unpause, p.unabort = true, true
	if p.was.PromoteFull && !p.promoted() {
		p.fastPromoted()
	}
	p.st.PromoteFull = false
	p.st.BlueGreen.ScaleUpPreviewCheckPoint = false
	if c := p.ro.Spec.Strategy.Canary; c != nil {
		p.st.CurrentStepIndex = nil
		if n := int32(len(c.Steps)); n > 0 {
			p.st.CurrentStepIndex = &n
		}
	}
	revision := p.fresh.revision()
	if p.was.StableRS != p.fresh.hash {
		if c := p.ro.Spec.Strategy.Canary; c != nil && c.PingPong != nil {
			if p.was.Canary.StablePingPong == argo.PPPing {
				p.st.Canary.StablePingPong = argo.PPPong
			} else {
				p.st.Canary.StablePingPong = argo.PPPing
			}
		}
		p.st.StableRS = p.fresh.hash
		p.later(Event{Reason: reasonCompleted, Message: fmt.Sprintf("Rollout completed update to revision %d (%s): %s", revision, p.fresh.hash, reason)})
	}
	if ref := p.ro.Spec.WorkloadRef; ref != nil && ref.ScaleDown == argo.ScaleDownOnSuccess && revision == 1 && p.ro.Status.Phase == argo.RolloutPhaseHealthy {
		p.scaleRef(0)
	}
}
