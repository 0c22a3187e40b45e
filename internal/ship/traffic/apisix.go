package traffic

import (
	"fmt"
	"regexp"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const apisixField = "spec.strategy.canary.trafficRouting.apisix.route"

// apisix drives Apache APISIX by the weights of the backends of an ApisixRoute, and by a route of its own for each header route.
// https://apisix.apache.org/docs/ingress-controller/concepts/apisix_route/
type apisix struct {
	namespace string
	config    *argo.ApisixTrafficRouting
	kind      schema.GroupVersionKind
}

func newApisix(v Versions, namespace string, routing *argo.RolloutTrafficRouting) apisix {
	return apisix{namespace, routing.Apisix, kind("apisix.apache.org", or(v.Apisix, "v2"), "ApisixRoute")}
}

func (apisix) Kind() string { return "Apisix" }

func (r apisix) ref(name string) Ref {
	return Ref{GroupVersionKind: r.kind, Namespace: r.namespace, Name: name}
}

func (r apisix) Refs(in Intent) []Ref {
	if r.config.Route == nil {
		return nil
	}
	refs := []Ref{r.ref(r.config.Route.Name)}
	if in.Routing != nil {
		for _, m := range in.Routing.ManagedRoutes {
			if m.Name != r.config.Route.Name {
				refs = append(refs, r.ref(m.Name))
			}
		}
	}
	return refs
}

func (r apisix) Translate(in Intent, objects Objects) (Result, error) {
	in, err := in.withoutExperiments("apisix")
	if err != nil {
		return Result{}, err
	}
	stable, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	if r.config.Route == nil || r.config.Route.Name == "" {
		return Result{}, fmt.Errorf("%s.name is empty; name an ApisixRoute", apisixField)
	}
	ref := r.ref(r.config.Route.Name)
	route, err := objects.copyOf(ref, apisixField+".name")
	if err != nil {
		return Result{}, err
	}
	rules, err := items(route.Object, "spec", "http")
	if err != nil {
		return Result{}, fmt.Errorf("%s: spec.%w", ref, err)
	}
	selected, err := r.selected(rules)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", ref, err)
	}
	for _, rule := range selected {
		if err := weighBackends(rule, in, stable); err != nil {
			return Result{}, fmt.Errorf("%s: rule %q: %w", ref, text(rule, "name"), err)
		}
	}
	if err := set(route.Object, list(rules), "spec", "http"); err != nil {
		return Result{}, err
	}
	changes := changed(nil, objects[ref], route, "", "")
	headers, err := r.headers(in, objects, route, selected)
	if err != nil {
		return Result{}, err
	}
	return Result{Changes: append(changes, headers...)}, nil
}

// selected are the rules that carry the weights: those listed, else the one named like the route.
func (r apisix) selected(rules []map[string]any) ([]map[string]any, error) {
	names := r.config.Route.Rules
	if len(names) == 0 {
		names = []string{r.config.Route.Name}
	}
	var out []map[string]any
	for _, name := range names {
		i := slices.IndexFunc(rules, func(rule map[string]any) bool { return text(rule, "name") == name })
		if i < 0 {
			return nil, fmt.Errorf("the rule %s is not found in spec.http of the ApisixRoute; add it, or correct %s.rules", name, apisixField)
		}
		out = append(out, rules[i])
	}
	return out, nil
}

func weighBackends(rule map[string]any, in Intent, stable int32) error {
	backends, err := items(rule, "backends")
	if err != nil {
		return err
	}
	if err := setNamed(backends, "serviceName", in.CanaryService, in.Weight); err != nil {
		return fmt.Errorf("apisix route %s backend was not found: %w", in.CanaryService, err)
	}
	if err := setNamed(backends, "serviceName", in.StableService, stable); err != nil {
		return fmt.Errorf("apisix route %s backend was not found: %w", in.StableService, err)
	}
	return nil
}

// headers makes, changes and deletes the ApisixRoutes of managed routes.
func (r apisix) headers(in Intent, objects Objects, route *unstructured.Unstructured, selected []map[string]any) ([]Change, error) {
	if in.Routing == nil {
		return nil, nil
	}
	var changes []Change
	for _, m := range in.Routing.ManagedRoutes {
		if m.Name == r.config.Route.Name {
			continue
		}
		ref := r.ref(m.Name)
		before := objects[ref]
		i := slices.IndexFunc(in.Headers, func(h argo.SetHeaderRoute) bool { return h.Name == m.Name && h.Match != nil })
		if in.Remove || i < 0 {
			if before != nil && in.controls(before) {
				changes = append(changes, Change{Before: before})
			}
			continue
		}
		if before != nil && !in.controls(before) {
			return nil, fmt.Errorf("%s: duplicate ApisixRoute [%s] already exists; delete it, or give the managed route another name", ref, m.Name)
		}
		spec, err := r.headerSpec(in, in.Headers[i], route, selected)
		if err != nil {
			return nil, fmt.Errorf("setHeaderRoute %q: %w", m.Name, err)
		}
		after := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": ref.GroupVersion().String(),
			"kind":       ref.Kind,
			"metadata": map[string]any{
				"name": ref.Name, "namespace": ref.Namespace,
				"ownerReferences": []any{in.owner()},
			},
		}}
		if before != nil {
			after = editable(before)
		}
		if !covers(after.Object["spec"], any(spec)) {
			after.Object["spec"] = spec
		}
		changes = changed(changes, before, after, "", "")
	}
	return changes, nil
}

// headerSpec is the user's route with only the rules that carry weights, each leading to the canary when the headers match,
// and with one more of priority than the rule it comes from.
func (r apisix) headerSpec(in Intent, h argo.SetHeaderRoute, route *unstructured.Unstructured, selected []map[string]any) (map[string]any, error) {
	exprs, err := headerExpressions(h)
	if err != nil {
		return nil, err
	}
	spec, _ := runtime.DeepCopyJSON(route.Object)["spec"].(map[string]any)
	var rules []any
	for _, s := range selected {
		rule := runtime.DeepCopyJSON(s)
		backends, err := items(rule, "backends")
		if err != nil {
			return nil, err
		}
		backends = slices.DeleteFunc(backends, func(b map[string]any) bool { return text(b, "serviceName") != in.CanaryService })
		for _, b := range backends {
			setWeight(b, 100)
		}
		rule["backends"] = list(backends)
		priority, _ := number(rule["priority"])
		rule["priority"] = int64(priority) + 1
		match, _ := rule["match"].(map[string]any)
		if match == nil {
			match = map[string]any{}
			rule["match"] = match
		}
		own, _ := match["exprs"].([]any)
		match["exprs"] = append(own, runtime.DeepCopyJSONValue(exprs).([]any)...)
		rules = append(rules, rule)
	}
	spec["http"] = rules
	return spec, nil
}

// headerExpressions are APISIX's expressions for the headers of a route.
func headerExpressions(h argo.SetHeaderRoute) ([]any, error) {
	var out []any
	for i, m := range h.Match {
		var op, value string
		switch v := m.HeaderValue; {
		case v == nil:
		case v.Exact != "":
			op, value = "Equal", v.Exact
		case v.Regex != "":
			op, value = "RegexMatch", v.Regex
		case v.Prefix != "":
			op, value = "RegexMatch", "^"+regexp.QuoteMeta(v.Prefix)+".*"
		}
		if op == "" {
			return nil, fmt.Errorf("match[%d]: the value to match has none of exact, prefix and regex; set one", i)
		}
		out = append(out, map[string]any{
			"subject": map[string]any{"scope": "Header", "name": m.HeaderName},
			"op":      op, "value": value,
		})
	}
	return out, nil
}
