package model

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Edge is a call found in the configuration of a workload: one call a request is assumed.
type Edge struct {
	From string // Kind/namespace/name of the workload
	To   string // namespace/name of the Service
	// Because says where the address was found.
	Because string
}

// Edges finds who calls whom: values of environment variables, arguments and ConfigMaps that resolve to a Service of the
// cluster (host, host.namespace[.svc…], with or without scheme and port). Load generators are left out: they are sources,
// see Generators. Sorted by caller, then in the order of the text.
func Edges(objects []runtime.Object) []Edge { return newIndex(objects).edges() }

func (x *index) edges() []Edge {
	var out []Edge
	for _, w := range x.workloads {
		if w.batch || x.generator(w) != "" {
			continue
		}
		out = append(out, x.calls(w)...)
	}
	return out
}

// calls lists the Services a workload's configuration names, each once, without its own.
func (x *index) calls(w *workload) []Edge {
	own := map[string]bool{}
	for _, s := range x.services {
		if slices.Contains(x.behind(s), w) {
			own[namespaceOf(s.ObjectMeta)+"/"+s.Name] = true
		}
	}
	var out []Edge
	seen := map[string]bool{}
	for _, v := range x.values(w) {
		for _, to := range x.hosts(w.namespace, v.text) {
			if !own[to] && !seen[to] {
				seen[to] = true
				out = append(out, Edge{From: w.key(), To: to, Because: v.where})
			}
		}
	}
	return out
}

type value struct{ where, text string }

// values collects what configures the containers of a workload, init containers left out: they ran before the first request.
func (x *index) values(w *workload) []value {
	var out []value
	for i := range w.template.Spec.Containers {
		c := &w.template.Spec.Containers[i]
		for _, e := range c.Env {
			out = append(out, x.envValue(w.namespace, e)...)
		}
		for _, f := range c.EnvFrom {
			if f.ConfigMapRef != nil {
				out = append(out, x.configValues(w.namespace, f.ConfigMapRef.Name)...)
			}
		}
		for _, a := range append(slices.Clone(c.Command), c.Args...) {
			out = append(out, value{"argument " + a, a})
		}
	}
	for i := range w.template.Spec.Volumes {
		if m := w.template.Spec.Volumes[i].ConfigMap; m != nil {
			out = append(out, x.configValues(w.namespace, m.Name)...)
		}
	}
	return out
}

func (x *index) envValue(namespace string, e corev1.EnvVar) []value {
	if e.ValueFrom == nil {
		return []value{{"environment variable " + e.Name, e.Value}}
	}
	if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
		if m := x.configMaps[namespace+"/"+r.Name]; m != nil {
			return []value{{"environment variable " + e.Name + " from ConfigMap " + r.Name, m.Data[r.Key]}}
		}
	}
	return nil
}

func (x *index) configValues(namespace, name string) []value {
	m := x.configMaps[namespace+"/"+name]
	if m == nil {
		return nil
	}
	keys := make([]string, 0, len(m.Data))
	for k := range m.Data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []value
	for _, k := range keys {
		out = append(out, value{"ConfigMap " + name + " key " + k, m.Data[k]})
	}
	return out
}

// address finds [scheme://][user@]host[:port] in a text.
var address = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^\s/@,;"'=]*@)?([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)(:[0-9]{1,5})?`)

// hosts lists the Services named in a text. A bare name counts only when it is a whole value or a whole item of a list:
// in running text it could be any word.
func (x *index) hosts(namespace, text string) []string {
	var out []string
	lines := strings.Count(text, "\n")
	for _, m := range address.FindAllStringSubmatchIndex(text, -1) {
		host := text[m[4]:m[5]]
		scheme, port := m[2] >= 0, m[6] >= 0
		bare := !scheme && !port && !strings.Contains(host, ".")
		if bare && (lines > 0 || !delimited(text, m[4], m[5])) {
			continue
		}
		if m[4] > 0 && !scheme && strings.ContainsRune("/.-_", rune(text[m[4]-1])) {
			continue // part of a path or a longer word
		}
		if !port && m[5] < len(text) && strings.ContainsRune("_-", rune(text[m[5]])) {
			continue
		}
		if s := x.resolve(namespace, host); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// delimited says whether text[from:to] is a whole item.
func delimited(text string, from, to int) bool {
	const borders = " ,;=|\"'"
	return (from == 0 || strings.IndexByte(borders, text[from-1]) >= 0) && (to == len(text) || strings.IndexByte(borders, text[to]) >= 0)
}

// resolve is what the cluster's DNS would answer a pod of the namespace: namespace/name of a Service, or "".
func (x *index) resolve(namespace, host string) string {
	parts := strings.Split(host, ".")
	name, ns := parts[0], namespace
	if len(parts) >= 2 {
		if parts[1] == "svc" {
			return ""
		}
		ns = parts[1]
		if len(parts) > 2 && parts[2] != "svc" {
			// A pod of a StatefulSet by name: pod.service.namespace[.svc].
			if len(parts) > 3 && parts[3] != "svc" {
				return ""
			}
			name, ns = parts[1], parts[2]
		}
	}
	for _, s := range x.services {
		if s.Name == name && namespaceOf(s.ObjectMeta) == ns {
			return ns + "/" + name
		}
	}
	return ""
}
