package rollout

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"strconv"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/rand"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/controller"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// HashLabel is the label, and the key of selectors, that tells the pods of one revision from those of another.
const HashLabel = argo.DefaultRolloutUniqueLabelKey

// Hash of a pod template as Argo Rollouts computes it, which makes ReplicaSets interchangeable between the two: FNV-1a of 32
// bits over the JSON of the Go type, and over the collision count where there is one.
func Hash(t *corev1.PodTemplateSpec, collisions *int32) string {
	body, err := json.Marshal(t)
	if err != nil {
		panic(err) // a pod template always encodes
	}
	h := fnv.New32a()
	h.Write(body)
	if collisions != nil {
		var b [8]byte
		binary.LittleEndian.PutUint32(b[:], uint32(*collisions))
		h.Write(b[:])
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// StepsHash of a canary's steps, by which a change of the steps is noticed.
func StepsHash(steps []argo.CanaryStep) string {
	b, err := json.Marshal(steps)
	if err != nil {
		panic(err) // steps always encode
	}
	h := fnv.New32a()
	h.Write(b)
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// FindNew returns the ReplicaSet of the Rollout's resolved template, oldest first, or nil when there is none. It looks for the
// hash, then for the hash of Deployments (which Argo Rollouts before 1.0 used), and then for an equal template: so that a
// cluster is taken over with no pod restarted whatever computed its hashes.
func FindNew(ro *rollouts.Rollout, hash string, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	if rs := withHash(sets, hash); rs != nil || len(sets) == 0 {
		return rs
	}
	if rs := withHash(sets, controller.ComputeHash(&ro.Spec.Template, ro.Status.CollisionCount)); rs != nil {
		return rs
	}
	want := normalTemplate(&ro.Spec.Template)
	defaulted := corev1.PodTemplate{Template: *want}
	corev1defaults.SetObjectDefaults_PodTemplate(&defaulted)
	for _, rs := range sets {
		live := rs.Spec.Template.DeepCopy()
		inject(&live.ObjectMeta, injected(rs), nil)
		live.Spec.Affinity = withoutInjected(live.Spec.Affinity, antiAffinity(ro))
		live = normalTemplate(live)
		if apiequality.Semantic.DeepEqual(live, &defaulted.Template) {
			return rs
		}
	}
	return nil
}

func withHash(sets []*appsv1.ReplicaSet, hash string) *appsv1.ReplicaSet {
	for _, rs := range sets {
		if hash != "" && rs.Labels[HashLabel] == hash {
			return rs
		}
	}
	return nil
}

// normalTemplate leaves out what differs between equal templates: the hash, and a field that the API server fills in for
// ReplicaSets only.
func normalTemplate(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t = t.DeepCopy()
	delete(t.Labels, HashLabel)
	t.Spec.DeprecatedServiceAccount = ""
	return t
}
