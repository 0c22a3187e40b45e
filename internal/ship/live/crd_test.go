package live_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/config/crd"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// odd has what YAML in the wild has: numbers for quantities, a volume with an array called items, a number for a pause, and
// steps where they were in 2019.
const odd = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: odd
  labels: {argo-rollouts.argoproj.io/controller-instance-id: nobody}
spec:
  replicas: 1
  selector: {matchLabels: {app: odd}}
  template:
    metadata: {labels: {app: odd}, annotations: {note: "kept"}}
    spec:
      containers:
      - name: app
        image: "web:1"
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 0.001, memory: 16Mi}, limits: {cpu: 1}}
        volumeMounts: [{name: info, mountPath: /info}]
      volumes:
      - name: info
        downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  strategy:
    canary: {maxSurge: 1}
    steps: [{setWeight: 20}, {pause: {duration: 60}}, {pause: {duration: 1h}}, {pause: {}}]
`

func TestOddYAMLSurvivesTheAPIServer(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	for _, small := range []bool{false, true} {
		t.Run(fmt.Sprintf("small=%t", small), func(t *testing.T) {
			ns := c.Namespace(t)
			kind := "Rollout"
			if small {
				kind = smallRollouts(t, c)
			}
			sent := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(strings.Replace(odd, "kind: Rollout", "kind: "+kind, 1)), &sent.Object); err != nil {
				t.Fatal(err)
			}
			if small {
				sent.SetAPIVersion("small.example.com/v1alpha1")
			}
			sent.SetNamespace(ns)
			want := sent.DeepCopy()
			strict := client.FieldValidation(metav1.FieldValidationStrict)
			if err := c.Objects.Create(t.Context(), sent, strict); err != nil {
				t.Fatalf("refused: %v", err)
			}
			got := sent
			containers, _, _ := unstructured.NestedSlice(want.Object, "spec", "template", "spec", "containers")
			ports := containers[0].(map[string]any)["ports"].([]any)
			ports[0].(map[string]any)["protocol"] = "TCP" // a default of both forms of the definition: hashes depend on it
			if err := unstructured.SetNestedSlice(want.Object, containers, "spec", "template", "spec", "containers"); err != nil {
				t.Fatal(err)
			}
			if a, b := asJSON(t, got.Object["spec"]), asJSON(t, want.Object["spec"]); a != b {
				t.Errorf("stored\n%s\nsent\n%s", a, b)
			}
			typed := &rollouts.Rollout{}
			if err := json.Unmarshal([]byte(asJSON(t, got.Object)), typed); err != nil {
				t.Fatal(err)
			}
			if n := len(typed.Spec.Strategy.Canary.Steps); n != 4 {
				t.Errorf("%d steps are read, want 4", n)
			}
			if cpu := typed.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String(); cpu != "1m" {
				t.Errorf("0.001 CPUs are read as %s", cpu)
			}
			direct := &rollouts.Rollout{}
			if err := json.Unmarshal([]byte(asJSON(t, want.Object)), direct); err != nil {
				t.Fatal(err)
			}
			if a, b := rollout.Hash(&typed.Spec.Template, nil), rollout.Hash(&direct.Spec.Template, nil); a != b {
				t.Errorf("the hash is %s after the round trip, %s before", a, b)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// smallRollouts installs the small form of the definition under another group.
func smallRollouts(t *testing.T, c *kubetest.Cluster) (kind string) {
	t.Helper()
	b, err := crd.Definition("rollouts.argoproj.io", true)
	if err != nil {
		t.Fatal(err)
	}
	def := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(b, def); err != nil {
		t.Fatal(err)
	}
	def.Name, def.Spec.Group, def.Spec.Names.ShortNames, def.Annotations = "rollouts.small.example.com", "small.example.com", nil, nil
	house.Create(t, c, def)
	kubetest.Eventually(t, c, def, func(d *apiextensionsv1.CustomResourceDefinition) string {
		for _, cond := range d.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return ""
			}
		}
		return "it is not established"
	})
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("small.example.com/v1alpha1")
	list.SetKind("RolloutList")
	for c.Objects.List(t.Context(), list) != nil {
		if t.Context().Err() != nil {
			t.Fatal("the small form is not served")
		}
	}
	return "Rollout"
}

func TestDurationAndSelectorAreKeptAsTheyAreToBe(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	ns := c.Namespace(t)
	ro := sharded(t, ns, "nobody", one)
	house.Create(t, c, ro)
	patchStatus(t, c, ro, `{"status":{"duration":{"rolloutStartedAt":"2026-01-02T03:04:05Z","completionStatus":"Promoted","totalManualPauseDurationSeconds":7}}}`)
	got := &rollouts.Rollout{}
	if err := c.Objects.Get(t.Context(), client.ObjectKeyFromObject(ro), got); err != nil {
		t.Fatal(err)
	}
	if d := got.Status.Duration; d == nil || d.CompletionStatus != rollouts.Promoted || d.TotalManualPauseDurationSeconds != 7 || d.RolloutStartedAt == nil {
		t.Errorf("the duration is %+v", got.Status.Duration)
	}
	got.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	got.Spec.Template.Labels = map[string]string{"app": "other"}
	if err := c.Objects.Update(t.Context(), got); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("another selector gives %v", err)
	}
	if reflect.DeepEqual(got.Spec.Selector, ro.Spec.Selector) {
		t.Error("the test has not changed the selector")
	}
}
