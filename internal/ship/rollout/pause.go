package rollout

import (
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// canaryPause begins a pause step, or waits for its end.
func (p *pass) canaryPause() {
	s := p.currentStep()
	if s == nil || s.Pause == nil || p.ro.Spec.Paused || p.was.PromoteFull || p.aborted() {
		return
	}
	c := p.pausedFor(argo.PauseReasonCanaryPauseStep)
	if c != nil {
		p.wakeAfterPause(s.Pause, c.StartTime.Time)
	} else if !p.was.ControllerPause {
		p.adding = append(p.adding, argo.PauseReasonCanaryPauseStep)
		p.wakeAfterPause(s.Pause, p.stamp().Time)
	}
}

// leavePause goes on to the next step where the current one is a pause that is over, so that what the next one wants is written
// before the status and not after it. The last step is left to settleCanary: what comes after it is a promotion.
func (p *pass) leavePause() {
	s, next := p.currentStep(), int32(p.stepIndex()+1)
	if s == nil || s.Pause == nil || int(next) >= p.steps() || p.aborted() || p.was.PromoteFull || p.withinWindow() || !p.stepDone() {
		return
	}
	p.event(Event{Reason: reasonStepDone, Message: stepCompleted(*s, next, p.steps())})
	p.was.CurrentStepIndex = &next
	p.was.PauseConditions = slices.DeleteFunc(slices.Clone(p.was.PauseConditions), func(c argo.PauseCondition) bool {
		return c.Reason == argo.PauseReasonCanaryPauseStep
	})
	p.was.ControllerPause = false
	p.was.Canary.CurrentStepAnalysisRunStatus, p.was.Canary.CurrentExperiment = nil, ""
	p.st = p.was
}

func (p *pass) wakeAfterPause(pause *argo.RolloutPause, since time.Time) {
	if d, ok := PauseDuration(pause); ok {
		if at := since.Add(d); at.After(p.now) {
			p.wakeAt(at, "the pause ends")
		}
	}
}

// pauseOver is whether somebody has promoted a pause step, which takes the condition away and leaves controllerPause, or its
// time is over.
func (p *pass) pauseOver(pause *argo.RolloutPause) bool {
	c := p.pausedFor(argo.PauseReasonCanaryPauseStep)
	if c == nil {
		return p.was.ControllerPause
	}
	d, ok := PauseDuration(pause)
	return ok && !p.now.Before(c.StartTime.Add(d))
}

// greenPauseOver is whether the new pods may become active, as far as pauses are concerned.
func (p *pass) greenPauseOver() bool {
	b := p.ro.Spec.Strategy.BlueGreen
	c := p.pausedFor(argo.PauseReasonBlueGreenPause)
	switch {
	case len(p.adding) > 0:
		return false
	case p.was.BlueGreen.ScaleUpPreviewCheckPoint:
		return true
	case !autoPromotes(b):
		return p.was.ControllerPause && c == nil
	case b.AutoPromotionSeconds == 0:
		return true
	case c != nil:
		return !p.now.Before(c.StartTime.Add(time.Duration(b.AutoPromotionSeconds) * time.Second))
	}
	return p.was.ControllerPause // promoted before the time was over
}

// greenPause pauses before new pods become active, where the spec wants that, and ends the pause.
func (p *pass) greenPause() {
	b := p.ro.Spec.Strategy.BlueGreen
	if p.was.Abort || !p.sizedGreen() || p.halted() != "" {
		return
	}
	wanted := !autoPromotes(b) || b.AutoPromotionSeconds > 0
	if p.fastTracked() || p.was.BlueGreen.ScaleUpPreviewCheckPoint || !wanted {
		p.removing = append(p.removing, argo.PauseReasonBlueGreenPause)
		return
	}
	if !p.preDone() {
		return
	}
	c := p.pausedFor(argo.PauseReasonBlueGreenPause)
	switch {
	case c != nil && p.greenPauseOver():
		p.removing = append(p.removing, argo.PauseReasonBlueGreenPause)
	case c != nil:
		p.wakeAfterGreen(c.StartTime.Time)
	case !p.was.ControllerPause:
		p.adding = append(p.adding, argo.PauseReasonBlueGreenPause)
		p.wakeAfterGreen(p.stamp().Time)
	}
}

func (p *pass) wakeAfterGreen(since time.Time) {
	if b := p.ro.Spec.Strategy.BlueGreen; b.AutoPromotionSeconds > 0 && autoPromotes(b) {
		if at := since.Add(time.Duration(b.AutoPromotionSeconds) * time.Second); at.After(p.now) {
			p.wakeAt(at, "the new revision is promoted")
		}
	}
}

// settlePause writes abort and pauses to the status.
func (p *pass) settlePause() {
	st := &p.st
	if p.aborted() {
		st.Abort, st.PauseConditions, st.ControllerPause = true, nil, false
		if st.AbortedAt = p.was.AbortedAt; st.AbortedAt == nil {
			now := p.stamp()
			st.AbortedAt = &now
		}
		return
	}
	st.Abort, st.AbortedAt = false, nil
	if p.unpause {
		st.PauseConditions, st.ControllerPause = nil, false
		return
	}
	st.PauseConditions, st.ControllerPause = p.was.PauseConditions, p.was.ControllerPause
	added := false
	if len(p.adding)+len(p.removing) > 0 {
		var list []argo.PauseCondition
		for _, c := range p.was.PauseConditions {
			if !slices.Contains(p.removing, c.Reason) {
				list = append(list, c)
			}
		}
		for _, r := range p.adding {
			if p.pausedFor(r) == nil && !slices.ContainsFunc(list, func(c argo.PauseCondition) bool { return c.Reason == r }) {
				list, added = append(list, argo.PauseCondition{Reason: r, StartTime: p.stamp()}), true
			}
		}
		if len(list) != len(p.was.PauseConditions) || added {
			st.PauseConditions = list
		}
	}
	switch {
	case added:
		st.ControllerPause = true
	case len(st.PauseConditions) == 0:
		// that somebody has promoted is kept until it is acted upon
		st.ControllerPause = p.was.ControllerPause && (p.scaling || p.stuck || p.ro.Spec.Paused) && !p.unpause
	}
}
