package model

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/route"
)

// Through is what a load asks a gateway for: false when it goes to a Service or a workload itself. A route is written
// HTTPRoute/namespace/name, anything else is a host name with or without a port.
func Through(to string) (route.Request, bool) {
	if strings.HasPrefix(to, "HTTPRoute/") {
		return route.Request{Route: to}, strings.Count(to, "/") == 2
	}
	if to == "" || strings.Contains(to, "/") {
		return route.Request{}, false
	}
	if host, port, err := net.SplitHostPort(to); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		return route.Request{Host: host, Port: uint16(n)}, err == nil && host != ""
	}
	return route.Request{Host: to}, true
}

// methods of HTTP that a route of a mix can begin with.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// headOf is a request of one route of a mix: its name is a path ("/cart") or a method and a path ("POST /cart"); any other name
// asks for "/".
func headOf(q route.Request, name string) route.Request {
	method, path, two := strings.Cut(name, " ")
	switch {
	case strings.HasPrefix(name, "/"):
		q.Path = name
	case two && slices.Contains(methods, method) && strings.HasPrefix(path, "/"):
		q.Method, q.Path = method, path
	}
	return q
}

// behindGateway are the components that requests through a gateway may reach: those behind the route, or of a host name behind
// any route, Ingress or object of another router. Objects that steps apply count too. In order of the components.
func (t *Topology) behindGateway(q route.Request, objects []runtime.Object) []int {
	var out []int
	for _, o := range objects {
		if q.Route != "" {
			u, ok := o.(*unstructured.Unstructured)
			if !ok || q.Route != u.GetKind()+"/"+cmp.Or(u.GetNamespace(), metav1.NamespaceDefault)+"/"+u.GetName() {
				continue
			}
		}
		for _, s := range routedServices(o) {
			if i, ok := t.byService[s]; ok && !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	slices.Sort(out)
	return out
}

// withApplied are the objects, and those that steps apply.
func (in *Input) withApplied() []runtime.Object {
	all := slices.Clone(in.Objects)
	for i := range in.Scenario.Steps {
		for _, a := range in.Scenario.Steps[i].Apply {
			u := &unstructured.Unstructured{}
			if a.Object != nil && u.UnmarshalJSON(a.Object) == nil {
				all = append(all, typed(u))
			}
		}
	}
	return all
}

// routedServices are the Services (namespace/name) that an object sends requests from outside to.
func routedServices(o runtime.Object) []string {
	switch o := typed(o).(type) {
	case *networkingv1.Ingress:
		return ingressServices(o)
	case *rollouts.Rollout: // makes a TrafficSplit of its own
		if c := o.Spec.Strategy.Canary; c != nil && c.TrafficRouting != nil && c.TrafficRouting.SMI != nil {
			root, _, _ := strings.Cut(cmp.Or(c.TrafficRouting.SMI.RootService, c.StableService), ".")
			return []string{namespaceOf(o.ObjectMeta) + "/" + root}
		}
	case *unstructured.Unstructured:
		namespace := cmp.Or(o.GetNamespace(), metav1.NamespaceDefault)
		switch kind := o.GetKind(); {
		case strings.HasPrefix(o.GetAPIVersion(), "gateway.networking.k8s.io/"):
			return backends(o)
		case kind == "VirtualService" && strings.HasPrefix(o.GetAPIVersion(), "networking.istio.io/"):
			return destinations(o, namespace)
		case kind == "TrafficSplit" && strings.HasPrefix(o.GetAPIVersion(), "split.smi-spec.io/"):
			var out []string
			list, _, _ := unstructured.NestedSlice(o.Object, "spec", "backends")
			for _, b := range list {
				if m, ok := b.(map[string]any); ok {
					if name, _, _ := unstructured.NestedString(m, "service"); name != "" {
						out = append(out, namespace+"/"+name)
					}
				}
			}
			return out
		}
	}
	return nil
}

func ingressServices(o *networkingv1.Ingress) (out []string) {
	add := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			out = append(out, namespaceOf(o.ObjectMeta)+"/"+b.Service.Name)
		}
	}
	add(o.Spec.DefaultBackend)
	for i := range o.Spec.Rules {
		if http := o.Spec.Rules[i].HTTP; http != nil {
			for k := range http.Paths {
				add(&http.Paths[k].Backend)
			}
		}
	}
	return out
}

// destinations of a VirtualService: a short host name is a Service of its own namespace.
func destinations(o *unstructured.Unstructured, namespace string) (out []string) {
	rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "http")
	for _, rule := range rules {
		m, ok := rule.(map[string]any)
		if !ok {
			continue
		}
		list, _, _ := unstructured.NestedSlice(m, "route")
		for _, d := range list {
			if to, ok := d.(map[string]any); ok {
				host, _, _ := unstructured.NestedString(to, "destination", "host")
				if parts := strings.Split(host, "."); len(parts) > 1 {
					out = append(out, parts[1]+"/"+parts[0])
				} else if host != "" {
					out = append(out, namespace+"/"+host)
				}
			}
		}
	}
	return out
}

// steered tells whether a gateway of Fairway's carries out the weights of a router.
func steered(router string) bool {
	return router == "argoproj-labs/gatewayAPI" || router == "nginx" || router == "istio" || router == "smi"
}
