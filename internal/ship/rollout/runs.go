package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// currentRuns are the AnalysisRuns that an update hangs on.
type currentRuns struct{ pre, post, step, background *argo.AnalysisRun }

func successful(run *argo.AnalysisRun) bool {
	return run != nil && run.Status.Phase == argo.AnalysisPhaseSuccessful
}

// findRuns that the status names.
func (p *pass) findRuns() {
	find := func(st *argo.RolloutAnalysisRunStatus) *argo.AnalysisRun {
		if st == nil {
			return nil
		}
		for _, r := range p.s.Runs {
			if r.Name == st.Name {
				return r
			}
		}
		return nil
	}
	p.runs = currentRuns{
		pre: find(p.was.BlueGreen.PrePromotionAnalysisRunStatus), post: find(p.was.BlueGreen.PostPromotionAnalysisRunStatus),
		step: find(p.was.Canary.CurrentStepAnalysisRunStatus), background: find(p.was.Canary.CurrentBackgroundAnalysisRunStatus),
	}
	p.exp = nil
	for _, ex := range p.s.Experiments {
		if ex.Name == p.was.Canary.CurrentExperiment {
			p.exp = ex
		}
	}
}

func (p *pass) isCurrent(name string) bool {
	for _, r := range [...]*argo.AnalysisRun{p.runs.pre, p.runs.post, p.runs.step, p.runs.background} {
		if r != nil && r.Name == name {
			return true
		}
	}
	return false
}

// analyse sees to it that the runs are those of where the update is, and heeds what they say. It is false when a run that is
// needed cannot be made.
func (p *pass) analyse() bool {
	was, ok := p.runs, true
	switch {
	case p.promoted() || p.aborted() || p.was.PromoteFull || p.fastRollback() || p.was.StableRS == "":
		for _, r := range [...]*argo.AnalysisRun{was.post, was.pre, was.step, was.background} {
			p.terminate(r)
		}
		p.runs.step, p.runs.background = nil, nil // those of a blue-green stay on record
	case p.ro.Spec.Strategy.Canary != nil:
		ok = p.stepRun() && p.backgroundRun()
	default:
		ok = p.preRun() && p.postRun()
	}
	p.endOthers(was)
	p.recordRuns()
	return ok
}

func (p *pass) stepRun() bool {
	step, run := p.currentStep(), p.runs.step
	if len(p.was.PauseConditions) > 0 || p.was.Abort {
		return true
	}
	if run != nil && (step == nil || step.Analysis == nil || run.Labels[argo.RolloutCanaryStepIndexLabel] != strconv.Itoa(p.stepIndex())) {
		p.terminate(run)
		p.runs.step, run = nil, nil
	}
	if step == nil || step.Analysis == nil || len(step.Analysis.Templates) == 0 {
		return true
	}
	if p.needsNew(run) {
		i := strconv.Itoa(p.stepIndex())
		labels := map[string]string{argo.RolloutTypeLabel: argo.RolloutTypeStepLabel, argo.RolloutCanaryStepIndexLabel: i}
		return p.createRun(&p.runs.step, step.Analysis, i, labels)
	}
	p.heed(run, "Step-based analysis phase error/failed")
	return true
}

func (p *pass) backgroundRun() bool {
	a, run := p.ro.Spec.Strategy.Canary.Analysis, p.runs.background
	if a == nil || len(a.Templates) == 0 {
		p.terminate(run)
		p.runs.background = nil
		return true
	}
	if a.StartingStep != nil && p.steps() > 0 && int32(p.stepIndex()) < *a.StartingStep {
		p.runs.background = nil
		return true
	}
	if p.pausedFor(argo.PauseReasonInconclusiveAnalysis) != nil {
		return true
	}
	if p.needsNew(run) {
		return p.createRun(&p.runs.background, &a.RolloutAnalysis, "", map[string]string{argo.RolloutTypeLabel: argo.RolloutTypeBackgroundRunLabel})
	}
	p.heed(run, "Background analysis phase error/failed")
	return true
}

func (p *pass) preRun() bool {
	a := p.ro.Spec.Strategy.BlueGreen.PrePromotionAnalysis
	return p.greenRun(&p.runs.pre, a, p.skipsPre(), "pre", argo.RolloutTypePrePromotionLabel, "Blue/green pre-promotion analysis phase error/failed")
}

func (p *pass) postRun() bool {
	a := p.ro.Spec.Strategy.BlueGreen.PostPromotionAnalysis
	return p.greenRun(&p.runs.post, a, p.skipsPost(), "post", argo.RolloutTypePostPromotionLabel, "Blue/green post-promotion analysis phase error/failed")
}

func (p *pass) greenRun(run **argo.AnalysisRun, a *argo.RolloutAnalysis, skip bool, suffix, kind, failed string) bool {
	switch {
	case a == nil || len(a.Templates) == 0:
		p.terminate(*run)
		*run = nil
		return true
	case skip:
		p.terminate(*run)
	case p.pausedFor(argo.PauseReasonInconclusiveAnalysis) != nil:
	case p.needsNew(*run):
		return p.createRun(run, a, suffix, map[string]string{argo.RolloutTypeLabel: kind})
	}
	p.heed(*run, failed)
	return true
}

// skipsPre is whether there is nothing to judge before promotion, or not yet.
func (p *pass) skipsPre() bool {
	active := p.was.BlueGreen.ActiveSelector
	if p.promoted() || active == "" || active == p.fresh.hash {
		return true
	}
	if p.runs.pre != nil {
		return false // pods may come and go while it runs
	}
	if n := p.ro.Spec.Strategy.BlueGreen.PreviewReplicaCount; n != nil {
		return p.fresh.size != *n || p.fresh.available() != *n
	}
	return !p.saturated(p.fresh)
}

// skipsPost is whether there is nothing to judge after promotion, or not yet.
func (p *pass) skipsPost() bool {
	if p.promoted() || p.was.BlueGreen.ActiveSelector != p.fresh.hash {
		return true
	}
	return p.runs.post == nil && (!p.saturated(p.fresh) || !p.greenTargets())
}

// preDone is whether the analysis before promotion has found nothing bad, or there is none.
func (p *pass) preDone() bool {
	return p.ro.Spec.Strategy.BlueGreen.PrePromotionAnalysis == nil || successful(p.runs.pre)
}

// needsNew is whether a run is to be made: there is none (also when an aborted update is tried again), or somebody has resumed
// the update after an inconclusive one.
func (p *pass) needsNew(run *argo.AnalysisRun) bool {
	if run == nil {
		return true
	}
	return p.was.ControllerPause && len(p.was.PauseConditions) == 0 && run.Status.Phase == argo.AnalysisPhaseInconclusive
}

// heed what a run says.
func (p *pass) heed(run *argo.AnalysisRun, failed string) {
	if run == nil {
		return
	}
	switch run.Status.Phase {
	case argo.AnalysisPhaseInconclusive:
		p.adding = append(p.adding, argo.PauseReasonInconclusiveAnalysis)
	case argo.AnalysisPhaseError, argo.AnalysisPhaseFailed:
		if run.Status.Message != "" {
			failed += ": " + run.Status.Message
		}
		p.abort(failed)
	}
}

// createRun makes a run of an analysis. One that was made before the status could name it is taken up again.
func (p *pass) createRun(slot **argo.AnalysisRun, a *argo.RolloutAnalysis, suffix string, labels map[string]string) bool {
	run, err := p.newRun(a, suffix, labels)
	if err != nil {
		*slot = nil
		p.warn(Event{Reason: reasonError, Message: "Reconciliation failed with error: " + err.Error()})
		p.wakeAt(p.now.Add(invalidRetry), "the analysis is tried again")
		p.because("AnalysisError", err.Error())
		return false
	}
	base := run.Name
	for n := 0; ; n++ {
		if n > 0 {
			run.Name = fmt.Sprintf("%s.%d", base, n)
		}
		if i := slices.IndexFunc(p.s.Runs, func(r *argo.AnalysisRun) bool { return r.Name == run.Name }); i >= 0 {
			if old := p.s.Runs[i]; !old.Status.Phase.Completed() && !old.Spec.Terminate && old.DeletionTimestamp == nil && analysis.Equal(old.Spec, run.Spec) {
				*slot = old
				return true
			}
		} else if !p.s.TakenNames[run.Name] {
			p.op(Op{Verb: Create, After: run})
			*slot = run
			return true
		}
	}
}

func (p *pass) newRun(a *argo.RolloutAnalysis, suffix string, labels map[string]string) (*argo.AnalysisRun, error) {
	stable := ""
	if p.stable != nil {
		stable = p.stable.hash
	}
	owner, err := asMap(p.ro)
	if err != nil {
		return nil, err
	}
	args, err := analysis.Args(a.Args, owner, stable, p.fresh.hash)
	if err != nil {
		return nil, err
	}
	templates := analysis.Templates{Namespaced: p.s.Templates, Cluster: p.s.ClusterTemplates}
	spec, err := analysis.Spec(a.Templates, templates, args, a.DryRun, a.MeasurementRetention)
	if err != nil {
		return nil, err
	}
	revision := p.fresh.is.Annotations[RevisionAnnotation]
	name := p.ro.Name + "-" + p.fresh.hash + "-" + revision
	if suffix != "" {
		name += "-" + suffix
	}
	labels[HashLabel] = p.fresh.hash
	annotations := map[string]string{RevisionAnnotation: revision}
	if m := a.AnalysisRunMetadata; m != nil {
		maps.Copy(labels, m.Labels)
		maps.Copy(annotations, m.Annotations)
	}
	if p.ro.Spec.Selector != nil {
		maps.Copy(labels, p.ro.Spec.Selector.MatchLabels)
	}
	return &argo.AnalysisRun{
		TypeMeta: metav1.TypeMeta{APIVersion: rollouts.GroupVersion.String(), Kind: "AnalysisRun"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.ro.Namespace, Labels: p.inherit(labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.ro, Kind)}},
		Spec: spec,
	}, nil
}

func asMap(ro *rollouts.Rollout) (map[string]any, error) {
	b, err := json.Marshal(ro)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}

func (p *pass) terminate(run *argo.AnalysisRun) {
	if run == nil || run.Spec.Terminate || run.Status.Phase.Completed() || !p.known(run) {
		return
	}
	after := *run
	after.Spec.Terminate = true
	p.op(Op{Verb: Patch, Before: run, After: &after})
}

// known is whether a run is there already, and not only planned.
func (p *pass) known(run *argo.AnalysisRun) bool { return slices.Contains(p.s.Runs, run) }

// endOthers terminates the runs that nothing hangs on, and deletes those that are more than history keeps.
func (p *pass) endOthers(was currentRuns) {
	var others []*argo.AnalysisRun
	for _, r := range p.s.Runs {
		if !p.isCurrent(r.Name) {
			others = append(others, r)
			if !p.outlived(r.Labels[HashLabel]) && r != was.step && r != was.background && r != was.pre && r != was.post {
				p.terminate(r)
			}
		}
	}
	keepGood, keepBad := p.runHistory()
	for _, r := range slices.Backward(others) {
		if r.DeletionTimestamp != nil {
			continue
		}
		if p.outlived(r.Labels[HashLabel]) || p.excess(r.Status.Phase, &keepGood, &keepBad) {
			p.op(Op{Verb: Delete, Before: r})
		}
	}
}

func (p *pass) runHistory() (good, bad int32) {
	good, bad = defaultRunHistoryLimit, defaultRunHistoryLimit
	if a := p.ro.Spec.Analysis; a != nil {
		good, bad = orDefault(a.SuccessfulRunHistoryLimit, good), orDefault(a.UnsuccessfulRunHistoryLimit, bad)
	}
	return good, bad
}

// outlived is whether the ReplicaSet of a hash is gone, or going.
func (p *pass) outlived(hash string) bool {
	for i := range p.sets {
		if rs := &p.sets[i]; rs.hash == hash && hash != "" {
			return rs.gone || rs.is.DeletionTimestamp != nil
		}
	}
	return true
}

// excess counts a finished run or experiment against the history.
func (p *pass) excess(phase argo.AnalysisPhase, good, bad *int32) bool {
	switch phase {
	case argo.AnalysisPhaseSuccessful:
		*good--
		return *good < 0
	case argo.AnalysisPhaseFailed, argo.AnalysisPhaseError, argo.AnalysisPhaseInconclusive:
		*bad--
		return *bad < 0
	}
	return false
}

// recordRuns in the status, and tell of those that have come to another phase.
func (p *pass) recordRuns() {
	record := func(was *argo.RolloutAnalysisRunStatus, run *argo.AnalysisRun, kind string) *argo.RolloutAnalysisRunStatus {
		if run == nil {
			return nil
		}
		is := argo.RolloutAnalysisRunStatus{Name: run.Name, Status: run.Status.Phase, Message: run.Status.Message}
		if run.Status.Phase != "" && (was == nil || was.Name == run.Name && was.Status != run.Status.Phase) {
			before := "NoPreviousStatus"
			if was != nil {
				before = string(was.Status)
			}
			bad := run.Status.Phase == argo.AnalysisPhaseFailed || run.Status.Phase == argo.AnalysisPhaseError
			p.later(Event{Warning: bad, Reason: "AnalysisRun" + string(run.Status.Phase),
				Message: fmt.Sprintf("%s Analysis Run '%s' Status New: '%s' Previous: '%s'", kind, run.Name, run.Status.Phase, before)})
		}
		if was != nil && *was == is {
			return was
		}
		return &is
	}
	b, c := &p.was.BlueGreen, &p.was.Canary
	p.st.BlueGreen.PostPromotionAnalysisRunStatus = record(b.PostPromotionAnalysisRunStatus, p.runs.post, argo.RolloutTypePostPromotionLabel)
	p.st.BlueGreen.PrePromotionAnalysisRunStatus = record(b.PrePromotionAnalysisRunStatus, p.runs.pre, argo.RolloutTypePrePromotionLabel)
	p.st.Canary.CurrentStepAnalysisRunStatus = record(c.CurrentStepAnalysisRunStatus, p.runs.step, argo.RolloutTypeStepLabel)
	p.st.Canary.CurrentBackgroundAnalysisRunStatus = record(c.CurrentBackgroundAnalysisRunStatus, p.runs.background, argo.RolloutTypeBackgroundRunLabel)
}
