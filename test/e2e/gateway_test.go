package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// traffic is a Gateway with a route to a Deployment of ten pods that refuse new connections as soon as they are asked to
// stop.
const traffic = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: fairway
  listeners: [{name: http, port: %[1]d, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example]
  rules:
  - matches: [{path: {value: /cart}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 10
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {fairway.dev/sim-latency: 2ms, fairway.dev/sim-stop: "200ms,refuse"}}
    spec: {containers: [{name: web, image: shop/web:v1, ports: [{containerPort: 8080}]}]}
`

// portOf finds a free port of an address.
func portOf(t *testing.T, address string) int {
	t.Helper()
	l, err := net.Listen("tcp4", address+":0")
	if err != nil {
		t.Skipf("this machine answers 127.0.0.1 only: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestRequestsReachPodsThroughAGatewayAndSurviveRollingUpdates(t *testing.T) {
	t.Parallel()
	pool := fmt.Sprintf("127.33.%d.0/24", os.Getpid()%250)
	address := strings.TrimSuffix(pool, "0/24") + "1"
	port := portOf(t, address)
	c := up(t, "--memory", "--data", t.TempDir(), "--gateway-address-pool", pool, "--pod-start", "100ms")
	c.apply(fmt.Sprintf(traffic, port))
	eventually(t, func() string {
		out, _ := c.try("get", "gateway", "edge", "-o", `jsonpath={.status.addresses[0].value} {.status.conditions[?(@.type=="Programmed")].status} {.status.listeners[0].attachedRoutes}`)
		if out != address+" True 1" {
			return "the Gateway's address, whether it is programmed, and its routes: " + out
		}
		return ""
	})
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	url := fmt.Sprintf("http://%s:%d/cart", address, port)
	run := func(args ...string) *exec.Cmd {
		k := exec.Command(fairway(t), args...)
		k.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "HOME="+dir)
		return k
	}
	// Under load, three rolling updates: as many requests are answered as are sent.
	var out lockedBuffer
	load := run("load", url, "-H", "Host: shop.example", "--rate", "200", "--for", "12s", "--by", "X-Revision", "--json", "--max-failed", "0")
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		c.kubectl("set", "image", "deployment/web", fmt.Sprintf("web=shop/web:v%d", n+2))
		c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	}
	routes, err := run("gateway", "routes").CombinedOutput()
	if err != nil || !strings.Contains(string(routes), "HTTPRoute default/web rule 0") || !strings.Contains(string(routes), "requests a second, 100 % answered well") {
		t.Errorf("%v\n%s", err, routes)
	}
	tapped, err := run("gateway", "tap", "--max", "2").CombinedOutput()
	if err != nil || strings.Count(string(tapped), "200 GET http://shop.example/cart") != 2 {
		t.Errorf("%v\n%s", err, tapped)
	}
	if err := load.Wait(); err != nil {
		t.Errorf("requests were lost: %v\n%s", err, out.String())
	}
	var result struct {
		Done, Failed int
		By           map[string]struct{ Done int }
	}
	if err := json.Unmarshal([]byte(out.String()), &result); err != nil || result.Failed != 0 || len(result.By) < 2 {
		t.Errorf("%v: %d of %d failed, answers of revisions %v", err, result.Failed, result.Done, result.By)
	}
	for want, path := range map[string]string{"Served by HTTPRoute default/web rule 0": "/cart/7", "Answered 404 by the gateway": "/"} {
		explained, err := run("gateway", "explain", "http://shop.example"+path).CombinedOutput()
		if err != nil || !strings.Contains(string(explained), want) {
			t.Errorf("%v, want %q\n%s", err, want, explained)
		}
	}
	status, err := run("gateway", "status").CombinedOutput()
	if err != nil || strings.Count(string(status), "serving") != 10 {
		t.Errorf("%v\n%s", err, status)
	}
	if code := c.stop(syscall.SIGINT); code != 0 {
		t.Errorf("fairway up ended with exit code %d", code)
	}
}
