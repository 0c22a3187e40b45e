package rollout

import (
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// StepString is a step in a few words, as in Events and on the command line.
func StepString(s argo.CanaryStep) string {
	switch {
	case s.SetWeight != nil:
		return fmt.Sprintf("setWeight: %d", *s.SetWeight)
	case s.Pause != nil:
		if s.Pause.Duration != nil {
			return "pause: " + s.Pause.Duration.String()
		}
		return "pause"
	case s.Experiment != nil:
		return "experiment"
	case s.Analysis != nil:
		return "analysis"
	case s.SetCanaryScale != nil && s.SetCanaryScale.Weight != nil:
		return fmt.Sprintf("setCanaryScale{weight: %d}", *s.SetCanaryScale.Weight)
	case s.SetCanaryScale != nil && s.SetCanaryScale.MatchTrafficWeight:
		return "setCanaryScale{matchTrafficWeight: true}"
	case s.SetCanaryScale != nil && s.SetCanaryScale.Replicas != nil:
		return fmt.Sprintf("setCanaryScale{replicas: %d}", *s.SetCanaryScale.Replicas)
	case s.Plugin != nil:
		return "plugin: " + s.Plugin.Name
	case s.SetHeaderRoute != nil:
		return "setHeaderRoute: " + s.SetHeaderRoute.Name
	case s.SetMirrorRoute != nil:
		return "setMirrorRoute: " + s.SetMirrorRoute.Name
	}
	return "invalid"
}

// stepDone is whether the current step has come to its end.
func (p *pass) stepDone() bool {
	s := p.currentStep()
	if s == nil || p.ro.Spec.Paused || len(p.adding) > 0 || p.inconclusive() {
		return false
	}
	switch {
	case s.Pause != nil:
		return p.pauseOver(s.Pause)
	case s.SetCanaryScale != nil:
		return p.scaledAsWanted(p.st.Canary.Weights)
	case s.SetWeight != nil:
		return p.scaledAsWanted(p.st.Canary.Weights) && p.weighted(*s.SetWeight)
	case s.Experiment != nil:
		return p.exp != nil && p.exp.Status.Phase == argo.AnalysisPhaseSuccessful
	case s.Analysis != nil:
		return successful(p.runs.step)
	case s.Plugin != nil:
		return p.pluginDone(int32(p.stepIndex()))
	}
	return s.SetHeaderRoute != nil || s.SetMirrorRoute != nil
}

// weighted is whether the routers have been given a weight, and nothing says that they do not follow it. A canary that is to have
// no pods needs none.
func (p *pass) weighted(weight int32) bool {
	w := p.st.Canary.Weights
	if w == nil || !routed(p.ro) {
		return true
	}
	return (w.Verified == nil || *w.Verified) && (w.Canary.Weight == weight || p.routedSplit(w).canary == 0)
}

// inconclusive is whether a result that says neither yes nor no still waits for somebody's judgement.
func (p *pass) inconclusive() bool {
	return p.pausedFor(argo.PauseReasonInconclusiveAnalysis) != nil || p.pausedFor(argo.PauseReasonInconclusiveExperiment) != nil
}

func stepCompleted(s argo.CanaryStep, n int32, of int) string {
	return fmt.Sprintf("Rollout step %d/%d completed (%s)", n, of, StepString(s))
}

// climb completes the current step if it is done. Where the next one is nothing but a pause, it begins in the same pass.
func (p *pass) climb() {
	if !p.stepDone() {
		return
	}
	step := p.currentStep()
	next := int32(p.stepIndex() + 1)
	p.later(Event{Reason: reasonStepDone, Message: stepCompleted(*step, next, p.steps())})
	p.removing = append(p.removing, argo.PauseReasonCanaryPauseStep)
	p.st.CurrentStepIndex = &next
	p.st.Canary.CurrentStepAnalysisRunStatus, p.st.Canary.CurrentExperiment = nil, ""
	if step.Pause != nil || p.resized || int(next) >= p.steps() {
		return
	}
	s := p.ro.Spec.Strategy.Canary.Steps[next]
	if s.Pause != nil && s.SetCanaryScale == nil && s.SetHeaderRoute == nil && s.SetMirrorRoute == nil && s.Plugin == nil {
		p.adding = append(p.adding, argo.PauseReasonCanaryPauseStep)
		p.wakeAfterPause(s.Pause, p.stamp().Time)
	}
}
