package house

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
)

// Define installs the definition of a namespaced kind of somebody else's, with a status subresource, and waits until it is
// served. spec is the YAML of the schema of its spec, for defaults and rules that matter; what it does not name is kept.
func Define(t testing.TB, c *kubetest.Cluster, kind schema.GroupVersionKind, spec string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kubetest.Patience)
	defer cancel()
	schema := apiextensionsv1.JSONSchemaProps{Type: "object"}
	if spec != "" {
		b, err := yaml.YAMLToJSON([]byte(spec))
		if err == nil {
			err = json.Unmarshal(b, &schema)
		}
		if err != nil {
			t.Fatalf("the schema of %s: %v", kind.Kind, err)
		}
	}
	schema.XPreserveUnknownFields = ptr.To(true)
	keep := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	singular := strings.ToLower(kind.Kind)
	def := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: singular + "s." + kind.Group,
		Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, for a test"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: kind.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind.Kind, ListKind: kind.Kind + "List", Singular: singular, Plural: singular + "s"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: kind.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": schema, "status": keep}}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}}}}}
	if err := c.Objects.Create(ctx, def); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("the definition of %s: %v", kind.Kind, err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := served(ctx, c, list); err != nil {
		t.Fatalf("%s is not served: %v", kind.Kind, err)
	}
}
