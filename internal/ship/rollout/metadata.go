package rollout

import (
	"encoding/json"
	"maps"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Annotations by which Argo Rollouts keeps its books on ReplicaSets and Rollouts.
const (
	RevisionAnnotation           = "rollout.argoproj.io/revision"
	RevisionHistoryAnnotation    = "rollout.argoproj.io/revision-history"
	DesiredReplicasAnnotation    = "rollout.argoproj.io/desired-replicas"
	EphemeralMetadataAnnotation  = "rollout.argoproj.io/ephemeral-metadata"
	WorkloadGenerationAnnotation = "rollout.argoproj.io/workload-generation"
	DeadlineAnnotation           = argo.DefaultReplicaSetScaleDownDeadlineAnnotationKey
	ManagedByAnnotation          = argo.ManagedByRolloutsKey
)

// metadataOf are the labels and annotations that pods have only while they play a part: that of the newcomer, or that of the
// one in charge.
func metadataOf(ro *rollouts.Rollout) (newcomer, inCharge *argo.PodTemplateMetadata) {
	switch st := ro.Spec.Strategy; {
	case st.Canary != nil:
		return st.Canary.CanaryMetadata, st.Canary.StableMetadata
	case st.BlueGreen != nil:
		return st.BlueGreen.PreviewMetadata, st.BlueGreen.ActiveMetadata
	}
	return nil, nil
}

// injected is the metadata that was injected into the template of rs; nil = none, or it is not readable.
func injected(rs *appsv1.ReplicaSet) *argo.PodTemplateMetadata {
	s, ok := rs.Annotations[EphemeralMetadataAnnotation]
	if !ok {
		return nil
	}
	var m *argo.PodTemplateMetadata
	if json.Unmarshal([]byte(s), &m) != nil {
		return nil
	}
	return m
}

// inject replaces in m what was injected before by what is to be injected, touching nothing else. It never changes maps in
// place, and says whether it changed anything.
func inject(m *metav1.ObjectMeta, before, after *argo.PodTemplateMetadata) bool {
	var was, is argo.PodTemplateMetadata
	if before != nil {
		was = *before
	}
	if after != nil {
		is = *after
	}
	a, l := false, false
	m.Annotations, a = replaced(m.Annotations, was.Annotations, is.Annotations)
	m.Labels, l = replaced(m.Labels, was.Labels, is.Labels)
	return a || l
}

func replaced(in, before, after map[string]string) (map[string]string, bool) {
	out, changed := in, false
	own := func() {
		if !changed {
			if out, changed = maps.Clone(in), true; out == nil {
				out = map[string]string{}
			}
		}
	}
	for k, v := range after {
		if got, ok := out[k]; !ok || got != v {
			own()
			out[k] = v
		}
	}
	for k := range before {
		if _, still := after[k]; still {
			continue
		}
		if _, ok := out[k]; ok {
			own()
			delete(out, k)
		}
	}
	return out, changed
}

// ephemeral sees to it that each ReplicaSet and its pods bear the metadata of the part they play: first the ReplicaSet, so that
// pods it makes meanwhile have it, then the pods.
func (p *pass) ephemeral() {
	newcomer, inCharge := metadataOf(p.ro)
	for i := range p.sets {
		rs := &p.sets[i]
		var want *argo.PodTemplateMetadata
		switch {
		case rs.gone:
			continue
		case rs == p.fresh && (p.was.StableRS == "" || p.was.StableRS == rs.hash):
			want = inCharge
		case rs == p.fresh:
			want = newcomer
		case rs == p.stable:
			want = inCharge
		}
		p.syncMetadata(rs, want)
	}
}

func (p *pass) syncMetadata(rs *replicaSet, want *argo.PodTemplateMetadata) {
	before := injected(rs.is)
	if before == nil && want == nil {
		return
	}
	meta := rs.is.Spec.Template.ObjectMeta
	if inject(&meta, before, want) {
		is := p.edit(rs)
		is.Spec.Template.ObjectMeta = meta
		if want == nil {
			delete(is.Annotations, EphemeralMetadataAnnotation)
		} else if b, err := json.Marshal(want); err == nil {
			is.Annotations[EphemeralMetadataAnnotation] = string(b)
		}
		p.flush(rs)
	}
	if rs.size == 0 || rs.was == nil {
		return
	}
	newcomer, inCharge := metadataOf(p.ro)
	for _, pod := range p.s.Pods[rs.was.UID] {
		m := pod.ObjectMeta
		if pod.DeletionTimestamp == nil && follow(&m, &rs.is.Spec.Template.ObjectMeta, before, newcomer, inCharge) {
			after := pod.DeepCopy()
			after.ObjectMeta.Labels, after.ObjectMeta.Annotations = m.Labels, m.Annotations
			p.op(Op{Verb: Patch, Before: pod, After: after})
		}
	}
}

// follow makes a pod's metadata as its ReplicaSet's template has it, for all keys that may have been injected.
func follow(m, template *metav1.ObjectMeta, sources ...*argo.PodTemplateMetadata) bool {
	var may, is argo.PodTemplateMetadata
	keep := func(keys, template map[string]string, may, is *map[string]string) {
		for k := range keys {
			if *may == nil {
				*may, *is = map[string]string{}, map[string]string{}
			}
			(*may)[k] = ""
			if v, ok := template[k]; ok {
				(*is)[k] = v
			}
		}
	}
	for _, s := range sources {
		if s != nil {
			keep(s.Labels, template.Labels, &may.Labels, &is.Labels)
			keep(s.Annotations, template.Annotations, &may.Annotations, &is.Annotations)
		}
	}
	return inject(m, &may, &is)
}

// NeedsPods says whether deciding needs to see the pods of the Rollout: for a restart, or for metadata that pods bear only while
// they play a part.
func NeedsPods(ro *rollouts.Rollout, now time.Time) bool {
	newcomer, inCharge := metadataOf(ro)
	return newcomer != nil || inCharge != nil || needsRestart(ro, now)
}
