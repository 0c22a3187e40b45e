package stage

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// typed gives an object the type that the stages of its kind are compiled for.
func typed(gvk schema.GroupVersionKind, u *unstructured.Unstructured) (metav1.Object, error) {
	var into metav1.Object
	switch gvk {
	case Pod:
		into = &corev1.Pod{}
	case Node:
		into = &corev1.Node{}
	default:
		return u, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", gvk.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return into, nil
}

// guarded adds the object's UID to a patch, so that the API server refuses it for a successor of the same name. A
// server-side apply is told its object too, unless its template names it.
func guarded(p *Patch, gvk schema.GroupVersionKind, object metav1.Object) ([]byte, error) {
	if p.Type == types.JSONPatchType {
		var operations []any
		if err := json.Unmarshal(p.Data, &operations); err != nil {
			return nil, fmt.Errorf("a JSON patch must be a list: %w", err)
		}
		test := map[string]any{"op": "test", "path": "/metadata/uid", "value": string(object.GetUID())}
		return json.Marshal(append([]any{test}, operations...))
	}
	fields := map[string]any{}
	if err := json.Unmarshal(p.Data, &fields); err != nil {
		return nil, fmt.Errorf("a patch must be an object: %w", err)
	}
	if fields == nil { // an empty template
		fields = map[string]any{}
	}
	meta, _ := fields["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		fields["metadata"] = meta
	}
	meta["uid"] = string(object.GetUID())
	if p.Type == types.ApplyPatchType {
		meta["name"] = object.GetName()
		for key, value := range map[string]string{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind} {
			if fields[key] == nil {
				fields[key] = value
			}
		}
	}
	return json.Marshal(fields)
}
