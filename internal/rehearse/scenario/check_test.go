package scenario

import (
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/manifest"
)

const shop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec: {template: {metadata: {labels: {app: frontend}}, spec: {containers: [{name: server, image: example/frontend:v1}, {name: sidecar, image: example/proxy:v1}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: shop}
spec: {type: ClusterIP, selector: {app: frontend}}
---
apiVersion: v1
kind: Service
metadata: {name: frontend-external, namespace: shop}
spec: {type: LoadBalancer, selector: {app: frontent}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: compute, namespace: shop}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: checkout, namespace: shop}
spec: {workloadRef: {apiVersion: apps/v1, kind: Deployment, name: checkout-of}}
`

func objects(t *testing.T, text string) []manifest.Object {
	t.Helper()
	list, problems := manifest.Parse([]byte(text), "k8s.yaml")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return list
}

func TestNamesOfNothingAreReportedWithTheNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ fragment, says string }{
		{"  load: [{to: shop/frontent, rate: 1}]", "4:10: error: there is no Service, Deployment or Rollout shop/frontent; did you mean shop/frontend?"},
		{"  load: [{to: shop/frontend, rate: 1}]", ""},
		{"  load: [{to: shop/frontend-external, rate: 1}]", "4:10: error: nothing answers at Service shop/frontend-external: no workload's pods have the labels app=frontent"},
		{"  load: [{to: Deployment/shop/frontend, rate: 1}]", ""},
		{"  services: [{match: shop/cort, cpu: 1ms}]", "no Service or workload shop/cort; did you mean shop/cart?"},
		{"  load: [{to: prod/cart, rate: 1}]", "did you mean shop/cart?"},
		{"  services: [{match: 'sho*/x*', cpu: 1ms}]", "warning: match: nothing matches"},
		{"  services: [{match: shop/frontend, calls: [cart/add, shop/cart, cart*2]}]", ""},
		{"  services: [{match: shop/frontend, calls: [carts]}]", "calls: there is no Service shop/carts; did you mean cart?"},
		{"  steps: [{at: +1h, setImage: {workload: shop/frontend, image: 'example/frontend:v2'}}]", ""},
		{"  steps: [{at: +1h, setImage: {workload: shop/frontend, image: 'other/frontend:v2'}}]", "has 2 containers, and the image does not tell which"},
		{"  steps: [{at: +1h, setImage: {workload: shop/frontend, image: x, container: serve}}]", `no container "serve"; did you mean server?`},
		{"  steps: [{at: +1h, promote: shop/checkout}, {at: +2h, abort: Rollout/shop/checkout}, {at: +3h, retry: shop/checkout}]", ""},
		{"  steps: [{at: +1h, promote: {workload: shop/chekout, full: true}}]", "there is no Rollout shop/chekout; did you mean shop/checkout?"},
		{"  steps: [{at: +1h, abort: Deployment/shop/frontend}]", "abort goes with a Rollout; Deployment/shop/frontend is a Deployment"},
		{"  steps: [{at: +1h, for: 5m, pause: shop/frontend}, {at: +2h, resume: shop/checkout}]", ""},
		{"  steps: [{at: +1h, pause: Service/shop/cart}]", "pause goes with a Rollout or Deployment; Service/shop/cart is a Service"},
		{"  steps: [{at: +1h, setImage: {workload: shop/checkout, image: 'example/checkout:v2'}}]", ""},
		{"  expect: [{rollout: {workload: shop/checkout, verdict: Aborted, maxWeight: 10%}}]", ""},
		{"  expect: [{rollout: {workload: shop/frontend, within: 5m}}]", ""},
		{"  expect: [{rollout: {workload: Deployment/shop/frontend, verdict: Aborted}}]", "the update of a Deployment is never aborted"},
		{"  expect: [{rollout: {workload: shop/chekout}}]", "there is no workload shop/chekout; did you mean shop/checkout?"},
		{"  load: [{to: Rollout/shop/checkout, rate: 1}]", ""},
		{"  steps: [{at: +1h, quota: {namespace: shop, name: computer, hard: {pods: 1}}}]", "there is no ResourceQuota shop/computer; did you mean shop/compute?"},
		{"  steps: [{at: +1h, delete: Service/shop/card}]", "there is no Service/shop/card; did you mean shop/cart?"},
		{"  steps: [{at: +1h, delete: Pod/shop/x}]", "warning: no manifest holds Pod/shop/x"},
		{"  steps: [{at: +1h, apply: {apiVersion: apps/v1, kind: Deployment, metadata: {name: new, namespace: shop}}}, {at: +2h, restart: shop/new}]", ""},
		{"  expect: [{replicas: {workload: shop/web, min: 1}}]", "there is no workload shop/web"},
		{"  expect: [{slo: {service: shop/cart/add, p95: 1s}}]", ""},
		{"  cluster: {replicas: {shop/backend: 2}}", "there is no workload shop/backend"},
		{"  cluster: {drop: ['Service/shop/c*', 'app=nothing']}", `drop: nothing matches "app=nothing"`},
	} {
		s, diags := Parse(in(c.fragment), "s.yaml")
		if HasErrors(diags) {
			t.Fatal(diags)
		}
		var got []string
		for _, d := range Check(&s, objects(t, shop)) {
			got = append(got, d.String())
		}
		all := strings.Join(got, "\n")
		if c.says == "" && all != "" || !strings.Contains(all, c.says) {
			t.Errorf("%s\n  want %q\n  got  %s", c.fragment, c.says, all)
		}
	}
}

func TestTheEntranceIsTheOneServiceReachableFromOutside(t *testing.T) {
	t.Parallel()
	if to, err := Entrance(objects(t, shop)); err != nil || to != "shop/frontend-external" {
		t.Errorf("entrance %q, %v", to, err)
	}
	ingress := "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, namespace: shop}\nspec: {rules: [{http: {paths: [{backend: {service: {name: cart, port: {number: 80}}}}]}}]}\n"
	if _, err := Entrance(objects(t, shop+ingress)); err == nil || !strings.Contains(err.Error(), "shop/cart or shop/frontend-external") {
		t.Errorf("two entrances gave %v", err)
	}
	if _, err := Entrance(nil); err == nil || !strings.Contains(err.Error(), "no Service is reachable") {
		t.Errorf("no entrance gave %v", err)
	}
}
