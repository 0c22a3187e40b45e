package rollout

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// experimentStep is the last experiment at or before the current step.
func (p *pass) experimentStep() *argo.RolloutExperimentStep {
	if p.currentStep() == nil {
		return nil
	}
	for i := p.stepIndex(); i >= 0; i-- {
		if e := p.ro.Spec.Strategy.Canary.Steps[i].Experiment; e != nil {
			return e
		}
	}
	return nil
}

// experiment sees to it that the step's experiment runs, and no other. It is false when it cannot be made.
func (p *pass) experiment() bool {
	p.st.Canary.CurrentExperiment = ""
	if p.aborted() || p.was.PromoteFull {
		for _, ex := range p.s.Experiments {
			p.endExperiment(ex)
		}
		return true
	}
	if p.inconclusive() {
		p.st.Canary.CurrentExperiment = p.was.Canary.CurrentExperiment
		return true
	}
	step := p.currentStep()
	if step != nil && step.Experiment != nil && p.stable != nil {
		again := p.was.ControllerPause && len(p.was.PauseConditions) == 0 && p.exp != nil && p.exp.Status.Phase == argo.AnalysisPhaseInconclusive
		if (p.exp == nil || again) && !p.createExperiment(step.Experiment) {
			return false
		}
		p.st.Canary.CurrentExperiment = p.exp.Name
		switch p.exp.Status.Phase {
		case argo.AnalysisPhaseInconclusive:
			p.adding = append(p.adding, argo.PauseReasonInconclusiveExperiment)
		case argo.AnalysisPhaseError, argo.AnalysisPhaseFailed:
			message := "Experiment analysis phase is error/failed"
			if m := p.exp.Status.Message; m != "" {
				message += ": " + m
			}
			p.abort(message)
		}
	} else {
		p.exp = nil
	}
	p.endOtherExperiments()
	return true
}

func (p *pass) endOtherExperiments() {
	good, bad := p.runHistory()
	for _, ex := range slices.Backward(p.s.Experiments) {
		if p.exp != nil && ex.Name == p.exp.Name {
			continue
		}
		if outlived := p.outlived(ex.Labels[HashLabel]); ex.DeletionTimestamp == nil && (outlived || p.excess(ex.Status.Phase, &good, &bad)) {
			p.op(Op{Verb: Delete, Before: ex})
		} else {
			p.endExperiment(ex)
		}
	}
}

func (p *pass) endExperiment(ex *argo.Experiment) {
	if ex.Spec.Terminate || ex.Status.Phase.Completed() {
		return
	}
	after := *ex
	after.Spec.Terminate = true
	p.op(Op{Verb: Patch, Before: ex, After: &after})
}

// createExperiment of a step. One that was made before the status could name it is taken up again.
func (p *pass) createExperiment(step *argo.RolloutExperimentStep) bool {
	ex, err := p.newExperiment(step)
	if err != nil {
		p.exp = nil
		p.warn(Event{Reason: reasonError, Message: "Reconciliation failed with error: " + err.Error()})
		p.wakeAt(p.now.Add(invalidRetry), "the experiment is tried again")
		p.because("ExperimentError", err.Error())
		return false
	}
	base := ex.Name
	for n := 0; ; n++ {
		if n > 0 {
			ex.Name = fmt.Sprintf("%s-%d", base, n)
		}
		if i := slices.IndexFunc(p.s.Experiments, func(e *argo.Experiment) bool { return e.Name == ex.Name }); i >= 0 {
			if old := p.s.Experiments[i]; !old.Status.Phase.Completed() && !old.Spec.Terminate && old.DeletionTimestamp == nil && sameExperiment(old.Spec, ex.Spec) {
				p.exp = old
				return true
			}
		} else if !p.s.TakenNames[ex.Name] {
			p.op(Op{Verb: Create, After: ex})
			p.event(Event{Reason: "ExperimentCreated", Message: fmt.Sprintf("Created Experiment '%s'", ex.Name)})
			p.exp = ex
			return true
		}
	}
}

func sameExperiment(a, b argo.ExperimentSpec) bool {
	a.Terminate, b.Terminate = false, false
	return reflect.DeepEqual(a, b) || apiequality.Semantic.DeepEqual(a, b)
}

func (p *pass) newExperiment(step *argo.RolloutExperimentStep) (*argo.Experiment, error) {
	revision := p.fresh.is.Annotations[RevisionAnnotation]
	labels := with(p.ro.Labels, HashLabel, p.fresh.hash)
	ex := &argo.Experiment{
		TypeMeta: metav1.TypeMeta{APIVersion: rollouts.GroupVersion.String(), Kind: "Experiment"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%s-%d", p.ro.Name, p.fresh.hash, revision, p.stepIndex()), Namespace: p.ro.Namespace,
			Labels: p.inherit(labels), Annotations: map[string]string{RevisionAnnotation: revision},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.ro, Kind)},
		},
		Spec: argo.ExperimentSpec{
			Duration: step.Duration, ProgressDeadlineSeconds: p.ro.Spec.ProgressDeadlineSeconds, DryRun: step.DryRun,
			AnalysisRunMetadata: step.AnalysisRunMetadata, ScaleDownDelaySeconds: step.ScaleDownDelaySeconds,
		},
	}
	for i := range step.Templates {
		t, err := p.experimentTemplate(&step.Templates[i])
		if err != nil {
			return nil, err
		}
		ex.Spec.Templates = append(ex.Spec.Templates, t)
	}
	owner, err := asMap(p.ro)
	if err != nil {
		return nil, err
	}
	for _, a := range step.Analyses {
		args, err := analysis.Args(a.Args, owner, p.stable.hash, p.fresh.hash)
		if err != nil {
			return nil, err
		}
		ex.Spec.Analyses = append(ex.Spec.Analyses, argo.ExperimentAnalysisTemplateRef{Name: a.Name, TemplateName: a.TemplateName,
			ClusterScope: a.ClusterScope, Args: args, RequiredForCompletion: a.RequiredForCompletion})
	}
	return ex, nil
}

// experimentTemplate has the pods of the revision that the step names, told apart by the step's own labels.
func (p *pass) experimentTemplate(t *argo.RolloutExperimentTemplate) (argo.TemplateSpec, error) {
	var rs *replicaSet
	switch t.SpecRef {
	case argo.CanarySpecRef:
		rs = p.fresh
	case argo.StableSpecRef:
		rs = p.stable
	default:
		return argo.TemplateSpec{}, fmt.Errorf("experiment template %q: specRef is %q; use canary or stable", t.Name, t.SpecRef)
	}
	out := argo.TemplateSpec{Name: t.Name, Replicas: t.Replicas, MinReadySeconds: rs.is.Spec.MinReadySeconds,
		Template: *rs.is.Spec.Template.DeepCopy()}
	if t.Weight != nil || t.Service != nil {
		out.Service = &argo.TemplateService{}
		if t.Service != nil {
			out.Service.Name = t.Service.Name
		}
	}
	selector := t.Selector
	if selector == nil {
		selector = rs.is.Spec.Selector
	}
	if out.Selector = selector.DeepCopy(); out.Selector == nil {
		out.Selector = &metav1.LabelSelector{}
	}
	if l := t.Metadata.Labels; l != nil {
		out.Template.Labels, out.Selector.MatchLabels = cloned(out.Template.Labels), cloned(out.Selector.MatchLabels)
		maps.Copy(out.Template.Labels, l)
		maps.Copy(out.Selector.MatchLabels, l)
	}
	if a := t.Metadata.Annotations; a != nil {
		out.Template.Annotations = cloned(out.Template.Annotations)
		maps.Copy(out.Template.Annotations, a)
	}
	return out, nil
}
