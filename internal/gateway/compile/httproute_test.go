package compile

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

func TestRequestsFindTheRuleThatTheGatewayAPIGivesPrecedence(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, httpRoute("old", `
  hostnames: [example.com]
  rules:
  - name: any
  - name: prefix
    matches: [{path: {type: PathPrefix, value: /a}}]
  - name: longer
    matches: [{path: {type: PathPrefix, value: /a/b/}}]
  - name: exact
    matches: [{path: {type: Exact, value: /a/b}}]
  - name: regexp
    matches: [{path: {type: RegularExpression, value: "/a/[0-9]+"}}]
  - name: method
    matches: [{path: {value: /a}, method: POST}]
  - name: header
    matches: [{path: {value: /a}, headers: [{name: X-Version, value: v2}]}]
  - name: headers
    matches: [{path: {value: /a}, headers: [{name: X-Version, value: v2}, {name: x-color, type: RegularExpression, value: "b.*"}]}]
  - name: query
    matches: [{path: {value: /a}, queryParams: [{name: q, value: "1"}]}]
`), httpRoute("young", `
  hostnames: ["*.example.com", example.com]
  rules: [{matches: [{path: {value: /a}}, {path: {value: /young}}]}]
`), httpRoute("everywhere", `
  rules: [{}]
`)))
	for path, want := range map[string]string{
		"/": "old#any", "/a": "old#prefix", "/ab": "old#any", "/a/x": "old#prefix", "/a/b": "old#exact", "/a/b/c": "old#longer", "/a/7": "old#regexp",
		"/a?q=1": "old#query", "/young": "young#0",
	} {
		if got := answered(t, out, 80, get("example.com", path)); got != want {
			t.Errorf("GET %s: %s, want %s", path, got, want)
		}
	}
	post := get("example.com", "/a")
	post.Method = "POST"
	for name, tc := range map[string]struct{ got, want string }{
		"method":         {answered(t, out, 80, post), "old#method"},
		"header":         {answered(t, out, 80, get("example.com", "/a?q=1", "x-version", "v2")), "old#header"},
		"more headers":   {answered(t, out, 80, get("example.com", "/a", "X-Version", "v2", "X-Color", "blue")), "old#headers"},
		"wildcard host":  {answered(t, out, 80, get("a.b.example.com", "/young/x")), "young#0"},
		"fallback":       {answered(t, out, 80, get("a.example.com", "/none")), "everywhere#0"},
		"any other host": {answered(t, out, 80, get("other.org", "/a")), "everywhere#0"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", name, tc.got, tc.want)
		}
	}
}

// Each rule of these routes is refused, with the reason of the Gateway API, and answered 500.
func TestRulesThatCannotBeCarriedOutAreRefusedByCondition(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ rule, reason, says string }{
		"unknown filter":        {"filters: [{type: Future}]", "UnsupportedValue", "Future"},
		"extension":             {"filters: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}]", "UnsupportedValue", "ExtensionRef"},
		"external auth":         {"filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: web, port: 80}}}]", "UnsupportedValue", "ExternalAuth"},
		"redirect and rewrite":  {"filters: [{type: RequestRedirect, requestRedirect: {hostname: a.b}}, {type: URLRewrite, urlRewrite: {hostname: a.b}}]", "IncompatibleFilters", "URLRewrite"},
		"the same filter twice": {"filters: [{type: URLRewrite, urlRewrite: {hostname: a.b}}, {type: URLRewrite, urlRewrite: {hostname: a.b}}]", "IncompatibleFilters", "URLRewrite"},
		"status 305":            {"filters: [{type: RequestRedirect, requestRedirect: {statusCode: 305}}]", "UnsupportedValue", "305"},
		"scheme":                {"filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp}}]", "UnsupportedValue", "ftp"},
		"prefix of exact":       {"matches: [{path: {type: Exact, value: /a}}]\n    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]", "UnsupportedValue", "PathPrefix"},
		"two actions":           {"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [A]}}]", "UnsupportedValue", "only one action"},
		"missing field":         {"filters: [{type: RequestHeaderModifier}]", "UnsupportedValue", "missing"},
		"path type":             {"matches: [{path: {type: Glob, value: /a}}]", "UnsupportedValue", "Glob"},
		"regexp":                {"matches: [{path: {type: RegularExpression, value: '('}}]", "UnsupportedValue", "matches[0].path"},
		"long regexp":           {"matches: [{path: {type: RegularExpression, value: '" + strings.Repeat("a", 1025) + "'}}]", "UnsupportedValue", "1024"},
		"method":                {"matches: [{method: BREW}]", "UnsupportedValue", "BREW"},
		"timeouts":              {"timeouts: {request: 1s, backendRequest: 2s}", "UnsupportedValue", "backendRequest"},
		"duration":              {"timeouts: {request: 1d}", "UnsupportedValue", "1d"},
		"retry code":            {"retry: {codes: [200]}", "UnsupportedValue", "200"},
		"permanent cookie":      {"sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}", "UnsupportedValue", "absoluteTimeout"},
		"fraction":              {"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, fraction: {numerator: 3, denominator: 2}}}]", "UnsupportedValue", "3 of 2"},
		"mirror of a backend":   {"backendRefs: [{name: web, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}}}]}]", "UnsupportedValue", "RequestMirror"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := Compile(load(t, plainGateway, httpRoute("r", "  rules:\n  - "+strings.ReplaceAll(tc.rule, "\n    ", "\n    "))))
			p := out.Statuses.HTTPRoutes[shop("r")].Parents[0]
			if got := conditionOf(p.Conditions, "Accepted"); got != "False "+tc.reason || !strings.Contains(messageOf(p.Conditions, "Accepted"), tc.says) {
				t.Errorf("Accepted is %s: %s", got, messageOf(p.Conditions, "Accepted"))
			}
			if out.Statuses.Gateways[shop("gate")].Listeners[0].AttachedRoutes != 0 {
				t.Error("a route that is not accepted is counted as attached")
			}
			for _, r := range out.Config.Rules {
				if r.Broken == "" {
					t.Error("the rule is not answered 500")
				}
			}
		})
	}
}

func TestFiltersTimeoutsRetriesAndSessionsComeToTheModel(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, httpRoute("r", `
  rules:
  - name: all
    matches: [{path: {value: /cart/}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Set, value: s}, {name: x-set, value: again}], add: [{name: X-Add, value: a}], remove: [X-Gone]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {remove: [Server]}
    - {type: RequestMirror, requestMirror: {backendRef: {name: canary, port: 80}, percent: 5}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, fraction: {numerator: 1, denominator: 3}}}
    - type: CORS
      cors: {allowOrigins: ["https://*.example.com"], allowMethods: [GET], allowCredentials: true}
    backendRefs:
    - {name: web, port: 80, weight: 9}
    - name: canary
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Canary, value: "1"}]}}]
    timeouts: {request: 10s, backendRequest: 500ms}
    retry: {codes: [500, 503], attempts: 3, backoff: 100ms}
    sessionPersistence: {sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}
  - name: redirect
    matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, port: 8443, statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]
  - name: plain
    timeouts: {backendRequest: 30s}
    sessionPersistence: {type: Header}
`)))
	rules := map[string]*config.Rule{}
	for _, r := range out.Config.Rules {
		rules[r.Key.Rule] = r
	}
	r := rules["all"]
	if len(r.Filters) != 3 || r.Filters[0].RequestHeaders == nil || r.Filters[1].ResponseHeaders == nil || r.Filters[2].Rewrite == nil || *r.Filters[2].Rewrite.Path.Prefix != "/v2" {
		t.Errorf("filters: %+v", r.Filters)
	}
	if h := r.Filters[0].RequestHeaders; len(h.Set) != 1 || h.Set[0] != (config.Header{Name: "x-set", Value: "s"}) || h.Remove[0] != "x-gone" {
		t.Errorf("headers: %+v", h)
	}
	if len(r.Mirrors) != 2 || r.Mirrors[0].Numerator != 5 || r.Mirrors[0].Denominator != 100 || r.Mirrors[1].Denominator != 3 || r.Mirrors[0].Backend.Key.Name != shop("canary") {
		t.Errorf("mirrors: %+v", r.Mirrors)
	}
	if r.CORS == nil || !r.CORS.Credentials || r.CORS.MaxAge != 5*time.Second {
		t.Errorf("CORS: %+v", r.CORS)
	}
	if got := shared(r); got != "web 9, canary 1" || len(r.Backends[1].Filters) != 1 || r.Backends[0].Service != "web" {
		t.Errorf("shares: %s", got)
	}
	if r.Timeouts != (config.Timeouts{Request: 10 * time.Second, Try: 500 * time.Millisecond}) {
		t.Errorf("timeouts: %+v", r.Timeouts)
	}
	if r.Retry.Attempts != 3 || !r.Retry.Connect || !r.Retry.Timeout || r.Retry.Backoff != 100*time.Millisecond || len(r.Retry.Codes) != 2 {
		t.Errorf("retry: %+v", r.Retry)
	}
	if *r.Session != (config.Session{Cookie: "s", Path: "/cart", Permanent: true, Absolute: time.Hour}) {
		t.Errorf("session: %+v", r.Session)
	}
	if d := rules["redirect"].Filters[0].Redirect; d.Scheme != "https" || d.Host != "new.example" || d.Port != 8443 || d.Status != 308 || *d.Path.Full != "/new" {
		t.Errorf("redirect: %+v", d)
	}
	if p := rules["plain"]; p.Timeouts != (config.Timeouts{Try: 30 * time.Second}) || !strings.HasPrefix(p.Session.Header, "fairway-") {
		t.Errorf("plain: %+v %+v", p.Timeouts, p.Session)
	}
	if rules["redirect"].Timeouts.Request != config.RequestTimeout {
		t.Errorf("the default timeout is %s", rules["redirect"].Timeouts.Request)
	}
}

func TestBackendsThatCannotBeResolvedKeepTheirShare(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ ref, reason string }{
		"missing":         {"{name: none, port: 80, weight: 3}", "BackendNotFound"},
		"no such port":    {"{name: web, port: 81, weight: 3}", "BackendNotFound"},
		"kind":            {"{group: multicluster.x-k8s.io, kind: ServiceImport, name: web, port: 80, weight: 3}", "InvalidKind"},
		"other namespace": {"{namespace: infra, name: far, port: 80, weight: 3}", "RefNotPermitted"},
		"system":          {"{name: kubernetes, namespace: default, port: 443, weight: 3}", "RefNotPermitted"},
		"app protocol":    {"{name: ports, port: 3004, weight: 3}", "UnsupportedProtocol"},
		"wss, no policy":  {"{name: ports, port: 3003, weight: 3}", "UnsupportedProtocol"},
		"UDP":             {"{name: ports, port: 53, weight: 3}", "UnsupportedProtocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := Compile(load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80, weight: 7}, "+tc.ref+"]}]")))
			p := out.Statuses.HTTPRoutes[shop("r")].Parents[0]
			if a, r := conditionOf(p.Conditions, "Accepted"), conditionOf(p.Conditions, "ResolvedRefs"); a != "True Accepted" || r != "False "+tc.reason {
				t.Errorf("Accepted %s, ResolvedRefs %s", a, r)
			}
			if got := shared(out.Config.Rules[0]); got != "web 7, 500 3" {
				t.Errorf("shares: %s", got)
			}
		})
	}
}

// TestReferenceGrantAllowsOtherNamespaces: ReferenceGrant, HTTPRouteReferenceGrant.
func TestReferenceGrantAllowsOtherNamespaces(t *testing.T) {
	t.Parallel()
	grant := func(from, to string) string {
		return "kind: ReferenceGrant\nmetadata: {name: g, namespace: infra}\nspec:\n  from: [" + from + "]\n  to: [" + to + "]\n---\n"
	}
	const good = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}"
	for name, tc := range map[string]struct {
		from, to string
		allowed  bool
	}{
		"all Services": {good, "{group: '', kind: Service}", true}, "that one": {good, "{group: '', kind: Service, name: far}", true},
		"another": {good, "{group: '', kind: Service, name: near}", false}, "another kind": {good, "{group: '', kind: Secret}", false},
		"another namespace": {"{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: infra}", "{group: '', kind: Service}", false},
		"routes of TLS":     {"{group: gateway.networking.k8s.io, kind: TLSRoute, namespace: shop}", "{group: '', kind: Service}", false},
	} {
		in := load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{namespace: infra, name: far, port: 80}]}]"), grant(tc.from, tc.to))
		before := Compile(in)
		if got := before.Config.Rules[0].Backends[0].Backend != nil; got != tc.allowed {
			t.Errorf("%s: allowed %v, want %v", name, got, tc.allowed)
		}
		// Taken away, it counts at once, although the route itself has not changed.
		in.ReferenceGrants, in.Previous = nil, &before
		if after := Compile(in); after.Config.Rules[0].Backends[0].Backend != nil {
			t.Errorf("%s: the reference is resolved without the grant", name)
		}
	}
}

// TestAppProtocolsAreSpoken: HTTPRouteBackendProtocolH2C, HTTPRouteBackendProtocolWebSocket.
func TestAppProtocolsAreSpoken(t *testing.T) {
	t.Parallel()
	for port, want := range map[string]config.Speech{"3001": config.SpeakH2C, "3002": config.SpeakHTTP1, "443": config.SpeakHTTP1} {
		out := Compile(load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: ports, port: "+port+"}]}]")))
		if b := out.Config.Rules[0].Backends[0].Backend; b == nil || b.Speech != want {
			t.Errorf("port %s: %+v", port, b)
		}
	}
}

func TestARouteWithOneBadRuleIsPartiallyInvalid(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, httpRoute("r", `
  rules:
  - backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /bad}}]
    filters: [{type: Future}]
`)))
	p := out.Statuses.HTTPRoutes[shop("r")].Parents[0]
	if a, i := conditionOf(p.Conditions, "Accepted"), conditionOf(p.Conditions, "PartiallyInvalid"); a != "True Accepted" || i != "True UnsupportedValue" ||
		!strings.HasPrefix(messageOf(p.Conditions, "PartiallyInvalid"), "Dropped Rule 1") {
		t.Errorf("Accepted %s, PartiallyInvalid %s: %s", a, i, messageOf(p.Conditions, "PartiallyInvalid"))
	}
	if r, _ := ask(t, out, 80, get("h", "/bad")); r.Rule.Broken == "" {
		t.Error("the bad rule is not answered 500")
	}
	if r, _ := ask(t, out, 80, get("h", "/good")); r.Rule.Broken != "" {
		t.Error("the good rule is broken as well")
	}
}

// TestARouteThatBecameInvalidKeepsItsLastGoodVersion until it is mended or deleted.
func TestARouteThatBecameInvalidKeepsItsLastGoodVersion(t *testing.T) {
	t.Parallel()
	in := load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80}]}]"))
	good := Compile(in)
	route := in.HTTPRoutes[0].DeepCopy()
	bad := load(t, plainGateway, httpRoute("r", "  rules: [{filters: [{type: Future}]}]")).HTTPRoutes[0]
	bad.Generation, bad.CreationTimestamp = 2, route.CreationTimestamp
	in.HTTPRoutes[0], in.Previous = bad, &good
	stale := Compile(in)
	in.Previous = &stale
	again := Compile(in)
	for _, out := range []Output{stale, again} {
		p := out.Statuses.HTTPRoutes[shop("r")].Parents[0]
		if conditionOf(p.Conditions, "Accepted") != "False UnsupportedValue" || p.Conditions[0].ObservedGeneration != 2 || !strings.Contains(p.Conditions[0].Message, "generation 1") {
			t.Errorf("%+v", p.Conditions[0])
		}
		if r, _ := ask(t, out, 80, get("h", "/")); r.Rule.Broken != "" || shared(r.Rule) != "web 1" || len(out.StaleRoutes) != 1 {
			t.Errorf("served %+v, stale %v", r.Rule, out.StaleRoutes)
		}
	}
	if again.Config != stale.Config {
		t.Error("the same objects came to another Config")
	}
	in.Services = in.Services[1:] // even the last good version must not go where there is nothing any more
	gone := Compile(in)
	if r, _ := ask(t, gone, 80, get("h", "/")); shared(r.Rule) != "500 1" {
		t.Errorf("shares after the Service is gone: %s", shared(r.Rule))
	}
	in.HTTPRoutes, in.Previous = nil, &again
	if deleted := Compile(in); len(deleted.Config.Rules) != 0 || len(deleted.StaleRoutes) != 0 {
		t.Errorf("a deleted route is still served: %+v", deleted.Config.Rules)
	}
}

func TestWeightsThatAreAll0AreWarnedOf(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80, weight: 0}]}]")))
	if len(out.Events) != 1 || out.Events[0].Reason != "NoWeight" || shared(out.Config.Rules[0]) != "web 0" {
		t.Errorf("%+v", out.Events)
	}
}

func TestAChangedWeightKeepsTheRulesPlaceAndLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	const rest = "  hostnames: [%]\n  rules: [{name: main, backendRefs: [{name: web, port: 80, weight: 90}, {name: canary, port: 80, weight: 10}]}]"
	in := load(t, plainGateway, httpRoute("a", replace(rest, "%", "a.com")), httpRoute("b", replace(rest, "%", "b.com")))
	first := Compile(in)
	in.HTTPRoutes[1] = in.HTTPRoutes[1].DeepCopy()
	*in.HTTPRoutes[1].Spec.Rules[0].BackendRefs[0].Weight, in.HTTPRoutes[1].Generation, in.Previous = 50, 2, &first
	second := Compile(in)
	if second.Compiled != 1 || second.Reused != 1 || second.Config.Version != first.Config.Version+1 {
		t.Errorf("%d translated, %d taken over", second.Compiled, second.Reused)
	}
	a, b := first.Config.Sockets[0].Listeners[0].Hosts, second.Config.Sockets[0].Listeners[0].Hosts
	if a[0] != b[0] || a[1] == b[1] || a[1].Matches[0].Rule.Index != b[1].Matches[0].Rule.Index || first.Config.Backends[0] != second.Config.Backends[0] {
		t.Error("more than the changed host was made anew, or the rule has another place")
	}
	if shared(a[1].Matches[0].Rule) != "web 90, canary 10" || shared(b[1].Matches[0].Rule) != "web 50, canary 10" {
		t.Error("the Config that was published has changed")
	}
}
