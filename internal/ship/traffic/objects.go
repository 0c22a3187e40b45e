package traffic

import (
	"fmt"
	"maps"
	"math"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxDefault is the sum of all weights when a Rollout sets no maxTrafficWeight.
const maxDefault = 100

// Names that the peer puts on objects.
const (
	managedByAnnotation = "argo-rollouts.argoproj.io/managed-by-rollouts"
	hashLabel           = "rollouts-pod-template-hash"
	nameMax             = 253 // characters of an object's name (RFC 1123 subdomain)
)

// max is the sum of all weights.
func (in Intent) max() int32 {
	if in.Max == 0 {
		return maxDefault
	}
	return in.Max
}

// stableWeight is what canary and experiments leave to the stable.
func (in Intent) stableWeight() (int32, error) {
	left := in.max() - in.Weight
	for _, d := range in.Additional {
		if d.Weight < 0 {
			return 0, fmt.Errorf("weight %d of experiment service %q is negative; set it to 0 or more", d.Weight, d.ServiceName)
		}
		left -= d.Weight
	}
	if in.Weight < 0 || left < 0 {
		return 0, fmt.Errorf("weight %d of the canary and the weights of experiments must be between 0 and %d together; lower one of them",
			in.Weight, in.max())
	}
	return left, nil
}

// withoutExperiments is the intent for a router that cannot send traffic to experiments: the stable has their share there. It
// is an error when no other router of the Rollout can either.
func (in Intent) withoutExperiments(kind string) (Intent, error) {
	if r := in.Routing; len(in.Additional) > 0 && (r == nil || r.Istio == nil && r.ALB == nil && r.SMI == nil && len(r.Plugins) == 0) {
		return in, fmt.Errorf("%s cannot send traffic to the experiment service %q; "+
			"remove the weight of the experiment's template, or use istio, alb, smi or the Gateway API", kind, in.Additional[0].ServiceName)
	}
	in.Additional = nil
	return in, nil
}

// managed tells whether a route of that name is one that the Rollout adds and removes by itself.
func (in Intent) managed(name string) bool {
	if in.Routing == nil || name == "" {
		return false
	}
	for _, m := range in.Routing.ManagedRoutes {
		if m.Name == name {
			return true
		}
	}
	return false
}

// owner is the controller reference to the Rollout on objects that a router makes.
func (in Intent) owner() map[string]any {
	return map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": in.Name, "uid": in.UID,
		"controller": true, "blockOwnerDeletion": true}
}

// controls tells whether the Rollout is the controller of obj.
func (in Intent) controls(obj *unstructured.Unstructured) bool {
	c := metav1.GetControllerOfNoCopy(obj)
	return c != nil && string(c.UID) == in.UID
}

// String is how people and kubectl name the object.
func (r Ref) String() string {
	if r.Selector != "" {
		return fmt.Sprintf("%s %s -l %s", r.Kind, r.Namespace, r.Selector)
	}
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

// copyOf returns a copy of the object that may be changed, or an error that wraps ErrMissing.
func (o Objects) copyOf(ref Ref, field string) (*unstructured.Unstructured, error) {
	obj := o[ref]
	if obj == nil {
		return nil, fmt.Errorf("%s: %w; create it, or correct %s", ref, ErrMissing, field)
	}
	return editable(obj), nil
}

// editable is a copy of an object whose labels, annotations and spec may be changed, and nothing else: it shares the rest.
func editable(obj *unstructured.Unstructured) *unstructured.Unstructured {
	object := maps.Clone(obj.Object)
	if metadata, ok := object["metadata"].(map[string]any); ok {
		object["metadata"] = maps.Clone(metadata)
	}
	if spec, ok := object["spec"]; ok {
		object["spec"] = runtime.DeepCopyJSONValue(spec)
	}
	return &unstructured.Unstructured{Object: object}
}

// set sets a field of an object that may be changed. The objects on the way must be there.
func set(object map[string]any, value any, path ...string) error {
	for _, name := range path[:len(path)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not an object", name)
		}
		object = inner
	}
	object[path[len(path)-1]] = value
	return nil
}

// changed appends a change unless before and after have the same labels, annotations and spec.
func changed(changes []Change, before, after *unstructured.Unstructured, reason, message string) []Change {
	if before != nil && equal(before.Object["spec"], after.Object["spec"]) && equal(metadata(before, "labels"), metadata(after, "labels")) &&
		equal(metadata(before, "annotations"), metadata(after, "annotations")) {
		return changes
	}
	return append(changes, Change{Before: before, After: after, Reason: reason, Message: message})
}

// metadata is a field of an object's metadata; an empty map is as good as none.
func metadata(obj *unstructured.Unstructured, name string) any {
	all, _ := obj.Object["metadata"].(map[string]any)
	if m, ok := all[name].(map[string]any); ok && len(m) > 0 {
		return m
	}
	return nil
}

// items returns the objects of a list field, nil when there is none.
func items(obj map[string]any, path ...string) ([]map[string]any, error) {
	value, found, err := unstructured.NestedFieldNoCopy(obj, path...)
	if err != nil || !found || value == nil {
		return nil, err
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", path[len(path)-1])
	}
	out := make([]map[string]any, len(list))
	for i, item := range list {
		if out[i], ok = item.(map[string]any); !ok {
			return nil, fmt.Errorf("%s[%d] is not an object", path[len(path)-1], i)
		}
	}
	return out, nil
}

// list is the reverse of items.
func list(objects []map[string]any) []any {
	out := make([]any, len(objects))
	for i, o := range objects {
		out[i] = o
	}
	return out
}

// text returns a string field, "" when there is none.
func text(obj map[string]any, path ...string) string {
	s, _, _ := unstructured.NestedString(obj, path...)
	return s
}

// number returns a number field as it may come from JSON or YAML.
func number(value any) (float64, bool) {
	switch n := value.(type) {
	case int64:
		return float64(n), true
	case int32:
		return float64(n), true
	case int:
		return float64(n), true
	case float64:
		return n, !math.IsNaN(n)
	}
	return 0, false
}

// weightOf returns the weight of a destination; absent is 0.
func weightOf(dest map[string]any) int32 {
	n, _ := number(dest["weight"])
	return int32(n)
}

// setWeight leaves a weight that says the same as it is, so that nothing is written for the form of a number.
func setWeight(dest map[string]any, weight int32) {
	if n, ok := number(dest["weight"]); !ok || n != float64(weight) {
		dest["weight"] = int64(weight)
	}
}

// equal compares JSON values; numbers by value.
func equal(a, b any) bool {
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	return a == b
}

// covers tells whether have says everything that want says. What it says beyond are defaults that the API server filled in.
func covers(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range want {
			if h, ok := have[k]; !ok || !covers(h, v) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok || len(have) != len(want) {
			return false
		}
		for i := range want {
			if !covers(have[i], want[i]) {
				return false
			}
		}
		return true
	}
	return equal(have, want)
}

// setAnnotation sets one annotation, or takes it away when value is "".
func setAnnotation(obj *unstructured.Unstructured, key, value string) {
	annotations := obj.GetAnnotations()
	if annotations[key] == value {
		if _, there := annotations[key]; there == (value != "") {
			return
		}
	}
	if value == "" {
		delete(annotations, key)
	} else {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = value
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	obj.SetAnnotations(annotations)
}

// kind is short for a GroupVersionKind.
func kind(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}

// or returns value, or fallback when value is "".
func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
