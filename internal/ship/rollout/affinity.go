package rollout

import (
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// antiAffinity that the strategy asks for between the pods of two revisions; nil = none.
func antiAffinity(ro *rollouts.Rollout) *argo.AntiAffinity {
	var a *argo.AntiAffinity
	switch st := ro.Spec.Strategy; {
	case st.Canary != nil:
		a = st.Canary.AntiAffinity
	case st.BlueGreen != nil:
		a = st.BlueGreen.AntiAffinity
	}
	if a == nil || a.PreferredDuringSchedulingIgnoredDuringExecution == nil && a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a
}

// affinityOf the pods of the new revision: the template's own, and a term that keeps them off the nodes of the stable revision
// while there are two.
func affinityOf(ro *rollouts.Rollout, stableHash, newHash string) *corev1.Affinity {
	own := ro.Spec.Template.Spec.Affinity
	rule := antiAffinity(ro)
	if rule == nil || stableHash == "" || stableHash == newHash {
		return own
	}
	term := corev1.PodAffinityTerm{
		LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: HashLabel, Operator: metav1.LabelSelectorOpIn, Values: []string{stableHash},
		}}},
		Namespaces:  []string{ro.Namespace},
		TopologyKey: corev1.LabelHostname,
	}
	out := &corev1.Affinity{}
	if own != nil {
		out = own.DeepCopy()
	}
	if out.PodAntiAffinity == nil {
		out.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	anti := out.PodAntiAffinity
	if p := rule.PreferredDuringSchedulingIgnoredDuringExecution; p != nil {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
			corev1.WeightedPodAffinityTerm{Weight: p.Weight, PodAffinityTerm: term})
	} else {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, term)
	}
	return out
}

// injectedHash is the stable revision that an injected term keeps away from; "" = no term is injected.
func injectedHash(a *corev1.Affinity) string {
	if a == nil || a.PodAntiAffinity == nil {
		return ""
	}
	for i := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		if h, ok := hashOfTerm(&a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i].PodAffinityTerm); ok {
			return h
		}
	}
	for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if h, ok := hashOfTerm(&a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]); ok {
			return h
		}
	}
	return ""
}

func hashOfTerm(t *corev1.PodAffinityTerm) (string, bool) {
	if t.LabelSelector == nil {
		return "", false
	}
	for _, e := range t.LabelSelector.MatchExpressions {
		if e.Key == HashLabel && len(e.Values) > 0 {
			return e.Values[0], true
		}
	}
	return "", false
}

// withoutInjected is a without the injected term, for comparing templates. It changes nothing unless a rule is set, for only
// then has a term been injected.
func withoutInjected(a *corev1.Affinity, rule *argo.AntiAffinity) *corev1.Affinity {
	if rule == nil || injectedHash(a) == "" {
		return a
	}
	a = a.DeepCopy()
	anti := a.PodAntiAffinity
	anti.PreferredDuringSchedulingIgnoredDuringExecution = slices.DeleteFunc(anti.PreferredDuringSchedulingIgnoredDuringExecution,
		func(t corev1.WeightedPodAffinityTerm) bool { _, ok := hashOfTerm(&t.PodAffinityTerm); return ok })
	anti.RequiredDuringSchedulingIgnoredDuringExecution = slices.DeleteFunc(anti.RequiredDuringSchedulingIgnoredDuringExecution,
		func(t corev1.PodAffinityTerm) bool { _, ok := hashOfTerm(&t); return ok })
	if len(anti.PreferredDuringSchedulingIgnoredDuringExecution) == 0 && len(anti.RequiredDuringSchedulingIgnoredDuringExecution) == 0 {
		a.PodAntiAffinity = nil
	}
	if a.PodAntiAffinity == nil && a.PodAffinity == nil && a.NodeAffinity == nil {
		return nil
	}
	return a
}
