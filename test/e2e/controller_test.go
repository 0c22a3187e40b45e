package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"
)

const controllerUser = "system:serviceaccount:fairway-system:fairway"

// replica is a running `fairway controller`.
type replica struct {
	t        *testing.T
	process  *exec.Cmd
	log      lockedBuffer
	api      int // port of the metrics APIs
	webhooks int
	health   int
	metrics  int
	done     chan struct{}
}

func startReplica(t *testing.T, kubeconfig string, more ...string) *replica {
	t.Helper()
	return startReplicaWith(t, nil, kubeconfig, more...)
}

// startReplicaWith some variables in its environment.
func startReplicaWith(t *testing.T, env []string, kubeconfig string, more ...string) *replica {
	t.Helper()
	r := &replica{t: t, api: freePort(t), webhooks: freePort(t), health: freePort(t), metrics: freePort(t), done: make(chan struct{})}
	at := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	r.process = exec.Command(fairway(t), append([]string{"controller", "--kubeconfig", kubeconfig, "--listen", at(r.api), "--webhook-address", at(r.webhooks),
		"--health-address", at(r.health), "--metrics-address", at(r.metrics), "--kubelet-insecure-tls", "--kubelet-preferred-address-types=ExternalIP",
		"--metric-resolution=10s"}, more...)...)
	r.process.Stderr, r.process.Env = &r.log, append(os.Environ(), env...)
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.process.Wait(); close(r.done) }()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// stop ends the replica in order and returns its exit code.
func (r *replica) stop() int {
	r.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(patience):
		r.process.Process.Kill()
		r.t.Errorf("fairway controller does not end")
		<-r.done
	}
	return r.process.ProcessState.ExitCode()
}

// get reads a URL of this machine, with a token if there is one.
func get(url, token string) (int, string) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

const auditPolicy = `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[
{"level":"Metadata","users":["` + controllerUser + `"]},{"level":"None"}]}`

// The chart's objects and exactly its rights, on a cluster whose kubelets are reached over the network.
func TestControllerRunsOnAClusterWithJustTheRightsOfTheChart(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pods, audit := newFront(t), filepath.Join(work, "audit.log")
	c := up(t, "--memory", "--data", filepath.Join(work, "data"), "--nodes", "2", "--pod-start", "100ms", "--capabilities=-metrics,-rollouts", "--node-listen",
		"--program", "*fairway*=local:"+strconv.Itoa(pods.port()),
		"--kubernetes-arg", "apiserver=audit-log-path="+audit, "--kubernetes-arg", "apiserver=audit-policy-file="+file("policy", auditPolicy))
	c.kubectl("apply", "--server-side", "--validate=strict", "-f", rendered)
	define(c)
	c.kubectl("rollout", "status", "-n", "fairway-system", "deployment/fairway", "--timeout=60s")

	token := strings.TrimSpace(c.kubectl("create", "token", "-n", "fairway-system", "fairway"))
	own := file("own.kubeconfig", c.kubectl("config", "view", "--raw"))
	c.kubectl("config", "--kubeconfig", own, "unset", "users.fairway")
	c.kubectl("config", "--kubeconfig", own, "set-credentials", "fairway", "--token="+token)

	first := startReplica(t, own)
	pods.replica.Store(first)
	holder := func() string {
		out, _ := c.try("get", "lease", "-n", "fairway-system", "fairway-controller", "-o", "jsonpath={.spec.holderIdentity}")
		return out
	}
	eventually(t, func() string {
		if !strings.Contains(holder(), "_") {
			return "nobody leads: " + holder()
		}
		return ""
	})
	leader := holder()
	second := startReplica(t, own)
	eventually(t, func() string {
		if out, err := c.try("top", "nodes", "--no-headers"); err != nil || strings.Count(out, "node-") != 2 {
			return "top nodes: " + out
		}
		return ""
	})
	t.Run("endpoints", func(t *testing.T) {
		for _, r := range []*replica{first, second} {
			for _, path := range []string{"/healthz", "/readyz"} {
				eventually(t, func() string {
					if code, body := get(fmt.Sprintf("http://127.0.0.1:%d%s", r.health, path), ""); code != http.StatusOK {
						return fmt.Sprintf("%s: %d %s", path, code, body)
					}
					return ""
				})
			}
			if code, body := get(fmt.Sprintf("http://127.0.0.1:%d/metrics", r.metrics), ""); code != http.StatusOK || !strings.Contains(body, `metrics_server_kubelet_request_total{success="true"}`) {
				t.Errorf("/metrics: %d %s", code, body)
			}
		}
	})
	t.Run("who may view may read use, others not", func(t *testing.T) {
		c.kubectl("create", "serviceaccount", "viewer")
		c.kubectl("create", "clusterrolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:viewer")
		c.kubectl("create", "serviceaccount", "nobody")
		url := fmt.Sprintf("https://127.0.0.1:%d/apis/metrics.k8s.io/v1beta1/namespaces/fairway-system/pods", second.api)
		for name, want := range map[string]int{"viewer": http.StatusOK, "nobody": http.StatusForbidden} {
			if code, body := get(url, strings.TrimSpace(c.kubectl("create", "token", name))); code != want {
				t.Errorf("%s gets %d, want %d: %s", name, code, want, body)
			}
		}
		if code, _ := get(url, "nonsense"); code != http.StatusUnauthorized {
			t.Errorf("a wrong token gets %d, want 401", code)
		}
	})
	t.Run("kubelets ask who calls", func(t *testing.T) {
		at := c.kubectl("get", "node", "node-000", "-o", `jsonpath={.status.addresses[?(@.type=="ExternalIP")].address}`)
		for caller, want := range map[string]int{"": http.StatusUnauthorized, token: http.StatusOK, strings.TrimSpace(c.kubectl("create", "token", "nobody")): http.StatusForbidden} {
			if code, body := get("https://"+at+":10250/metrics/resource", caller); code != want {
				t.Errorf("the kubelet answers %d, want %d: %s", code, want, body)
			}
		}
	})
	t.Run("objects are judged at admission", func(t *testing.T) {
		eventually(t, func() string {
			out, err := c.tryWith(badRollout, "apply", "-f", "-")
			c.try("delete", "rollout", "bad", "--wait=false")
			if err != nil || !strings.Contains(out, "setWeight") {
				return "no warning of a weight of 110: " + out
			}
			return ""
		})
		owner := c.kubectl("get", "validatingwebhookconfiguration", "fairway-rollouts", "-o", "jsonpath={.metadata.ownerReferences[0].name}")
		if owner != "fairway-rollouts" {
			t.Errorf("the webhooks belong to %q; they are to go with the chart's ClusterRole", owner)
		}
	})
	t.Run("Rollouts of every kind are carried out", func(t *testing.T) { ship(t, c) })
	t.Run("a damaged certificate is made anew at the next start", func(t *testing.T) {
		c.kubectl("patch", "secret", "-n", "fairway-system", "fairway-serving", "--type=merge", "-p", `{"data":{"tls.crt":"bm9uZQ=="}}`)
		c.kubectl("patch", "secret", "-n", "fairway-system", "fairway-serving-webhooks", "--type=merge", "-p", `{"data":{"tls.crt":"bm9uZQ=="}}`)
		c.kubectl("label", "rollout", "--all", "looked=at") // nothing depends on the webhooks that are broken now
	})
	if code := first.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	eventually(t, func() string {
		if now := holder(); now == leader || !strings.Contains(now, "_") {
			return "the second replica has not taken over: " + now
		}
		return ""
	})
	second.stop()
	third := startReplica(t, own, "--ambassador-api-version=x.getambassador.io/v3alpha1", "--traefik-api-group=traefik.containo.us")
	pods.replica.Store(third)
	eventually(t, func() string {
		if out, err := c.try("top", "pods", "-A", "--no-headers"); err != nil || !strings.Contains(out, "fairway-") {
			return "after the hand-over, top pods: " + out
		}
		return ""
	})
	updateImages(c, "4") // with the groups of routers' kinds that were given
	eventually(t, func() string {
		out, _ := c.tryWith(strings.Replace(badRollout, "bad", "bad-again", 1), "apply", "--dry-run=server", "-f", "-")
		if !strings.Contains(out, "Warning:") {
			return "with a new certificate, nothing is judged: " + out
		}
		return ""
	})
	third.stop()
	off := startReplica(t, own, "--webhook-address=")
	eventually(t, func() string {
		if left, _ := c.try("get", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "name"); strings.Contains(left, "fairway") {
			return "switched off, the webhooks stay: " + left
		}
		return ""
	})
	off.stop()
	out, err := exec.Command(fairway(t), "metrics", "release", "--kubeconfig", c.kubeconfig).CombinedOutput()
	if left, _ := c.try("get", "apiservices", "-o", "name"); err != nil || strings.Contains(left, "metrics.k8s.io") {
		t.Errorf("metrics release: %v, %s; left: %s", err, out, left)
	}
	rights(t, audit, rendered, "")
}

// events are what the API server has seen of Fairway; a refusal is a failure.
func events(t *testing.T, audit string) []auditv1.Event {
	t.Helper()
	var all []auditv1.Event
	f, err := os.Open(audit)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.ResponseStatus != nil && e.ResponseStatus.Code == http.StatusForbidden {
			t.Errorf("refused: %s %s", e.Verb, e.RequestURI)
		}
		all = append(all, e)
	}
	return all
}

// rights compares what the API server has seen with what the chart, as rendered in a file, grants by a role; "" = by all.
func rights(t *testing.T, audit, file, name string) {
	t.Helper()
	used := events(t, audit)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range bytes.SplitSeq(b, []byte("\n---\n")) {
		var role rbacv1.Role // a ClusterRole has the same fields
		if err := yaml.Unmarshal(doc, &role); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(role.Kind, "Role") || len(role.Labels) > 0 {
			continue // the labelled are for users
		}
		if name != "" && role.Name != name {
			continue
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					if !slices.ContainsFunc(used, func(e auditv1.Event) bool { return covers(&rule, verb, resource, &e) }) && !askedOnly(verb, resource) {
						t.Errorf("%s %s grants %s on %v %s %v, which nothing uses", role.Kind, role.Name, verb, rule.APIGroups, resource, rule.ResourceNames)
					}
				}
			}
		}
	}
}

func covers(rule *rbacv1.PolicyRule, verb, resource string, e *auditv1.Event) bool {
	o := e.ObjectRef
	listed := verb == "list" && e.Verb == "watch" // a watch that begins with a list falls back to one
	if o == nil || e.Verb != verb && !listed || !slices.Contains(rule.APIGroups, o.APIGroup) || strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/") != resource {
		return false
	}
	return len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, o.Name) || strings.Contains(e.RequestURI, "fieldSelector=metadata.name%3D"+rule.ResourceNames[0])
}

// askedOnly are rights that no request shows: kubelets ask for the first; an apply that makes an object is a patch, and the API
// server asks for the second as well; and an admission plugin that is off by default lets only those who may finalize an owner
// make objects that hold it up.
func askedOnly(verb, resource string) bool {
	return resource == "nodes/metrics" || verb == "create" && resource == "customresourcedefinitions" || strings.HasSuffix(resource, "/finalizers")
}
