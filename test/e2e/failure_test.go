package e2e

import (
	"context"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// refused runs `fairway up`, which must end by itself with exit code 1, and returns what it says.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, fairway(t), append([]string{"up"}, args...)...).CombinedOutput()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 1 || ctx.Err() != nil {
		t.Errorf("fairway up %s: %v, want exit code 1\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPortInUseIsRefusedWithItsOwner(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	out := refused(t, "--memory", "--data", t.TempDir(), "--port", strconv.Itoa(port))
	for _, want := range []string{strconv.Itoa(port), strconv.Itoa(os.Getpid()), "--port 0"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %s", want, out)
		}
	}
}

func TestDamagedDataIsRefusedAndResetStartsAfresh(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	up(t, "--data", data, "--nodes", "0").stop(syscall.SIGINT)
	damage := func(name string) {
		t.Helper()
		found := 0
		err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Name() == name {
				found++
				err = os.WriteFile(path, []byte("nonsense"), 0o600)
			}
			return err
		})
		if err != nil || found == 0 {
			t.Fatalf("damaging %s: %d found, %v", name, found, err)
		}
	}
	for _, name := range []string{"db", "ca.key", "format.json"} { // each is looked at before the one before it
		damage(name)
		if out := refused(t, "--data", data); !strings.Contains(out, "--reset") || !strings.Contains(out, "damaged") {
			t.Errorf("with a damaged %s it says %q", name, out)
		}
	}
	c := up(t, "--data", data, "--nodes", "0", "--reset")
	c.kubectl("get", "namespaces")
}

// A webhook that nobody answers must hold up only what it guards, and name itself.
func TestWebhookThatNeverAnswersIsNamedInTime(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := up(t, "--memory", "--data", t.TempDir(), "--nodes", "1")
	c.apply(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: mute}
webhooks:
- name: mute.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 2
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  clientConfig: {url: "https://` + l.Addr().String() + `/validate"}
`)
	eventually(t, func() string {
		out, err := c.try("create", "configmap", "guarded")
		if err == nil {
			c.kubectl("delete", "configmap", "guarded")
			return "the webhook is not in force"
		}
		if !strings.Contains(out, "mute.example.com") {
			return "the webhook is not named: " + out
		}
		return ""
	})
	c.kubectl("create", "serviceaccount", "unguarded")
}

func TestWhatIsGuessedOrMisspeltIsTold(t *testing.T) {
	t.Parallel()
	c := up(t, "--memory", "--data", t.TempDir(), "--nodes", "1", "--pod-start", "0", "--images", "known")
	c.apply(`
apiVersion: v1
kind: Pod
metadata: {name: misspelt, annotations: {fairway.dev/sim-cpus: 1m}}
spec: {containers: [{name: app, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec: {containers: [{name: app, image: example.com/team/app:v1}]}
`)
	for pod, reason := range map[string]string{"misspelt": "InvalidSimulation", "unknown": "Failed"} {
		eventually(t, func() string {
			out := c.kubectl("get", "events", "--field-selector", "involvedObject.name="+pod+",reason="+reason)
			if !strings.Contains(out, reason) {
				return pod + ": no event " + reason + ": " + out
			}
			return ""
		})
	}
	c.kubectl("wait", "--for=condition=Ready", "pod/misspelt", "--timeout=60s")
}
