package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// busy is a Deployment whose pods use twice the CPU they request, and the autoscaler that answers to it.
const busy = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata:
      labels: {app: busy}
      annotations: {fairway.dev/sim-cpu: 200m, fairway.dev/sim-memory: 300Mi}
    spec:
      containers:
      - {name: app, image: nginx, resources: {requests: {cpu: 100m, memory: 512Mi}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 2
  maxReplicas: 4
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
`

func TestUpstreamAutoscalerFollowsTheUseOfVirtualPods(t *testing.T) {
	t.Parallel()
	c := up(t, "--memory", "--data", t.TempDir(), "--pod-start", "100ms", "--pod-stop", "100ms", "--metric-resolution", "2s",
		"--kubernetes-arg", "controller-manager=horizontal-pod-autoscaler-sync-period=1s")
	c.apply(busy)
	follows := func(percent, replicas string) {
		t.Helper()
		eventually(t, func() string {
			used := c.kubectl("get", "hpa", "busy", "-o", "jsonpath={.status.currentMetrics[0].resource.current.averageUtilization}")
			ready := c.kubectl("get", "deployment", "busy", "-o", "jsonpath={.status.readyReplicas}")
			if used != percent || ready != replicas {
				return "the autoscaler sees " + used + " % and there are " + ready + " replicas; want " + percent + " % and " + replicas
			}
			return ""
		})
	}
	follows("200", "4")
	eventually(t, func() string {
		out, err := c.try("top", "pods", "-l", "app=busy", "--no-headers")
		if err != nil || strings.Count(out, "200m") != 4 || strings.Count(out, "300Mi") != 4 {
			return "top pods does not show what the annotations say: " + out
		}
		out, err = c.try("top", "nodes", "--no-headers")
		if err != nil || strings.Count(out, "node-") != 3 || !strings.Contains(out, "%") {
			return "top nodes: " + out
		}
		return ""
	})
	c.kubectl("annotate", "pods", "-l", "app=busy", "--overwrite", "fairway.dev/sim-cpu=25m")
	follows("25", "2")
	if code := c.stop(syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, c.err.String())
	}
}
