package traffic

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var ingressKind = kind("networking.k8s.io", "v1", "Ingress")

func ingressRef(namespace, name string) Ref {
	return Ref{GroupVersionKind: ingressKind, Namespace: namespace, Name: name}
}

// CanaryIngress is the name of the Ingress that the nginx router makes for a stable one.
func CanaryIngress(rollout, stableIngress string) string {
	const suffix = "-canary"
	name := rollout + "-" + stableIngress
	return name[:min(len(name), nameMax-len(suffix))] + suffix
}

// ingressPaths calls f with the paths of each rule of an Ingress, and sets what it returns.
func ingressPaths(ingress *unstructured.Unstructured, f func(paths []map[string]any) []map[string]any) error {
	rules, err := items(ingress.Object, "spec", "rules")
	if err != nil || rules == nil {
		return err
	}
	for _, rule := range rules {
		http, ok := rule["http"].(map[string]any)
		if !ok {
			continue
		}
		paths, err := items(http, "paths")
		if err != nil {
			return err
		}
		http["paths"] = list(f(paths))
	}
	return set(ingress.Object, list(rules), "spec", "rules")
}

// backendService is the Service of a path of an Ingress.
func backendService(path map[string]any) string { return text(path, "backend", "service", "name") }

// ingressServes tells whether a path of an Ingress goes to the Service.
func ingressServes(ingress *unstructured.Unstructured, service string) bool {
	serves := false
	err := ingressPaths(editable(ingress), func(paths []map[string]any) []map[string]any {
		for _, p := range paths {
			serves = serves || backendService(p) == service
		}
		return paths
	})
	return err == nil && serves
}
