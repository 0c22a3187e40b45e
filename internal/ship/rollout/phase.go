package rollout

import (
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Phase of a Rollout as clients show it, and what it waits for. It is that of the status, unless a change is still to be seen
// by the controller.
func Phase(ro *rollouts.Rollout) (argo.RolloutPhase, string) {
	st := &ro.Status
	if n, err := strconv.ParseInt(st.ObservedGeneration, 10, 64); err == nil && n < ro.Generation {
		return argo.RolloutPhaseProgressing, "waiting for rollout spec update to be observed"
	}
	if st.ControllerPause && len(st.PauseConditions) == 0 {
		return argo.RolloutPhaseProgressing, "waiting for rollout to unpause"
	}
	if ref := ro.Annotations[WorkloadGenerationAnnotation]; ro.Spec.WorkloadRef != nil && ref != "" &&
		st.WorkloadObservedGeneration != "" && st.WorkloadObservedGeneration != ref {
		return argo.RolloutPhaseProgressing, "waiting for rollout spec update to be observed for the reference workload"
	}
	if st.Phase != "" {
		return st.Phase, st.Message
	}
	return phase(&ro.Spec, &st.RolloutStatus)
}

// phase of a status; the first that fits.
func phase(spec *argo.RolloutSpec, st *argo.RolloutStatus) (argo.RolloutPhase, string) {
	for i := range st.Conditions {
		switch c := &st.Conditions[i]; {
		case c.Type == argo.InvalidSpec:
			return argo.RolloutPhaseDegraded, reasonInvalid + ": " + c.Message
		case c.Reason == reasonAborted, c.Reason == reasonTimedOut:
			return argo.RolloutPhaseDegraded, c.Reason + ": " + c.Message
		}
	}
	const progressing = argo.RolloutPhaseProgressing
	canary, green := spec.Strategy.Canary, spec.Strategy.BlueGreen
	switch {
	case spec.Paused:
		return argo.RolloutPhasePaused, "manually paused"
	case len(st.PauseConditions) > 0:
		return argo.RolloutPhasePaused, string(st.PauseConditions[0].Reason)
	case spec.RestartAt != nil && (st.RestartedAt == nil || !spec.RestartAt.Equal(st.RestartedAt)):
		return progressing, "rollout is restarting"
	case st.UpdatedReplicas < orDefault(spec.Replicas, defaultReplicas):
		return progressing, "more replicas need to be updated"
	case st.AvailableReplicas < st.UpdatedReplicas:
		return progressing, "updated replicas are still becoming available"
	case green != nil && (st.BlueGreen.ActiveSelector == "" || st.BlueGreen.ActiveSelector != st.CurrentPodHash):
		return progressing, "active service cutover pending"
	case green != nil && !completed(st):
		if run := st.BlueGreen.PostPromotionAnalysisRunStatus; green.PostPromotionAnalysis != nil && (run == nil || !run.Status.Completed()) {
			return progressing, "waiting for analysis to complete"
		}
		return progressing, "waiting for post-promotion verification to complete"
	case canary != nil && canary.TrafficRouting == nil && st.Replicas > st.UpdatedReplicas:
		return progressing, "old replicas are pending termination"
	case canary != nil && !completed(st):
		return progressing, "waiting for all steps to complete"
	}
	return argo.RolloutPhaseHealthy, ""
}
