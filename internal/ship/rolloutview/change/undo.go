package change

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// Revision finds the ReplicaSet of a revision among sets; 0 means the one before the newest.
func Revision(ro *rollouts.Rollout, sets []appsv1.ReplicaSet, wanted int64) (*appsv1.ReplicaSet, int64, error) {
	type numbered struct {
		rs *appsv1.ReplicaSet
		n  int64
	}
	var have []numbered
	for i := range sets {
		if n, err := strconv.ParseInt(sets[i].Annotations[rollout.RevisionAnnotation], 10, 64); err == nil && metav1.IsControlledBy(&sets[i], ro) {
			have = append(have, numbered{&sets[i], n})
		}
	}
	slices.SortStableFunc(have, func(a, b numbered) int { return int(b.n - a.n) })
	if wanted == 0 && len(have) > 1 {
		return have[1].rs, have[1].n, nil
	}
	known := make([]int64, len(have))
	for i := range have {
		if known[i] = have[i].n; wanted != 0 && known[i] == wanted {
			return have[i].rs, wanted, nil
		}
	}
	slices.Reverse(known)
	if wanted == 0 {
		return nil, 0, fmt.Errorf("there is no revision before the present one; known are %v", known)
	}
	return nil, 0, fmt.Errorf("revision %d is not in its history; known are %v", wanted, known)
}

// Undo makes the JSON patch that gives the template at a path (/spec/template, or /template of a PodTemplate) back the form it
// had in rs. It is nil when the template has that form already.
//
// What the controller put into the ReplicaSet's template stays out: the label with the hash, the metadata of the part the
// revision played, and the rule that kept its pods off the nodes of another revision.
func Undo(present *corev1.PodTemplateSpec, rs *appsv1.ReplicaSet, path string) ([]byte, error) {
	was := original(rs)
	now := present.DeepCopy()
	delete(now.Labels, rollout.HashLabel)
	if apiequality.Semantic.DeepDerivative(*now, *was) {
		return nil, nil
	}
	return json.Marshal([]map[string]any{{"op": "replace", "path": path, "value": was}})
}

// UndoType is the type of the patches that Undo makes.
const UndoType = types.JSONPatchType

// original is the template that a ReplicaSet was made of.
func original(rs *appsv1.ReplicaSet) *corev1.PodTemplateSpec {
	t := rs.Spec.Template.DeepCopy()
	delete(t.Labels, rollout.HashLabel)
	var injected argo.PodTemplateMetadata
	if s, ok := rs.Annotations[rollout.EphemeralMetadataAnnotation]; ok && json.Unmarshal([]byte(s), &injected) == nil {
		for key := range injected.Labels {
			delete(t.Labels, key)
		}
		for key := range injected.Annotations {
			delete(t.Annotations, key)
		}
	}
	if a := t.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		anti := a.PodAntiAffinity
		anti.RequiredDuringSchedulingIgnoredDuringExecution = slices.DeleteFunc(anti.RequiredDuringSchedulingIgnoredDuringExecution, ofRevision)
		anti.PreferredDuringSchedulingIgnoredDuringExecution = slices.DeleteFunc(anti.PreferredDuringSchedulingIgnoredDuringExecution,
			func(w corev1.WeightedPodAffinityTerm) bool { return ofRevision(w.PodAffinityTerm) })
		if len(anti.RequiredDuringSchedulingIgnoredDuringExecution)+len(anti.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
			a.PodAntiAffinity = nil
		}
		if *a == (corev1.Affinity{}) {
			t.Spec.Affinity = nil
		}
	}
	return t
}

// ofRevision is whether a term is about the pods of a revision.
func ofRevision(t corev1.PodAffinityTerm) bool {
	return t.LabelSelector != nil && slices.ContainsFunc(t.LabelSelector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == rollout.HashLabel
	})
}
