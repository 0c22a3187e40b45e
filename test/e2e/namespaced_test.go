package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const plainRollout = `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}},
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: a:1}]}}, strategy: {canary: {steps: [{setWeight: 50}, {analysis: {templates: [{templateName: job}]}}]}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: job}
spec: {metrics: [{name: job, provider: {job: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [sh, -c, "sleep 1"]}]}}}}}}]}
`

// The chart with namespaced: true, and exactly its Roles.
func TestControllerOfOneNamespaceNeedsNoRightsInTheCluster(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	audit := filepath.Join(work, "audit.log")
	c := up(t, "--memory", "--data", filepath.Join(work, "data"), "--nodes", "1", "--pod-start", "100ms", "--capabilities=-metrics,-rollouts",
		"--kubernetes-arg", "apiserver=audit-log-path="+audit, "--kubernetes-arg", "apiserver=audit-policy-file="+file("policy", auditPolicy))
	for _, ns := range []string{"team", "other"} {
		c.kubectl("create", "namespace", ns)
	}
	c.kubectl("apply", "--server-side", "--validate=strict", "-f", renderedNamespaced)
	token := strings.TrimSpace(c.kubectl("create", "token", "-n", "fairway-system", "fairway"))
	own := file("own.kubeconfig", c.kubectl("config", "view", "--raw"))
	c.kubectl("config", "--kubeconfig", own, "unset", "users.fairway")
	c.kubectl("config", "--kubeconfig", own, "set-credentials", "fairway", "--token="+token)

	out, err := exec.Command(fairway(t), "controller", "--kubeconfig", own, "--namespaced", "--namespace=team", "--listen=127.0.0.1:0", "--metrics-address=", "--health-address=").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "rollouts.argoproj.io") || !strings.Contains(string(out), "--namespaced") {
		t.Errorf("without the kinds it ends with %v and says: %s", err, out)
	}
	files, err := filepath.Glob("../../config/crd/argoproj.io_*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		c.kubectl("create", "-f", f)
		c.kubectl("wait", "--for=condition=Established", "-f", f, "--timeout=60s")
	}
	// As Argo Rollouts has them: what it does not know is pruned when it is written, and must not be written for ever.
	const fields = "/spec/versions/0/schema/openAPIV3Schema/properties/"
	c.kubectl("patch", "crd", "rollouts.argoproj.io", "--type=json", "-p", `[{"op":"remove","path":"`+fields+`status/properties/duration"},
		{"op":"remove","path":"`+fields+`spec/properties/strategy/properties/steps"}]`)
	r := startReplica(t, own, "--namespaced", "--namespace=team")
	for _, ns := range []string{"team", "other"} {
		if out, err := c.tryWith(plainRollout, "apply", "-n", ns, "-f", "-"); err != nil {
			t.Fatal(out)
		}
	}
	healthy := func() {
		t.Helper()
		eventually(t, func() string {
			out, _ := c.try("get", "rollout", "web", "-n", "team", "-o", "jsonpath={.status.phase}/{.metadata.generation}={.status.observedGeneration}")
			if phase, generations, _ := strings.Cut(out, "/"); phase != "Healthy" || !sameGeneration(generations) {
				return "the Rollout is " + out
			}
			return ""
		})
	}
	healthy()
	c.kubectl("patch", "rollout", "web", "-n", "team", "--type=merge", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"a:2"}]}}}}`)
	healthy()
	if out := c.kubectl("get", "analysisruns", "-n", "team", "-o", "jsonpath={.items[*].status.phase}"); out != "Successful" {
		t.Errorf("analysis runs: %q", out)
	}
	time.Sleep(time.Second) // what is not to happen has no sign
	if out := c.kubectl("get", "rollout,replicaset", "-n", "other", "-o", "jsonpath={.items[*].status}"); strings.TrimSpace(out) != "" {
		t.Errorf("a Rollout of another namespace is looked at: %s", out)
	}
	if out := c.kubectl("get", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "name"); strings.Contains(out, "fairway") {
		t.Errorf("webhooks are registered for the cluster: %s", out)
	}
	if log := r.log.String(); !strings.Contains(log, "ClusterAnalysisTemplate") {
		t.Error("the log does not say what is left out")
	}
	r.stop()
	writes := 0
	for _, e := range events(t, audit) {
		if e.Verb == "patch" && e.ObjectRef.Resource == "rollouts" {
			writes++
		}
	}
	const writesMax = 30 // the start and an update take about 12
	if writes == 0 || writes > writesMax {
		t.Errorf("the Rollout is written %d times", writes)
	}
}
