package scenario

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

const (
	gatewayGroup = "gateway.networking.k8s.io/"
	routeKind    = "HTTPRoute"
	// gatewayClass is there without a manifest, and gatewayController makes others of the same kind.
	gatewayClass      = "fairway"
	gatewayController = "fairway.dev/gateway"
)

// hostTarget reads a load's target that is a host name, with or without a port.
func hostTarget(to string) (host string, ok bool) {
	if to == "" || strings.Contains(to, "/") {
		return "", false
	}
	host = to
	if h, port, err := net.SplitHostPort(to); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", false
		}
		host = h
	}
	host = strings.ToLower(host)
	if !strings.Contains(host, ".") {
		return "", false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", false
		}
	}
	return host, true
}

// routedLoad checks a load that comes through a gateway. It reports false when the load goes to a Service or workload itself.
func (c *checker) routedLoad(l *v1alpha1.Load) bool {
	if strings.HasPrefix(l.To, routeKind+"/") {
		if o := c.target(l.Source, "to", "route", v1alpha1.Workload(l.To), func(kind string) bool { return kind == routeKind }); o != nil {
			c.attached(l, o)
		}
		return true
	}
	host, ok := hostTarget(l.To)
	if !ok {
		return false
	}
	var known []string
	anything := false
	for _, key := range c.names.ordered {
		hosts, all := hostsOf(c.names.objects[key])
		known, anything = append(known, hosts...), anything || all
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if !anything && !slices.ContainsFunc(known, func(pattern string) bool { return hostMatches(pattern, host) }) {
		c.fail(l.Source, "to", cmp.Or(spelling.Suggest(host, known), "give a route, an Ingress or a VirtualService this host name"), "to: no route serves the host name %s", host)
	}
	return true
}

// attached checks that a route has a Gateway that is served.
func (c *checker) attached(l *v1alpha1.Load, r *unstructured.Unstructured) {
	parents, _, _ := unstructured.NestedSlice(r.Object, "spec", "parentRefs")
	namespace := cmp.Or(r.GetNamespace(), "default")
	var gateways []string
	for _, p := range parents {
		m, ok := p.(map[string]any)
		if !ok {
			continue
		}
		kind, _, _ := unstructured.NestedString(m, "kind")
		name, _, _ := unstructured.NestedString(m, "name")
		ns, _, _ := unstructured.NestedString(m, "namespace")
		if kind != "" && kind != "Gateway" {
			return // of a ListenerSet, or a Service of a mesh: the run tells
		}
		gateways = append(gateways, cmp.Or(ns, namespace)+"/"+name)
	}
	if len(gateways) == 0 {
		c.fail(l.Source, "to", "give it spec.parentRefs: [{name: a Gateway}]", "to: %s has no parent, so no Gateway serves it", l.To)
		return
	}
	class := ""
	for _, name := range gateways {
		o := c.names.objects["Gateway/"+name]
		if o == nil {
			continue
		}
		if class, _, _ = unstructured.NestedString(o.Object, "spec", "gatewayClassName"); c.names.servedClass(class) {
			return
		}
	}
	if class == "" {
		c.fail(l.Source, "to", suggestObject("", gateways[0], c.names.short(func(kind string) bool { return kind == "Gateway" })), "to: there is no Gateway %s, which %s is attached to", strings.Join(gateways, " and no "), l.To)
		return
	}
	c.fail(l.Source, "to", "write gatewayClassName: fairway in the rehearsal's manifests, or aim the load at the Service", "to: the Gateway of %s is of the class %s, which another controller serves that does not run here", l.To, class)
}

// servedClass tells whether a GatewayClass is Fairway's.
func (n *names) servedClass(name string) bool {
	if name == gatewayClass {
		return true
	}
	for _, key := range n.ordered {
		if o := n.objects[key]; o.GetKind() == "GatewayClass" && o.GetName() == name {
			by, _, _ := unstructured.NestedString(o.Object, "spec", "controllerName")
			return by == gatewayController
		}
	}
	return false
}

// hostsOf are the host names that an object routes; all says that it routes any.
func hostsOf(o *unstructured.Unstructured) (hosts []string, all bool) {
	version := o.GetAPIVersion()
	switch kind := o.GetKind(); {
	case strings.HasPrefix(version, gatewayGroup) && strings.HasSuffix(kind, "Route"):
		hosts, _, _ = unstructured.NestedStringSlice(o.Object, "spec", "hostnames")
		return hosts, len(hosts) == 0
	case strings.HasPrefix(version, "networking.istio.io/") && kind == "VirtualService":
		given, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "hosts")
		for _, host := range given {
			hosts = append(hosts, meshNames(host, o.GetNamespace())...)
		}
		return hosts, slices.Contains(hosts, "*")
	case kind == "TrafficSplit":
		service, _, _ := unstructured.NestedString(o.Object, "spec", "service")
		return meshNames(cutHost(service), o.GetNamespace()), false
	case kind == "Rollout": // makes a TrafficSplit of its own
		smi, found, _ := unstructured.NestedMap(o.Object, "spec", "strategy", "canary", "trafficRouting", "smi")
		if found {
			stable, _, _ := unstructured.NestedString(o.Object, "spec", "strategy", "canary", "stableService")
			root, _, _ := unstructured.NestedString(smi, "rootService")
			return meshNames(cutHost(cmp.Or(root, stable)), o.GetNamespace()), false
		}
	case kind == "Ingress":
		if _, def, _ := unstructured.NestedMap(o.Object, "spec", "defaultBackend"); def {
			all = true
		}
		rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "rules")
		for _, r := range rules {
			if m, ok := r.(map[string]any); ok {
				if host, _, _ := unstructured.NestedString(m, "host"); host != "" {
					hosts = append(hosts, host)
				} else {
					all = true
				}
			}
		}
	}
	return hosts, all
}

// cutHost is the Service of a host name that begins with it.
func cutHost(host string) string {
	service, _, _ := strings.Cut(host, ".")
	return service
}

// meshNames are those that clients in a mesh may use for a host name: a short one is a Service's.
func meshNames(host, namespace string) []string {
	if host == "" || strings.ContainsAny(host, ".*") {
		return []string{host}
	}
	in := host + "." + cmp.Or(namespace, "default")
	return []string{host, in, in + ".svc", in + ".svc.cluster.local"}
}

// hostMatches compares a host name with a route's, which may begin with a wildcard for one or more labels.
func hostMatches(pattern, host string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(pattern), "*."); ok {
		return strings.HasSuffix(host, "."+rest)
	}
	return strings.EqualFold(pattern, host)
}
