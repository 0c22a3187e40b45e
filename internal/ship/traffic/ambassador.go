package traffic

import (
	"fmt"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const ambassadorField = "spec.strategy.canary.trafficRouting.ambassador.mappings"

// ambassador drives Emissary-ingress by a copy of each Mapping that has a weight and leads to the canary. Without traffic for
// the canary there is no copy. https://emissary-ingress.dev/docs/3.9/topics/using/canary/
type ambassador struct {
	namespace string
	config    *argo.AmbassadorTrafficRouting
	kind      schema.GroupVersionKind
}

func newAmbassador(v Versions, namespace string, config *argo.AmbassadorTrafficRouting) ambassador {
	group, version, both := strings.Cut(or(v.Ambassador, "getambassador.io/v2"), "/")
	if !both {
		group, version = "getambassador.io", group
	}
	k := "Mapping"
	if group == "x.getambassador.io" {
		k = "AmbassadorMapping"
	}
	return ambassador{namespace, config, kind(group, version, k)}
}

func (ambassador) Kind() string { return "Ambassador" }

func (r ambassador) ref(name string) Ref {
	return Ref{GroupVersionKind: r.kind, Namespace: r.namespace, Name: name}
}

// canaryMapping is the name of the copy of a Mapping.
func canaryMapping(name string) string {
	const suffix = "-canary"
	return name[:min(len(name), nameMax-len(suffix))] + suffix
}

func (r ambassador) Refs(Intent) []Ref {
	var refs []Ref
	for _, name := range r.config.Mappings {
		refs = append(refs, r.ref(name), r.ref(canaryMapping(name)))
	}
	return refs
}

func (r ambassador) Translate(in Intent, objects Objects) (Result, error) {
	in, err := in.withoutExperiments("ambassador")
	if err != nil {
		return Result{}, err
	}
	if _, err := in.stableWeight(); err != nil {
		return Result{}, err
	}
	if len(r.config.Mappings) == 0 {
		return Result{}, fmt.Errorf("%s is empty; name a Mapping", ambassadorField)
	}
	var changes []Change
	for _, name := range r.config.Mappings {
		base, err := objects.copyOf(r.ref(name), ambassadorField)
		if err != nil {
			return Result{}, err
		}
		ref := r.ref(canaryMapping(name))
		before := objects[ref]
		message := fmt.Sprintf("Set canary mapping weight to %d", in.Weight)
		if in.Weight == 0 {
			if before != nil {
				changes = append(changes, Change{Before: before, Reason: "CanaryMappingWeightUpdate", Message: message})
			}
			continue
		}
		after, err := r.copy(in, base, before, ref)
		if err != nil {
			return Result{}, err
		}
		changes = changed(changes, before, after, "CanaryMappingWeightUpdate", message)
	}
	return Result{Changes: changes}, nil
}

// copy is the Mapping of the canary as it should be.
func (r ambassador) copy(in Intent, base, before *unstructured.Unstructured, ref Ref) (*unstructured.Unstructured, error) {
	spec, _ := base.Object["spec"].(map[string]any)
	if weightOf(spec) != 0 {
		return nil, fmt.Errorf("%s: Ambassador mapping %q can not define weight; remove spec.weight", r.ref(base.GetName()), base.GetName())
	}
	service := text(spec, "service")
	if in.StableService == "" || !strings.Contains(service, in.StableService) {
		return nil, fmt.Errorf("%s: spec.service %q does not lead to the stable service %q; correct it or spec.strategy.canary.stableService",
			r.ref(base.GetName()), service, in.StableService)
	}
	want := runtime.DeepCopyJSON(spec)
	want["service"] = strings.Replace(service, in.StableService, in.CanaryService, 1)
	want["weight"] = int64(in.Weight)
	if before == nil {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": ref.GroupVersion().String(),
			"kind":       ref.Kind,
			"metadata": map[string]any{
				"name": ref.Name, "namespace": ref.Namespace,
				"ownerReferences": []any{in.owner()},
			},
			"spec": want,
		}}, nil
	}
	after := editable(before)
	if !covers(after.Object["spec"], any(want)) {
		after.Object["spec"] = want
	}
	return after, nil
}
