package rollout

import (
	"encoding/json"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// asJSON is an object as the API has it.
func asJSON(o any) map[string]any {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	return m
}

// diff is the JSON merge patch (RFC 7386) from a to b.
func diff(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range b {
		x, aMap := a[k].(map[string]any)
		y, bMap := v.(map[string]any)
		switch {
		case aMap && bMap:
			if d := diff(x, y); len(d) > 0 {
				out[k] = d
			}
		case !reflect.DeepEqual(a[k], v):
			out[k] = v
		}
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			out[k] = nil
		}
	}
	return out
}

func merge(o, patch map[string]any) map[string]any {
	if o == nil {
		o = map[string]any{}
	}
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(o, k)
		case isMap:
			old, _ := o[k].(map[string]any)
			o[k] = merge(old, sub)
		default:
			o[k] = v
		}
	}
	return o
}

// fakeRouter keeps the weight and the hashes in an object of its own.
type fakeRouter struct{}

var routeRef = traffic.Ref{GroupVersionKind: schema.GroupVersionKind{Group: "fake", Version: "v1", Kind: "Route"}, Namespace: "shop", Name: "route"}

func (fakeRouter) Kind() string                      { return "Fake" }
func (fakeRouter) Refs(traffic.Intent) []traffic.Ref { return []traffic.Ref{routeRef} }

func (fakeRouter) Translate(in traffic.Intent, o traffic.Objects) (traffic.Result, error) {
	before := o[routeRef]
	if before == nil {
		return traffic.Result{}, fmt.Errorf("route shop/route: %w", traffic.ErrMissing)
	}
	after := before.DeepCopy()
	spec := map[string]any{"weight": int64(in.Weight), "canary": in.CanaryService, "stable": in.StableService, "headers": int64(len(in.Headers)),
		"canaryHash": in.CanaryHash, "stableHash": in.StableHash, "additional": int64(len(in.Additional))}
	_ = unstructured.SetNestedMap(after.Object, spec, "spec")
	if reflect.DeepEqual(before.Object, after.Object) {
		return traffic.Result{}, nil
	}
	return traffic.Result{Changes: []traffic.Change{{Before: before, After: after}}}, nil
}

// weight that the router has.
func (w *world) weight() int64 {
	if w.objects[routeRef] == nil {
		return 0
	}
	n, _, _ := unstructured.NestedInt64(w.objects[routeRef].Object, "spec", "weight")
	return n
}
