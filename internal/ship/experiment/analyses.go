package experiment

import (
	"fmt"
	"maps"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// analysis sees to the run of an analysis, and to its status.
func (p *pass) analysis(a *argo.ExperimentAnalysisTemplateRef) {
	before := argo.ExperimentAnalysisRunStatus{Name: a.Name}
	if s := runStatus(&p.was, a.Name); s != nil {
		before = *s
	}
	st := before
	switch {
	case st.Phase.Completed() || p.was.Phase.Completed() && st.AnalysisRun == "":
	case p.was.AvailableAt == nil:
		p.verify(a, &st)
	case st.AnalysisRun == "":
		if !p.ending {
			p.createRun(a, &st)
		}
	default:
		p.follow(a, &st)
	}
	if before.Phase != st.Phase && st.Phase != "" {
		text := fmt.Sprintf("AnalysisRun '%s' transitioned from %s -> %s", a.Name, before.Phase, st.Phase)
		if st.Message != "" {
			text += ": " + st.Message
		}
		p.event(bad(st.Phase), "AnalysisRun"+string(st.Phase), text, true)
	}
	if have := runStatus(&p.st, a.Name); have != nil {
		*have = st
	} else {
		p.st.AnalysisRuns = append(p.st.AnalysisRuns, st)
	}
}

// ref of an analysis's template.
func ref(a *argo.ExperimentAnalysisTemplateRef) []argo.AnalysisTemplateRef {
	return []argo.AnalysisTemplateRef{{TemplateName: a.TemplateName, ClusterScope: a.ClusterScope}}
}

// verify says early, before pods are there, that a template is missing.
func (p *pass) verify(a *argo.ExperimentAnalysisTemplateRef, st *argo.ExperimentAnalysisRunStatus) {
	kind := "AnalysisTemplate"
	if ptr.Deref(a.ClusterScope, false) {
		kind = "ClusterAnalysisTemplate"
	}
	if err := p.s.Templates.Check(ref(a)); err != nil {
		st.Phase = argo.AnalysisPhaseError
		st.Message = fmt.Sprintf("%s verification failed for analysis '%s': %v", kind, a.Name, err)
	}
}

// createRun makes the run of an analysis. One that was made before the status could name it is taken up again.
func (p *pass) createRun(a *argo.ExperimentAnalysisTemplateRef, st *argo.ExperimentAnalysisRunStatus) {
	run, err := p.newRun(a)
	if err == nil && p.s.Refused[a.Name+runSuffix] != "" {
		err = fmt.Errorf("%s", p.s.Refused[a.Name+runSuffix])
	}
	if err != nil {
		st.Phase = argo.AnalysisPhaseError
		st.Message = fmt.Sprintf("Failed to create AnalysisRun for analysis '%s': %v", a.Name, err)
		return
	}
	st.Phase = argo.AnalysisPhasePending
	base := run.Name
	for n := 0; ; n++ {
		if n > 0 {
			run.Name = fmt.Sprintf("%s.%d", base, n)
		}
		if old := p.s.Runs[run.Name]; old != nil {
			if p.mine(old) && analysis.Equal(old.Spec, run.Spec) {
				st.AnalysisRun = old.Name
				return
			}
		} else if !p.s.Taken["AnalysisRun/"+run.Name] {
			st.AnalysisRun = run.Name
			p.op(Op{Verb: Create, Template: a.Name + runSuffix, After: run})
			return
		}
	}
}

// runSuffix tells in Refused what was refused of an analysis from what was of a template.
const runSuffix = "/analysis"

// mine says whether a run that exists is of this attempt: it goes on, or was made since the pods became available.
func (p *pass) mine(run *argo.AnalysisRun) bool {
	if run.DeletionTimestamp != nil || run.Spec.Terminate {
		return false
	}
	return !run.Status.Phase.Completed() || !run.CreationTimestamp.Time.Before(p.was.AvailableAt.Truncate(time.Second))
}

// follow takes over the phase of a run, or ends it when the Experiment ends.
func (p *pass) follow(a *argo.ExperimentAnalysisTemplateRef, st *argo.ExperimentAnalysisRunStatus) {
	run := p.s.Runs[st.AnalysisRun]
	if run == nil {
		if !p.was.Phase.Completed() {
			st.Phase = argo.AnalysisPhaseError
			st.Message = fmt.Sprintf("analysisrun.argoproj.io %q not found", st.AnalysisRun)
		}
		return
	}
	if p.ending && !run.Status.Phase.Completed() && !run.Spec.Terminate && run.DeletionTimestamp == nil {
		after := run.DeepCopy()
		after.Spec.Terminate = true
		p.op(Op{Verb: Patch, Before: run, After: after, Events: []Event{{Reason: "AnalysisRunTerminating", Message: fmt.Sprintf("Terminating %s (%s)", a.Name, run.Name)}}})
	}
	if p.was.Phase.Completed() {
		return // the verdict is given; how its runs end no longer matters
	}
	if run.Status.Phase != "" {
		st.Phase, st.Message = run.Status.Phase, run.Status.Message
	}
}

// newRun of an analysis, with what the Experiment knows put into its arguments.
func (p *pass) newRun(a *argo.ExperimentAnalysisTemplateRef) (*argo.AnalysisRun, error) {
	known := p.values()
	args := make([]argo.Argument, len(a.Args))
	for i := range a.Args {
		a.Args[i].DeepCopyInto(&args[i])
		if v := args[i].Value; v != nil {
			text, err := analysis.Substitute(*v, known)
			if err != nil {
				return nil, err
			}
			args[i].Value = &text
		}
	}
	spec, err := analysis.Spec(ref(a), p.s.Templates, args, p.ex.Spec.DryRun, p.ex.Spec.MeasurementRetention)
	if err != nil {
		return nil, err
	}
	run := &argo.AnalysisRun{
		ObjectMeta: metav1.ObjectMeta{Name: p.ex.Name + "-" + a.Name, Namespace: p.ex.Namespace, Labels: map[string]string{},
			Annotations: maps.Clone(p.ex.Spec.AnalysisRunMetadata.Annotations), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.ex, experimentKind)}},
		Spec: spec,
	}
	maps.Copy(run.Labels, p.ex.Spec.AnalysisRunMetadata.Labels)
	if id := p.ex.Labels[analysis.InstanceLabel]; id != "" {
		run.Labels[analysis.InstanceLabel] = id
	}
	return run, nil
}

// values that arguments can name.
func (p *pass) values() map[string]string {
	v := map[string]string{}
	if at := p.was.AvailableAt; at != nil {
		v["experiment.availableAt"] = at.UTC().Format(time.RFC3339)
		if end := endsAt(p.ex, &p.was); !end.IsZero() {
			v["experiment.finishedAt"] = end.UTC().Format(time.RFC3339)
		}
	}
	for _, t := range p.ex.Spec.Templates {
		if rs := p.s.ReplicaSets[t.Name]; rs != nil {
			v["templates."+t.Name+".podTemplateHash"] = rs.Labels[rollout.HashLabel]
			v["templates."+t.Name+".replicaset.name"] = rs.Name
		}
	}
	return v
}
