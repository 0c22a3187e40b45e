package compile

import (
	"fmt"
	"slices"
	"strings"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// httpRoute translates the rules of an HTTPRoute.
func (t *translator) httpRoute(o *gw.HTTPRoute) {
	for i := range o.Spec.Rules {
		t.httpRule(i, &o.Spec.Rules[i])
	}
}

func (t *translator) httpRule(i int, spec *gw.HTTPRouteRule) {
	r := t.rule(i, spec.Name)
	matches := t.httpMatches(i, r, spec.Matches)
	t.httpFilters(i, r, spec.Filters, matches)
	weights := make([]weighted, 0, len(spec.BackendRefs))
	for j := range spec.BackendRefs {
		ref := &spec.BackendRefs[j]
		var filters []config.Filter
		f := t.filterSet(i, r, fmt.Sprintf("backendRefs[%d].filters", j), ref.Filters, matches)
		filters = f.filters
		if len(f.mirrors) > 0 || f.cors != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "backendRefs[%d].filters: RequestMirror and CORS are only supported in spec.rules[].filters", j)
		}
		weights = append(weights, weighted{t.resolve(ref.BackendObjectReference, fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)), or(ref.Weight, 1), filters})
	}
	r.Backends = shares(weights)
	t.warnWithoutWeight(i, r)
	t.timeouts(i, r, spec.Timeouts)
	t.retry(i, r, spec.Retry, spec.Timeouts)
	t.session(i, r, spec.SessionPersistence, matches)
	for _, m := range matches {
		m.Rule = r
		t.match(m)
	}
}

// warnWithoutWeight tells of backends that all have the weight 0: that is allowed, but seldom meant.
func (t *translator) warnWithoutWeight(i int, r *config.Rule) {
	if len(r.Backends) > 0 && !slices.ContainsFunc(r.Backends, func(s config.Share) bool { return s.Weight > 0 }) {
		t.warn("NoWeight", fmt.Sprintf("spec.rules[%d].backendRefs: all weights are 0, so that its requests are answered 500", i))
	}
}

// httpMatches of a rule; without any it fits all requests.
func (t *translator) httpMatches(i int, r *config.Rule, specs []gw.HTTPRouteMatch) []config.Match {
	if len(specs) == 0 {
		return []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}}}
	}
	matches := make([]config.Match, 0, len(specs))
	for j := range specs {
		spec := &specs[j]
		m, err := httpMatch(spec)
		if err != nil {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "matches[%d].%s", j, err)
			continue
		}
		matches = append(matches, m)
	}
	return matches
}

func httpMatch(spec *gw.HTTPRouteMatch) (config.Match, error) {
	var m config.Match
	var err error
	if m.Path, err = httpPath(spec.Path); err != nil {
		return m, fmt.Errorf("path: %w", err)
	}
	if spec.Method != nil {
		m.Method = string(*spec.Method)
		switch *spec.Method {
		case gw.HTTPMethodGet, gw.HTTPMethodHead, gw.HTTPMethodPost, gw.HTTPMethodPut, gw.HTTPMethodDelete, gw.HTTPMethodConnect,
			gw.HTTPMethodOptions, gw.HTTPMethodTrace, gw.HTTPMethodPatch:
		default:
			return m, fmt.Errorf("method: %q is not one of the methods of the Gateway API", m.Method)
		}
	}
	for _, h := range spec.Headers {
		kind := string(or(h.Type, gw.HeaderMatchExact))
		if m.Headers, err = valueMatch(m.Headers, strings.ToLower(string(h.Name)), kind, h.Value); err != nil {
			return m, fmt.Errorf("headers[%s]: %w", h.Name, err)
		}
	}
	for _, q := range spec.QueryParams {
		kind := string(or(q.Type, gw.QueryParamMatchExact))
		if m.Query, err = valueMatch(m.Query, string(q.Name), kind, q.Value); err != nil {
			return m, fmt.Errorf("queryParams[%s]: %w", q.Name, err)
		}
	}
	return m, nil
}

func httpPath(spec *gw.HTTPPathMatch) (config.PathMatch, error) {
	if spec == nil {
		return config.PathMatch{Kind: config.PathPrefix}, nil
	}
	value := or(spec.Value, "/")
	kind := or(spec.Type, gw.PathMatchPathPrefix)
	if kind == gw.PathMatchRegularExpression {
		e, err := expression(value)
		return config.PathMatch{Kind: config.PathRegexp, Value: value, Regexp: e}, err
	}
	if !strings.HasPrefix(value, "/") {
		return config.PathMatch{}, fmt.Errorf("value %q must begin with /", value)
	}
	switch kind {
	case gw.PathMatchExact:
		return config.PathMatch{Kind: config.PathExact, Value: value}, nil
	case gw.PathMatchPathPrefix:
		return config.PathMatch{Kind: config.PathPrefix, Value: strings.TrimRight(value, "/")}, nil
	}
	return config.PathMatch{}, fmt.Errorf("type %q is not one of Exact, PathPrefix and RegularExpression", kind)
}

// valueMatch adds the match of a value. Of several for one name the first counts.
func valueMatch(list []config.ValueMatch, name, kind, value string) ([]config.ValueMatch, error) {
	for _, m := range list {
		if m.Name == name {
			return list, nil
		}
	}
	m := config.ValueMatch{Name: name, Value: value}
	switch kind {
	case "Exact":
	case "RegularExpression":
		e, err := expression(value)
		if err != nil {
			return list, err
		}
		m.Regexp = e
	default:
		return list, fmt.Errorf("type %q is not one of Exact and RegularExpression", kind)
	}
	return append(list, m), nil
}
