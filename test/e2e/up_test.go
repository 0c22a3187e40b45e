package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := up(t, "--data", data)
	c.kubectl("create", "configmap", "kept", "--from-literal=a=b")
	before := c.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	if code := c.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0\n%s", code, c.err.String())
	}
	c = up(t, "--data", data)
	if got := c.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}"); got != "b" {
		t.Errorf("the ConfigMap holds %q, want b", got)
	}
	if after := c.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"); after != before {
		t.Errorf("the server moved from %s to %s", before, after)
	}
}

// kills is how often the process is killed; FAIRWAY_E2E_KILLS raises it.
func kills() int {
	var n int
	if _, err := fmt.Sscan(os.Getenv("FAIRWAY_E2E_KILLS"), &n); err == nil && n > 0 {
		return n
	}
	return 3
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	acknowledged := 0
	for round := range kills() {
		c := up(t, "--data", data, "--nodes", "0")
		got := c.kubectl("get", "configmaps", "-o", "name")
		if have := strings.Count(got, "configmap/c-"); have < acknowledged {
			t.Fatalf("round %d: %d ConfigMaps are there, %d were acknowledged", round, have, acknowledged)
		}
		time.AfterFunc(time.Duration(rand.IntN(1500))*time.Millisecond, func() { c.process.Process.Kill() })
		for i := 0; ; i++ {
			if _, err := c.try("create", "configmap", fmt.Sprintf("c-%d-%d", round, i)); err != nil {
				break // the process is gone
			}
			acknowledged++
		}
		<-c.done
	}
}

func TestWrongInputIsRefusedWithAWayOut(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	groups := filepath.Join(t.TempDir(), "groups.yaml")
	text := "apiVersion: fairway.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: a}\nspec: {minSize: 1, maxSize: 2}\n---\napiVersion: fairway.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: b}\nspec: {minSise: 1}\n"
	if err := os.WriteFile(groups, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args []string
		code int
		says string
	}{
		{[]string{"up", "--nodes", "type=m5.larg"}, 2, "m5.large"},
		{[]string{"up", "--nodes", "size=3"}, 2, "name, count, type"},
		{[]string{"up", "--nodes", groups}, 2, groups + ":6"},
		{[]string{"up", "--capabilities=-metrix"}, 2, "metrics"},
		{[]string{"up", "--program", "nginx=lokal:80"}, 2, "local:PORT"},
		{[]string{"up", "--port", "70000"}, 2, "65535"},
		{[]string{"up", "--metric-resolution", "100ms"}, 2, "1s"},
		{[]string{"up", "--nope"}, 2, "--help"},
		{[]string{"up", "--network-policy"}, 2, "not built yet"},
		{[]string{"up", "--manage-nodes=a=b"}, 2, "kwok.x-k8s.io/node"},
		{[]string{"up", "--images", "nowhere.txt"}, 2, "known"},
		{[]string{"controller", "--metric-resolution=1s"}, 2, "10s"},
		{[]string{"controller", "--qps=-1"}, 2, "0 (no bound)"},
		{[]string{"up", "--kubernetes-arg", "etcd=x=y"}, 2, "apiserver"},
		{[]string{"up", "--data", foreign}, 1, "thesis.doc"},
		{[]string{"up", "--data", foreign, "--reset"}, 1, "thesis.doc"},
		{[]string{"why", "pod"}, 2, "KIND/NAME"},
		{[]string{"kubeconfig", "--use"}, 2, "--merge"},
		{[]string{"nope"}, 2, "unknown command"},
		{[]string{"status", "--data", filepath.Join(foreign, "none")}, 1, "fairway up"},
	}
	for _, c := range cases {
		out, err := exec.Command(fairway(t), c.args...).CombinedOutput()
		code := 0
		if e, ok := err.(*exec.ExitError); ok {
			code = e.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("fairway %s: exit code %d, want %d; says %q, want %q in it", strings.Join(c.args, " "), code, c.code, out, c.says)
		}
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.doc")); err != nil {
		t.Errorf("a foreign file is gone: %v", err)
	}
	if entries, err := os.ReadDir(foreign); err != nil || len(entries) != 1 {
		t.Errorf("a foreign directory was written to: %v, %v", entries, err)
	}
}

func TestAClusterInMemoryLeavesADirectoryThatOneOnDiskAccepts(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "cluster")
	args := []string{"--data", data, "--nodes", "0"}
	for _, more := range [][]string{{"--memory", "--kubernetes-arg", "scheduler=v=1"}, nil, {"--memory"}, {"--reset"}} {
		c := up(t, append(args, more...)...)
		if code := c.stop(syscall.SIGINT); code != 0 {
			t.Fatalf("up %v ended with %d", more, code)
		}
	}
	if err := os.WriteFile(filepath.Join(data, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(fairway(t), "up", "--data", data, "--reset").CombinedOutput(); err == nil || !strings.Contains(string(out), "thesis.doc") {
		t.Errorf("a reset over a foreign file: %v, %s", err, out)
	}
}

func TestEveryCommandExplainsItselfWithAnExample(t *testing.T) {
	t.Parallel()
	var visit func(path ...string)
	visit = func(path ...string) {
		out, err := exec.Command(fairway(t), append([]string{"help"}, path...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		text, name := string(out), strings.Join(append([]string{"fairway"}, path...), " ")
		if !strings.Contains(text, "Examples:\n") {
			t.Errorf("%s has no example", name)
		}
		if strings.Contains(text, "--version=raw") {
			t.Errorf("%s shows Kubernetes' own --version", name)
		}
		_, below, _ := strings.Cut(text, "Available Commands:\n")
		below, _, _ = strings.Cut(below, "\n\n")
		for line := range strings.Lines(below) {
			if sub := strings.Fields(line)[0]; sub != "completion" && sub != "help" { // the library's own
				visit(append(slices.Clone(path), sub)...)
			}
		}
	}
	visit()
	for _, args := range [][]string{{"--version"}, {"up", "--version"}} {
		out, err := exec.Command(fairway(t), args...).Output()
		if text := string(out); err != nil || !strings.HasPrefix(text, "fairway ") || !strings.Contains(text, "Kubernetes v1.") || strings.Count(text, "\n") != 1 {
			t.Errorf("fairway %v: %q, %v", args, text, err)
		}
	}
}

func TestSecondStartOnADirectoryInUseIsRefused(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := up(t, "--data", data, "--memory", "--nodes", "0")
	for _, args := range [][]string{{"up", "--data", data}, {"up", "--data", data, "--reset"}} {
		out, err := exec.Command(fairway(t), args...).CombinedOutput()
		want := fmt.Sprintf("process %d", c.process.Process.Pid)
		if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "--name") {
			t.Errorf("fairway %s: %v, says %q, want %q and --name in it", strings.Join(args, " "), err, out, want)
		}
	}
	c.kubectl("get", "namespaces") // unharmed
}
