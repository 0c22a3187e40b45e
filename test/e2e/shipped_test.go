package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// routersKinds are those of the routers in testdata/shipped.yaml, as group/version/Kind.
const routersKinds = `networking.istio.io/v1alpha3/VirtualService networking.istio.io/v1alpha3/DestinationRule split.smi-spec.io/v1alpha1/TrafficSplit
getambassador.io/v2/Mapping x.getambassador.io/v3alpha1/AmbassadorMapping traefik.io/v1alpha1/TraefikService traefik.containo.us/v1alpha1/TraefikService
apisix.apache.org/v2/ApisixRoute gateway.networking.k8s.io/v1/HTTPRoute gateway.networking.k8s.io/v1/GRPCRoute gateway.networking.k8s.io/v1/TCPRoute
gateway.networking.k8s.io/v1/TLSRoute`

// define the routers' kinds, with whatever fields.
func define(c *cluster) {
	c.t.Helper()
	c.define(routersKinds)
}

// define kinds, given as group/version/Kind, with whatever fields.
func (c *cluster) define(kinds string) {
	c.t.Helper()
	var all strings.Builder
	for kind := range strings.FieldsSeq(kinds) {
		part := strings.Split(kind, "/")
		singular := strings.ToLower(part[2])
		fmt.Fprintf(&all, `---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[4]ss.%[1]s, annotations: {api-approved.kubernetes.io: unapproved}}, spec: {group: %[1]s, scope: Namespaced,
 names: {kind: %[3]s, plural: %[4]ss, singular: %[4]s}, versions: [{name: %[2]s, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
`, part[0], part[1], part[2], singular)
	}
	c.apply(all.String())
	for kind := range strings.FieldsSeq(kinds) {
		part := strings.Split(kind, "/")
		c.established("crd/" + strings.ToLower(part[2]) + "s." + part[0])
	}
}

// established waits until a definition is served; kubectl's wait fails on one that has no conditions yet.
func (c *cluster) established(definition ...string) {
	c.t.Helper()
	eventually(c.t, func() string {
		out, err := c.try(append([]string{"wait", "--for=condition=Established", "--timeout=60s"}, definition...)...)
		if err != nil {
			return out
		}
		return ""
	})
}

// phase waits until a Rollout is in a phase, with what is wanted seen.
func (c *cluster) phase(name, want string) {
	c.t.Helper()
	eventually(c.t, func() string {
		out, err := c.try("get", "rollout", name, "-o", "jsonpath={.status.phase}/{.metadata.generation}={.status.observedGeneration} {.status.message}")
		if phase, rest, _ := strings.Cut(out, "/"); err != nil || phase != want || !sameGeneration(rest) {
			why, _ := c.try("get", "events", "--field-selector", "involvedObject.name="+name, "-o", "custom-columns=R:.reason,M:.message", "--no-headers")
			return fmt.Sprintf("Rollout %s is %s, want %s\n%s", name, out, want, why)
		}
		return ""
	})
}

func sameGeneration(s string) bool {
	s, _, _ = strings.Cut(s, " ")
	is, seen, _ := strings.Cut(s, "=")
	return is == seen
}

var shipped = []string{"routed", "headed", "judged", "from-deployment", "from-set", "from-template"}

// ship makes Rollouts of every kind and updates them; the controller needs all its rights for that.
func ship(t *testing.T, c *cluster) {
	b, err := os.ReadFile("testdata/shipped.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.apply(string(b))
	for _, name := range shipped {
		c.phase(name, "Healthy")
	}
	for name, want := range map[string]string{"without-templates": `analysistemplate.argoproj.io "none" not found`, "without-run": `analysisrun.argoproj.io "gone" not found`} {
		eventually(t, func() string {
			if out, _ := c.try("get", "experiment", name, "-o", "jsonpath={.status.phase}: {.status.message}"); !strings.HasPrefix(out, "Error: ") || !strings.Contains(out, want) {
				return fmt.Sprintf("the Experiment %s is %s, want Error: %s", name, out, want)
			}
			return ""
		})
	}
	c.kubectl("delete", "-n", "default", c.jobOf("lost")) // one that is gone is looked for at the API server
	c.jobOf("long")
	c.kubectl("patch", "analysisrun", "long", "--type=merge", "-p", `{"spec":{"terminate":true}}`)
	updateImages(c, "2")
	eventually(t, func() string {
		run, _ := c.try("get", "analysisrun", "lost", "-o", "jsonpath={.status.metricResults[0].measurements[0].phase}")
		services, _ := c.try("get", "services", "-o", "name")
		if run != "Error" || strings.Contains(services, "alone-one") {
			return fmt.Sprintf("the run without its job has measured %q; Services are %s", run, services)
		}
		return ""
	})
	c.kubectl("patch", "rollout", "headed", "--type=merge", "-p", `{"spec":{"restartAt":"`+time.Now().Add(time.Second).UTC().Format(time.RFC3339)+`"}}`)
	updateImages(c, "3")
}

// jobOf waits for the job of an analysis run and returns its name.
func (c *cluster) jobOf(run string) string {
	c.t.Helper()
	uid := c.kubectl("get", "analysisrun", run, "-o", "jsonpath={.metadata.uid}")
	var job string
	eventually(c.t, func() string {
		if job, _ = c.try("get", "jobs", "-l", "analysisrun.argoproj.io/uid="+uid, "-o", "name"); job == "" {
			return "the analysis run " + run + " has no job"
		}
		return ""
	})
	return strings.TrimSpace(job)
}

// updateImages gives the Rollouts with steps another image, and waits until it is everywhere.
func updateImages(c *cluster, tag string) {
	c.t.Helper()
	for _, name := range []string{"routed", "headed", "judged"} {
		c.kubectl("patch", "rollout", name, "--type=merge", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"a:`+tag+`","ports":[{"containerPort":80}]}]}}}}`)
	}
	for _, name := range []string{"routed", "headed", "judged"} {
		c.phase(name, "Healthy")
	}
}

// front leads what comes for the pods of the chart to the replica in front: the metrics APIs and the webhooks have a port each
// there, and one here, for all ports of a virtual pod lead to one. TLS names the Service that is meant.
type front struct {
	net.Listener
	replica atomic.Pointer[replica]
}

func newFront(t *testing.T) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.lead(conn) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return f
}

func (f *front) port() int { return f.Addr().(*net.TCPAddr).Port }

func (f *front) lead(conn net.Conn) {
	defer conn.Close()
	r := f.replica.Load()
	if r == nil {
		return
	}
	var read bytes.Buffer
	port := r.api
	_ = tls.Server(hello{conn, io.TeeReader(conn, &read)}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if strings.HasPrefix(h.ServerName, "fairway-webhooks.") {
			port = r.webhooks
		}
		return nil, errors.New("seen")
	}}).Handshake()
	far, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return
	}
	defer far.Close()
	if _, err := far.Write(read.Bytes()); err != nil {
		return
	}
	go func() { defer far.Close(); _, _ = io.Copy(far, conn) }()
	_, _ = io.Copy(conn, far)
}

// hello is a connection on which only the beginning is read.
type hello struct {
	net.Conn
	from io.Reader
}

func (h hello) Read(p []byte) (int, error)  { return h.from.Read(p) }
func (h hello) Write(p []byte) (int, error) { return len(p), nil }
