package rollout

import (
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// because notes what holds the Rollout. The first thing noted in a pass is the one that holds it.
func (p *pass) because(code, reason string) {
	if p.why.Code == "" {
		p.why.Code, p.why.Reason = code, reason
	}
}

// explained is the reason with the next wake-up.
func (p *pass) explained() Why {
	w := p.why
	if !p.wake.IsZero() {
		w.Next, w.NextAt = p.next, p.wake
	}
	return w
}

// explain what holds the Rollout where it is, as far as the pass has not said so.
func (p *pass) explain() {
	st := &p.st
	if p.stuck && p.why.Code != "" {
		return
	}
	if st.Abort {
		p.why = Why{Code: "Aborted", Reason: "the update is aborted; retry it, or go back by undo"}
		if c := conditionOf(st, argo.RolloutProgressing); c != nil {
			p.why.Evidence = append(p.why.Evidence, c.Message)
		}
		return
	}
	if p.ro.Spec.Paused {
		p.why = Why{Code: "ManuallyPaused", Reason: "spec.paused is set; resume it by promote"}
		return
	}
	if len(st.PauseConditions) > 0 {
		p.explainPause(&st.PauseConditions[0])
		return
	}
	if p.why.Code != "" {
		return
	}
	switch {
	case st.Phase == argo.RolloutPhaseHealthy:
		p.why = Why{Code: "Healthy", Reason: "nothing is to be done"}
	case p.distinctStable() || !completed(st):
		p.explainUpdate()
	default:
		p.explainPods(p.fresh, replicasOf(p.ro))
	}
	if reasonOf(st, argo.RolloutProgressing) == reasonTimedOut {
		p.why.Evidence = append(p.why.Evidence, "there has been no progress for "+progressDeadline(p.ro).String())
	}
}

func (p *pass) explainPause(c *argo.PauseCondition) {
	p.why = Why{Code: string(c.Reason)}
	switch c.Reason {
	case argo.PauseReasonInconclusiveAnalysis, argo.PauseReasonInconclusiveExperiment:
		p.why.Reason = "a result says neither yes nor no; look at it, then promote or abort"
		for _, r := range [...]*argo.AnalysisRun{p.runs.step, p.runs.background, p.runs.pre, p.runs.post} {
			if r != nil && r.Status.Phase == argo.AnalysisPhaseInconclusive {
				p.why.Evidence = append(p.why.Evidence, fmt.Sprintf("analysisrun/%s: %s", r.Name, r.Status.Message))
			}
		}
	case argo.PauseReasonBlueGreenPause:
		p.why.Reason = "the new pods wait for promotion"
	default:
		p.why.Reason = fmt.Sprintf("step %d of %d is a pause", orDefault(p.st.CurrentStepIndex, 0)+1, p.steps())
	}
	p.why.Evidence = append(p.why.Evidence, "paused since "+c.StartTime.UTC().Format("2006-01-02T15:04:05Z"))
}

// explainUpdate says what an update waits for.
func (p *pass) explainUpdate() {
	if p.ro.Spec.Strategy.BlueGreen != nil {
		switch {
		case !p.sizedGreen():
			p.explainPods(p.fresh, p.greenSize())
		case !p.preDone():
			p.explainRun(p.runs.pre, "the analysis before promotion")
		case p.active == p.fresh.hash && !p.promoted() && p.ro.Spec.Strategy.BlueGreen.PostPromotionAnalysis != nil:
			p.explainRun(p.runs.post, "the analysis after promotion")
		default:
			p.why = Why{Code: "Switching", Reason: "the active service is about to be switched"}
		}
		return
	}
	s := p.currentStep()
	switch {
	case s != nil && s.Analysis != nil:
		p.explainRun(p.runs.step, "the analysis of the step")
	case s != nil && s.Experiment != nil && p.exp != nil:
		p.why = Why{Code: "Experiment", Reason: "the experiment of the step is not over",
			Evidence: []string{fmt.Sprintf("experiment/%s is %s %s", p.exp.Name, p.exp.Status.Phase, p.exp.Status.Message)}}
	default:
		want := p.canarySplit(p.st.Canary.Weights)
		if p.fresh.size == want.canary && p.fresh.available() >= want.canary && p.distinctStable() {
			p.explainPods(p.stable, want.stable)
			return
		}
		p.explainPods(p.fresh, want.canary)
	}
}

func (p *pass) explainRun(run *argo.AnalysisRun, what string) {
	p.why = Why{Code: "Analysis", Reason: what + " is not over"}
	if run != nil {
		p.why.Evidence = []string{fmt.Sprintf("analysisrun/%s is %s %s", run.Name, run.Status.Phase, run.Status.Message)}
	}
}

func (p *pass) explainPods(rs *replicaSet, want int32) {
	p.why = Why{Code: "Pods", Reason: fmt.Sprintf("replicaset/%s is to have %d pods", rs.is.Name, want),
		Evidence: []string{fmt.Sprintf("%d are to be there now, %d are there, %d are available", rs.size, rs.created(), rs.available())}}
	if f := p.replicaFailure(); f != nil {
		p.why.Evidence = append(p.why.Evidence, f.Message)
	}
}
