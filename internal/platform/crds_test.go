package platform

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/config/crd"
)

func definition(t *testing.T, name string, small bool) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	b, err := crd.Definition(name, small)
	if err != nil {
		t.Fatal(err)
	}
	def := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(b, def); err != nil {
		t.Fatal(err)
	}
	return def
}

// statusOf are the fields of a Rollout's status in a definition.
func statusOf(def *apiextensionsv1.CustomResourceDefinition) map[string]apiextensionsv1.JSONSchemaProps {
	return def.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties
}

func TestDefinitionsOfOthersStayAndNoneLosesFields(t *testing.T) {
	t.Parallel()
	const name = "rollouts.argoproj.io"
	by := func(def *apiextensionsv1.CustomResourceDefinition, manager string, how metav1.ManagedFieldsOperationType) *apiextensionsv1.CustomResourceDefinition {
		def.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, Operation: how}, {Manager: "kube-apiserver", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status"}}
		return def
	}
	older := definition(t, name, false) // the peer's, which lacks a field
	delete(statusOf(older), "duration")
	newer := definition(t, name, false)
	statusOf(newer)["future"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	unserved := definition(t, name, false)
	unserved.Spec.Versions[0].Name = "v2"
	for what, c := range map[string]struct {
		have    *apiextensionsv1.CustomResourceDefinition
		small   bool
		replace bool
		stays   string // "" = ours takes its place
		fails   string
	}{
		"ours":                        {have: by(definition(t, name, false), FieldManager, metav1.ManagedFieldsOperationApply)},
		"ours, to be small":           {have: by(definition(t, name, false), FieldManager, metav1.ManagedFieldsOperationApply), small: true},
		"ours of a newer version":     {have: by(newer, FieldManager, metav1.ManagedFieldsOperationApply), stays: ".status.future"},
		"the peer's by helm":          {have: by(older.DeepCopy(), "helm", metav1.ManagedFieldsOperationUpdate), stays: "helm"},
		"the peer's, to be replaced":  {have: by(older.DeepCopy(), "helm", metav1.ManagedFieldsOperationUpdate), replace: true},
		"a newer one of the peer's":   {have: by(newer.DeepCopy(), "helm", metav1.ManagedFieldsOperationUpdate), replace: true, stays: ".status.future"},
		"one without our version":     {have: by(unserved, "kubectl", metav1.ManagedFieldsOperationUpdate), fails: "v1alpha1"},
		"small, and a full one comes": {have: by(definition(t, name, true), FieldManager, metav1.ManagedFieldsOperationApply), stays: ".*"},
	} {
		stays, err := judgeCRD(c.have, definition(t, name, c.small), c.replace)
		if (c.fails == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: error %v, want %q", what, err, c.fails)
		}
		if (stays == "") != (c.stays == "") || !strings.Contains(stays, c.stays) {
			t.Errorf("%s: stays because %q, want %q", what, stays, c.stays)
		}
	}
}

// definitionsOfOthers puts a definition of the peer's in the place of ours. Part of TestUpIsAWholeCluster, where nothing needs
// it any more.
func definitionsOfOthers(t *testing.T, c *Cluster) {
	const name = "experiments.argoproj.io"
	client := apiextensions.NewForConfigOrDie(jsonConfig(c)).CustomResourceDefinitions()
	if err := client.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	theirs := definition(t, name, true)
	theirs.Annotations = map[string]string{"from": "elsewhere"}
	delete(statusOf(theirs), "message")
	eventually(t, func() string {
		_, err := client.Create(t.Context(), theirs, metav1.CreateOptions{FieldManager: "helm"})
		if err != nil {
			return err.Error() // the one before is still going
		}
		return ""
	})
	kinds := installation{on: []Capability{{CRDs: []string{name}}}, small: true, log: slog.New(slog.DiscardHandler)}
	has := func() (bool, error) {
		got, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		_, there := statusOf(got)["message"]
		return there, nil
	}
	if err := installCRDs(t.Context(), c.Plane.Config(), kinds); err != nil {
		t.Fatal(err)
	}
	if there, err := has(); there || err != nil {
		t.Errorf("a definition of somebody else was changed (%v)", err)
	}
	kinds.replace = true
	if err := installCRDs(t.Context(), c.Plane.Config(), kinds); err != nil {
		t.Fatal(err)
	}
	if there, err := has(); !there || err != nil {
		t.Errorf("a definition of somebody else was to be replaced and was not (%v)", err)
	}
	body := []byte(`{"spec":{"names":{"shortNames":["ex"]}}}`)
	if _, err := client.Patch(t.Context(), name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	kinds.replace = false
	if err := installCRDs(t.Context(), c.Plane.Config(), kinds); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(t.Context(), name, metav1.GetOptions{}); err != nil || got.Spec.Names.ShortNames[0] != "ex" {
		t.Errorf("what somebody changed in our definition was taken back (%v)", err)
	}
}
