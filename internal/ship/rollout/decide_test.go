package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func (w *world) phase(want argo.RolloutPhase, message string) {
	w.t.Helper()
	if got, msg := Phase(w.ro); got != want || msg != message {
		w.t.Fatalf("phase %s %q, want %s %q; why: %+v; events: %v", got, msg, want, message, w.plan.Why, w.events)
	}
}

func (w *world) sized(image string, want int32) {
	w.t.Helper()
	if rs := w.set(image); rs == nil || *rs.Spec.Replicas != want {
		w.t.Fatalf("%s: %+v, want %d pods; why %+v", image, rs, want, w.plan.Why)
	}
}

// The sequence is that of the end-to-end test of Argo Rollouts, without the event that its informer tells.
func TestEventsOfAbortAndRetryAreThoseOfArgoRollouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("3s")}}))
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = true })
	w.settle()
	w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
	w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = false })
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.pass(10 * time.Second)
	w.phase(argo.RolloutPhaseHealthy, "")
	want := []string{"RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet", "RolloutCompleted",
		"RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet", "RolloutStepCompleted", "RolloutPaused",
		"ScalingReplicaSet", "RolloutAborted", "ScalingReplicaSet", "RolloutStepCompleted", "RolloutPaused", "RolloutStepCompleted",
		"RolloutResumed", "ScalingReplicaSet", "RolloutCompleted"}
	if !slices.Equal(w.events, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(w.events, " "), strings.Join(want, " "))
	}
	t.Logf("%d writes", w.writes)
}

func TestEventsOfBlueGreenAreThoseOfArgoRollouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, greenRollout(3, argo.BlueGreenStrategy{ActiveService: "active"}))
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	want := []string{"RolloutUpdated", "NewReplicaSetCreated", "ScalingReplicaSet", "RolloutCompleted", "SwitchService",
		"RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet", "SwitchService", "RolloutCompleted"}
	if !slices.Equal(w.events, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(w.events, " "), strings.Join(want, " "))
	}
	w.sized("v1", 3)
	w.pass(29 * time.Second)
	w.sized("v1", 3)
	w.pass(time.Second)
	w.sized("v1", 0)
}

func TestNumbersOfPodsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(20, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	if w.writes > 7 {
		t.Errorf("%d writes for 20 pods that become ready within a second", w.writes)
	}
	if w.ro.Status.AvailableReplicas != 20 {
		t.Errorf("%d pods available", w.ro.Status.AvailableReplicas)
	}
	w.update("v2")
	w.reconcile()
	w.makePods(w.set("v2"))
	w.reconcile()
	for i := range 3 { // the first takes over the canary Service, and is written down with it
		w.setReady(w.pods[w.set("v2").UID][i], true)
		w.reconcile()
	}
	if w.ro.Status.AvailableReplicas != 21 || !w.plan.RequeueAt.Equal(w.now.Add(countsLag)) {
		t.Errorf("%d available; looked at again at %s", w.ro.Status.AvailableReplicas, w.plan.RequeueAt)
	}
	w.now = w.now.Add(countsLag)
	w.reconcile()
	if n := w.ro.Status.AvailableReplicas; n != 23 {
		t.Error("the numbers are not written down")
	}
}
