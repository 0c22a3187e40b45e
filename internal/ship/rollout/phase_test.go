package rollout

import (
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func TestPhaseIsTheFirstThatFits(t *testing.T) {
	t.Parallel()
	base := func() *rollouts.Rollout {
		ro := canaryRollout(2, argo.CanaryStrategy{})
		ro.Generation = 3
		ro.Status.ObservedGeneration = "3"
		ro.Status.UpdatedReplicas, ro.Status.AvailableReplicas, ro.Status.Replicas = 2, 2, 2
		ro.Status.StableRS, ro.Status.CurrentPodHash = "a", "a"
		return ro
	}
	green := func() *rollouts.Rollout {
		ro := base()
		ro.Spec.Strategy = argo.RolloutStrategy{BlueGreen: &argo.BlueGreenStrategy{ActiveService: "active"}}
		ro.Status.BlueGreen.ActiveSelector = "a"
		return ro
	}
	for want, c := range map[string]func() *rollouts.Rollout{
		"Healthy ": base,
		"Progressing waiting for rollout spec update to be observed": func() *rollouts.Rollout { r := base(); r.Generation = 4; return r },
		"Progressing waiting for rollout to unpause":                 func() *rollouts.Rollout { r := base(); r.Status.ControllerPause = true; return r },
		"Progressing waiting for rollout spec update to be observed for the reference workload": func() *rollouts.Rollout {
			r := base()
			r.Spec.WorkloadRef, r.Annotations, r.Status.WorkloadObservedGeneration = &argo.ObjectRef{}, map[string]string{WorkloadGenerationAnnotation: "2"}, "1"
			return r
		},
		"Degraded ProgressDeadlineExceeded: late": func() *rollouts.Rollout {
			r := base()
			r.Spec.Paused = true
			r.Status.Conditions = []argo.RolloutCondition{{Type: argo.RolloutProgressing, Reason: "ProgressDeadlineExceeded", Message: "late"}}
			return r
		},
		"Paused manually paused": func() *rollouts.Rollout { r := base(); r.Spec.Paused = true; return r },
		"Paused CanaryPauseStep": func() *rollouts.Rollout {
			r := base()
			r.Status.PauseConditions = []argo.PauseCondition{{Reason: argo.PauseReasonCanaryPauseStep}}
			return r
		},
		"Progressing rollout is restarting":                         func() *rollouts.Rollout { r := base(); r.Spec.RestartAt = &metav1.Time{}; return r },
		"Progressing more replicas need to be updated":              func() *rollouts.Rollout { r := base(); r.Status.UpdatedReplicas = 1; return r },
		"Progressing updated replicas are still becoming available": func() *rollouts.Rollout { r := base(); r.Status.AvailableReplicas = 1; return r },
		"Progressing old replicas are pending termination":          func() *rollouts.Rollout { r := base(); r.Status.Replicas = 3; return r },
		"Progressing waiting for all steps to complete":             func() *rollouts.Rollout { r := base(); r.Status.StableRS = "b"; return r },
		"Progressing active service cutover pending":                func() *rollouts.Rollout { r := green(); r.Status.BlueGreen.ActiveSelector = "b"; return r },
		"Progressing waiting for post-promotion verification to complete": func() *rollouts.Rollout {
			r := green()
			r.Status.StableRS = "b"
			return r
		},
		"Progressing waiting for analysis to complete": func() *rollouts.Rollout {
			r := green()
			r.Status.StableRS, r.Spec.Strategy.BlueGreen.PostPromotionAnalysis = "b", &argo.RolloutAnalysis{}
			return r
		},
	} {
		phase, message := Phase(c())
		if got := string(phase) + " " + message; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
