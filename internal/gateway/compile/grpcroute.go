package compile

import (
	"fmt"
	"regexp"
	"strings"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// grpcRoute translates the rules of a GRPCRoute: a call is a POST to /service/method.
func (t *translator) grpcRoute(o *gw.GRPCRoute) {
	for i := range o.Spec.Rules {
		spec := &o.Spec.Rules[i]
		r := t.rule(i, spec.Name)
		r.GRPC = true
		f := t.filterSet(i, r, "filters", asHTTP(spec.Filters), nil)
		r.Filters, r.Mirrors = f.filters, f.mirrors
		weights := make([]weighted, 0, len(spec.BackendRefs))
		for j := range spec.BackendRefs {
			ref := &spec.BackendRefs[j]
			f := t.filterSet(i, r, fmt.Sprintf("backendRefs[%d].filters", j), asHTTP(ref.Filters), nil)
			if len(f.mirrors) > 0 {
				t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "backendRefs[%d].filters: RequestMirror is only supported in spec.rules[].filters", j)
			}
			weights = append(weights, weighted{t.resolve(ref.BackendObjectReference, fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)), or(ref.Weight, 1), f.filters})
		}
		r.Backends = shares(weights)
		t.warnWithoutWeight(i, r)
		t.session(i, r, spec.SessionPersistence, nil)
		t.grpcMatches(i, r, spec.Matches)
	}
}

// asHTTP writes the filters of a GRPCRoute as those of an HTTPRoute, which has all of them.
func asHTTP(specs []gw.GRPCRouteFilter) []gw.HTTPRouteFilter {
	out := make([]gw.HTTPRouteFilter, len(specs))
	for i, f := range specs {
		out[i] = gw.HTTPRouteFilter{Type: gw.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef}
	}
	return out
}

func (t *translator) grpcMatches(i int, r *config.Rule, specs []gw.GRPCRouteMatch) {
	if len(specs) == 0 {
		specs = []gw.GRPCRouteMatch{{}}
	}
	for j := range specs {
		m, order, err := grpcMatch(&specs[j])
		if err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "matches[%d].%s", j, err)
			continue
		}
		m.Rule = r
		t.matchRanked(m, order)
	}
}

// grpcMatch ranks by the characters of the service, then of the method, then by headers, as the Gateway API has it.
func grpcMatch(spec *gw.GRPCRouteMatch) (config.Match, rank, error) {
	var m config.Match
	var err error
	for _, h := range spec.Headers {
		kind := string(or(h.Type, gw.GRPCHeaderMatchExact))
		if m.Headers, err = valueMatch(m.Headers, strings.ToLower(string(h.Name)), kind, h.Value); err != nil {
			return m, rank{}, fmt.Errorf("headers[%s]: %w", h.Name, err)
		}
	}
	m.Path.Kind = config.PathPrefix
	if spec.Method == nil {
		return m, rankOf(&m), nil
	}
	service, method := or(spec.Method.Service, ""), or(spec.Method.Method, "")
	switch kind := or(spec.Method.Type, gw.GRPCMethodMatchExact); kind {
	case gw.GRPCMethodMatchExact:
		switch {
		case service != "" && method != "":
			m.Path = config.PathMatch{Kind: config.PathExact, Value: "/" + service + "/" + method}
			return m, rankOf(&m), nil
		case service != "":
			m.Path.Value = "/" + service
			return m, rankOf(&m), nil
		case method == "":
			return m, rankOf(&m), nil
		}
		method = regexp.QuoteMeta(method)
	case gw.GRPCMethodMatchRegularExpression:
	default:
		return m, rank{}, fmt.Errorf("method.type: %q is not one of Exact and RegularExpression", kind)
	}
	const any = "[^/]+"
	anySegment := func(s string) string {
		if s == "" {
			return any
		}
		return "(?:" + s + ")"
	}
	e, err := expression("/" + anySegment(service) + "/" + anySegment(method))
	if err != nil {
		return m, rank{}, fmt.Errorf("method: %w", err)
	}
	m.Path = config.PathMatch{Kind: config.PathRegexp, Value: e.String(), Regexp: e}
	order := rankOf(&m)
	if service == "" { // after all that name a service, before what names nothing
		order.class, order.length = 2, 0
		order.method = 1
	}
	return m, order, nil
}
