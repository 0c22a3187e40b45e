package live_test

import (
	"slices"
	"strings"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

const small = `
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1"}]}
  strategy:
    canary:
      steps: [{setWeight: 50}, {pause: {duration: 3s}}]
`

// The sequence of Events that tools of Argo Rollouts' users wait for.
func TestEventsOfAnAbortedAndRetriedUpdateComeInThePeersOrder(t *testing.T) {
	t.Parallel()
	c, h := serve(t)
	ns := c.Namespace(t)
	ro := read(t, &rollouts.Rollout{}, ns, small)
	create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	n0, what := h.writes.of(ns)
	t.Logf("first deploy: %d writes %v", n0, what)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	patchStatus(t, c, ro, `{"status":{"abort":true}}`)
	await(t, c, ro, argo.RolloutPhaseDegraded, func(ro *rollouts.Rollout) string {
		if !ro.Status.Abort || ro.Status.UpdatedReplicas != 0 {
			return "the new pods are still there"
		}
		return ""
	})
	patchStatus(t, c, ro, `{"status":{"abort":false}}`)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	n, what := h.writes.of(ns)
	t.Logf("in all: %d writes %v", n, what)
	want := strings.Fields("RolloutAddedToInformer RolloutUpdated NewReplicaSetCreated RolloutNotCompleted ScalingReplicaSet RolloutCompleted " +
		"RolloutUpdated NewReplicaSetCreated RolloutNotCompleted ScalingReplicaSet RolloutStepCompleted RolloutPaused ScalingReplicaSet RolloutAborted " +
		"ScalingReplicaSet RolloutStepCompleted RolloutPaused RolloutStepCompleted RolloutResumed ScalingReplicaSet RolloutCompleted")
	if got := reasons(t, c, ro); !slices.Equal(got, want) {
		t.Errorf("events:\n got %v\nwant %v", got, want)
	}
	_ = rollout.HashLabel
}
