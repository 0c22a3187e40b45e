package rollout

import (
	"slices"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func (w *world) serves(name, image string) {
	w.t.Helper()
	if got := w.svcs[name].Spec.Selector[HashLabel]; got != hashOf(image) {
		w.t.Fatalf("service %s selects %s, want %s (%s); why %+v", name, got, image, hashOf(image), w.plan.Why)
	}
}

func TestBlueGreenWaitsForPromotionWhenItIsManual(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(3, argo.BlueGreenStrategy{ActiveService: "active", PreviewService: "preview", AutoPromotionEnabled: ptr(false)}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
	w.serves("active", "v1")
	w.serves("preview", "v2")
	if st := w.ro.Status; st.Selector != "app=web,rollouts-pod-template-hash="+hashOf("v1") || st.HPAReplicas != 3 || st.AvailableReplicas != 3 {
		t.Fatalf("selector %s, %d replicas", st.Selector, st.HPAReplicas)
	}
	w.pass(time.Hour)
	w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
	w.user(promote)
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	w.serves("active", "v2")
}

func TestBlueGreenPromotesItselfAfterItsTimeOrWhenSomebodyDoes(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", AutoPromotionSeconds: 60}))
		w.settle()
		w.update("v2")
		w.settle()
		w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
		if at := w.now.Add(time.Minute); !w.plan.RequeueAt.Equal(at) {
			t.Fatalf("requeue at %s, want %s", w.plan.RequeueAt, at)
		}
		if early {
			w.user(promote)
			w.settle()
		} else {
			w.pass(59 * time.Second)
			w.serves("active", "v1")
			w.pass(time.Second)
		}
		w.phase(argo.RolloutPhaseHealthy, "")
		w.serves("active", "v2")
	}
}

func TestBlueGreenScalesThePreviewUpBeforeItBecomesActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(4, argo.BlueGreenStrategy{ActiveService: "active", PreviewService: "preview", PreviewReplicaCount: ptr(int32(1)), AutoPromotionEnabled: ptr(false)}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
	w.sized("v2", 1)
	w.user(promote)
	w.still()
	w.sized("v2", 4)
	w.serves("active", "v1")
	if !w.ro.Status.BlueGreen.ScaleUpPreviewCheckPoint {
		t.Fatal("no checkpoint")
	}
	w.settle()
	w.serves("active", "v2")
	w.phase(argo.RolloutPhaseHealthy, "")
	if w.ro.Status.BlueGreen.ScaleUpPreviewCheckPoint {
		t.Fatal("the checkpoint stays")
	}
}

func TestBlueGreenAnalysesBeforeAndAfterPromotion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", PrePromotionAnalysis: check(), PostPromotionAnalysis: check()}))
	withTemplates(w)
	w.settle()
	w.update("v2")
	w.settle()
	w.serves("active", "v1")
	if len(w.runs) != 1 || w.runs[0].Name != "web-"+hashOf("v2")+"-2-pre" || w.runs[0].Labels["rollout-type"] != "PrePromotion" {
		t.Fatalf("%+v", w.runs)
	}
	w.judgeAll()
	w.settle()
	w.serves("active", "v2")
	w.phase(argo.RolloutPhaseProgressing, "waiting for analysis to complete")
	if len(w.runs) != 2 || w.runs[1].Name != "web-"+hashOf("v2")+"-2-post" {
		t.Fatalf("%+v", w.runs)
	}
	w.pass(time.Hour)
	w.sized("v1", 2) // the way back
	w.runs[1].Status.Phase, w.runs[1].Status.Message = argo.AnalysisPhaseFailed, "too many errors"
	w.stamp(w.runs[1])
	w.settle()
	w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2: Blue/green post-promotion analysis phase error/failed: too many errors")
	w.serves("active", "v1")
	w.user(retry)
	w.settle()
	if w.runs[2].Name != "web-"+hashOf("v2")+"-2-pre.1" {
		t.Fatalf("%s", w.runs[2].Name)
	}
	w.judgeAll()
	w.settle()
	w.judgeAll()
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestBlueGreenGoesBackToTheStableEvenWhenTheNewPodsAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", PostPromotionAnalysis: check()}))
	withTemplates(w)
	w.settle()
	w.update("v2")
	w.settle()
	w.serves("active", "v2")
	for _, p := range w.pods[w.set("v2").UID] {
		w.setReady(p, false)
	}
	w.user(abort)
	w.reconcile()
	w.serves("active", "v1")
}

func TestBlueGreenRollsBackFastToPodsThatAreStillThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", AutoPromotionEnabled: ptr(false)}))
	w.settle()
	w.update("v2")
	w.settle()
	w.user(promote)
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	w.update("v1") // within its delay
	w.reconcile()
	w.serves("active", "v1")
	w.phase(argo.RolloutPhaseHealthy, "")
	w.pass(time.Hour)
	w.update("v2") // whose delay is over
	w.settle()
	w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
	w.serves("active", "v1")
}

func TestBlueGreenKeepsNoMoreOldReplicaSetsThanTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(1, argo.BlueGreenStrategy{ActiveService: "active", ScaleDownDelaySeconds: ptr(int32(600)), ScaleDownDelayRevisionLimit: ptr(int32(1))}))
	w.settle()
	for _, image := range []string{"v2", "v3"} {
		w.update(image)
		w.settle()
	}
	w.sized("v1", 0)
	w.sized("v2", 1)
	w.sized("v3", 1)
}

func TestFullPromotionSkipsPausesAndAnalysis(t *testing.T) {
	t.Parallel()
	for name, ro := range map[string]*rollouts.Rollout{
		"blueGreen": greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", AutoPromotionEnabled: ptr(false), PrePromotionAnalysis: check()}),
		"canary":    canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor(""), checkStep(), pauseFor("")}}),
		"routed":    routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor(""), checkStep(), pauseFor("")}}),
	} {
		w := newWorld(t, ro)
		withTemplates(w)
		w.settle()
		w.update("v2")
		w.settle()
		w.user(wholly)
		w.settle()
		if phase, message := Phase(w.ro); phase != argo.RolloutPhaseHealthy || w.ro.Status.PromoteFull {
			t.Errorf("%s: %s %s", name, phase, message)
		}
		for _, r := range w.runs {
			if !r.Spec.Terminate {
				t.Errorf("%s: run %s goes on", name, r.Name)
			}
		}
		if d := w.ro.Status.Duration; d == nil || d.CompletionStatus != rollouts.FastPromoted || d.FinishedAt == nil {
			t.Errorf("%s: duration %+v", name, d)
		}
	}
}

func TestAnotherStrategyTakesOverWhatIsRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active", AutoPromotionEnabled: ptr(false)}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "BlueGreenPause")
	w.user(func(ro *rollouts.Rollout) {
		ro.Spec.Strategy = argo.RolloutStrategy{Canary: &argo.CanaryStrategy{StableService: "active", Steps: []argo.CanaryStep{weight(50), pauseFor("")}}}
	})
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.sized("v1", 1)
	w.sized("v2", 1)
	w.serves("active", "v1")
	if w.ro.Status.BlueGreen != (argo.BlueGreenStatus{}) {
		t.Fatalf("%+v", w.ro.Status.BlueGreen)
	}
	w.user(func(ro *rollouts.Rollout) {
		ro.Spec.Strategy = argo.RolloutStrategy{BlueGreen: &argo.BlueGreenStrategy{ActiveService: "active"}}
	})
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	w.serves("active", "v2")
	w.pass(time.Minute)
	w.sized("v1", 0)
}

// An abort that cannot be, because somebody has promoted the update in full, must not be told again and again.
func TestALateUpdateThatIsPromotedInFullIsNotAborted(t *testing.T) {
	t.Parallel()
	for name, ro := range map[string]*rollouts.Rollout{"blue-green": greenRollout(2, argo.BlueGreenStrategy{ActiveService: "active"}),
		"canary": canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50)}})} {
		ro.Spec.ProgressDeadlineAbort, ro.Spec.ProgressDeadlineSeconds = true, ptr(int32(30))
		w := newWorld(t, ro)
		w.settle()
		w.update("bad")
		w.settle()
		w.user(wholly)
		w.pass(time.Hour) // fails where a plan comes to no end
		if w.ro.Status.Abort || slices.Contains(w.events, reasonAborted) {
			t.Errorf("%s: %+v, events %v", name, w.ro.Status, w.events)
		}
		w.rests()
	}
}
