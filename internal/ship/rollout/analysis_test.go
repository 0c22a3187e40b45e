package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func (w *world) judge(i int, phase argo.AnalysisPhase, message string) {
	w.runs[i].Status.Phase, w.runs[i].Status.Message = phase, message
	w.stamp(w.runs[i])
	w.settle()
}

func TestAStepWaitsForItsAnalysisAndAbortsWhenItFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), checkStep(), weight(100)}}))
	withTemplates(w)
	w.settle()
	w.update("v2")
	w.settle()
	name := "web-" + hashOf("v2") + "-2-1"
	if len(w.runs) != 1 || w.runs[0].Name != name || w.runs[0].Labels["rollout-type"] != "Step" || w.runs[0].Labels["step-index"] != "1" ||
		w.runs[0].Labels["app"] != "web" || w.runs[0].Annotations[RevisionAnnotation] != "2" {
		t.Fatalf("%+v", w.runs[0].ObjectMeta)
	}
	if w.plan.Why.Code != "Analysis" {
		t.Errorf("%+v", w.plan.Why)
	}
	w.pass(time.Hour)
	w.judge(0, argo.AnalysisPhaseRunning, "")
	w.judge(0, argo.AnalysisPhaseFailed, "metric ok failed")
	w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: metric ok failed")
	w.sized("v2", 0)
	want := fmt.Sprintf("Step Analysis Run '%s' Status New: 'Failed' Previous: 'Running'", name)
	found := false
	for _, e := range w.told {
		found = found || e.Reason == "AnalysisRunFailed" && e.Warning && e.Message == want
	}
	if !found {
		t.Errorf("no event %q in %v", want, w.told)
	}
	w.user(retry)
	w.settle()
	if len(w.runs) != 2 || w.runs[1].Name != name+".1" {
		t.Fatalf("a retry needs a new run: %v", w.runs)
	}
	w.judge(1, argo.AnalysisPhaseSuccessful, "")
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAnInconclusiveAnalysisPausesAndIsRepeatedWhenResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), checkStep(), pauseFor("")}}))
	withTemplates(w)
	w.settle()
	w.update("v2")
	w.settle()
	w.judge(0, argo.AnalysisPhaseInconclusive, "")
	w.phase(argo.RolloutPhasePaused, "InconclusiveAnalysisRun")
	w.pass(time.Hour)
	if len(w.runs) != 1 {
		t.Fatalf("%d runs while paused", len(w.runs))
	}
	n := int32(4)
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Replicas = &n })
	w.settle()
	w.phase(argo.RolloutPhasePaused, "InconclusiveAnalysisRun")
	w.user(promote)
	w.settle()
	if len(w.runs) != 2 {
		t.Fatalf("%d runs after resuming", len(w.runs))
	}
	w.judge(1, argo.AnalysisPhaseInconclusive, "")
	w.phase(argo.RolloutPhasePaused, "InconclusiveAnalysisRun")
	// the patch of clients that promote past an inconclusive step
	w.user(func(ro *rollouts.Rollout) {
		ro.Status.PauseConditions, ro.Status.ControllerPause, ro.Status.CurrentStepIndex = nil, false, ptr(int32(2))
	})
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if len(w.runs) != 2 {
		t.Fatalf("%d runs after going past", len(w.runs))
	}
}

func TestABackgroundAnalysisRunsFromItsStepToTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Analysis: &argo.RolloutAnalysisBackground{RolloutAnalysis: *check(), StartingStep: ptr(int32(2))},
		Steps: []argo.CanaryStep{weight(50), pauseFor(""), weight(60), pauseFor("")}}))
	withTemplates(w)
	w.settle()
	if len(w.runs) != 0 {
		t.Fatal("a first deploy needs no analysis")
	}
	w.update("v2")
	w.settle()
	if len(w.runs) != 0 {
		t.Fatal("it runs before its step")
	}
	w.user(promote)
	w.settle()
	if len(w.runs) != 1 || w.runs[0].Name != "web-"+hashOf("v2")+"-2" || w.runs[0].Labels["rollout-type"] != "Background" {
		t.Fatalf("%v", w.runs)
	}
	w.judge(0, argo.AnalysisPhaseRunning, "")
	w.user(promote)
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	if !w.runs[0].Spec.Terminate || w.ro.Status.Canary.CurrentBackgroundAnalysisRunStatus != nil {
		t.Errorf("it goes on: %+v", w.ro.Status.Canary)
	}
}

func TestRunsBeyondTheHistoryAreDeleted(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(1, argo.CanaryStrategy{Steps: []argo.CanaryStep{checkStep()}})
	ro.Spec.Analysis = &argo.AnalysisRunStrategy{SuccessfulRunHistoryLimit: ptr(int32(1)), UnsuccessfulRunHistoryLimit: ptr(int32(0))}
	ro.Spec.RevisionHistoryLimit = ptr(int32(1))
	w := newWorld(t, ro)
	withTemplates(w)
	w.settle()
	for i, image := range []string{"v2", "v3", "v4"} {
		w.update(image)
		w.settle()
		if i == 1 {
			w.judge(len(w.runs)-1, argo.AnalysisPhaseFailed, "")
			w.user(retry)
			w.settle()
		}
		w.judgeAll()
		w.settle()
	}
	if len(w.runs) != 1 || w.runs[0].Labels[HashLabel] != hashOf("v4") {
		for _, r := range w.runs {
			t.Log(r.Name, r.Status.Phase)
		}
		t.Errorf("%d runs are kept", len(w.runs))
	}
	if len(w.sets) != 2 || w.set("v3") == nil {
		t.Errorf("%d ReplicaSets are kept", len(w.sets))
	}
}

func TestAnAnalysisThatCannotBeMadeHoldsAndSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), checkStep()}}))
	w.settle()
	w.update("v2")
	w.settle()
	if w.plan.Why.Code != "AnalysisError" || len(w.plan.Warnings) != 1 || *w.ro.Status.CurrentStepIndex != 1 {
		t.Fatalf("%+v %v", w.plan.Why, w.plan.Warnings)
	}
	withTemplates(w)
	w.settle()
	w.judgeAll()
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAnExperimentOfAStepIsMadeOfItsRevisions(t *testing.T) {
	t.Parallel()
	step := &argo.RolloutExperimentStep{Duration: "5m", Templates: []argo.RolloutExperimentTemplate{
		{Name: "new", SpecRef: argo.CanarySpecRef, Weight: ptr(int32(10)), Metadata: argo.PodTemplateMetadata{Labels: map[string]string{"try": "yes"}}},
		{Name: "old", SpecRef: argo.StableSpecRef, Replicas: ptr(int32(2))}}}
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), {Experiment: step}, pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	if len(w.exps) != 1 {
		t.Fatalf("%d experiments; %+v", len(w.exps), w.plan.Why)
	}
	ex := w.exps[0]
	if ex.Name != "web-"+hashOf("v2")+"-2-1" || w.ro.Status.Canary.CurrentExperiment != ex.Name || ex.Spec.Templates[0].Service == nil || ex.Spec.Templates[1].Service != nil ||
		ex.Spec.Templates[0].Selector.MatchLabels["try"] != "yes" || ex.Spec.Templates[1].Template.Spec.Containers[0].Image != "web:v1" {
		t.Fatalf("%+v", ex)
	}
	ex.Status.Phase = argo.AnalysisPhaseRunning
	ex.Status.TemplateStatuses = []argo.TemplateStatus{{Name: "new", ServiceName: "new-svc", PodTemplateHash: "x"}}
	w.stamp(ex)
	w.settle()
	if wt := w.ro.Status.Canary.Weights; len(wt.Additional) != 1 || wt.Additional[0].Weight != 10 || wt.Stable.Weight != 40 || wt.Canary.Weight != 50 {
		t.Fatalf("%+v", wt)
	}
	w.judgeAll()
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if wt := w.ro.Status.Canary.Weights; len(wt.Additional) != 0 || wt.Stable.Weight != 50 {
		t.Fatalf("the experiment keeps its weight: %+v", wt)
	}
}

func TestAFailedExperimentAbortsAndAnInconclusiveOnePauses(t *testing.T) {
	t.Parallel()
	for phase, want := range map[argo.AnalysisPhase]argo.RolloutPhase{argo.AnalysisPhaseFailed: argo.RolloutPhaseDegraded,
		argo.AnalysisPhaseInconclusive: argo.RolloutPhasePaused, argo.AnalysisPhaseError: argo.RolloutPhaseDegraded} {
		w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{
			{Experiment: &argo.RolloutExperimentStep{Templates: []argo.RolloutExperimentTemplate{{Name: "a", SpecRef: argo.CanarySpecRef}}}}}}))
		w.settle()
		w.update("v2")
		w.settle()
		w.exps[0].Status.Phase = phase
		w.stamp(w.exps[0])
		w.settle()
		if got, message := Phase(w.ro); got != want {
			t.Errorf("%s: %s %s", phase, got, message)
		}
		if len(w.exps) != 1 {
			t.Errorf("%s: %d experiments", phase, len(w.exps))
		}
		w.user(func(ro *rollouts.Rollout) { ro.Status.Abort, ro.Status.PauseConditions = false, nil })
		w.settle()
		if len(w.exps) != 2 || w.exps[1].Name != w.exps[0].Name+"-1" {
			t.Errorf("%s: %d experiments after going on", phase, len(w.exps))
		}
	}
}

func TestAStepPluginIsRunAgainAfterItsBackoffAndAbortedWithTheUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{{Plugin: &argo.PluginStep{Name: "works"}}, pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	st := w.ro.Status.Canary.StepPluginStatuses
	if len(st) != 1 || st[0].Phase != argo.StepPluginPhaseRunning || st[0].Executions != 1 {
		t.Fatalf("%+v", st)
	}
	if at := w.now.Add(30 * time.Second); !w.plan.RequeueAt.Equal(at) {
		t.Fatalf("requeue at %s, want %s", w.plan.RequeueAt, at)
	}
	w.pass(30 * time.Second)
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.user(abort)
	w.settle()
	st = w.ro.Status.Canary.StepPluginStatuses
	if len(st) != 2 || st[1].Operation != argo.StepPluginOperationAbort {
		t.Fatalf("%+v", st)
	}
	w.user(retry)
	w.pass(time.Minute)
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	st = w.ro.Status.Canary.StepPluginStatuses
	if len(st) != 1 || st[0].Executions != 2 {
		t.Fatalf("%+v", st)
	}
}

func TestAnAbortBesideARunningStepPluginHandsItWhatItAnswered(t *testing.T) {
	t.Parallel()
	for what, answered := range map[string]bool{"its answer is there and not written down": true, "it has not answered yet": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{{Plugin: &argo.PluginStep{Name: "works"}}, pauseFor("")}}))
			w.settle()
			var run, undone *Call
			w.watch = func(o Op) {
				if o.Verb == Ask && o.Call.Method == AbortMethod {
					undone = o.Call
				}
			}
			w.done = func(o Op) {
				if o.Verb == Ask && run == nil {
					run = o.Call
					w.user(abort)
				}
			}
			if !answered {
				w.unanswered = map[string]bool{}
			}
			w.update("v2")
			w.settle()
			if run == nil {
				t.Fatal("the plugin is not run")
			}
			if !answered {
				if undone != nil {
					t.Fatal("it is aborted while it runs")
				}
				w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
				w.unanswered, w.calls[run.Key] = nil, w.answer(run)
				w.settle()
			}
			if undone == nil {
				t.Fatal("it is not aborted")
			}
			if got := undone.Status; got.Executions != 1 || got.UpdatedAt == nil {
				t.Errorf("it is aborted with %+v, not with what it answered", got)
			}
		})
	}
}

func TestARouterPluginIsToldOfAWeightItHadBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable",
		TrafficRouting: &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{"works": json.RawMessage("{}")}},
		Steps:          []argo.CanaryStep{weight(30), pauseFor("")}}))
	w.settle()
	var told []int32
	w.done = func(o Op) {
		if o.Verb == Ask {
			told = append(told, o.Call.Intent.Weight)
		}
	}
	w.update("v2")
	w.reconcile() // its pods are not there yet
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.user(abort)
	w.settle()
	if n := len(told); n < 3 || told[0] != 0 || !slices.Contains(told, 30) || told[n-1] != 0 {
		t.Errorf("the plugin is given the weights %v, want 0, 30 and after the abort 0 again", told)
	}
}

func TestAPluginThatIsNotThereIsAskedForAgainUntilTheDeadline(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(1, argo.CanaryStrategy{Steps: []argo.CanaryStep{{Plugin: &argo.PluginStep{Name: "broken"}}}})
	ro.Spec.ProgressDeadlineSeconds = ptr(int32(100))
	w := newWorld(t, ro)
	asked := 0
	w.watch = func(o Op) {
		if o.Verb == Ask {
			asked++
		}
	}
	w.settle()
	w.update("v2")
	w.settle()
	if w.plan.Why.Code != "PluginError" || len(w.plan.Warnings) != 1 || w.plan.Warnings[0].Reason != "ReconciliationError" {
		t.Fatalf("%+v %v", w.plan.Why, w.plan.Warnings)
	}
	w.pass(70 * time.Second)
	if asked != 3 {
		t.Errorf("asked %d times in 70 s", asked)
	}
	w.pass(time.Minute)
	w.phase(argo.RolloutPhaseDegraded, fmt.Sprintf("ProgressDeadlineExceeded: ReplicaSet %q has timed out progressing.", "web-"+hashOf("v2")))
	asked = 0
	w.pass(90 * time.Minute)
	if asked != 180 {
		t.Errorf("asked %d times in 90 minutes, want once every 30 s without end", asked)
	}
}
