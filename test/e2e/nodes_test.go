package e2e

import (
	"strings"
	"testing"
	"time"
)

// hasty makes the node-lifecycle controller give up on a silent node after seconds.
var hasty = []string{"--memory", "--kubernetes-arg", "controller-manager=node-monitor-period=500ms",
	"--kubernetes-arg", "controller-manager=node-monitor-grace-period=2s", "--kubernetes-arg", "controller-manager=node-startup-grace-period=2s"}

func TestNodesThatSendNoHeartbeatsStayReady(t *testing.T) {
	t.Parallel()
	c := up(t, append(hasty, "--data", t.TempDir(), "--node-heartbeat", "quiet")...)
	c.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	time.Sleep(6 * time.Second) // far longer than a silent node would be borne
	if got := c.kubectl("get", "events", "-A", "--field-selector", "reason=NodeNotReady", "-o", "name"); got != "" {
		t.Errorf("nodes were given up:\n%s", got)
	}
	if got := c.kubectl("get", "leases", "-n", "kube-node-lease", "-o", "name"); got != "" {
		t.Errorf("quiet nodes renew leases:\n%s", got)
	}
}

func TestNodeWithoutAKubeletIsGivenUp(t *testing.T) {
	t.Parallel()
	c := up(t, append(hasty, "--data", t.TempDir(), "--nodes", "0")...)
	c.apply("apiVersion: v1\nkind: Node\nmetadata: {name: ghost}\n")
	eventually(t, func() string {
		got := c.kubectl("get", "node", "ghost", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if got != "Unknown" {
			return "a node that nobody plays has Ready " + got + ", want Unknown"
		}
		return ""
	})
	if got := c.kubectl("get", "node", "ghost", "-o", "jsonpath={.spec.taints[*].key}"); !strings.Contains(got, "unreachable") {
		t.Errorf("its taints are %q", got)
	}
}
