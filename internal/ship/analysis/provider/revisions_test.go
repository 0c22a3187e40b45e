package provider

import (
	"context"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// shelf reads two objects.
type shelf struct {
	client.Reader
	rollout    *rollouts.Rollout
	experiment *argo.Experiment
}

func (s shelf) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch o := into.(type) {
	case *rollouts.Rollout:
		if s.rollout != nil && s.rollout.Name == key.Name {
			s.rollout.DeepCopyInto(o)
			return nil
		}
	case *argo.Experiment:
		if s.experiment != nil && s.experiment.Name == key.Name {
			s.experiment.DeepCopyInto(o)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func TestTheRevisionsOfARunAreThoseOfItsRollout(t *testing.T) {
	t.Parallel()
	owned := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: ptr.To(true)}}
	}
	ro := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	ro.Status.StableRS, ro.Status.CurrentPodHash = "sss", "now"
	ex := &argo.Experiment{ObjectMeta: metav1.ObjectMeta{Name: "exp", OwnerReferences: owned("Rollout", "web")}}
	find := RevisionsOf(shelf{rollout: ro, experiment: ex})
	labelled := map[string]string{argo.DefaultRolloutUniqueLabelKey: "lll"}
	for name, c := range map[string]struct {
		run  metav1.ObjectMeta
		want Revisions
	}{
		"a run of a Rollout":           {metav1.ObjectMeta{OwnerReferences: owned("Rollout", "web"), Labels: labelled}, Revisions{"web", "sss", "lll"}},
		"without the label":            {metav1.ObjectMeta{OwnerReferences: owned("Rollout", "web")}, Revisions{"web", "sss", "now"}},
		"a run of its Experiment":      {metav1.ObjectMeta{OwnerReferences: owned("Experiment", "exp")}, Revisions{"web", "sss", "now"}},
		"a run of nobody":              {metav1.ObjectMeta{}, Revisions{}},
		"a run of something that went": {metav1.ObjectMeta{OwnerReferences: owned("Rollout", "gone")}, Revisions{}},
	} {
		if got, err := find(t.Context(), &argo.AnalysisRun{ObjectMeta: c.run}); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}
