package experiment

import (
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Defaults of an Experiment.
const (
	progressDeadlineSeconds = 600
	scaleDownDelaySeconds   = 30
)

// Decide says what is to be done about an Experiment now. Pods come up first; when those of all templates are available,
// the clock of spec.duration and the analyses start; at the end, or when a template or an analysis goes bad, the pods stay
// for the delay of scaling down and then go. An Experiment whose status was taken away starts anew.
func Decide(s Snapshot, now time.Time) Plan {
	p := &pass{s: s, now: now, ex: s.Experiment, was: s.Experiment.Status, st: *s.Experiment.Status.DeepCopy()}
	if !p.ex.DeletionTimestamp.IsZero() {
		return Plan{}
	}
	if p.invalid() {
		p.store()
		return p.plan
	}
	p.ending = ending(p.ex, &p.was)
	for i := range p.ex.Spec.Templates {
		p.template(&p.ex.Spec.Templates[i])
	}
	for i := range p.ex.Spec.Analyses {
		p.analysis(&p.ex.Spec.Analyses[i])
	}
	p.assess()
	p.conditions()
	p.tellPhase()
	p.store()
	p.wake()
	return p.plan
}

// pass is one run of Decide.
type pass struct {
	s      Snapshot
	now    time.Time
	ex     *argo.Experiment
	was    argo.ExperimentStatus // as stored
	st     argo.ExperimentStatus // as it will be
	ending bool
	plan   Plan
	events []Event // told with the status
}

func (p *pass) op(o Op) { p.plan.Ops = append(p.plan.Ops, o) }

func (p *pass) event(warning bool, reason, message string, rollout bool) {
	p.events = append(p.events, Event{Warning: warning, Reason: reason, Message: message, Rollout: rollout})
}

// store ends a plan with the one write of the status, when there is one to make.
func (p *pass) store() {
	if equality.Semantic.DeepEqual(p.was, p.st) {
		if len(p.events) > 0 {
			p.op(Op{Verb: Tell, Events: p.events})
		}
		return
	}
	after := p.ex.DeepCopy()
	after.Status = p.st
	p.op(Op{Verb: Patch, Before: p.ex, After: after, Events: p.events})
}

// ending says whether an Experiment makes nothing new, lets its pods go and ends its analyses.
func ending(ex *argo.Experiment, st *argo.ExperimentStatus) bool {
	if ex.Spec.Terminate || st.Phase.Completed() {
		return true
	}
	for i := range st.TemplateStatuses {
		if s := st.TemplateStatuses[i].Status; s == argo.TemplateStatusFailed || s == argo.TemplateStatusError {
			return true
		}
	}
	for i := range st.AnalysisRuns {
		if bad(st.AnalysisRuns[i].Phase) {
			return true
		}
	}
	return required(ex, st)
}

func bad(p argo.AnalysisPhase) bool { return p.Completed() && p != argo.AnalysisPhaseSuccessful }

// required says whether there are analyses that must succeed, and all of them have.
func required(ex *argo.Experiment, st *argo.ExperimentStatus) bool {
	some := false
	for i := range ex.Spec.Analyses {
		a := &ex.Spec.Analyses[i]
		if !a.RequiredForCompletion {
			continue
		}
		some = true
		if r := runStatus(st, a.Name); r == nil || r.Phase != argo.AnalysisPhaseSuccessful {
			return false
		}
	}
	return some
}

// endsAt is when spec.duration is over; zero while it has not begun, or when there is none.
func endsAt(ex *argo.Experiment, st *argo.ExperimentStatus) time.Time {
	if ex.Spec.Duration == "" || st.AvailableAt == nil {
		return time.Time{}
	}
	d, err := ex.Spec.Duration.Duration()
	if err != nil {
		return time.Time{} // invalid says so
	}
	return st.AvailableAt.Add(d)
}

// over says whether spec.duration is.
func (p *pass) over() bool {
	end := endsAt(p.ex, &p.st)
	return !end.IsZero() && !p.now.Before(end)
}

func deadlineSeconds(ex *argo.Experiment) int32 {
	return ptr.Deref(ex.Spec.ProgressDeadlineSeconds, progressDeadlineSeconds)
}

// wake says when time alone changes something.
func (p *pass) wake() {
	if !ending(p.ex, &p.st) {
		if end := endsAt(p.ex, &p.st); !end.IsZero() && p.now.Before(end) {
			p.plan.wakeAt(end)
		}
	}
	for i := range p.ex.Spec.Templates {
		t := &p.ex.Spec.Templates[i]
		if st := templateStatus(&p.st, t.Name); st != nil && !st.Status.Completed() && st.LastTransitionTime != nil && st.AvailableReplicas != ptr.Deref(t.Replicas, 1) {
			if at := st.LastTransitionTime.Add(time.Duration(deadlineSeconds(p.ex)) * time.Second); p.now.Before(at) {
				p.plan.wakeAt(at)
			}
		}
	}
}

// invalid says whether the spec cannot be carried out, and keeps the condition that says why.
func (p *pass) invalid() bool {
	message := problem(p.ex)
	if message == "" {
		p.st.Conditions = without(p.st.Conditions, argo.InvalidExperimentSpec)
		return false
	}
	if c := condition(&p.st, argo.InvalidExperimentSpec); c != nil && c.Message == message {
		return true
	}
	p.st.Conditions = without(p.st.Conditions, argo.InvalidExperimentSpec)
	p.setCondition(argo.InvalidExperimentSpec, corev1.ConditionTrue, "InvalidSpec", message)
	return true
}

// problem is the first thing wrong with a spec, in the peer's words where it has any.
func problem(ex *argo.Experiment) string {
	if len(ex.Spec.Templates) == 0 {
		return fmt.Sprintf("Experiment %s has no templates; without pods its analyses would have nothing to judge", ex.Name)
	}
	seen := map[string]bool{}
	for i := range ex.Spec.Templates {
		t := &ex.Spec.Templates[i]
		switch {
		case t.Selector == nil:
			return fmt.Sprintf("Rollout has missing field '.Spec.Templates[%d].Selector'", i)
		case len(t.Selector.MatchLabels)+len(t.Selector.MatchExpressions) == 0:
			return fmt.Sprintf("This experiment is selecting all pods at index %d. A non-empty selector is required.", i)
		case t.MinReadySeconds > deadlineSeconds(ex):
			return fmt.Sprintf("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index %d", i)
		case t.Name == "":
			return fmt.Sprintf("Experiment %s has empty template name at index %d", ex.Name, i)
		case seen[t.Name]:
			return fmt.Sprintf("Experiment %s has repeated template name '%s' in templates", ex.Name, t.Name)
		}
		if selector, err := metav1.LabelSelectorAsSelector(t.Selector); err != nil {
			return fmt.Sprintf("spec.templates[%d].selector: %v", i, err)
		} else if !selector.Matches(podLabels(t)) {
			return fmt.Sprintf("spec.templates[%d].selector does not match the labels of its own template", i)
		}
		seen[t.Name] = true
	}
	if d := ex.Spec.Duration; d != "" {
		if _, err := d.Duration(); err != nil {
			return fmt.Sprintf("spec.duration %q is not a duration such as 30m", d)
		}
	}
	clear(seen)
	for i := range ex.Spec.Analyses {
		if name := ex.Spec.Analyses[i].Name; seen[name] {
			return fmt.Sprintf("spec.analyses[%d]: there is another analysis %q; give each a name of its own", i, name)
		}
		seen[ex.Spec.Analyses[i].Name] = true
	}
	return ""
}

func templateStatus(st *argo.ExperimentStatus, name string) *argo.TemplateStatus {
	for i := range st.TemplateStatuses {
		if st.TemplateStatuses[i].Name == name {
			return &st.TemplateStatuses[i]
		}
	}
	return nil
}

func runStatus(st *argo.ExperimentStatus, name string) *argo.ExperimentAnalysisRunStatus {
	for i := range st.AnalysisRuns {
		if st.AnalysisRuns[i].Name == name {
			return &st.AnalysisRuns[i]
		}
	}
	return nil
}
