package rollout

import (
	"errors"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
)

func TestStepsAreNamedAsInTheEventsOfArgoRollouts(t *testing.T) {
	t.Parallel()
	scale := func(s argo.SetCanaryScale) argo.CanaryStep { return argo.CanaryStep{SetCanaryScale: &s} }
	for want, step := range map[string]argo.CanaryStep{
		"setWeight: 20":               weight(20),
		"pause":                       pauseFor(""),
		"pause: 3s":                   pauseFor("3s"),
		"pause: 60":                   pauseFor("60"),
		"experiment":                  {Experiment: &argo.RolloutExperimentStep{}},
		"analysis":                    {Analysis: &argo.RolloutAnalysis{}},
		"setCanaryScale{weight: 5}":   scale(argo.SetCanaryScale{Weight: ptr(int32(5))}),
		"setCanaryScale{replicas: 5}": scale(argo.SetCanaryScale{Replicas: ptr(int32(5))}),
		"setCanaryScale{matchTrafficWeight: true}": scale(argo.SetCanaryScale{MatchTrafficWeight: true}),
		"plugin: x":         {Plugin: &argo.PluginStep{Name: "x"}},
		"setHeaderRoute: h": {SetHeaderRoute: &argo.SetHeaderRoute{Name: "h"}},
		"setMirrorRoute: m": {SetMirrorRoute: &argo.SetMirrorRoute{Name: "m"}},
		"invalid":           {},
	} {
		if got := StepString(step); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAReplicaSetThatCannotBeMadeIsRecordedOnceAndToldEachTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{}))
	p := Decide(w.snapshot(), w.now)
	var rs *appsv1.ReplicaSet
	for _, o := range p.Ops {
		if o.Verb == Create {
			rs = o.After.(*appsv1.ReplicaSet)
		}
	}
	refused := errors.New("exceeded quota")
	w.carryOut(CreateFailed(w.ro, rs, refused, w.now))
	c := conditionOf(&w.ro.Status.RolloutStatus, argo.RolloutProgressing)
	if c == nil || c.Reason != "ReplicaSetCreateError" || c.Message != `Failed to create new replica set "`+rs.Name+`": exceeded quota` {
		t.Fatalf("%+v", c)
	}
	again := CreateFailed(w.ro, rs, refused, w.now.Add(time.Minute))
	if len(again.Ops) != 1 || again.Ops[0].Verb != Tell || again.Ops[0].Events[0].Reason != "ReplicaSetCreateError" {
		t.Fatalf("%+v", again.Ops)
	}
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAStepOfSeveralThingsScalesBeforeItPauses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(25),
		{SetCanaryScale: &argo.SetCanaryScale{Replicas: ptr(int32(3))}, Pause: &argo.RolloutPause{}}}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.sized("v2", 3)
	if w.weight() != 25 {
		t.Fatalf("weight %d", w.weight())
	}
}
