package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The metrics API of a cluster that has metrics-server: it is left alone, taken over when that is asked for, and given back.
func TestMetricsAPIIsTakenOverOnlyWhenAskedAndGivenBack(t *testing.T) {
	t.Parallel()
	c := up(t, "--memory", "--data", filepath.Join(t.TempDir(), "data"), "--nodes", "0", "--capabilities=-metrics,-rollouts")
	c.kubectl("create", "service", "clusterip", "-n", "fairway-system", "fairway-metrics", "--tcp=443") // the chart brings it
	c.apply(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.metrics.k8s.io, labels: {k8s-app: metrics-server}},
  spec: {group: metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true,
    service: {namespace: kube-system, name: metrics-server}}}`)
	serves := func() string {
		return c.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "-o", "jsonpath={.spec.service.namespace}/{.spec.service.name} {.spec.insecureSkipTLSVerify} {.metadata.labels.k8s-app}")
	}
	theirs := serves()
	r := startReplica(t, c.kubeconfig, "--leader-elect=false")
	eventually(t, func() string {
		if log := r.log.String(); !strings.Contains(log, "--take-over-metrics=resource") {
			return "it does not say that the API belongs to another server: " + log
		}
		return ""
	})
	if now := serves(); now != theirs {
		t.Errorf("the API is served by %q without having been asked for, before by %q", now, theirs)
	}
	r.stop()

	r = startReplica(t, c.kubeconfig, "--leader-elect=false", "--take-over-metrics=resource")
	eventually(t, func() string {
		if now := serves(); !strings.HasPrefix(now, "fairway-system/fairway-metrics ") {
			return "the API is served by " + now
		}
		return ""
	})
	r.stop()
	if out, err := exec.Command(fairway(t), "metrics", "release", "--kubeconfig", c.kubeconfig).CombinedOutput(); err != nil || !strings.Contains(string(out), "v1beta1.metrics.k8s.io") {
		t.Errorf("metrics release: %v, %s", err, out)
	}
	if now := serves(); now != theirs {
		t.Errorf("the API is served by %q after it was given back, before by %q", now, theirs)
	}
}
