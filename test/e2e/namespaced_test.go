package e2e

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/ship/traffic/elb/stub"
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
		c.established("-f", f)
	}
	// As Argo Rollouts has them: what it does not know is pruned when it is written, and must not be written for ever.
	const fields = "/spec/versions/0/schema/openAPIV3Schema/properties/"
	c.kubectl("patch", "crd", "rollouts.argoproj.io", "--type=json", "-p", `[{"op":"remove","path":"`+fields+`status/properties/duration"},
		{"op":"remove","path":"`+fields+`spec/properties/strategy/properties/steps"}]`)
	aws := &stub.AWS{Canary: "50", CanaryTag: "team/alb-alb-canary:80", StableTag: "team/alb-alb:80"}
	server := httptest.NewServer(aws)
	defer server.Close()
	var env []string
	for _, name := range stub.Variables {
		env = append(env, name+"="+stub.Env(server.URL)(name))
	}
	r := startReplicaWith(t, env, own, "--namespaced", "--namespace=team", "--aws-verify-target-group")
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
	behindALB(t, c, aws)
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
		if e.Verb == "patch" && e.ObjectRef.Resource == "rollouts" && e.ObjectRef.Name == "web" {
			writes++
		}
	}
	const writesMax = 30 // the start and an update take about 12
	if writes == 0 || writes > writesMax {
		t.Errorf("the Rollout is written %d times", writes)
	}
	rights(t, audit, renderedNamespaced, "fairway-rollouts-aws")
}

const albRollout = `{apiVersion: v1, kind: Service, metadata: {name: alb}, spec: {selector: {app: alb}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alb-canary}, spec: {selector: {app: alb}, ports: [{port: 80}]}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: alb}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: alb, port: {name: use-annotation}}}}]}}]}}
---
{apiVersion: elbv2.k8s.aws/v1beta1, kind: TargetGroupBinding, metadata: {name: alb}, spec: {targetGroupARN: "` + stub.GroupARN + `alb/1", targetType: instance, serviceRef: {name: alb, port: 80}}}
---
{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: alb}, spec: {replicas: 1, selector: {matchLabels: {app: alb}}, template: {metadata: {labels: {app: alb}}, spec: {containers: [{name: app, image: a:1}]}},
 strategy: {canary: {canaryService: alb-canary, stableService: alb, scaleDownDelaySeconds: 1, trafficRouting: {alb: {ingress: alb, servicePort: 80}}, steps: [{setWeight: 50}, {pause: {}}]}}}}
`

// behindALB updates a Rollout behind a load balancer of AWS, which is asked for the weights and the bound Service.
func behindALB(t *testing.T, c *cluster, aws *stub.AWS) {
	t.Helper()
	c.define("elbv2.k8s.aws/v1beta1/TargetGroupBinding")
	if out, err := c.tryWith(albRollout, "apply", "-n", "team", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	c.kubectl("patch", "ingress", "alb", "-n", "team", "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{"ingress":[{"hostname":"`+stub.Hostname+`"}]}}}`)
	phase := func(want string) {
		t.Helper()
		eventually(t, func() string {
			out, _ := c.try("get", "rollout", "alb", "-n", "team", "-o", "jsonpath={.status.phase}/{.metadata.generation}={.status.observedGeneration}")
			if phase, generations, _ := strings.Cut(out, "/"); phase != want || !sameGeneration(generations) {
				return "the Rollout behind a load balancer is " + out + ", want " + want
			}
			return ""
		})
	}
	phase("Healthy")
	c.kubectl("patch", "rollout", "alb", "-n", "team", "--type=merge", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"a:2"}]}}}}`)
	phase("Paused")
	aws.Set(func(a *stub.AWS) { a.Canary = "100" })
	if out, err := exec.Command(fairway(t), "promote", "rollout/alb", "-n", "team", "--kubeconfig", c.kubeconfig).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	phase("Healthy")
	eventually(t, func() string { // which takes that the load balancer sends to the new ones
		if sizes := c.kubectl("get", "replicasets", "-n", "team", "-l", "app=alb", "-o", "jsonpath={.items[*].spec.replicas}"); strings.Count(sizes, "1") != 1 {
			return "the old pods stay: " + sizes
		}
		return ""
	})
	if arn := c.kubectl("get", "rollout", "alb", "-n", "team", "-o", "jsonpath={.status.alb.loadBalancer.arn}"); arn != stub.LoadBalancerARN {
		t.Errorf("status.alb has %q", arn)
	}
}
