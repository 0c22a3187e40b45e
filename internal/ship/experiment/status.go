package experiment

import (
	"fmt"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// assess gives the Experiment its phase: that of its templates, and of its analyses where they decide.
func (p *pass) assess() {
	if p.st.Phase.Completed() {
		return
	}
	templates, about := p.templatesPhase()
	runs, aboutRuns := p.runsPhase()
	if templates == argo.AnalysisPhaseRunning && p.st.AvailableAt == nil {
		p.st.AvailableAt = &metav1.Time{Time: p.now}
	}
	byRuns := false
	if templates.Completed() {
		// Pods that did well to the end leave the verdict to the analyses, unless these go on and nobody waits for them.
		byRuns = templates == argo.AnalysisPhaseSuccessful && (runs.Completed() || p.waitsForRuns())
	} else {
		byRuns = bad(runs) || required(p.ex, &p.st)
	}
	p.st.Phase, p.st.Message = templates, about
	if byRuns {
		p.st.Phase, p.st.Message = runs, aboutRuns
	}
}

func (p *pass) waitsForRuns() bool {
	return slices.ContainsFunc(p.ex.Spec.Analyses, func(a argo.ExperimentAnalysisTemplateRef) bool { return a.RequiredForCompletion })
}

// templateOrder is from best to worst.
var templateOrder = []argo.TemplateStatusCode{argo.TemplateStatusSuccessful, argo.TemplateStatusRunning, argo.TemplateStatusProgressing,
	argo.TemplateStatusError, argo.TemplateStatusFailed}

// templatesPhase is that of the worst template.
func (p *pass) templatesPhase() (argo.AnalysisPhase, string) {
	worst, message := argo.TemplateStatusSuccessful, ""
	for i := range p.ex.Spec.Templates {
		st := templateStatus(&p.st, p.ex.Spec.Templates[i].Name)
		if slices.Index(templateOrder, st.Status) > slices.Index(templateOrder, worst) {
			worst, message = st.Status, st.Message
		}
	}
	switch worst {
	case argo.TemplateStatusProgressing:
		return argo.AnalysisPhasePending, message
	case argo.TemplateStatusFailed:
		return argo.AnalysisPhaseFailed, message
	case argo.TemplateStatusError:
		return argo.AnalysisPhaseError, message
	case argo.TemplateStatusSuccessful:
		return argo.AnalysisPhaseSuccessful, message
	}
	return argo.AnalysisPhaseRunning, message
}

// runsPhase is that of the worst analysis; Successful when there are none.
func (p *pass) runsPhase() (argo.AnalysisPhase, string) {
	worst, message := argo.AnalysisPhaseSuccessful, ""
	for i := range p.ex.Spec.Analyses {
		if st := runStatus(&p.st, p.ex.Spec.Analyses[i].Name); st.Phase != "" && analysis.Worse(worst, st.Phase) {
			worst, message = st.Phase, st.Message
		}
	}
	if required(p.ex, &p.st) && !bad(worst) && worst != argo.AnalysisPhaseSuccessful {
		return argo.AnalysisPhaseSuccessful, "Required AnalysisRuns completed"
	}
	if worst == argo.AnalysisPhasePending {
		worst = argo.AnalysisPhaseRunning
	}
	return worst, message
}

// tellPhase tells of a new phase.
func (p *pass) tellPhase() {
	if p.was.Phase != p.st.Phase {
		p.event(bad(p.st.Phase), "Experiment"+string(p.st.Phase), fmt.Sprintf("Experiment transitioned from %s -> %s", p.was.Phase, p.st.Phase), false)
	}
}

// conditions keeps the condition Progressing.
func (p *pass) conditions() {
	name := p.ex.Name
	switch {
	case p.st.Phase == argo.AnalysisPhaseSuccessful:
		p.setCondition(argo.ExperimentProgressing, corev1.ConditionFalse, "ExperimentCompleted", fmt.Sprintf("Experiment %q has successfully ran and completed.", name))
	case p.progressed():
		was := condition(&p.st, argo.ExperimentProgressing)
		p.st.Conditions = without(p.st.Conditions, argo.ExperimentProgressing)
		p.setCondition(argo.ExperimentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", fmt.Sprintf("Experiment %q is progressing.", name))
		if was != nil && was.Status == corev1.ConditionTrue {
			condition(&p.st, argo.ExperimentProgressing).LastTransitionTime = was.LastTransitionTime
		}
	case p.was.AvailableAt != nil && !p.over():
		p.setCondition(argo.ExperimentProgressing, corev1.ConditionTrue, "NewReplicaSetAvailable", fmt.Sprintf("Experiment %q is running.", name))
	}
}

// progressed says whether pods came or went since the status was stored.
func (p *pass) progressed() bool {
	if len(p.was.TemplateStatuses) < len(p.st.TemplateStatuses) {
		return true
	}
	for i := range p.was.TemplateStatuses {
		a := &p.was.TemplateStatuses[i]
		b := templateStatus(&p.st, a.Name)
		if b != nil && (a.Replicas != b.Replicas || a.UpdatedReplicas != b.UpdatedReplicas || a.ReadyReplicas != b.ReadyReplicas || a.AvailableReplicas != b.AvailableReplicas) {
			return true
		}
	}
	return false
}

func condition(st *argo.ExperimentStatus, t argo.ExperimentConditionType) *argo.ExperimentCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func without(all []argo.ExperimentCondition, t argo.ExperimentConditionType) []argo.ExperimentCondition {
	return slices.DeleteFunc(slices.Clone(all), func(c argo.ExperimentCondition) bool { return c.Type == t })
}

// setCondition keeps a condition that says the same already as it is.
func (p *pass) setCondition(t argo.ExperimentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.Time{Time: p.now}
	next := argo.ExperimentCondition{Type: t, Status: status, LastUpdateTime: now, LastTransitionTime: now, Reason: reason, Message: message}
	if was := condition(&p.st, t); was != nil {
		if was.Status == status && was.Reason == reason {
			return
		}
		if was.Status == status {
			next.LastTransitionTime = was.LastTransitionTime
		}
	}
	p.st.Conditions = append(without(p.st.Conditions, t), next)
}
