package why

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// Codes of the engine's reasons that are followed further down.
const (
	codePods       = "Pods"
	codeAnalysis   = "Analysis"
	codeExperiment = "Experiment"
	codeAborted    = "Aborted"
	codeHealthy    = "Healthy"
)

// problemsShown bounds the problems of a spec in an answer; lint has all.
const problemsShown = 10

// explainRollout decides anew, as its controller would, and tells what it waits for; nothing is written. It therefore says the
// same whichever controller serves the Rollout.
func explainRollout(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	ro := &rollouts.Rollout{}
	if err := c.Get(ctx, key, ro); err != nil {
		return nil, err
	}
	a := &Answer{Object: "rollout/" + ro.Name}
	a.sawRollout(ro)
	if ro.DeletionTimestamp != nil {
		return a.block("Deleted", "it is being deleted").saw("finalizers", "%s", strings.Join(ro.Finalizers, ", ")), nil
	}
	if a.unobserved(ro) {
		return a, nil
	}
	s, err := snapshot(ctx, c, ro, now)
	if err != nil {
		return nil, err
	}
	why := rollout.Decide(s, now).Why
	if phase, _ := rollout.Phase(ro); phase == argo.RolloutPhaseHealthy && why.Code == codeHealthy {
		a.Reason = "nothing blocks it: every replica is of the newest version and available"
		return a, nil
	}
	a.block(why.Code, "%s", why.Reason).then(why.Next, why.NextAt)
	for _, e := range why.Evidence {
		a.sawObject(e)
	}
	if len(s.Problems) > 1 { // the reason has the first
		for _, p := range s.Problems[1:min(len(s.Problems), problemsShown)] {
			a.saw(p.Field, "%s", p.Message)
		}
	}
	if err := a.follow(ctx, c, &s, now); err != nil {
		return nil, err
	}
	list, err := events(ctx, c, ro)
	if err != nil {
		return nil, err
	}
	a.sawEvents(slices.DeleteFunc(list, func(e corev1.Event) bool { return a.told(&e, ro) }))
	a.tryRollout(ro)
	return a, nil
}

// sawRollout notes where it stands.
func (a *Answer) sawRollout(ro *rollouts.Rollout) {
	phase, message := rollout.Phase(ro)
	state := string(phase)
	if message != "" {
		state += ": " + message
	}
	a.saw("status", "%s", state)
	st, want := &ro.Status, int32(1)
	if ro.Spec.Replicas != nil {
		want = *ro.Spec.Replicas
	}
	a.saw("replicas", "%d wanted, %d updated, %d ready, %d available", want, st.UpdatedReplicas, st.ReadyReplicas, st.AvailableReplicas)
	if canary := ro.Spec.Strategy.Canary; canary != nil && st.CurrentStepIndex != nil && int(*st.CurrentStepIndex) < len(canary.Steps) {
		at := int(*st.CurrentStepIndex)
		a.saw("step", "%d of %d, %s", at+1, len(canary.Steps), rollout.StepString(canary.Steps[at]))
	}
	if w := st.Canary.Weights; w != nil {
		a.saw("weights", "%d to the new version, %d to the stable one", w.Canary.Weight, w.Stable.Weight)
	}
	for i := range st.Conditions {
		if c := &st.Conditions[i]; c.Type == rollout.ConditionConflict && c.Status == corev1.ConditionTrue {
			a.saw("condition "+string(c.Type), "%s", c.Message)
		}
	}
}

// unobserved is whether no controller has taken up the latest change; then nobody knows what it would do.
func (a *Answer) unobserved(ro *rollouts.Rollout) bool {
	phase, message := rollout.Phase(ro)
	if phase != argo.RolloutPhaseProgressing || !strings.HasPrefix(message, "waiting for rollout ") {
		if ro.Status.ObservedGeneration != "" || ro.Status.Phase != "" {
			return false
		}
		a.block("NotObserved", "no controller has looked at it yet")
	} else {
		a.block("NotObserved", "its controller has not taken up the latest change: %s", message)
	}
	a.saw("generation", "%d, of which %q is observed", ro.Generation, ro.Status.ObservedGeneration)
	if id, ok := ro.Labels[argo.LabelKeyControllerInstanceID]; ok {
		a.saw("label "+argo.LabelKeyControllerInstanceID, "%s: only a controller with --instance-id=%s acts on it", id, id)
	}
	a.try("kubectl get leases -A").try("kubectl get pods -A -l 'app.kubernetes.io/name in (fairway,argo-rollouts)'")
	return true
}

// told is whether an event says what is evident already, what is over, or that all goes well.
func (a *Answer) told(e *corev1.Event, ro *rollouts.Rollout) bool {
	switch {
	case a.evident(e.Message):
		return true
	case e.Reason == "RolloutAborted":
		return !ro.Status.Abort
	}
	return !slices.ContainsFunc([]string{"Error", "Failed", "Inconclusive"}, func(end string) bool { return strings.HasSuffix(e.Reason, end) })
}

// sawObject notes what the engine saw: an object's name and what about it, or a fact.
func (a *Answer) sawObject(text string) {
	if source, detail, ok := strings.Cut(text, " "); ok && strings.Contains(source, "/") {
		a.saw(strings.TrimSuffix(source, ":"), "%s", strings.TrimPrefix(detail, "is "))
		return
	}
	if !a.evident(text) {
		a.saw("found", "%s", text)
	}
}

// evident is whether something of the evidence says a text already.
func (a *Answer) evident(text string) bool {
	return slices.ContainsFunc(a.Evidence, func(known Evidence) bool { return strings.Contains(known.Detail, text) })
}

// follow a reason to the object that has it: pods, a run or an experiment.
func (a *Answer) follow(ctx context.Context, c client.Reader, s *rollout.Snapshot, now time.Time) error {
	st := &s.Rollout.Status
	var below *Answer
	switch a.Code {
	case codePods:
		for _, rs := range []*appsv1.ReplicaSet{s.New, withHash(s.ReplicaSets, st.StableRS)} {
			if rs == nil || rs.Spec.Replicas == nil || rs.Status.AvailableReplicas >= *rs.Spec.Replicas {
				continue
			}
			var err error
			if below, err = replicaSet(ctx, c, rs, now); err != nil {
				return err
			}
			break
		}
	case codeAnalysis:
		for _, run := range []*argo.RolloutAnalysisRunStatus{st.Canary.CurrentStepAnalysisRunStatus, st.BlueGreen.PrePromotionAnalysisRunStatus,
			st.BlueGreen.PostPromotionAnalysisRunStatus} {
			if r := named(s.Runs, run); r != nil && !r.Status.Phase.Completed() {
				below = Run(r, now)
			}
		}
	case codeExperiment:
		for _, e := range s.Experiments {
			if e.Name == st.Canary.CurrentExperiment {
				var err error
				if below, err = experiment(ctx, c, e, now); err != nil {
					return err
				}
			}
		}
	case codeAborted, string(argo.PauseReasonInconclusiveAnalysis):
		a.sawVerdict(s)
	}
	if below != nil && below.Blocked {
		next, at := a.Next, a.NextAt
		below.Evidence = slices.DeleteFunc(below.Evidence, func(e Evidence) bool { return e.Source == "status" }) // the engine has seen it
		if a.inherit(below); a.Next == "" {
			a.Next, a.NextAt = next, at
		}
	}
	return nil
}

// sawVerdict adds the runs of the newest revision that went bad, and their measurements.
func (a *Answer) sawVerdict(s *rollout.Snapshot) {
	for _, r := range slices.Backward(s.Runs) {
		if !r.Status.Phase.Completed() || r.Status.Phase == argo.AnalysisPhaseSuccessful || s.New == nil || revisionOf(r) != revisionOf(s.New) {
			continue
		}
		a.saw("analysisrun/"+r.Name, "%s: %s", r.Status.Phase, r.Status.Message)
		a.sawMeasurements(r)
		return
	}
}

func withHash(sets []*appsv1.ReplicaSet, hash string) *appsv1.ReplicaSet {
	for _, rs := range sets {
		if rs.Labels[rollout.HashLabel] == hash {
			return rs
		}
	}
	return nil
}

func named(runs []*argo.AnalysisRun, st *argo.RolloutAnalysisRunStatus) *argo.AnalysisRun {
	for _, r := range runs {
		if st != nil && r.Name == st.Name {
			return r
		}
	}
	return nil
}

// tryRollout adds the verbs that lead out of the state it is in.
func (a *Answer) tryRollout(ro *rollouts.Rollout) {
	verb := func(format string, args ...any) {
		a.try("fairway "+format+" -n %s", append(args, ro.Namespace)...)
	}
	st := &ro.Status
	phase, _ := rollout.Phase(ro)
	switch {
	case st.Abort:
		verb("retry rollout/%s", ro.Name)
		verb("undo rollout/%s", ro.Name)
	case ro.Spec.Paused, len(st.PauseConditions) > 0:
		verb("promote rollout/%s", ro.Name)
		verb("abort rollout/%s", ro.Name)
	case slices.ContainsFunc(st.Conditions, func(c argo.RolloutCondition) bool { return c.Type == argo.InvalidSpec }):
		a.try("kubectl get rollout %s -n %s -o yaml | fairway rollouts lint -f -", ro.Name, ro.Namespace)
	case phase != argo.RolloutPhaseHealthy && st.StableRS != "" && st.StableRS != st.CurrentPodHash:
		verb("abort rollout/%s", ro.Name)
	}
	verb("rollouts get rollout %s", ro.Name)
}

func explainExperiment(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	e := &argo.Experiment{}
	if err := c.Get(ctx, key, e); err != nil {
		return nil, err
	}
	return experiment(ctx, c, e, now)
}

// experiment is what holds one: its pods, then its analyses, then its time.
func experiment(ctx context.Context, c client.Reader, e *argo.Experiment, now time.Time) (*Answer, error) {
	a := &Answer{Object: "experiment/" + e.Name}
	st := &e.Status
	a.saw("status", "%s %s", orPending(st.Phase), st.Message)
	if st.Phase.Completed() {
		if st.Phase == argo.AnalysisPhaseSuccessful {
			a.Reason = "nothing blocks it: it has come to a good end"
			return a, nil
		}
		a.block(string(st.Phase), "it has ended: %s", orNone(st.Message))
		a.try("fairway retry experiment/%s -n %s", e.Name, e.Namespace)
	}
	var runs argo.AnalysisRunList
	var sets appsv1.ReplicaSetList
	if err := errors.Join(c.List(ctx, &runs, client.InNamespace(e.Namespace)), c.List(ctx, &sets, client.InNamespace(e.Namespace))); err != nil {
		return nil, fmt.Errorf("reading what belongs to the experiment: %w", err)
	}
	for _, rs := range mine(e.UID, sets.Items) {
		if rs.Spec.Replicas == nil || rs.Status.AvailableReplicas >= *rs.Spec.Replicas || st.Phase.Completed() {
			continue
		}
		below, err := replicaSet(ctx, c, rs, now)
		if err != nil {
			return nil, err
		}
		if below.Blocked {
			return a.inherit(below), nil
		}
	}
	for _, r := range mine(e.UID, runs.Items) {
		a.saw("analysisrun/"+r.Name, "%s %s", orPending(r.Status.Phase), r.Status.Message)
		if r.Status.Phase.Completed() && r.Status.Phase != argo.AnalysisPhaseSuccessful {
			a.sawMeasurements(r)
		}
	}
	if a.Blocked {
		return a, nil
	}
	return a.time(e, now), nil
}

// time that an experiment takes.
func (a *Answer) time(e *argo.Experiment, now time.Time) *Answer {
	st := &e.Status
	d, err := e.Spec.Duration.Duration()
	switch {
	case st.AvailableAt == nil:
		a.block("Starting", "its pods are not all available yet")
	case err != nil || e.Spec.Duration == "":
		a.block("Running", "it has no duration: it runs until its analyses are over, or until somebody ends it")
	case st.AvailableAt.Add(d).After(now):
		a.block("Running", "it runs for %v", d).then("its time is over", st.AvailableAt.Add(d))
	default:
		a.block("Running", "its time is over, and it waits for its analyses")
	}
	return a.try("fairway terminate experiment/%s -n %s", e.Name, e.Namespace)
}

func explainRun(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	r := &argo.AnalysisRun{}
	if err := c.Get(ctx, key, r); err != nil {
		return nil, err
	}
	return Run(r, now), nil
}

func orPending(p argo.AnalysisPhase) argo.AnalysisPhase {
	if p == "" {
		return argo.AnalysisPhasePending
	}
	return p
}

func orNone(message string) string {
	if message == "" {
		return "no reason is given"
	}
	return message
}

// started is a time of the API, or never.
func started(t *metav1.Time) string {
	if t == nil {
		return "not yet"
	}
	return t.UTC().Format(time.RFC3339)
}
