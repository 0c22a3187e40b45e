package manifest

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Unserved says why an object is left out of a rehearsal: the API server would ask a program, and no program runs there.
// Left in, a webhook that must answer would refuse everything it is asked about. "" = the object is played.
func Unserved(o *unstructured.Unstructured) string {
	gvk := o.GroupVersionKind()
	switch {
	case gvk.Group == "admissionregistration.k8s.io" && (gvk.Kind == "ValidatingWebhookConfiguration" || gvk.Kind == "MutatingWebhookConfiguration"):
		return "no program answers admission webhooks in a rehearsal: what they would refuse or change is not seen"
	case gvk.Group == "apiregistration.k8s.io" && gvk.Kind == "APIService":
		if service, ok, _ := unstructured.NestedMap(o.Object, "spec", "service"); ok && len(service) > 0 {
			return "no program serves aggregated APIs in a rehearsal"
		}
	}
	return ""
}

// WithoutConversion drops the conversion webhook of a CustomResourceDefinition, and says so; "" = it has none.
func WithoutConversion(o *unstructured.Unstructured) string {
	if o.GetKind() != "CustomResourceDefinition" {
		return ""
	}
	if strategy, _, _ := unstructured.NestedString(o.Object, "spec", "conversion", "strategy"); strategy != "Webhook" {
		return ""
	}
	unstructured.RemoveNestedField(o.Object, "spec", "conversion")
	return fmt.Sprintf("no program converts %s in a rehearsal: its versions are taken to differ in apiVersion alone", o.GetName())
}
