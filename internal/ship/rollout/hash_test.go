package rollout

import (
	"encoding/json"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/controller"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func templateOf(t *testing.T, s string) corev1.PodTemplateSpec {
	t.Helper()
	var out corev1.PodTemplateSpec
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The hashes are those that the end-to-end tests of Argo Rollouts v1.10 expect of their fixtures canary-scaledownonabort and
// canary-dynamic-stable-scale.
func TestHashIsThatOfArgoRollouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ template, want string }{
		"delayed": {`{"metadata":{"labels":{"app":"canary-scaledowndelay"}},"spec":{"containers":[{"name":"canary-scaledowndelay","image":"nginx:1.19-alpine","ports":[{"name":"http","containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"memory":"16Mi","cpu":"5m"}}}]}}`, "674d8cf959"},
		"dynamic": {`{"metadata":{"labels":{"app":"dynamic-stable-scale"}},"spec":{"readinessGates":[{"conditionType":"argoproj.io/e2e-readiness"}],"containers":[{"name":"dynamic-stable-scale","image":"nginx:1.19-alpine","ports":[{"name":"http","containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"memory":"16Mi","cpu":"5m"}}}]}}`, "6b56c8cdb4"},
	} {
		tmpl := templateOf(t, c.template)
		if got := Hash(&tmpl, nil); got != c.want {
			t.Errorf("%s: hash %s, want %s", name, got, c.want)
		}
		zero := int32(0)
		if Hash(&tmpl, &zero) == c.want {
			t.Errorf("%s: a collision count of 0 must make another hash than none", name)
		}
	}
}

func TestStepsHashOfNoStepsIsThatOfNull(t *testing.T) {
	t.Parallel()
	if a, b := StepsHash(nil), StepsHash([]argo.CanaryStep{}); a == b {
		t.Errorf("nil and no steps hash alike (%s), which the peer keeps apart", a)
	}
	w := int32(5)
	if StepsHash([]argo.CanaryStep{{SetWeight: &w}}) == StepsHash(nil) {
		t.Error("steps do not change the hash")
	}
}

func TestFindNewTakesOverReplicaSetsWhateverHashedThem(t *testing.T) {
	t.Parallel()
	tmpl := templateOf(t, `{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"a","image":"a:1"}]}}`)
	ro := &rollouts.Rollout{Spec: argo.RolloutSpec{Template: tmpl}}
	ro.Spec.Strategy.Canary = &argo.CanaryStrategy{AntiAffinity: &argo.AntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &argo.RequiredDuringSchedulingIgnoredDuringExecution{}}}
	hash := Hash(&tmpl, nil)
	set := func(name, h string, spec *corev1.PodTemplateSpec) *appsv1.ReplicaSet {
		rs := &appsv1.ReplicaSet{}
		rs.Name, rs.Labels = name, map[string]string{HashLabel: h}
		if spec != nil {
			rs.Spec.Template = *spec
		}
		return rs
	}
	defaulted := corev1.PodTemplate{Template: *tmpl.DeepCopy()}
	corev1defaults.SetObjectDefaults_PodTemplate(&defaulted)
	live := defaulted.Template
	live.Labels = map[string]string{"app": "a", HashLabel: "strange", "role": "canary"}
	ro.Status.StableRS = "stable"
	live.Spec.Affinity = affinityOf(ro, "stable", "strange")
	equal := set("equal", "strange", &live)
	equal.Annotations = map[string]string{EphemeralMetadataAnnotation: `{"labels":{"role":"canary"}}`}
	other := templateOf(t, `{"spec":{"containers":[{"name":"a","image":"a:2"}]}}`)

	byHash, classic := set("hash", hash, nil), set("classic", controller.ComputeHash(&tmpl, nil), nil)
	for name, c := range map[string]struct {
		sets []*appsv1.ReplicaSet
		want *appsv1.ReplicaSet
	}{
		"its own hash":               {[]*appsv1.ReplicaSet{classic, byHash}, byHash},
		"the hash of Deployments":    {[]*appsv1.ReplicaSet{equal, classic}, classic},
		"an equal template":          {[]*appsv1.ReplicaSet{set("other", "x", &other), equal}, equal},
		"none of another's template": {[]*appsv1.ReplicaSet{set("other", "x", &other)}, nil},
	} {
		if got := FindNew(ro, hash, c.sets); got != c.want {
			t.Errorf("%s: found %v", name, got)
		}
	}
}
