package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// TestCallsFindTheRuleThatTheGatewayAPIGivesPrecedence: GRPCRoute.
func TestCallsFindTheRuleThatTheGatewayAPIGivesPrecedence(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, `
kind: GRPCRoute
metadata: {name: g}
spec:
  parentRefs: [{name: gate}]
  rules:
  - name: any
    backendRefs: [{name: web, port: 80}]
  - {name: method, matches: [{method: {method: Get}}]}
  - {name: service, matches: [{method: {service: shop.Cart}}]}
  - {name: both, matches: [{method: {service: shop.Cart, method: Get}}]}
  - {name: header, matches: [{method: {service: shop.Cart}, headers: [{name: X-Canary, value: "1"}]}]}
  - {name: regexp, matches: [{method: {type: RegularExpression, service: "other[.].*", method: "G.*"}}]}
`))
	for path, want := range map[string]string{
		"/x.Y/Put": "any", "/x.Y/Get": "method", "/shop.Cart/Put": "service", "/shop.Cart/Get": "both", "/other.A/Go": "regexp", "/other.A/Put": "any", "/shop.Cartoon/Put": "any",
	} {
		if got := answered(t, out, 80, get("h", path)); got != "g#"+want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := answered(t, out, 80, get("h", "/shop.Cart/Put", "x-canary", "1")); got != "g#header" {
		t.Errorf("with the header: %s", got)
	}
	r, _ := ask(t, out, 80, get("h", "/a/b"))
	if !r.Rule.GRPC || r.Rule.Backends[0].Backend.Speech != config.SpeakH2C {
		t.Errorf("%+v", r.Rule)
	}
}

func TestOnlyTheOlderOfAnHTTPRouteAndAGRPCRouteHasAHostName(t *testing.T) {
	t.Parallel()
	grpc := "kind: GRPCRoute\nmetadata: {name: g}\nspec:\n  parentRefs: [{name: gate}]\n  hostnames: [%]\n  rules: [{}]\n---\n"
	for host, want := range map[string]string{"a.example.com": "False HostnameConflict", "b.example.org": "True Accepted", "'*.com'": "False HostnameConflict"} {
		text := httpRoute("old", "  hostnames: ['*.example.com']\n  rules: [{}]")
		out := Compile(load(t, plainGateway, text, replace(grpc, "%", host)))
		if got := conditionOf(out.Statuses.GRPCRoutes[shop("g")].Parents[0].Conditions, "Accepted"); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// TestConnectionsOfTLSFindTheirServer: TLSRoute, TLSRouteModeTerminate, TLSRouteModeMixed.
func TestConnectionsOfTLSFindTheirServer(t *testing.T) {
	t.Parallel()
	in := withTrust(load(t, gateway("gate", `  listeners:
  - {name: pass, port: 443, protocol: TLS, hostname: "*.pass.com", tls: {mode: Passthrough}}
  - {name: end, port: 443, protocol: TLS, hostname: "*.end.com", tls: {certificateRefs: [{name: cert}]}}`), `
kind: TLSRoute
metadata: {name: a}
spec:
  parentRefs: [{name: gate}]
  hostnames: [a.pass.com, a.end.com]
  rules: [{backendRefs: [{name: web, port: 80, weight: 3}, {name: canary, port: 80}]}]
---
kind: TLSRoute
metadata: {name: all}
spec:
  parentRefs: [{name: gate, sectionName: pass}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
`), "shop")
	out := Compile(in)
	x := match.NewIndex(out.Config)
	for name, want := range map[string]string{"a.pass.com": "a pass 3, 1", "b.pass.com": "all pass", "a.end.com": "a end", "b.end.com": "", "other.org": ""} {
		_, s := x.Server(0, name)
		got := ""
		if s != nil {
			got = s.Rule.Key.Name.Name + map[bool]string{true: " end", false: " pass"}[s.Terminate]
			if shared(s.Rule) == "web 3, canary 1" && name == "a.pass.com" {
				got += " 3, 1"
			}
			if s.Rule.Backends[0].Backend.Speech != config.SpeakBytes || s.Rule.Timeouts.Request != 0 {
				t.Errorf("%s: %+v", name, s.Rule)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := conditionOf(out.Statuses.TLSRoutes[shop("a")].Parents[0].Conditions, "Accepted"); got != "True Accepted" {
		t.Error(got)
	}
}

// TestBackendTLSPoliciesSayWhomToTrust: BackendTLSPolicy, BackendTLSPolicySANValidation, GatewayBackendClientCertificate.
func TestBackendTLSPoliciesSayWhomToTrust(t *testing.T) {
	t.Parallel()
	policy := func(name, section, ca, more string) string {
		return "kind: BackendTLSPolicy\nmetadata: {name: " + name + "}\nspec:\n  targetRefs: [{group: '', kind: Service, name: ports" + section + "}]\n  validation: {caCertificateRefs: [" + ca + "], hostname: inner.example" + more + "}\n---\n"
	}
	const good, bad = "{group: '', kind: ConfigMap, name: ca}", "{group: '', kind: ConfigMap, name: bad-ca}"
	route := httpRoute("r", "  rules: [{backendRefs: [{name: ports, port: 443}, {name: ports, port: 3003}]}]")
	gate := gateway("gate", "  listeners: [{name: http, port: 80, protocol: HTTP}]\n  tls: {backend: {clientCertificateRef: {name: cert}}}")
	out := Compile(withTrust(load(t, gate, route, policy("all", "", good, ", subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}, {type: Hostname, hostname: x.y}]"),
		policy("section", ", sectionName: tls", good, ""), policy("late", "", good, ""), policy("wrong", ", sectionName: wss", bad, "")), "shop"))
	r, _ := ask(t, out, 80, get("h", "/"))
	if r.Rule.Key.Gateway != shop("gate") {
		t.Errorf("a rule that shows the Gateway's own certificate is known as that of all: %+v", r.Rule.Key)
	}
	b := r.Rule.Backends[0].Backend
	if b == nil || b.TLS == nil || b.TLS.ServerName != "inner.example" || len(b.TLS.CAs) == 0 || len(b.TLS.SANs) != 0 || len(b.TLS.Certificate) == 0 || b.Speech != config.SpeakAuto || b.Key.Dress == "" {
		t.Errorf("the port with a policy of its own: %+v", b)
	}
	if r.Rule.Backends[1].Backend != nil || r.Rule.Backends[1].Why == "" {
		t.Error("a backend whose policy trusts nobody is spoken to")
	}
	for name, want := range map[string][2]string{"all": {"True Accepted", "True ResolvedRefs"}, "section": {"True Accepted", "True ResolvedRefs"},
		"late": {"False Conflicted", "True ResolvedRefs"}, "wrong": {"False NoValidCACertificate", "False InvalidCACertificateRef"}} {
		s := out.Statuses.BackendTLSPolicies[shop(name)]
		if len(s.Ancestors) != 1 || string(s.Ancestors[0].AncestorRef.Name) != "gate" {
			t.Errorf("%s: %+v", name, s)
			continue
		}
		if a, r := conditionOf(s.Ancestors[0].Conditions, "Accepted"), conditionOf(s.Ancestors[0].Conditions, "ResolvedRefs"); a != want[0] || r != want[1] {
			t.Errorf("%s: Accepted %s, ResolvedRefs %s", name, a, r)
		}
	}
	out = Compile(withTrust(load(t, gate, httpRoute("r", "  rules: [{backendRefs: [{name: ports, port: 3001}]}]"), policy("all", "", good, ", subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}, {type: Hostname, hostname: x.y}]")), "shop"))
	if b := out.Config.Rules[0].Backends[0].Backend; len(b.TLS.SANs) != 2 || b.TLS.SANs[0] != "spiffe://a/b" {
		t.Errorf("SANs: %+v", b.TLS)
	}
}

// TestPoliciesOfBackendsAreMerged: BackendPolicy and XBackendTrafficPolicy.
func TestPoliciesOfBackendsAreMerged(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80}]}]"), `
kind: BackendPolicy
metadata: {name: p}
spec:
  targetRefs: [{name: web}]
  loadBalancing: {algorithm: ConsistentHash, consistentHash: {header: X-User}, slowStart: 30s}
  outlierDetection: {consecutive5xx: 3}
  circuitBreaker: {maxRequests: 7}
  locality: {mode: Any, overprovision: "2"}
  scaleToZero: {hold: 5s}
---
kind: BackendPolicy
metadata: {name: late}
spec: {targetRefs: [{name: web}]}
---
kind: BackendPolicy
metadata: {name: lost}
spec: {targetRefs: [{name: none}]}
---
kind: BackendPolicy
metadata: {name: bad}
spec: {targetRefs: [{name: canary}], loadBalancing: {algorithm: ConsistentHash}}
---
kind: BackendPolicy
metadata: {name: probing}
spec: {targetRefs: [{name: canary}], healthCheck: {active: {path: /healthz}}}
---
kind: XBackendTrafficPolicy
metadata: {name: x}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  retryConstraint: {budget: {percent: 50, interval: 20s}, minRetryRate: {count: 3}}
  sessionPersistence: {sessionName: s}
`))
	p := out.Config.Rules[0].Backends[0].Backend.Policy
	if p.Algorithm != config.ConsistentHash || p.HashHeader != "x-user" || p.Outlier.Consecutive5xx != 3 || p.Outlier.MaxEjectedPercent != 10 ||
		p.MaxRequests != 7 || p.MaxConnections != 1024 || p.Zone || p.Overprovision != 2 || p.Hold.MaxPending != 1000 {
		t.Errorf("%+v", p)
	}
	if p.BudgetPercent != 50 || p.BudgetRate != 3 || p.BudgetInterval.Seconds() != 20 || p.Session.Cookie != "s" {
		t.Errorf("%+v", p)
	}
	for name, want := range map[string]string{"p": "True Accepted", "late": "False Conflicted", "lost": "False TargetNotFound", "bad": "False Invalid", "probing": "True Accepted"} {
		if got := conditionOf(out.Statuses.BackendPolicies[shop(name)].Conditions, "Accepted"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if s := out.Statuses.TrafficPolicies[shop("x")]; len(s.Ancestors) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestProbesAreAsTheirPolicySaysOrRefused(t *testing.T) {
	t.Parallel()
	for active, want := range map[string]string{
		"{}": "{/ 200 399 false  5s 1s 2 3}",
		"{path: /healthz, interval: 10s, timeout: 3s, healthy: 1, unhealthy: 5, expected: '204'}": "{/healthz 204 204 false  10s 3s 1 5}",
		"{expected: 200-299, interval: 500ms}":                                                    "{/ 200 299 false  500ms 500ms 2 3}",
		"{grpc: {service: shop.Cart}}":                                                            "{/ 200 399 true shop.Cart 5s 1s 2 3}",
		"{interval: 10ms}":                                                                        "interval: 10ms is less than 100ms",
		"{timeout: 6s}":                                                                           "timeout: 6s is not more than 0 and at most the interval, 5s",
		"{timeout: 0s}":                                                                           "timeout: 0s is not more than 0",
		"{path: healthz}":                                                                         `path: "healthz" is not a path`,
		"{expected: 300-200}":                                                                     `expected: "300-200" is no status`,
		"{expected: '600'}":                                                                       `expected: "600" is no status`,
		"{grpc: {}, path: /x}":                                                                    "a probe of gRPC has no path",
		"{unhealthy: 0}":                                                                          "at least 1",
	} {
		out := Compile(load(t, plainGateway, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80}]}]"),
			"kind: BackendPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{name: web}], healthCheck: {active: "+active+"}}"))
		h := out.Config.Rules[0].Backends[0].Backend.Policy.Health
		got := out.Statuses.BackendPolicies[shop("p")].Conditions[0].Message
		if h != nil {
			got = fmt.Sprint(*h)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", active, got, want)
		}
	}
}

func TestXBackendsLeadOutsideOnly(t *testing.T) {
	t.Parallel()
	x := "kind: XBackend\nmetadata: {name: x}\nspec: {type: ExternalHostname, port: {port: 443}, externalHostname: {hostname: %}, protocol: HTTP11, tls: {mode: ServerOnly, validation: {wellKnownCACertificates: System, hostname: api.example.com}}}\n---\n"
	route := httpRoute("r", "  rules: [{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: x}]}]")
	for host, ok := range map[string]bool{"api.example.com": true, "web.shop.svc.cluster.local": false, "localhost": false, "metadata.google.internal": false, "169.254.169.254": false} {
		out := Compile(load(t, plainGateway, route, replace(x, "%", host)))
		b := out.Config.Rules[0].Backends[0].Backend
		if (b != nil) != ok {
			t.Errorf("%s: %+v", host, b)
		}
		if ok && (b.Host != host || b.TLS == nil || b.TLS.CAs != nil || b.Speech != config.SpeakHTTP1 || b.Key.Port != 443) {
			t.Errorf("%s: %+v", host, b)
		}
		want := map[bool]string{true: "True Accepted", false: "False Invalid"}[ok]
		if got := conditionOf(out.Statuses.XBackends[shop("x")].Ancestors[0].Conditions, "Accepted"); got != want {
			t.Errorf("%s: %s", host, got)
		}
	}
}
