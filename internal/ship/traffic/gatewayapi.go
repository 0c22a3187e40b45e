package traffic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const gatewayGroup = "gateway.networking.k8s.io"

// gatewayAPI drives routes of the Gateway API by the weights of their backendRefs, with the configuration of the plugin
// argoproj-labs/gatewayAPI and leaving the objects as it does.
// https://rollouts-plugin-trafficrouter-gatewayapi.readthedocs.io/en/latest/
type gatewayAPI struct {
	namespace string // of the routes
	config    gatewayConfig
	kinds     []gatewayKind
}

// gatewayConfig is what a Rollout writes under trafficRouting.plugins.
type gatewayConfig struct {
	HTTPRoute         string                `json:"httpRoute"`
	HTTPRouteRuleName string                `json:"httpRouteRuleName"`
	HTTPRoutes        []gatewayRoute        `json:"httpRoutes"`
	HTTPRouteSelector *metav1.LabelSelector `json:"httpRouteSelector"`
	GRPCRoute         string                `json:"grpcRoute"`
	GRPCRouteRuleName string                `json:"grpcRouteRuleName"`
	GRPCRoutes        []gatewayRoute        `json:"grpcRoutes"`
	GRPCRouteSelector *metav1.LabelSelector `json:"grpcRouteSelector"`
	TCPRoute          string                `json:"tcpRoute"`
	TCPRouteRuleName  string                `json:"tcpRouteRuleName"`
	TCPRoutes         []gatewayRoute        `json:"tcpRoutes"`
	TCPRouteSelector  *metav1.LabelSelector `json:"tcpRouteSelector"`
	TLSRoute          string                `json:"tlsRoute"`
	TLSRouteRuleName  string                `json:"tlsRouteRuleName"`
	TLSRoutes         []gatewayRoute        `json:"tlsRoutes"`
	TLSRouteSelector  *metav1.LabelSelector `json:"tlsRouteSelector"`
	Namespace         string                `json:"namespace"` // default: the Rollout's

	DisableInProgressLabel      bool   `json:"disableInProgressLabel"`
	InProgressLabelKey          string `json:"inProgressLabelKey"`
	InProgressLabelValue        string `json:"inProgressLabelValue"`
	ActiveRolloutsAnnotationKey string `json:"activeRolloutsAnnotationKey"`

	// ConfigMap is where the plugin keeps the indexes of managed rules. Here rules have names, and nothing is kept.
	ConfigMap string `json:"configMap"`
}

// gatewayRoute is one route by name.
type gatewayRoute struct {
	Name            string `json:"name"`
	UseHeaderRoutes bool   `json:"useHeaderRoutes"`
	RuleName        string `json:"ruleName"` // the one rule to weigh; default: all with both Services
}

// gatewayKind is what is configured of one kind of route.
type gatewayKind struct {
	schema.GroupVersionKind
	routes   []gatewayRoute
	selector string
	headers  bool // rules of this kind can match headers
	mirrors  bool // rules of this kind can mirror requests by a filter
}

func newGatewayAPI(v Versions, namespace string, raw json.RawMessage) (gatewayAPI, error) {
	r := gatewayAPI{namespace: namespace}
	if err := json.Unmarshal(raw, &r.config); err != nil {
		return r, fmt.Errorf("%w; correct the field", err)
	}
	c := r.config
	r.namespace = or(c.Namespace, namespace)
	for _, k := range []struct {
		kind, version  string
		one, rule      string
		many           []gatewayRoute
		selector       *metav1.LabelSelector
		field          string
		header, mirror bool
	}{
		{"HTTPRoute", or(v.HTTPRoute, "v1"), c.HTTPRoute, c.HTTPRouteRuleName, c.HTTPRoutes, c.HTTPRouteSelector, "httpRoute", true, true},
		{"GRPCRoute", or(v.GRPCRoute, "v1"), c.GRPCRoute, c.GRPCRouteRuleName, c.GRPCRoutes, c.GRPCRouteSelector, "grpcRoute", true, false},
		{"TCPRoute", or(v.TCPRoute, "v1"), c.TCPRoute, c.TCPRouteRuleName, c.TCPRoutes, c.TCPRouteSelector, "tcpRoute", false, false},
		{"TLSRoute", or(v.TLSRoute, "v1"), c.TLSRoute, c.TLSRouteRuleName, c.TLSRoutes, c.TLSRouteSelector, "tlsRoute", false, false},
	} {
		g := gatewayKind{GroupVersionKind: kind(gatewayGroup, k.version, k.kind), routes: slices.Clone(k.many), headers: k.header, mirrors: k.mirror}
		for i, route := range g.routes {
			if route.Name == "" {
				return r, fmt.Errorf("%ss[%d].name is empty; name a %s", k.field, i, k.kind)
			}
		}
		if k.one != "" {
			g.routes = append(g.routes, gatewayRoute{Name: k.one, UseHeaderRoutes: true, RuleName: k.rule})
		}
		if k.selector != nil {
			selector, err := metav1.LabelSelectorAsSelector(k.selector)
			if err != nil {
				return r, fmt.Errorf("%sSelector: %w; correct it", k.field, err)
			}
			if selector.Empty() {
				return r, fmt.Errorf("%sSelector selects every %s of the namespace; give it a label", k.field, k.kind)
			}
			g.selector = selector.String()
		}
		if len(g.routes) > 0 || g.selector != "" {
			r.kinds = append(r.kinds, g)
		}
	}
	if len(r.kinds) == 0 {
		return r, fmt.Errorf("names no route; set httpRoute, grpcRoute, tcpRoute or tlsRoute, a list of them, or a selector")
	}
	return r, nil
}

func (gatewayAPI) Kind() string { return "GatewayAPI" }

func (r gatewayAPI) Refs(Intent) []Ref {
	var refs []Ref
	for _, k := range r.kinds {
		for _, route := range k.routes {
			refs = append(refs, Ref{GroupVersionKind: k.GroupVersionKind, Namespace: r.namespace, Name: route.Name})
		}
		if k.selector != "" {
			refs = append(refs, Ref{GroupVersionKind: k.GroupVersionKind, Namespace: r.namespace, Selector: k.selector})
		}
	}
	return refs
}

func (r gatewayAPI) Translate(in Intent, objects Objects) (Result, error) {
	stable, err := in.stableWeight()
	if err != nil {
		return Result{}, err
	}
	var result Result
	var loaded []verdict
	for _, k := range r.kinds {
		routes := r.found(k, objects)
		for _, route := range routes {
			ref := Ref{GroupVersionKind: k.GroupVersionKind, Namespace: r.namespace, Name: route.Name}
			object, err := objects.copyOf(ref, "spec.strategy.canary.trafficRouting.plugins["+GatewayAPIPlugin+"]")
			if err != nil {
				return Result{}, err
			}
			e := gatewayRules{in: in, kind: k, route: route, stable: stable}
			if err := e.edit(object); err != nil {
				return Result{}, fmt.Errorf("%s: %w", ref, err)
			}
			r.mark(in, object)
			before := objects[ref]
			had := len(result.Changes)
			result.Changes = changed(result.Changes, before, object, "", "")
			for i := had; i < len(result.Changes); i++ {
				result.Changes[i].Steer, result.Changes[i].Rule = true, route.RuleName
			}
			loaded = append(loaded, verify(in, ref, route.RuleName, before, stable, equal(before.Object["spec"], object.Object["spec"])))
		}
	}
	if len(loaded) == 0 {
		return Result{}, fmt.Errorf("spec.strategy.canary.trafficRouting.plugins[%s]: %w: no route has the labels of its selectors in namespace %s; label one, or name it",
			GatewayAPIPlugin, ErrMissing, r.namespace)
	}
	result.Verified, result.Message = combine(loaded)
	return result, nil
}

// found are the routes named, then those the selector finds, by name.
func (r gatewayAPI) found(k gatewayKind, objects Objects) []gatewayRoute {
	var routes []gatewayRoute
	named := map[string]bool{}
	for _, route := range k.routes {
		if !named[route.Name] {
			routes = append(routes, route)
		}
		named[route.Name] = true
	}
	if k.selector == "" {
		return routes
	}
	selector, err := labels.Parse(k.selector)
	if err != nil {
		return routes
	}
	first := len(routes)
	for ref, object := range objects {
		if ref.GroupVersionKind == k.GroupVersionKind && ref.Namespace == r.namespace && object != nil && !named[ref.Name] && selector.Matches(labels.Set(object.GetLabels())) {
			routes = append(routes, gatewayRoute{Name: ref.Name})
		}
	}
	slices.SortFunc(routes[first:], func(a, b gatewayRoute) int { return strings.Compare(a.Name, b.Name) })
	return routes
}

// mark labels a route while any Rollout sends traffic to a canary by it, so that GitOps tools can look away. Which Rollouts
// those are is in an annotation: the last one takes the label away.
func (r gatewayAPI) mark(in Intent, object *unstructured.Unstructured) {
	if r.config.DisableInProgressLabel {
		return
	}
	key := or(r.config.InProgressLabelKey, "rollouts.argoproj.io/gatewayapi-canary")
	books := or(r.config.ActiveRolloutsAnnotationKey, "rollouts.argoproj.io/gatewayapi-active-rollouts")
	me := in.Namespace + "/" + in.Name
	active := strings.FieldsFunc(object.GetAnnotations()[books], func(c rune) bool { return c == ',' || c == ' ' })
	active = slices.DeleteFunc(active, func(name string) bool { return name == me })
	if in.Weight > 0 {
		active = append(active, me)
	}
	slices.Sort(active)
	setAnnotation(object, books, strings.Join(active, ","))
	marks := object.GetLabels()
	if len(active) == 0 {
		delete(marks, key)
	} else {
		if marks == nil {
			marks = map[string]string{}
		}
		marks[key] = or(r.config.InProgressLabelValue, "in-progress")
	}
	if len(marks) == 0 {
		marks = nil
	}
	object.SetLabels(marks)
}

// over tells whether a Service is that of an experiment that has ended, although the status still records it.
func (in Intent) over(service string) bool {
	named := func(d argo.WeightDestination) bool { return d.ServiceName == service }
	return slices.ContainsFunc(in.Former, named) && !slices.ContainsFunc(in.Additional, named)
}
