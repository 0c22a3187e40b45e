package compile

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

const stableIngress = `
kind: Ingress
metadata: {name: stable}
spec:
  ingressClassName: nginx
  rules:
  - host: Shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /exact, pathType: Exact, backend: {service: {name: web, port: {number: 80}}}}
---
`

func canaryIngress(annotations string) string {
	return `
kind: Ingress
metadata:
  name: canary
  annotations: {nginx.ingress.kubernetes.io/canary: "true", ` + annotations + `}
spec:
  ingressClassName: nginx
  rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: canary, port: {number: 80}}}}]}}]
---
`
}

func TestIngressesAreServedByTheirPaths(t *testing.T) {
	t.Parallel()
	in := withTrust(load(t, stableIngress, `
kind: Ingress
metadata: {name: fallback}
spec: {ingressClassName: fairway, defaultBackend: {service: {name: canary, port: {number: 80}}}, tls: [{hosts: [shop.example.com], secretName: cert}]}
---
kind: Ingress
metadata: {name: other}
spec: {ingressClassName: traefik, rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
`), "shop")
	out := Compile(in)
	for path, want := range map[string]string{"/": "stable#0/0", "/exact": "stable#0/1", "/exact/not": "stable#0/0"} {
		if got := answered(t, out, 80, get("shop.example.com", path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := answered(t, out, 80, get("any.org", "/x")); got != "fallback#default" {
		t.Errorf("another host: %s", got)
	}
	secure := get("shop.example.com", "/")
	secure.ServerName = "shop.example.com"
	if got := answered(t, out, 443, secure); got != "stable#0/0" {
		t.Errorf("within TLS: %s", got)
	}
	if s := out.Statuses.Ingresses; len(s) != 2 || s[shop("stable")].LoadBalancer.Ingress[0].IP != "127.32.255.1" || len(s[shop("fallback")].LoadBalancer.Ingress[0].Ports) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestNginxCanariesTakeTheirPart as ingress-nginx documents it: header before cookie before weight.
func TestNginxCanariesTakeTheirPart(t *testing.T) {
	t.Parallel()
	const p = "nginx.ingress.kubernetes.io/canary-"
	for name, tc := range map[string]struct {
		annotations string
		headers     []string
		want        string
	}{
		"weight":                  {p + "weight: '20'", nil, "web 80, canary 20"},
		"weight of total":         {p + "weight: '5', " + p + "weight-total: '1000'", nil, "web 995, canary 5"},
		"too much":                {p + "weight: '200'", nil, "web 0, canary 100"},
		"no number":               {p + "weight: many", nil, "web 100, canary 0"},
		"header always":           {p + "weight: '0', " + p + "by-header: X-Canary", []string{"x-canary", "always"}, "canary 1"},
		"header never":            {p + "weight: '100', " + p + "by-header: X-Canary", []string{"x-canary", "never"}, "web 1"},
		"another header":          {p + "weight: '30', " + p + "by-header: X-Canary", []string{"x-canary", "maybe"}, "web 70, canary 30"},
		"header value":            {p + "weight: '0', " + p + "by-header: X-Canary, " + p + "by-header-value: '7'", []string{"X-Canary", "7"}, "canary 1"},
		"always is no value":      {p + "weight: '0', " + p + "by-header: X-Canary, " + p + "by-header-value: '7'", []string{"X-Canary", "always"}, "web 100, canary 0"},
		"header pattern":          {p + "weight: '0', " + p + "by-header: X-Canary, " + p + "by-header-pattern: 'us|de'", []string{"X-Canary", "the-us-east"}, "canary 1"},
		"cookie always":           {p + "weight: '0', " + p + "by-cookie: c", []string{"Cookie", "a=b; c=always"}, "canary 1"},
		"cookie never":            {p + "weight: '100', " + p + "by-cookie: c", []string{"Cookie", "c=never"}, "web 1"},
		"header beats the cookie": {p + "by-header: h, " + p + "by-cookie: c", []string{"Cookie", "c=always", "h", "never"}, "web 1"},
	} {
		out := Compile(load(t, stableIngress, canaryIngress(tc.annotations)))
		r, ok := ask(t, out, 80, get("shop.example.com", "/", tc.headers...))
		if !ok || shared(r.Rule) != tc.want {
			t.Errorf("%s: %v, want %s", name, r.Rule, tc.want)
		}
		if r, _ := ask(t, out, 80, get("shop.example.com", "/exact", tc.headers...)); shared(r.Rule) != "web 1" {
			t.Errorf("%s: a path that the canary does not have is shared: %s", name, shared(r.Rule))
		}
	}
}

func TestACanaryThatChangesIsInForceThoughItsIngressHasNotChanged(t *testing.T) {
	t.Parallel()
	in := load(t, stableIngress, canaryIngress("nginx.ingress.kubernetes.io/canary-weight: '20'"))
	first := Compile(in)
	in.Ingresses[1] = in.Ingresses[1].DeepCopy()
	in.Ingresses[1].Annotations[canaryWeight], in.Ingresses[1].ResourceVersion, in.Previous = "40", "new", &first
	second := Compile(in)
	a, _ := ask(t, first, 80, get("shop.example.com", "/"))
	b, _ := ask(t, second, 80, get("shop.example.com", "/"))
	if shared(b.Rule) != "web 60, canary 40" || a.Rule.Key != b.Rule.Key || a.Rule.Index != b.Rule.Index {
		t.Errorf("%+v, then %+v", a.Rule, b.Rule)
	}
}

func TestAnnotationsOfNginxThatChangeNothingAreNamed(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, replace(stableIngress, "{name: stable}", "{name: stable, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /, other: x}}")))
	if len(out.Events) != 1 || !out.Events[0].Warning || !strings.Contains(out.Events[0].Message, "rewrite-target") {
		t.Errorf("%+v", out.Events)
	}
}

const virtualService = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [shop.example.com, web]
  gateways: [any]
  http:
  - name: tester
    match:
    - {uri: {prefix: /Ca}, ignoreUriCase: true, headers: {x-tester: {}}, withoutHeaders: {x-no: {exact: "1"}}}
    - {authority: {regex: "admin.*"}}
    route: [{destination: {host: canary}}]
  - name: old
    match: [{uri: {exact: /old}}]
    redirect: {uri: /new, authority: new.example, redirectCode: 308}
  - name: main
    route:
    - {destination: {host: web, subset: v1, port: {number: 80}}, weight: 90, headers: {response: {set: {x-version: v1}}}}
    - {destination: {host: canary.shop.svc.cluster.local}, weight: 10}
    rewrite: {uri: /v2}
    timeout: 3s
    retries: {attempts: 4, perTryTimeout: 1s, retryOn: "gateway-error,reset,409"}
    fault: {delay: {percentage: {value: 1.5}, fixedDelay: 2s}, abort: {percentage: {value: 0.5}, httpStatus: 503}}
    mirror: {host: canary}
    mirrorPercentage: {value: 12.5}
    corsPolicy: {allowOrigins: [{exact: "https://a.b"}], maxAge: 1h}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 7, baseEjectionTime: 1m, maxEjectionPercent: 50}
    connectionPool: {tcp: {maxConnections: 5, connectTimeout: 1s}, http: {http2MaxRequests: 9}}
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]
---
`

func TestVirtualServicesMoveTraffic(t *testing.T) {
	t.Parallel()
	out := Compile(load(t, virtualService))
	if len(out.Events) != 0 {
		t.Errorf("events: %+v", out.Events)
	}
	for _, tc := range []struct{ host, path, headers, want string }{
		{"shop.example.com", "/", "", "vs#main"}, {"web", "/cart", "x-tester=a", "vs#tester"}, {"web.shop.svc.cluster.local", "/cart", "", "vs#main"},
		{"shop.example.com", "/cart", "x-tester=,x-no=1", "vs#main"}, {"shop.example.com", "/cart", "x-tester=,x-no=2", "vs#tester"},
		{"shop.example.com", "/old", "", "vs#old"}, {"other.org", "/", "", "404"},
	} {
		var headers []string
		for _, h := range strings.FieldsFunc(tc.headers, func(r rune) bool { return r == ',' }) {
			name, value, _ := strings.Cut(h, "=")
			headers = append(headers, name, value)
		}
		if got := answered(t, out, 80, get(tc.host, tc.path, headers...)); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
	m, _ := ask(t, out, 80, get("shop.example.com", "/"))
	r := m.Rule
	if shared(r) != "web/v1 90, canary 10" || len(r.Backends[0].Filters) != 1 || r.Backends[0].Backend.Labels["version"] != "v1" {
		t.Errorf("shares: %s", shared(r))
	}
	if p := r.Backends[0].Backend.Policy; p.Algorithm != config.Random || p.Outlier.Consecutive5xx != 7 || p.MaxConnections != 5 || p.MaxRequests != 9 {
		t.Errorf("policy of the subset: %+v", p)
	}
	if r.Timeouts.Request != 3*time.Second || r.Timeouts.Try != time.Second || r.Retry.Attempts != 4 || len(r.Retry.Codes) != 4 || !r.Retry.Connect {
		t.Errorf("%+v %+v", r.Timeouts, r.Retry)
	}
	if r.Fault.DelayPercent != 1.5 || r.Fault.AbortStatus != 503 || r.Mirrors[0].Numerator != 1250 || r.CORS.MaxAge != time.Hour {
		t.Errorf("%+v %+v %+v", r.Fault, r.Mirrors, r.CORS)
	}
}

func TestFieldsOfForeignObjectsThatChangeNothingAreNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ old, with, says string }{
		"field of a route":    {"    timeout: 3s", "    timeout: 3s\n    directResponse: {status: 200}", "spec.http[2].directResponse"},
		"section":             {"  gateways: [any]", "  gateways: [any]\n  tcp: []", "spec.tcp"},
		"condition":           {"{uri: {exact: /old}}", "{uri: {exact: /old}, sourceLabels: {a: b}}", "spec.http[1].match[0].sourceLabels"},
		"condition fits none": {"{uri: {exact: /old}}", "{uri: {exact: /old}, sourceLabels: {a: b}}", "fits no request"},
		"duration":            {"timeout: 3s", "timeout: long", "spec.http[2].timeout"},
		"not a list":          {"hosts: [shop.example.com, web]", "hosts: web", "spec.hosts"},
		"balancer":            {"ROUND_ROBIN", "PASSTHROUGH", "PASSTHROUGH"},
		"rule's field":        {"    loadBalancer: {simple: ROUND_ROBIN}", "    tls: {mode: SIMPLE}", "spec.trafficPolicy.tls"},
		"no such subset":      {"subset: v1", "subset: v9", "v9"},
	} {
		out := Compile(load(t, replace(virtualService, tc.old, tc.with)))
		var all []string
		for _, e := range out.Events {
			all = append(all, e.Message)
		}
		if !strings.Contains(strings.Join(all, "\n"), tc.says) {
			t.Errorf("%s: %q does not name %s", name, all, tc.says)
		}
		in := load(t, replace(virtualService, tc.old, tc.with))
		in.Previous = &out
		if again := Compile(in); len(again.Events) != len(out.Events) {
			t.Errorf("%s: %d events, then %d", name, len(out.Events), len(again.Events))
		}
	}
}

func TestTrafficSplitsDivideTheirServiceWhereverItIsReferredTo(t *testing.T) {
	t.Parallel()
	const s = "apiVersion: split.smi-spec.io/v1alpha1\nkind: TrafficSplit\nmetadata: {name: s}\nspec: {service: web, backends: [{service: web, weight: 900m}, {service: canary, weight: 100m}]}\n---\n"
	out := Compile(load(t, plainGateway, s, httpRoute("r", "  rules: [{backendRefs: [{name: web, port: 80, weight: 3}, {namespace: shop, name: ports, port: 3002}]}]")))
	r, _ := ask(t, out, 80, get("any", "/"))
	if got := shared(r.Rule); got != "web 27, canary 3, ports 10" {
		t.Errorf("shares of the route: %s", got)
	}
	var entrance string
	for _, r := range out.Config.Rules {
		if r.Key.Kind == kindTrafficSplit {
			entrance = shared(r)
		}
	}
	if entrance != "web 9, canary 1" {
		t.Errorf("shares at the entrance: %s", entrance)
	}
}

// FuzzForeignObjects: whatever stands in a foreign object, it is served or told, and the gateway does not fall.
func FuzzForeignObjects(f *testing.F) {
	for _, text := range strings.Split(virtualService, "\n---\n") {
		f.Add(kindVirtualService, text)
		f.Add(kindDestinationRule, text)
	}
	f.Add(kindTrafficSplit, "spec: {service: web, backends: [{service: web, weight: 900m}]}")
	f.Add(kindVirtualService, "spec: {hosts: [a], http: [{match: [{headers: {a: b}}], route: [{weight: 1e99}], mirrors: [1]}]}")
	base := load(&testing.T{}, plainGateway)
	f.Fuzz(func(t *testing.T, kind, text string) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil || u.Object == nil {
			t.Skip()
		}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: map[bool]string{true: smiGroup, false: istioGroup}[kind == kindTrafficSplit], Version: "v1", Kind: kind})
		u.Object["metadata"] = map[string]any{"name": "x", "namespace": "shop"}
		in := base
		in.Foreign = append(in.Foreign, u)
		out := Compile(in)
		for i := range out.Config.Sockets {
			head := get("web", "/any?a=b", "cookie", "a=b")
			match.NewIndex(out.Config).Match(i, &head)
		}
	})
}
