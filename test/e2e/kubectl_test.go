package e2e

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestKubectlWorksAsOnARealCluster(t *testing.T) {
	t.Parallel()
	c := up(t, "--memory", "--data", t.TempDir(), "--pod-start", "200ms", "--pod-stop", "100ms", "--metric-resolution", "2s")

	if got := c.kubectl("auth", "whoami"); !strings.Contains(got, "fairway-admin") || !strings.Contains(got, "system:masters") {
		t.Errorf("whoami:\n%s", got)
	}
	if got := c.kubectl("version"); !strings.Contains(got, "Server Version: v1.") {
		t.Errorf("version:\n%s", got)
	}
	c.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")

	watch, stopWatch := context.WithCancel(context.Background())
	defer stopWatch()
	var seen lockedBuffer
	w := c.command(watch, "get", "pods", "-w")
	w.Stdout = &seen
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Wait()
	defer stopWatch()

	c.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3", "--port=80")
	c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	eventually(t, func() string {
		if s := seen.String(); !strings.Contains(s, "Pending") || !strings.Contains(s, "Running") {
			return "get -w has not shown a pod start:\n" + s
		}
		return ""
	})
	eventually(t, func() string { // events are written after the status
		if got := c.kubectl("describe", "pod", "-l", "app=web"); !strings.Contains(got, "Scheduled") || !strings.Contains(got, "Started") {
			return "describe shows no life of the pod:\n" + got
		}
		return ""
	})

	t.Run("logs", func(t *testing.T) {
		c.kubectl("run", "talker", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo hello; sleep 1; echo bye")
		c.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/talker", "--timeout=60s")
		if got := c.kubectl("logs", "-f", "talker"); !strings.Contains(got, "hello\nbye\n") {
			t.Errorf("logs -f: %q", got)
		}
	})
	t.Run("rollout", func(t *testing.T) {
		c.kubectl("set", "image", "deployment/web", "nginx=nginx:2")
		c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
		c.kubectl("rollout", "undo", "deployment/web")
		c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
		if got := c.kubectl("rollout", "history", "deployment/web"); strings.Count(got, "\n") < 4 {
			t.Errorf("history:\n%s", got)
		}
	})
	t.Run("port-forward", func(t *testing.T) { portForward(t, c) })
	t.Run("drain", func(t *testing.T) {
		c.kubectl("drain", "node-000", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
		if got := c.kubectl("get", "pods", "-o", "wide", "--field-selector", "spec.nodeName=node-000,status.phase=Running"); strings.Contains(got, "web-") {
			t.Errorf("pods are left on the drained node:\n%s", got)
		}
		c.kubectl("uncordon", "node-000")
	})
	t.Run("top", func(t *testing.T) {
		eventually(t, func() string {
			if got, err := c.try("top", "pods"); err != nil || !strings.Contains(got, "web-") {
				return "top pods: " + got
			}
			got, err := c.try("top", "nodes")
			if err != nil || !strings.Contains(got, "node-001") {
				return "top nodes: " + got
			}
			return ""
		})
		if got := c.kubectl("get", "pods.metrics.k8s.io", "-l", "app=web"); !regexp.MustCompile(`NAME\s+CPU\s+MEMORY\s+WINDOW`).MatchString(got) {
			t.Errorf("the table of pod metrics:\n%s", got)
		}
	})
	t.Run("exec is refused with a way out", func(t *testing.T) {
		if got, err := c.try("exec", "deployment/web", "--", "ls"); err == nil || !strings.Contains(got, "--program") {
			t.Errorf("exec: %v\n%s", err, got)
		}
	})
}

// portForward reaches a pod's port from outside.
func portForward(t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(context.Background())
	var out lockedBuffer
	pf := c.command(ctx, "port-forward", "deployment/web", ":80")
	pf.Stdout, pf.Stderr = &out, &out
	if err := pf.Start(); err != nil {
		t.Fatal(err)
	}
	defer pf.Wait()
	defer cancel()
	at := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	eventually(t, func() string {
		address := at.FindString(out.String())
		if address == "" {
			return "port-forward: " + out.String()
		}
		r, err := http.Get("http://" + address)
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || len(b) == 0 {
			return "the pod answers " + r.Status
		}
		return ""
	})
}
