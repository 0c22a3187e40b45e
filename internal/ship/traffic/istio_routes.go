package traffic

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// virtualService edits one VirtualService.
type virtualService struct {
	istio
	in      Intent
	config  argo.IstioVirtualService
	stable  int32  // weight of the stable
	host    string // of the canary, in routes for headers and mirrors
	falling bool   // the canary has more traffic now than it is to have
}

// edit sets the weights of the routes that the Rollout selects, and adds, orders and takes away its managed routes.
func (v *virtualService) edit(object *unstructured.Unstructured) error {
	weighed := 0
	for _, section := range []string{"http", "tls", "tcp"} {
		routes, err := items(object.Object, "spec", section)
		if err != nil {
			return fmt.Errorf("spec.%w", err)
		}
		if routes == nil {
			continue
		}
		selected, err := v.selected(section, routes)
		if err != nil {
			return err
		}
		weighed += len(selected)
		for _, i := range selected {
			if err := v.weigh(routes[i]); err != nil {
				return fmt.Errorf("spec.%s[%d]: %w", section, i, err)
			}
		}
		if section == "http" {
			var base map[string]any
			if len(selected) > 0 {
				base = routes[selected[0]]
			}
			if routes, err = v.arrange(routes, base); err != nil {
				return err
			}
		}
		if err := set(object.Object, list(routes), "spec", section); err != nil {
			return err
		}
	}
	if weighed == 0 {
		return fmt.Errorf("there is no route to weigh in spec.http, spec.tls and spec.tcp; add one with the destinations of canary and stable")
	}
	return nil
}

// selected are the indexes of the routes of a section that carry the weights.
func (v *virtualService) selected(section string, routes []map[string]any) ([]int, error) {
	switch section {
	case "tls":
		return v.matching(section, routes, len(v.config.TLSRoutes), func(i int, route map[string]any) bool {
			ports, hosts := matches(route)
			return port(ports) == v.config.TLSRoutes[i].Port && len(ports) <= 1 && sameSet(hosts, v.config.TLSRoutes[i].SNIHosts)
		})
	case "tcp":
		return v.matching(section, routes, len(v.config.TCPRoutes), func(i int, route map[string]any) bool {
			ports, _ := matches(route)
			return port(ports) == v.config.TCPRoutes[i].Port && len(ports) <= 1
		})
	}
	return v.named(routes)
}

// named selects http routes by name; without names there must be one route beside the managed ones.
func (v *virtualService) named(routes []map[string]any) ([]int, error) {
	var selected []int
	if len(v.config.Routes) == 0 {
		for i, route := range routes {
			if !v.in.managed(text(route, "name")) {
				selected = append(selected, i)
			}
		}
		if len(selected) > 1 {
			return nil, fmt.Errorf("spec.http[] should be set in VirtualService and it must have exactly one route when omitting %s.virtualService.routes; list there the names of the routes to weigh",
				istioField)
		}
		return selected, nil
	}
	for _, name := range v.config.Routes {
		i := slices.IndexFunc(routes, func(route map[string]any) bool { return text(route, "name") == name })
		if i < 0 {
			return nil, fmt.Errorf("HTTP Route '%s' is not found in the defined Virtual Service; add it to spec.http, or correct %s.virtualService.routes",
				name, istioField)
		}
		selected = append(selected, i)
	}
	return selected, nil
}

// matching selects tls or tcp routes by what they match; without a choice there must be just one.
func (v *virtualService) matching(section string, routes []map[string]any, choices int, match func(choice int, route map[string]any) bool) ([]int, error) {
	if choices == 0 {
		if len(routes) > 1 {
			return nil, fmt.Errorf("spec.%[1]s[] should be set in VirtualService and it must have exactly one route when omitting %[2]s.virtualService.%[1]sRoutes; list there what the routes to weigh match",
				section, istioField)
		}
		return []int{0}[:len(routes)], nil
	}
	var selected []int
	for c := range choices {
		found := len(selected)
		for i, route := range routes {
			if match(c, route) {
				selected = append(selected, i)
			}
		}
		if len(selected) == found {
			return nil, fmt.Errorf("no %s route of the VirtualService matches %s.virtualService.%sRoutes[%d]; add one to spec.%s, or correct the selection",
				strings.ToUpper(section), istioField, section, c, section)
		}
	}
	return selected, nil
}

// matches collects the ports and the SNI hosts of all match blocks of a tls or tcp route.
func matches(route map[string]any) (ports map[int64]bool, hosts map[string]bool) {
	ports, hosts = map[int64]bool{}, map[string]bool{}
	blocks, _ := route["match"].([]any)
	for _, block := range blocks {
		m, _ := block.(map[string]any)
		p, _ := number(m["port"])
		ports[int64(p)] = true
		sni, _ := m["sniHosts"].([]any)
		for _, h := range sni {
			if s, ok := h.(string); ok {
				hosts[s] = true
			}
		}
	}
	return ports, hosts
}

// port is the only port, 0 when there is none.
func port(ports map[int64]bool) int64 {
	for p := range ports {
		return p
	}
	return 0
}

func sameSet(have map[string]bool, want []string) bool {
	set := map[string]bool{}
	for _, w := range want {
		set[w] = true
	}
	return maps.Equal(have, set)
}

// weigh sets the weights of the destinations of one route.
func (v *virtualService) weigh(route map[string]any) error {
	destinations, err := items(route, "route")
	if err != nil {
		return err
	}
	if err := v.complete(destinations); err != nil {
		return err
	}
	experiments := map[string]int32{}
	for _, d := range v.in.Additional {
		experiments[d.ServiceName] = d.Weight
	}
	stable := v.stable
	for _, d := range destinations {
		if v.role(d) == roleOther && v.users(d) {
			stable = max(stable-weightOf(d), 0) // the user's own share comes out of the stable's
		}
	}
	var kept []map[string]any
	for _, d := range destinations {
		service := shortHost(d)
		switch weight, extra := experiments[service]; {
		case v.role(d) == roleCanary:
			v.falling = v.falling || weightOf(d) > v.in.Weight
			setWeight(d, v.in.Weight)
		case v.role(d) == roleStable:
			setWeight(d, stable)
		case extra:
			setWeight(d, weight)
			delete(experiments, service)
		case v.users(d), weightOf(d) == 0:
		default: // an experiment that is over
			continue
		}
		kept = append(kept, d)
	}
	for _, d := range v.in.Additional {
		if weight, missing := experiments[d.ServiceName]; missing && weight > 0 {
			kept = append(kept, map[string]any{"destination": map[string]any{"host": d.ServiceName}, "weight": int64(weight)})
		}
	}
	route["route"] = list(kept)
	return nil
}

// complete is an error unless a route has destinations for both canary and stable: by subsets when a DestinationRule is
// configured, else by Services.
func (v *virtualService) complete(destinations []map[string]any) error {
	var canary, stable bool
	rule := v.istio.config.DestinationRule
	for _, d := range destinations {
		if rule != nil {
			subset := text(d, "destination", "subset")
			canary = canary || subset != "" && subset == rule.CanarySubsetName
			stable = stable || subset != "" && subset == rule.StableSubsetName
			continue
		}
		canary = canary || v.role(d) == roleCanary
		stable = stable || v.role(d) == roleStable
	}
	switch {
	case rule != nil && !canary:
		return fmt.Errorf("the canary's subset %q is not found in a route; add a destination with that subset", rule.CanarySubsetName)
	case rule != nil && !stable:
		return fmt.Errorf("the stable subset %q is not found in a route; add a destination with that subset", rule.StableSubsetName)
	case !canary:
		return fmt.Errorf("the canary Service %q is not found in a route; add a destination with that host", v.in.CanaryService)
	case !stable:
		return fmt.Errorf("the stable Service %q is not found in a route; add a destination with that host", v.in.StableService)
	}
	return nil
}

type role int

const (
	roleOther role = iota
	roleCanary
	roleStable
)

// role of a destination by its host, or by its subset.
func (v *virtualService) role(destination map[string]any) role {
	host, subset := shortHost(destination), text(destination, "destination", "subset")
	var canary, stable string
	if rule := v.istio.config.DestinationRule; rule != nil && subset != "" {
		canary, stable = rule.CanarySubsetName, rule.StableSubsetName
	}
	switch {
	case host != "" && host == v.in.CanaryService, subset != "" && subset == canary:
		return roleCanary
	case host != "" && host == v.in.StableService, subset != "" && subset == stable:
		return roleStable
	}
	return roleOther
}

// users tells whether a destination has a subset that the Rollout leaves to the user.
func (v *virtualService) users(destination map[string]any) bool {
	rule := v.istio.config.DestinationRule
	subset := text(destination, "destination", "subset")
	return rule != nil && subset != "" && slices.Contains(rule.AdditionalSubsetNames, subset)
}

// shortHost is the name of a destination's Service, without namespace and domain.
func shortHost(destination map[string]any) string {
	host, _, _ := strings.Cut(text(destination, "destination", "host"), ".")
	return host
}

// arrange puts the managed routes in force before all others, in the order of managedRoutes.
func (v *virtualService) arrange(routes []map[string]any, base map[string]any) ([]map[string]any, error) {
	var others []map[string]any
	existing := map[string]map[string]any{}
	for _, route := range routes {
		name := text(route, "name")
		if !v.in.managed(name) || slices.Contains(v.config.Routes, name) {
			others = append(others, route)
		} else if existing[name] == nil {
			existing[name] = route
		}
	}
	if v.in.Remove || v.in.Routing == nil {
		return others, nil
	}
	var front []map[string]any
	for _, m := range v.in.Routing.ManagedRoutes {
		route, err := v.managedRoute(m.Name, base)
		if err != nil {
			return nil, err
		}
		switch have := existing[m.Name]; {
		case route == nil || slices.Contains(v.config.Routes, m.Name):
		case have != nil && covers(withoutZeroWeights(have), withoutZeroWeights(route)):
			front = append(front, have)
		default:
			front = append(front, route)
		}
	}
	return append(front, others...), nil
}

// managedRoute is the route in force with that name, nil when there is none.
func (v *virtualService) managedRoute(name string, base map[string]any) (map[string]any, error) {
	for _, h := range v.in.Headers {
		if h.Name == name && h.Match != nil {
			return v.headerRoute(h, base)
		}
	}
	for _, m := range v.in.Mirrors {
		if m.Name == name && m.Match != nil {
			return v.mirrorRoute(m, base)
		}
	}
	return nil, nil
}

// canary is the destination of managed routes, with the port that the weighted route uses.
func (v *virtualService) canary(base map[string]any) map[string]any {
	destination := map[string]any{"host": v.host}
	if rule := v.istio.config.DestinationRule; rule != nil && rule.CanarySubsetName != "" {
		destination["subset"] = rule.CanarySubsetName
	}
	if destinations, err := items(base, "route"); err == nil && len(destinations) > 0 {
		first, _ := destinations[0]["destination"].(map[string]any)
		if p, ok := first["port"].(map[string]any); ok {
			destination["port"] = runtime.DeepCopyJSON(p)
		}
	}
	return destination
}

func (v *virtualService) headerRoute(h argo.SetHeaderRoute, base map[string]any) (map[string]any, error) {
	var match []any
	for i, m := range h.Match {
		value, err := stringMatch(m.HeaderValue)
		if err != nil {
			return nil, fmt.Errorf("setHeaderRoute %q match[%d]: %w", h.Name, i, err)
		}
		match = append(match, map[string]any{"headers": map[string]any{m.HeaderName: value}})
	}
	return map[string]any{
		"name":  h.Name,
		"match": match,
		"route": []any{map[string]any{"destination": v.canary(base), "weight": int64(100)}},
	}, nil
}

// mirrorRoute sends what matches where the weighted route sends it, and a copy to the canary.
func (v *virtualService) mirrorRoute(m argo.SetMirrorRoute, base map[string]any) (map[string]any, error) {
	if base == nil {
		return nil, fmt.Errorf("setMirrorRoute %q: there is no weighted http route to copy; add one to spec.http", m.Name)
	}
	var match []any
	for i, rule := range m.Match {
		block, err := mirrorMatch(rule)
		if err != nil {
			return nil, fmt.Errorf("setMirrorRoute %q match[%d]: %w", m.Name, i, err)
		}
		match = append(match, block)
	}
	percent := int64(100)
	if m.Percentage != nil {
		percent = int64(*m.Percentage)
	}
	return map[string]any{
		"name":             m.Name,
		"match":            match,
		"route":            runtime.DeepCopyJSONValue(base["route"]),
		"mirror":           v.canary(base),
		"mirrorPercentage": map[string]any{"value": percent},
	}, nil
}

func mirrorMatch(rule argo.RouteMatch) (map[string]any, error) {
	block := map[string]any{}
	var err error
	if rule.Method != nil {
		if block["method"], err = stringMatch(rule.Method); err != nil {
			return nil, fmt.Errorf("method: %w", err)
		}
	}
	if rule.Path != nil {
		if block["uri"], err = stringMatch(rule.Path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	if len(rule.Headers) > 0 {
		headers := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(rule.Headers)) {
			value := rule.Headers[name]
			if headers[name], err = stringMatch(&value); err != nil {
				return nil, fmt.Errorf("header %s: %w", name, err)
			}
		}
		block["headers"] = headers
	}
	return block, nil
}

// stringMatch is Istio's StringMatch: one of exact, prefix and regex.
func stringMatch(m *argo.StringMatch) (map[string]any, error) {
	switch {
	case m == nil:
	case m.Exact != "":
		return map[string]any{"exact": m.Exact}, nil
	case m.Prefix != "":
		return map[string]any{"prefix": m.Prefix}, nil
	case m.Regex != "":
		return map[string]any{"regex": m.Regex}, nil
	}
	return nil, fmt.Errorf("the value to match has none of exact, prefix and regex; set one")
}

// withoutZeroWeights is a copy of a route in which a destination of weight 0 has none: both forms mean the same.
func withoutZeroWeights(route map[string]any) map[string]any {
	route = runtime.DeepCopyJSON(route)
	destinations, _ := items(route, "route")
	for _, d := range destinations {
		if weightOf(d) == 0 {
			delete(d, "weight")
		}
	}
	return route
}
