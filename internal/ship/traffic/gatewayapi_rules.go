package traffic

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// gatewayRules edits the rules of one route.
type gatewayRules struct {
	in     Intent
	kind   gatewayKind
	route  gatewayRoute
	stable int32
}

// edit sets the weights of the rules that lead to both Services, and replaces the managed rules by those in force.
func (g *gatewayRules) edit(object *unstructured.Unstructured) error {
	rules, err := items(object.Object, "spec", "rules")
	if err != nil {
		return fmt.Errorf("spec.%w", err)
	}
	var users, base []map[string]any
	existing := map[string]map[string]any{}
	for _, rule := range rules {
		if name := text(rule, "name"); g.managedRule(name) {
			existing[name] = rule
			continue
		}
		users = append(users, rule)
		if ok, err := g.leads(rule); err != nil {
			return err
		} else if ok {
			base = append(base, rule)
		}
	}
	if len(base) == 0 {
		if g.route.RuleName != "" {
			return fmt.Errorf("no rule named %q has backendRefs for both %q and %q; add them, or correct ruleName",
				g.route.RuleName, g.in.CanaryService, g.in.StableService)
		}
		return fmt.Errorf("no rule has backendRefs for both the canary service %q and the stable service %q; add the missing one",
			g.in.CanaryService, g.in.StableService)
	}
	for _, rule := range base {
		if err := g.weigh(rule); err != nil {
			return err
		}
	}
	added, err := g.managedRules(base)
	if err != nil {
		return err
	}
	for i, rule := range added {
		if have := existing[text(rule, "name")]; have != nil && covers(have, any(rule)) {
			added[i] = have
		}
	}
	return set(object.Object, list(append(users, added...)), "spec", "rules")
}

// managedRule tells whether a rule has the name of a managed route: NAME, or NAME-1 and so on for further rules.
func (g *gatewayRules) managedRule(name string) bool {
	if name == "" || name == g.route.RuleName {
		return false
	}
	if g.in.managed(name) {
		return true
	}
	dash := strings.LastIndex(name, "-")
	if dash < 0 || !g.in.managed(name[:dash]) {
		return false
	}
	n, err := strconv.Atoi(name[dash+1:])
	return err == nil && n > 0 && strconv.Itoa(n) == name[dash+1:]
}

// leads tells whether a rule is one to weigh.
func (g *gatewayRules) leads(rule map[string]any) (bool, error) {
	if g.route.RuleName != "" && text(rule, "name") != g.route.RuleName {
		return false, nil
	}
	refs, err := items(rule, "backendRefs")
	if err != nil {
		return false, err
	}
	return g.backend(refs, g.in.CanaryService) != nil && g.backend(refs, g.in.StableService) != nil, nil
}

// backend finds the backendRef of a Service.
func (g *gatewayRules) backend(refs []map[string]any, service string) map[string]any {
	i := slices.IndexFunc(refs, func(ref map[string]any) bool {
		return service != "" && text(ref, "name") == service && or(text(ref, "kind"), "Service") == "Service"
	})
	if i < 0 {
		return nil
	}
	return refs[i]
}

// weigh sets the weights of one rule, with experiments behind the Services that are there.
func (g *gatewayRules) weigh(rule map[string]any) error {
	refs, err := items(rule, "backendRefs")
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(ref map[string]any) bool { return g.in.over(text(ref, "name")) })
	setWeight(g.backend(refs, g.in.CanaryService), g.in.Weight)
	setWeight(g.backend(refs, g.in.StableService), g.stable)
	for _, d := range g.in.Additional {
		ref := g.backend(refs, d.ServiceName)
		if ref == nil {
			if g.in.Port == 0 {
				return fmt.Errorf("the experiment service %q needs a port; give a container of the pod template one", d.ServiceName)
			}
			ref = map[string]any{"group": "", "kind": "Service", "name": d.ServiceName, "namespace": g.in.Namespace, "port": int64(g.in.Port)}
			refs = append(refs, ref)
		}
		setWeight(ref, d.Weight)
	}
	rule["backendRefs"] = list(refs)
	return nil
}

// managedRules are those in force, in the order of managedRoutes: for each of the base rules one.
func (g *gatewayRules) managedRules(base []map[string]any) ([]map[string]any, error) {
	if g.in.Remove || g.in.Routing == nil {
		return nil, nil
	}
	var out []map[string]any
	for _, m := range g.in.Routing.ManagedRoutes {
		h := slices.IndexFunc(g.in.Headers, func(h argo.SetHeaderRoute) bool { return h.Name == m.Name && h.Match != nil })
		mirror := slices.IndexFunc(g.in.Mirrors, func(r argo.SetMirrorRoute) bool { return r.Name == m.Name && r.Match != nil })
		for i, rule := range base {
			var managed map[string]any
			var err error
			switch {
			case h >= 0 && g.kind.headers && g.route.UseHeaderRoutes:
				managed, err = g.headerRule(g.in.Headers[h], rule)
			case mirror >= 0 && g.kind.mirrors:
				managed, err = g.mirrorRule(g.in.Mirrors[mirror], rule)
			default:
				continue
			}
			if err != nil {
				return nil, err
			}
			managed["name"] = m.Name
			if i > 0 {
				managed["name"] = fmt.Sprintf("%s-%d", m.Name, i)
			}
			out = append(out, managed)
		}
	}
	return out, nil
}

// headerRule leads to the canary alone what a rule matches and has the headers.
func (g *gatewayRules) headerRule(h argo.SetHeaderRoute, base map[string]any) (map[string]any, error) {
	var headers []any
	for i, m := range h.Match {
		header, err := headerMatch(m.HeaderName, m.HeaderValue)
		if err != nil {
			return nil, fmt.Errorf("setHeaderRoute %q match[%d]: %w", h.Name, i, err)
		}
		headers = append(headers, header)
	}
	rule := map[string]any{"backendRefs": []any{g.canaryAlone(base)}}
	if filters, ok := base["filters"].([]any); ok && len(filters) > 0 {
		rule["filters"] = runtime.DeepCopyJSONValue(filters)
	}
	blocks, err := g.matches(base)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		addHeaders(block, headers)
	}
	rule["matches"] = list(blocks)
	return rule, nil
}

// canaryAlone is the backendRef of the canary with all the traffic. 1 is the weight that the API server would fill in.
func (g *gatewayRules) canaryAlone(base map[string]any) map[string]any {
	refs, _ := items(base, "backendRefs")
	ref := runtime.DeepCopyJSON(g.backend(refs, g.in.CanaryService))
	delete(ref, "filters")
	ref["group"], ref["kind"], ref["weight"] = "", "Service", int64(1)
	return ref
}

// matches are copies of a rule's matches; a rule without any matches every path.
func (g *gatewayRules) matches(base map[string]any) ([]map[string]any, error) {
	blocks, err := items(base, "matches")
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		if g.kind.Kind == "HTTPRoute" {
			return []map[string]any{{"path": map[string]any{"type": "PathPrefix", "value": "/"}}}, nil
		}
		return []map[string]any{{}}, nil
	}
	out := make([]map[string]any, len(blocks))
	for i, block := range blocks {
		out[i] = runtime.DeepCopyJSON(block)
	}
	return out, nil
}

// mirrorRule sends what it matches where a rule sends it, and a copy to the canary.
func (g *gatewayRules) mirrorRule(m argo.SetMirrorRoute, base map[string]any) (map[string]any, error) {
	target := g.canaryAlone(base)
	delete(target, "weight")
	mirror := map[string]any{"backendRef": target}
	if m.Percentage != nil {
		mirror["percent"] = int64(*m.Percentage)
	}
	filters, _ := runtime.DeepCopyJSONValue(base["filters"]).([]any)
	rule := map[string]any{
		"backendRefs": runtime.DeepCopyJSONValue(base["backendRefs"]),
		"filters":     append(filters, map[string]any{"type": "RequestMirror", "requestMirror": mirror}),
	}
	var blocks []map[string]any
	for i, match := range m.Match {
		own, err := g.matches(base)
		if err != nil {
			return nil, err
		}
		for _, block := range own {
			if err := narrow(block, match); err != nil {
				return nil, fmt.Errorf("setMirrorRoute %q match[%d]: %w", m.Name, i, err)
			}
			if !slices.ContainsFunc(blocks, func(b map[string]any) bool { return equal(b, block) }) {
				blocks = append(blocks, block)
			}
		}
	}
	rule["matches"] = list(blocks)
	return rule, nil
}

// narrow adds the conditions of a mirror route to a match of a rule. A path of its own takes the place of the rule's.
func narrow(block map[string]any, match argo.RouteMatch) error {
	if match.Method != nil {
		if match.Method.Exact == "" {
			return fmt.Errorf("method: the Gateway API compares methods exactly; set exact")
		}
		block["method"] = strings.ToUpper(match.Method.Exact)
	}
	if p := match.Path; p != nil {
		switch {
		case p.Exact != "":
			block["path"] = map[string]any{"type": "Exact", "value": p.Exact}
		case p.Prefix != "":
			block["path"] = map[string]any{"type": "PathPrefix", "value": p.Prefix}
		case p.Regex != "":
			block["path"] = map[string]any{"type": "RegularExpression", "value": p.Regex}
		default:
			return fmt.Errorf("path has none of exact, prefix and regex; set one")
		}
	}
	var headers []any
	for _, name := range slices.Sorted(maps.Keys(match.Headers)) {
		value := match.Headers[name]
		header, err := headerMatch(name, &value)
		if err != nil {
			return err
		}
		headers = append(headers, header)
	}
	addHeaders(block, headers)
	return nil
}

// addHeaders appends headers to those a match has; for one it has already the new value counts.
func addHeaders(block map[string]any, headers []any) {
	if len(headers) == 0 {
		return
	}
	have, _ := block["headers"].([]any)
	have = slices.DeleteFunc(slices.Clone(have), func(h any) bool {
		return slices.ContainsFunc(headers, func(n any) bool {
			a, _ := h.(map[string]any)
			b, _ := n.(map[string]any)
			return strings.EqualFold(text(a, "name"), text(b, "name"))
		})
	})
	block["headers"] = append(have, runtime.DeepCopyJSONValue(headers).([]any)...)
}

// headerMatch is the Gateway API's match of one header. It knows no prefixes, which become regular expressions.
func headerMatch(name string, value *argo.StringMatch) (map[string]any, error) {
	switch {
	case value == nil:
	case value.Exact != "":
		return map[string]any{"name": name, "type": "Exact", "value": value.Exact}, nil
	case value.Prefix != "":
		return map[string]any{"name": name, "type": "RegularExpression", "value": regexp.QuoteMeta(value.Prefix) + ".*"}, nil
	case value.Regex != "":
		return map[string]any{"name": name, "type": "RegularExpression", "value": value.Regex}, nil
	}
	return nil, fmt.Errorf("the value of header %s has none of exact, prefix and regex; set one", name)
}
