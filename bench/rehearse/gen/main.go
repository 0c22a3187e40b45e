// Command gen writes the three cases of the rehearsal benchmark: idle, loaded and large. They are the same clusters, curves
// and release that the measurements in bench/README.md compare with.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
)

const apps = 100

// size is one cluster.
type size struct {
	name     string
	nodes    int
	replicas int
	hpa      bool
	hpaSync  string
	release  bool
}

func main() {
	log.SetFlags(0)
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	for _, s := range []size{
		{name: "idle", nodes: 100, replicas: 10},
		{name: "loaded", nodes: 100, replicas: 10, hpa: true, hpaSync: "15s", release: true},
		{name: "large", nodes: 500, replicas: 50, hpa: true, hpaSync: "60s", release: true},
	} {
		write(filepath.Join(dir, s.name+".yaml"), s.scenario())
		write(filepath.Join(dir, s.name+"-objects.yaml"), s.objects())
	}
}

func write(file, text string) {
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
}

// objects are 100 Deployments with a Service each, and an autoscaler where the case has them; one object a line.
func (s size) objects() string {
	var b strings.Builder
	b.WriteString("# Made by go run ./bench/rehearse/gen bench/rehearse\n")
	for i := range apps {
		app := fmt.Sprintf("app-%d", i)
		fmt.Fprintf(&b, "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s, namespace: default}, spec: {replicas: %d, selector: {matchLabels: {app: %s}}, strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%%, maxUnavailable: 25%%}}, template: {metadata: {labels: {app: %s}}, spec: {containers: [{name: c, image: \"img:v1\", resources: {requests: {cpu: 100m, memory: 128Mi}}}]}}}}\n", app, s.replicas, app, app)
		fmt.Fprintf(&b, "---\n{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: default}, spec: {selector: {app: %s}, ports: [{port: 80}]}}\n", app, app)
		if s.hpa {
			fmt.Fprintf(&b, "---\n{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: %s, namespace: default}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, minReplicas: %d, maxReplicas: %d, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]}}\n", app, app, s.replicas/2, s.replicas*5)
		}
	}
	return b.String()
}

// cpuMillis is the CPU time of one request in these cases.
const cpuMillis = 10

func (s size) scenario() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by go run ./bench/rehearse/gen bench/rehearse
apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: bench-%s}
spec:
  duration: 24h
  settle: 5m
  cluster:
    pools: [{name: web, cpu: 16, memory: 64Gi, zones: [a, b, c], size: %d, join: {p50: 1s, p99: 1s}}]
    manifests: [%s-objects.yaml]
    images: {"*": {pull: {p50: 1s, p99: 1s}}}
  services: [{match: "default/*", cpu: %dms, latency: {p50: %dms, p99: 100ms}, idle: {cpu: 0m}, noise: 0%%, ready: {p50: 8s, p99: 8s}, stop: 2s}]
`, s.name, s.nodes, s.name, cpuMillis, 2*cpuMillis)
	if s.hpaSync != "" {
		fmt.Fprintf(&b, "  controllers: {kubernetes: {hpaSync: %s}}\n", s.hpaSync)
	}
	if s.hpa {
		s.loads(&b)
	}
	if s.release {
		b.WriteString("  steps:\n")
		for i := 0; i < apps; i += 5 {
			fmt.Fprintf(&b, "  - {name: release-%d, at: \"09:00\", setImage: {workload: default/app-%d, image: \"img:v2\"}}\n", i, i)
		}
	}
	return b.String()
}

// loads are one curve an application: its CPU swings between 60 and 175 millicores a replica of the start, so that autoscalers
// with a target of 60 millicores run between 10 and 27 pods for each 10; every seventh peaks at the same time.
func (s size) loads(b *strings.Builder) {
	b.WriteString("  load:\n")
	for i := range apps {
		low, high := float64(s.replicas)*60/cpuMillis, float64(s.replicas)*175/cpuMillis
		minutes := 12*60 - i%7*18
		fmt.Fprintf(b, "  - {name: l-%d, to: default/app-%d, daily: {low: %g, high: %g, peakAt: \"%02d:%02d\"}}\n", i, i, low, high, minutes/60, minutes%60)
	}
}
