package platform

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// kindsHaveDocuments looks for the OpenAPI documents of kinds that the store began with, and of one that comes and goes.
func kindsHaveDocuments(t *testing.T, c *Cluster) {
	rest := apiextensions.NewForConfigOrDie(jsonConfig(c))
	document := func(groupVersion, kind string, there bool) {
		t.Helper()
		eventually(t, func() string {
			b, err := rest.RESTClient().Get().AbsPath("/openapi/v3/apis/" + groupVersion).DoRaw(t.Context())
			if err != nil && !apierrors.IsNotFound(err) {
				return err.Error()
			}
			if has := strings.Contains(string(b), `"kind":"`+kind+`"`); has != there {
				return fmt.Sprintf("%s %s is described: %v, want %v", groupVersion, kind, has, there)
			}
			return ""
		})
	}
	document("argoproj.io/v1alpha1", "Rollout", true)
	document("gateway.networking.k8s.io/v1beta1", "HTTPRoute", true)
	definitions := rest.CustomResourceDefinitions()
	_, err := definitions.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Widget", Plural: "widgets"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	document("example.com/v1", "Widget", true)
	// A definition that is deleted before its objects can be listed is looked at again only after minutes, by upstream.
	eventually(t, func() string {
		if err := rest.RESTClient().Get().AbsPath("/apis/example.com/v1/widgets").Do(t.Context()).Error(); err != nil {
			return err.Error()
		}
		return ""
	})
	if err := definitions.Delete(t.Context(), "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		switch def, err := definitions.Get(t.Context(), "widgets.example.com", metav1.GetOptions{}); {
		case apierrors.IsNotFound(err):
			return ""
		case err != nil:
			return err.Error()
		default:
			return fmt.Sprintf("the definition is still there: %+v", def.Status.Conditions)
		}
	})
	document("example.com/v1", "Widget", false)
}

var updateStored = flag.Bool("update-stored", false, "write config/crd/stored anew")

// storedAsApplied applies the definitions with which the store began. It changes nothing, and neither did the API server's own
// controllers. With -update-stored it writes down what came of applying them. Part of TestUpIsAWholeCluster, at its beginning.
func storedAsApplied(t *testing.T, c *Cluster) {
	rest := apiextensions.NewForConfigOrDie(jsonConfig(c))
	client := rest.CustomResourceDefinitions()
	for _, capability := range c.On {
		for _, name := range capability.CRDs {
			body, err := crd.Definition(name, true)
			if err != nil {
				t.Fatal(err)
			}
			def, err := client.Patch(t.Context(), name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager})
			if err != nil {
				t.Fatal(err)
			}
			if err := awaitEstablished(t.Context(), client, def); err != nil {
				t.Fatal(err)
			}
			raw, err := rest.RESTClient().Get().Resource("customresourcedefinitions").Name(name).DoRaw(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got crd.Kept
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			began, err := crd.Stored(name, got.UID, got.CreationTimestamp.Time)
			if err != nil {
				t.Fatal(err)
			}
			got.ResourceVersion = ""
			now, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if !*updateStored && !sameJSON(t, began, now) {
				t.Errorf("%s is not in config/crd/stored as the API server keeps it; write it anew with -update-stored", name)
			}
			if file, text, err := crd.KeepAs(got); err != nil {
				t.Error(err)
			} else if *updateStored {
				if err := os.WriteFile(filepath.Join("../../config/crd", file), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	for text, to := range map[*[]byte]*any{&a: &x, &b: &y} {
		if len(*text) > 0 {
			if err := json.Unmarshal(*text, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	return reflect.DeepEqual(x, y)
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
