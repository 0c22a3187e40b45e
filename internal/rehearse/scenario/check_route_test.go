package scenario

import (
	"strings"
	"testing"
)

const routed = shop + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: fairway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: mesh, namespace: shop}
spec: {gatewayClassName: istio}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: edge}], hostnames: [shop.example, "*.shops.example"], rules: [{backendRefs: [{name: frontend, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: theirs, namespace: shop}
spec: {parentRefs: [{name: mesh}], hostnames: [theirs.example], rules: [{backendRefs: [{name: frontend, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: lost, namespace: shop}
spec: {parentRefs: [{name: edges}], hostnames: [lost.example], rules: [{backendRefs: [{name: frontend, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orphan, namespace: shop}
spec: {hostnames: [orphan.example], rules: [{backendRefs: [{name: frontend, port: 80}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [reviews, reviews.example], http: [{route: [{destination: {host: frontend}}]}]}
---
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: ratings, namespace: shop}
spec: {service: ratings.shop.svc.cluster.local, backends: [{service: frontend, weight: 1}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: details, namespace: shop}
spec: {strategy: {canary: {stableService: details-stable, canaryService: details-canary, trafficRouting: {smi: {rootService: details}}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: search, namespace: shop}
spec: {strategy: {canary: {stableService: search, canaryService: search-canary, trafficRouting: {smi: {}}}}}
`

func TestLoadsThroughAGatewayMustHaveARouteThatIsServed(t *testing.T) {
	t.Parallel()
	for to, says := range map[string]string{
		"HTTPRoute/shop/web":    "",
		"HTTPRoute/shop/wep":    "4:10: error: there is no route HTTPRoute/shop/wep; did you mean shop/web?",
		"HTTPRoute/shop/theirs": "4:10: error: to: the Gateway of HTTPRoute/shop/theirs is of the class istio, which another controller serves",
		"HTTPRoute/shop/lost":   "4:10: error: to: there is no Gateway shop/edges, which HTTPRoute/shop/lost is attached to",
		"HTTPRoute/shop/orphan": "4:10: error: to: HTTPRoute/shop/orphan has no parent",
		"shop.example":          "",
		"\"shop.example:8080\"": "",
		"a.b.shops.example":     "",
		"shop.exemple":          "4:10: error: to: no route serves the host name shop.exemple; did you mean shop.example?",
		"reviews.example":       "",
		"reviews.shop":          "", // as a mesh knows a Service
		"reviews.bank":          "4:10: error: to: no route serves the host name reviews.bank",
		"ratings.shop.svc":      "",
		"details.shop":          "", // of the TrafficSplit that the Rollout makes
		"search.shop":           "",
		"details-canary.shop":   "4:10: error: to: no route serves the host name details-canary.shop",
		"GRPCRoute/shop/web":    "4:15: error: to: load goes to no GRPCRoute",
		"web":                   `4:15: error: to: "web" is not a target`,
		"\"shop.example:many\"": "is not a target",
	} {
		s, diags := Parse(in("  load: [{to: "+to+", rate: 1}]"), "s.yaml")
		if !HasErrors(diags) {
			diags = Check(&s, objects(t, routed))
		}
		var all []string
		for _, d := range diags {
			all = append(all, d.String())
		}
		if got := strings.Join(all, "\n"); (says == "") != (got == "") || !strings.Contains(got, says) {
			t.Errorf("%s: %q, want %q", to, got, says)
		}
	}
}
