package rollout

import (
	"strconv"
)

// blueGreen is a pass over a Rollout with the blue-green strategy.
func (p *pass) blueGreen() {
	b := p.ro.Spec.Strategy.BlueGreen
	p.active, p.preview = p.selector(b.ActiveService), p.selector(b.PreviewService)
	p.release()
	if b.PreviewService != "" && p.halted() == "" {
		p.switchTo(b.PreviewService, p.fresh.hash)
		p.preview = p.fresh.hash
	}
	p.noteIncomplete()
	p.findRuns()
	p.restart()
	p.scaleBlueGreen()
	p.forget()
	p.greenPause()
	p.activate()
	if !p.analyse() {
		p.stuck = true
	}
	p.ephemeral()
	p.settleBlueGreen()
	p.finish()
}

// selector is the hash that a Service selects after this pass; "" = none.
func (p *pass) selector(name string) string {
	if h, ok := p.switched[name]; ok {
		return h
	}
	if svc := p.s.Services[name]; svc != nil {
		return svc.Spec.Selector[HashLabel]
	}
	return ""
}

// scaleBlueGreen sizes the ReplicaSets.
func (p *pass) scaleBlueGreen() {
	p.dropDeadlines()
	if p.distinctStable() {
		p.scale(p.stable, replicasOf(p.ro))
	}
	p.scaleNew(p.greenSize())
	p.scaleOldBlueGreens()
}

// greenSize is that of the new ReplicaSet: full, or that of a preview until it may become active.
func (p *pass) greenSize() int32 {
	n, preview := replicasOf(p.ro), p.ro.Spec.Strategy.BlueGreen.PreviewReplicaCount
	if preview == nil || p.was.PromoteFull {
		return n
	}
	active := p.was.BlueGreen.ActiveSelector
	if active == p.fresh.hash || withHash(p.s.ReplicaSets, active) == nil {
		return n
	}
	if p.was.BlueGreen.ScaleUpPreviewCheckPoint && !p.ro.Spec.Paused && len(p.was.PauseConditions) == 0 {
		return n
	}
	return *preview
}

// sizedGreen is whether the new ReplicaSet is what greenSize says, with all pods available.
func (p *pass) sizedGreen() bool {
	n := p.greenSize()
	return p.fresh.size == n && p.fresh.available() == n
}

// saturated is whether rs has all pods of the Rollout, all of them available.
func (p *pass) saturated(rs *replicaSet) bool {
	n := replicasOf(p.ro)
	return rs.size == n && rs.available() == n && rs.is.Annotations[DesiredReplicasAnnotation] == strconv.Itoa(int(n))
}

// fastTracked is whether nothing holds the new pods back from becoming active.
func (p *pass) fastTracked() bool {
	return p.fastRollback() || p.was.PromoteFull || p.active == "" || p.active == p.fresh.hash
}

// activate points the active Service to the new pods when all of them can serve and nothing holds them back; or to the stable
// ones on an abort.
func (p *pass) activate() {
	name := p.ro.Spec.Strategy.BlueGreen.ActiveService
	if p.halted() != "" || len(p.adding) > 0 && !p.aborted() {
		return
	}
	if p.was.Abort && !p.unabort {
		if p.stable != nil && p.stable.available() > 0 {
			p.become(name, p.stable.hash)
		}
		return
	}
	if !p.sizedGreen() || !p.saturated(p.fresh) {
		return
	}
	if p.fastTracked() || p.greenPauseOver() && p.preDone() {
		p.become(name, p.fresh.hash)
	} else if p.active != "" {
		p.become(name, p.active)
	}
}

func (p *pass) become(name, hash string) {
	if p.s.Services[name] != nil {
		p.switchTo(name, hash)
		p.active = hash
	}
}

// settleBlueGreen says how far the update is after this pass.
func (p *pass) settleBlueGreen() {
	if p.was.PromoteFull || p.withinWindow() {
		p.unpause, p.unabort = true, true
	}
	if reason := p.greenPromotion(); reason != "" {
		p.promote(reason)
		return
	}
	p.st.BlueGreen.ScaleUpPreviewCheckPoint = p.previewed()
}

// greenPromotion is why the new revision of a blue-green is the stable one from now on; "" = not yet.
func (p *pass) greenPromotion() string {
	switch {
	case p.stable == nil || p.active == "":
		return "Initial deploy"
	case p.active != p.fresh.hash, !p.promoted() && p.runs.post == nil && !p.greenTargets():
		return ""
	case p.was.PromoteFull:
		return "Full promotion requested"
	case p.fastRollback():
		return p.fastReason()
	case p.aborted() || p.inconclusive() || len(p.adding) > 0:
		return ""
	case p.ro.Spec.Strategy.BlueGreen.PostPromotionAnalysis != nil && !successful(p.runs.post):
		return ""
	}
	return "Completed blue-green update"
}

// greenTargets is whether load balancers send to the new pods, which the active Service selects.
func (p *pass) greenTargets() bool {
	return p.targetsVerified(p.ro.Spec.Strategy.BlueGreen.ActiveService, p.fresh.hash)
}

// previewed is whether the preview has been looked at with the pods it has for that, so that it may have all. Once it is, it
// stays so until the next change.
func (p *pass) previewed() bool {
	n := p.ro.Spec.Strategy.BlueGreen.PreviewReplicaCount
	if n == nil || p.aborted() {
		return n != nil && p.was.BlueGreen.ScaleUpPreviewCheckPoint
	}
	if p.was.BlueGreen.ScaleUpPreviewCheckPoint {
		return true
	}
	return p.preDone() && p.greenPauseOver() && p.fresh.available() == *n
}
