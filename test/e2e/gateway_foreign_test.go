package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// steered is a Rollout that steers some router to a fifth of the requests, then to three. NAME is its name, SERVICES those of its
// canary and stable, ROUTING its trafficRouting, STEPS what it does before it waits.
const steered = `
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: NAME-canary}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: web, image: shop/web:v1, ports: [{containerPort: 8080}]}]}
  strategy:
    canary:
      SERVICES
      trafficRouting: {ROUTING}
      steps: [{setWeight: 20}, STEPS{pause: {}}, {setWeight: 60}, {pause: {}}]
---
`

// routersObjects are those that users of other routers have: an Ingress, a VirtualService and a DestinationRule. A TrafficSplit
// is made by its Rollout.
const routersObjects = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: nginx}
spec:
  ingressClassName: nginx
  rules: [{host: nginx.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: nginx, port: {number: 80}}}}]}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: istio}
spec:
  hosts: [istio.example]
  http:
  - {name: stock, match: [{uri: {prefix: /stock}}], route: [{destination: {host: istio, subset: stable}}]}
  - {name: primary, route: [{destination: {host: istio, subset: stable}, weight: 100}, {destination: {host: istio, subset: canary}, weight: 0}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: istio}
spec:
  host: istio
  subsets: [{name: stable, labels: {app: istio}}, {name: canary, labels: {app: istio}}]
---
`

func TestObjectsOfOtherRoutersMoveRealRequests(t *testing.T) {
	t.Parallel()
	pool := fmt.Sprintf("127.34.%d.0/24", os.Getpid()%250)
	portOf(t, strings.TrimSuffix(pool, "0/24")+"1") // skips where this machine answers 127.0.0.1 only
	c := up(t, "--memory", "--data", t.TempDir(), "--gateway-address-pool", pool, "--pod-start", "100ms")
	c.define("networking.istio.io/v1alpha3/VirtualService networking.istio.io/v1alpha3/DestinationRule split.smi-spec.io/v1alpha1/TrafficSplit")
	const two = "canaryService: NAME-canary\n      stableService: NAME"
	all := map[string]struct{ services, routing, steps string }{
		"nginx": {two, "nginx: {stableIngress: nginx, additionalIngressAnnotations: {canary-by-header: X-Canary}}", ""},
		"istio": {"", "managedRoutes: [{name: beta}], istio: {virtualService: {name: istio, routes: [primary]}, destinationRule: {name: istio, canarySubsetName: canary, stableSubsetName: stable}}",
			"{setHeaderRoute: {name: beta, match: [{headerName: X-Canary, headerValue: {exact: always}}]}}, "},
		"smi": {two, "smi: {}", ""},
	}
	objects := routersObjects
	for name, r := range all {
		objects += strings.ReplaceAll(strings.NewReplacer("SERVICES", r.services, "ROUTING", r.routing, "STEPS", r.steps).Replace(steered), "NAME", name)
	}
	c.apply(objects)
	at := ""
	eventually(t, func() string {
		at, _ = c.try("get", "ingress", "nginx", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}:{.status.loadBalancer.ingress[0].ports[0].port}")
		if !strings.HasPrefix(at, "127.34.") {
			return "the Ingress has no address: " + at
		}
		return ""
	})
	hosts := map[string]string{"nginx": "nginx.example", "istio": "istio.example", "smi": "smi"}
	client := &http.Client{Transport: &http.Transport{}}
	ask := func(name, path, header string, times int) (by map[string]int) {
		by = map[string]int{}
		for range times {
			r, err := http.NewRequest("GET", "http://"+at+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = hosts[name]
			if header != "" {
				r.Header.Set("X-Canary", header)
			}
			answer, err := client.Do(r)
			if err != nil {
				by[err.Error()]++
				continue
			}
			answer.Body.Close()
			if answer.StatusCode != 200 {
				by[answer.Status]++
				continue
			}
			by[answer.Header.Get("X-Revision")]++
		}
		return by
	}
	for name := range all {
		c.phase(name, "Healthy")
		eventually(t, func() string { // the definitions are noticed soon
			if by := ask(name, "/", "", 10); len(by) != 1 || by[c.revision(name, "stableRS")] != 10 {
				return fmt.Sprintf("%s: before the update its requests go to %v", name, by)
			}
			return ""
		})
		c.kubectl("patch", "rollout", name, "--type=merge", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"shop/web:v2","ports":[{"containerPort":8080}]}]}}}}`)
	}
	for name := range all {
		c.phase(name, "Paused")
		for _, weight := range []int{20, 60} {
			stable, canary := c.revision(name, "stableRS"), c.revision(name, "currentPodHash")
			eventually(t, func() string {
				by := ask(name, "/", "", 100)
				if by[canary] < weight-1 || by[canary] > weight+1 || by[canary]+by[stable] != 100 {
					return fmt.Sprintf("%s: of 100 requests at weight %d, with %s for stable and %s for canary: %v", name, weight, stable, canary, by)
				}
				return ""
			})
			if name != "smi" {
				if by := ask(name, "/", "always", 5); by[canary] != 5 {
					t.Errorf("%s: requests with the header of the canary go to %v", name, by)
				}
			}
			if name == "istio" {
				if by := ask(name, "/stock", "", 5); by[stable] != 5 {
					t.Errorf("%s: requests of a route that is not steered go to %v", name, by)
				}
			}
			c.promote(name)
		}
		c.phase(name, "Healthy")
		eventually(t, func() string {
			if by := ask(name, "/", "", 20); by[c.revision(name, "stableRS")] != 20 || !strings.HasSuffix(c.kubectl("get", "rollout", name, "-o", "jsonpath={.status.currentPodHash} {.status.stableRS}"), c.revision(name, "currentPodHash")) {
				return fmt.Sprintf("%s: after the update its requests go to %v", name, by)
			}
			return ""
		})
	}
}

// revision that a Rollout's status has in a field.
func (c *cluster) revision(rollout, field string) string {
	return c.kubectl("get", "rollout", rollout, "-o", "jsonpath={.status."+field+"}")
}

// promote a Rollout that waits, or soon will, and wait until it goes on.
func (c *cluster) promote(rollout string) {
	c.t.Helper()
	eventually(c.t, func() string {
		if waits := c.revision(rollout, "pauseConditions[0].reason"); waits != "CanaryPauseStep" {
			return "Rollout " + rollout + " does not wait: " + waits
		}
		return ""
	})
	before := c.revision(rollout, "currentStepIndex")
	c.kubectl("patch", "rollout", rollout, "--subresource=status", "--type=merge", "-p", `{"status":{"pauseConditions":null}}`)
	eventually(c.t, func() string {
		if c.revision(rollout, "currentStepIndex") == before {
			return "Rollout " + rollout + " stays at step " + before
		}
		return ""
	})
}
