package traffic

import (
	"fmt"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const istioField = "spec.strategy.canary.trafficRouting.istio"

// istio drives VirtualServices (networking.istio.io) by the weights of two destinations of the routes they name, and
// DestinationRules by the hashes in two subsets.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/
type istio struct {
	namespace string
	config    *argo.IstioTrafficRouting
	service   schema.GroupVersionKind
	rule      schema.GroupVersionKind
}

func newIstio(v Versions, namespace string, routing *argo.RolloutTrafficRouting) istio {
	version := or(v.Istio, "v1alpha3")
	return istio{namespace, routing.Istio, kind("networking.istio.io", version,
		"VirtualService"), kind("networking.istio.io", version, "DestinationRule")}
}

func (istio) Kind() string { return "Istio" }

func (r istio) Refs(Intent) []Ref {
	var refs []Ref
	services, _ := r.services()
	for _, s := range services {
		refs = append(refs, r.serviceRef(s))
	}
	if r.config.DestinationRule != nil && r.config.DestinationRule.Name != "" {
		refs = append(refs, r.ruleRef())
	}
	return refs
}

// services are the VirtualServices configured, one or several, and the field they come from.
func (r istio) services() ([]argo.IstioVirtualService, string) {
	if len(r.config.VirtualServices) > 0 {
		return r.config.VirtualServices, istioField + ".virtualServices"
	}
	if r.config.VirtualService != nil {
		return []argo.IstioVirtualService{*r.config.VirtualService}, istioField + ".virtualService"
	}
	return nil, ""
}

// VirtualServiceName takes apart the name of a VirtualService as a Rollout may write it: NAME, NAME.NAMESPACE, or that with
// the suffix .cluster.local. NAME may hold dots itself, a namespace cannot. The namespace is "" when it is not given.
func VirtualServiceName(name string) (namespace, short string) {
	name = strings.TrimSuffix(name, ".cluster.local")
	if dot := strings.LastIndex(name, "."); dot >= 0 {
		return name[dot+1:], name[:dot]
	}
	return "", name
}

func (r istio) serviceRef(s argo.IstioVirtualService) Ref {
	namespace, name := VirtualServiceName(s.Name)
	return Ref{GroupVersionKind: r.service, Namespace: or(namespace, r.namespace), Name: name}
}

func (r istio) ruleRef() Ref {
	return Ref{GroupVersionKind: r.rule, Namespace: r.namespace, Name: r.config.DestinationRule.Name}
}

func (r istio) Translate(in Intent, objects Objects) (Result, error) {
	services, field := r.services()
	if len(services) == 0 {
		return Result{}, fmt.Errorf("%s names no virtualService; name one", istioField)
	}
	stable, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	host := in.CanaryService
	var rules []Change
	if r.config.DestinationRule != nil {
		rule, err := objects.copyOf(r.ruleRef(), istioField+".destinationRule.name")
		if err != nil {
			return Result{}, err
		}
		host = or(text(rule.Object, "spec", "host"), host)
		if rules, err = r.hashes(in, objects[r.ruleRef()], rule); err != nil {
			return Result{}, err
		}
	}
	var routes []Change
	var loaded []verdict
	falling := false
	for _, s := range services {
		ref := r.serviceRef(s)
		object, err := objects.copyOf(ref, field+".name")
		if err != nil {
			return Result{}, err
		}
		e := virtualService{istio: r, in: in, config: s, stable: stable, host: host}
		if err := e.edit(object); err != nil {
			return Result{}, fmt.Errorf("%s: %w", ref, err)
		}
		falling = falling || e.falling
		had := len(routes)
		routes = changed(routes, objects[ref], object, "Updated VirtualService",
			fmt.Sprintf("VirtualService `%s` set to desiredWeight '%d'", ref.Name, in.Weight))
		loaded = append(loaded, followed(in, ref, s.Routes, stable, len(routes) == had && len(rules) == 0))
	}
	var result Result
	result.Verified, result.Message = combine(loaded)
	// A canary that loses traffic loses it before its subset moves to other pods; one that gains traffic has its pods first.
	result.Changes = append(rules, routes...)
	if falling {
		result.Changes = append(routes, rules...)
	}
	return result, nil
}

// hashes sets the hashes of the subsets of a DestinationRule, adds subsets for experiments and takes away those of former ones.
func (r istio) hashes(in Intent, before, rule *unstructured.Unstructured) ([]Change, error) {
	c := r.config.DestinationRule
	setAnnotation(rule, managedByAnnotation, in.Name)
	subsets, err := items(rule.Object, "spec", "subsets")
	if err != nil {
		return nil, fmt.Errorf("%s: spec.%w", r.ruleRef(), err)
	}
	want := map[string]string{}
	for _, d := range in.Additional {
		want[d.ServiceName] = d.PodTemplateHash
	}
	var kept []map[string]any
	seen := map[string]bool{}
	for _, subset := range subsets {
		name := text(subset, "name")
		hash, extra := want[name]
		switch {
		case name == c.CanarySubsetName && name != "":
			hash = in.CanaryHash
		case name == c.StableSubsetName && name != "":
			hash = in.StableHash
		case extra:
		case slices.Contains(c.AdditionalSubsetNames, name) || !onlyHash(subset):
			kept = append(kept, subset)
			continue
		default: // made for an experiment that is over
			continue
		}
		seen[name] = true
		if !in.HoldHash || extra {
			setHash(subset, hash)
		}
		kept = append(kept, subset)
	}
	for _, name := range []string{c.CanarySubsetName, c.StableSubsetName} {
		if !seen[name] {
			return nil, fmt.Errorf("%s: subset %q not found in spec.subsets; add it, or correct %s.destinationRule", r.ruleRef(), name, istioField)
		}
	}
	for _, d := range in.Additional {
		if !seen[d.ServiceName] {
			subset := map[string]any{"name": d.ServiceName}
			setHash(subset, d.PodTemplateHash)
			kept = append(kept, subset)
		}
	}
	if err := set(rule.Object, list(kept), "spec", "subsets"); err != nil {
		return nil, err
	}
	return changed(nil, before, rule, "UpdatedDestinationRule", fmt.Sprintf("DestinationRule %s subset updated (%s: %s, %s: %s)",
		c.Name, c.CanarySubsetName, in.CanaryHash, c.StableSubsetName, in.StableHash)), nil
}

// setHash makes a subset select the pods of one ReplicaSet, or with "" no longer one in particular.
func setHash(subset map[string]any, hash string) {
	labels, _ := subset["labels"].(map[string]any)
	if hash == "" {
		delete(labels, hashLabel)
		return
	}
	if labels == nil {
		labels = map[string]any{}
		subset["labels"] = labels
	}
	labels[hashLabel] = hash
}

// onlyHash tells a subset that was made for an experiment from a user's: it has a name and a hash, and nothing else.
func onlyHash(subset map[string]any) bool {
	labels, _ := subset["labels"].(map[string]any)
	_, hash := labels[hashLabel]
	return len(subset) == 2 && len(labels) == 1 && hash
}

// releaseRule takes from a DestinationRule what a Rollout put there.
func releaseRule(rule *unstructured.Unstructured) error {
	setAnnotation(rule, managedByAnnotation, "")
	subsets, err := items(rule.Object, "spec", "subsets")
	if err != nil || subsets == nil {
		return err
	}
	for _, subset := range subsets {
		setHash(subset, "")
	}
	return set(rule.Object, list(subsets), "spec", "subsets")
}
