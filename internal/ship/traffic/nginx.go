package traffic

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	nginxField        = "spec.strategy.canary.trafficRouting.nginx"
	nginxPrefix       = "nginx.ingress.kubernetes.io"
	ingressClassLabel = "kubernetes.io/ingress.class" // an annotation, older than spec.ingressClassName
)

// nginx drives ingress-nginx by a second Ingress beside the user's, with the annotations for canaries.
// https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary
type nginx struct {
	namespace string
	config    *argo.NginxTrafficRouting
}

func (nginx) Kind() string { return "Nginx" }

func (r nginx) Refs(in Intent) []Ref {
	var refs []Ref
	stables, _ := r.stables()
	for _, name := range stables {
		refs = append(refs, ingressRef(r.namespace, name), ingressRef(r.namespace, CanaryIngress(in.Name, name)))
	}
	return refs
}

// stables are the user's Ingresses, and the field they come from.
func (r nginx) stables() ([]string, string) {
	if len(r.config.StableIngresses) > 0 {
		return r.config.StableIngresses, nginxField + ".stableIngresses"
	}
	if r.config.StableIngress != "" {
		return []string{r.config.StableIngress}, nginxField + ".stableIngress"
	}
	return nil, ""
}

func (r nginx) Translate(in Intent, objects Objects) (Result, error) {
	in, err := in.withoutExperiments("nginx")
	if err != nil {
		return Result{}, err
	}
	stableWeight, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	stables, field := r.stables()
	if len(stables) == 0 {
		return Result{}, fmt.Errorf("%s names no stableIngress; name one", nginxField)
	}
	var changes []Change
	var loaded []verdict
	for _, name := range stables {
		stable, err := objects.copyOf(ingressRef(r.namespace, name), field)
		if err != nil {
			return Result{}, err
		}
		ref := ingressRef(r.namespace, CanaryIngress(in.Name, name))
		before := objects[ref]
		if before != nil && !in.controls(before) {
			return Result{}, fmt.Errorf("%s: canary ingress `%s` controlled by different object; delete or rename it", ref, ref.Name)
		}
		after, err := r.canary(in, stable, before, ref)
		if err != nil {
			return Result{}, err
		}
		reason, message := "PatchingCanaryIngress", fmt.Sprintf("Updating Ingress `%s` to desiredWeight '%d'", ref.Name, in.Weight)
		if before == nil {
			reason, message = "CreatingCanaryIngress", fmt.Sprintf("Creating canary ingress `%s` with weight `%d`", ref.Name, in.Weight)
		}
		had := len(changes)
		changes = changed(changes, before, after, reason, message)
		loaded = append(loaded, followed(in, ingressRef(r.namespace, name), nil, stableWeight, len(changes) == had))
	}
	result := Result{Changes: changes}
	result.Verified, result.Message = combine(loaded)
	return result, nil
}

// canary is the canary's Ingress as it should be. Annotations that others have put on it stay.
func (r nginx) canary(in Intent, stable, before *unstructured.Unstructured, ref Ref) (*unstructured.Unstructured, error) {
	rules, err := r.rules(in, stable)
	if err != nil {
		return nil, err
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
	spec := map[string]any{"rules": rules}
	for _, field := range []string{"ingressClassName", "tls"} {
		if value, ok, _ := unstructured.NestedFieldCopy(stable.Object, "spec", field); ok {
			spec[field] = value
		}
	}
	after.Object["spec"] = spec
	annotations := after.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	wanted := r.annotations(in, stable)
	if total := r.prefix() + "/canary-weight-total"; wanted[total] == "" {
		delete(annotations, total) // the maximum is 100 again
	}
	maps.Copy(annotations, wanted)
	after.SetAnnotations(annotations)
	return after, nil
}

func (r nginx) prefix() string { return or(r.config.AnnotationPrefix, nginxPrefix) }

// annotations that the canary's Ingress must have. The weight is written last: nothing in the configuration overrides it.
func (r nginx) annotations(in Intent, stable *unstructured.Unstructured) map[string]string {
	prefix := r.prefix()
	out := map[string]string{}
	if class, ok := stable.GetAnnotations()[ingressClassLabel]; ok {
		out[ingressClassLabel] = class
	}
	for _, k := range slices.Sorted(maps.Keys(r.config.AdditionalIngressAnnotations)) {
		name := k
		if !strings.HasPrefix(k, prefix) {
			name = prefix + "/" + k
		}
		out[name] = r.config.AdditionalIngressAnnotations[k]
	}
	maps.Copy(out, r.config.CanaryIngressAnnotations)
	out[prefix+"/canary"] = "true"
	out[prefix+"/canary-weight"] = strconv.Itoa(int(in.Weight))
	if in.Routing != nil && in.Routing.MaxTrafficWeight != nil {
		out[prefix+"/canary-weight-total"] = strconv.Itoa(int(in.max()))
	}
	return out
}

// rules are those of the user's Ingress that lead to the stable Service, leading to the canary's.
func (r nginx) rules(in Intent, stable *unstructured.Unstructured) ([]any, error) {
	rules, err := items(stable.Object, "spec", "rules")
	if err != nil {
		return nil, fmt.Errorf("ingress %s/%s: spec.%w", r.namespace, stable.GetName(), err)
	}
	var out []any
	for _, rule := range rules {
		http, _ := rule["http"].(map[string]any)
		paths, err := items(http, "paths")
		if err != nil {
			return nil, fmt.Errorf("ingress %s/%s: spec.rules.%w", r.namespace, stable.GetName(), err)
		}
		leads := false
		for _, p := range paths {
			if backendService(p) == in.StableService && in.StableService != "" {
				leads = true
				if err := set(p, in.CanaryService, "backend", "service", "name"); err != nil {
					return nil, err
				}
			}
		}
		if leads {
			out = append(out, rule)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("ingress `%s` has no rules using service %s backend; add a rule, or correct %s",
			stable.GetName(), in.StableService, nginxField)
	}
	return out, nil
}
