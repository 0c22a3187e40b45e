package rolloutview

import (
	"cmp"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// Tags of ReplicaSets: the part they play.
const (
	TagCanary  = "canary"
	TagStable  = "stable"
	TagActive  = "active"
	TagPreview = "preview"
	TagPing    = "ping"
	TagPong    = "pong"
)

// ReplicaSet is what is shown of one.
type ReplicaSet struct {
	Name      string
	Created   time.Time
	Revision  int64
	Status    string // Healthy, Progressing, ScaledDown or ReplicaFailure
	Replicas  int32  // that exist
	Available int32
	Tags      []string // the parts it plays, in the order in which they are shown
	Template  string   // of the experiment it was made for
	// ScaleDownAt is when it will be scaled down, RFC 3339; "" = no time is set.
	ScaleDownAt string
	Images      []string // of its containers
	Pods        []Pod    // oldest first
}

// Delay is the time until a ReplicaSet is scaled down, in words; "" when none is set or it cannot be read.
func (r *ReplicaSet) Delay(now time.Time) string {
	at, err := time.Parse(time.RFC3339, r.ScaleDownAt)
	switch {
	case err != nil:
		return ""
	case at.Before(now):
		return "passed"
	}
	return duration.HumanDuration(at.Sub(now))
}

// replicaSets of an owner: newest revision first, then by name. ro is nil for those of an experiment.
func replicaSets(owner types.UID, ro *rollouts.Rollout, around Around) []ReplicaSet {
	var out []ReplicaSet
	for i := range around.ReplicaSets {
		rs := &around.ReplicaSets[i]
		if !ownedBy(rs, owner) {
			continue
		}
		v := ReplicaSet{Name: rs.Name, Created: rs.CreationTimestamp.Time, Revision: revision(rs), Status: health(rs),
			Replicas: rs.Status.Replicas, Available: rs.Status.AvailableReplicas,
			Template: rs.Annotations[argo.ExperimentTemplateNameAnnotationKey], ScaleDownAt: rs.Annotations[rollout.DeadlineAnnotation]}
		if ro != nil {
			v.Tags = tags(ro, rs.Labels[rollout.HashLabel])
		}
		for _, c := range rs.Spec.Template.Spec.Containers {
			v.Images = append(v.Images, c.Image)
		}
		v.Pods = pods(rs.UID, around.Pods)
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b ReplicaSet) int {
		return cmp.Or(cmp.Compare(b.Revision, a.Revision), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// tags of the revision with a hash.
func tags(ro *rollouts.Rollout, hash string) []string {
	st := &ro.Status
	stable := st.StableRS == hash
	var out []string
	if stable && strategy(ro) != "" {
		out = append(out, TagStable)
	}
	switch c := ro.Spec.Strategy.Canary; {
	case c != nil && (stable || st.CurrentPodHash == hash):
		if !stable {
			out = append(out, TagCanary)
		}
		if c.PingPong != nil && stable == (st.Canary.StablePingPong == argo.PPPing) {
			out = append(out, TagPing)
		} else if c.PingPong != nil {
			out = append(out, TagPong)
		}
	case ro.Spec.Strategy.BlueGreen != nil && st.BlueGreen.ActiveSelector == hash:
		out = append(out, TagActive)
	case ro.Spec.Strategy.BlueGreen != nil && st.BlueGreen.PreviewSelector == hash:
		out = append(out, TagPreview)
	}
	return out
}

// health of a ReplicaSet in a word.
func health(rs *appsv1.ReplicaSet) string {
	failed := slices.ContainsFunc(rs.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool {
		return c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue
	})
	want := rs.Spec.Replicas
	switch {
	case rs.Generation > rs.Status.ObservedGeneration:
		return "Progressing"
	case failed:
		return string(appsv1.ReplicaSetReplicaFailure)
	case want != nil && rs.Status.AvailableReplicas < *want:
		return "Progressing"
	case want != nil && *want == 0:
		return "ScaledDown"
	}
	return "Healthy"
}
