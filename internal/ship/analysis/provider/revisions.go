package provider

import (
	"context"
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// RevisionsOf finds the Rollout that owns a run, directly or through an Experiment, and its revisions. Latest is the one
// that the run is labelled with, where it is. A run without a Rollout has no revisions.
func RevisionsOf(r client.Reader) func(context.Context, *argo.AnalysisRun) (Revisions, error) {
	return func(ctx context.Context, run *argo.AnalysisRun) (Revisions, error) {
		owner := metav1.GetControllerOf(run)
		if owner != nil && owner.Kind == "Experiment" {
			ex := &argo.Experiment{}
			if err := r.Get(ctx, types.NamespacedName{Namespace: run.Namespace, Name: owner.Name}, ex); err != nil {
				return Revisions{}, client.IgnoreNotFound(err)
			}
			owner = metav1.GetControllerOf(ex)
		}
		if owner == nil || owner.Kind != "Rollout" {
			return Revisions{}, nil
		}
		ro := &rollouts.Rollout{}
		err := r.Get(ctx, types.NamespacedName{Namespace: run.Namespace, Name: owner.Name}, ro)
		if apierrors.IsNotFound(err) {
			return Revisions{}, nil
		}
		if err != nil {
			return Revisions{}, fmt.Errorf("reading the Rollout %s/%s of the run: %w", run.Namespace, owner.Name, err)
		}
		found := Revisions{Rollout: ro.Name, Stable: ro.Status.StableRS, Latest: run.Labels[argo.DefaultRolloutUniqueLabelKey]}
		if found.Latest == "" {
			found.Latest = ro.Status.CurrentPodHash
		}
		return found, nil
	}
}
