package traffic

import (
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// smi drives a service mesh by a TrafficSplit that it makes and owns.
// https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-split/v1alpha1/traffic-split.md
type smi struct {
	namespace string
	config    *argo.SMITrafficRouting
	kind      schema.GroupVersionKind
}

func newSMI(v Versions, namespace string, config *argo.SMITrafficRouting) smi {
	return smi{namespace, config, kind("split.smi-spec.io", or(v.SMI, "v1alpha1"), "TrafficSplit")}
}

func (smi) Kind() string { return "SMI" }

func (r smi) ref(in Intent) Ref {
	return Ref{GroupVersionKind: r.kind, Namespace: r.namespace, Name: or(r.config.TrafficSplitName, in.Name)}
}

func (r smi) Refs(in Intent) []Ref { return []Ref{r.ref(in)} }

func (r smi) Translate(in Intent, objects Objects) (Result, error) {
	stable, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	backends := []any{r.backend(in.CanaryService, in.Weight)}
	for _, d := range in.Additional {
		backends = append(backends, r.backend(d.ServiceName, d.Weight))
	}
	spec := map[string]any{
		"service":  or(r.config.RootService, in.StableService),
		"backends": append(backends, r.backend(in.StableService, stable)),
	}
	ref := r.ref(in)
	before := objects[ref]
	if before == nil {
		after := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": ref.GroupVersion().String(),
			"kind":       ref.Kind,
			"metadata": map[string]any{
				"name": ref.Name, "namespace": ref.Namespace,
				"ownerReferences": []any{in.owner()},
			},
			"spec": spec,
		}}
		return Result{Changes: changed(nil, nil, after, "TrafficSplitCreated", fmt.Sprintf("TrafficSplit `%s` created", ref.Name))}, nil
	}
	if !in.controls(before) {
		return Result{}, fmt.Errorf("%s: Rollout does not own TrafficSplit `%s`; delete it, or set spec.strategy.canary.trafficRouting.smi.trafficSplitName",
			ref, ref.Name)
	}
	after := editable(before)
	have, _ := after.Object["spec"].(map[string]any)
	if have == nil {
		have = map[string]any{}
		after.Object["spec"] = have
	}
	for field, want := range spec {
		if !sameQuantities(have[field], want) {
			have[field] = want
		}
	}
	result := Result{Changes: changed(nil, before, after, "", "")}
	v := followed(in, ref, nil, stable, len(result.Changes) == 0)
	result.Verified, result.Message = v.verified, v.why
	return result, nil
}

func (r smi) backend(service string, weight int32) map[string]any {
	return map[string]any{"service": service, "weight": int64(weight)}
}

// sameQuantities compares with weights as v1alpha1 may hold them: quantities, which are strings.
func sameQuantities(have, want any) bool {
	backends, ok := have.([]any)
	if !ok {
		return equal(have, want)
	}
	wanted, ok := want.([]any)
	if !ok || len(wanted) != len(backends) {
		return false
	}
	for i := range wanted {
		w, _ := wanted[i].(map[string]any)
		h, _ := backends[i].(map[string]any)
		if len(h) != len(w) || !equal(h["service"], w["service"]) {
			return false
		}
		if !equal(h["weight"], w["weight"]) && h["weight"] != fmt.Sprint(w["weight"]) {
			return false
		}
	}
	return true
}
