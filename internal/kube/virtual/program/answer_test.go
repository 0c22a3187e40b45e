package program

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const agnhostImage = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"

func isRunning(p *corev1.Pod) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

func TestServersWhoseAnswersAreKnownGiveThem(t *testing.T) {
	t.Parallel()
	porter := func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SERVE_PORT_160", Value: "foo"}, {Name: "SERVE_TLS_PORT_443", Value: "<a>bar</a>"}}
	}
	named := func(p *corev1.Pod) { p.Spec.Hostname = "web-0" }
	long := func(p *corev1.Pod) { p.Name = strings.Repeat("x", 62) + "-12345" }
	for _, c := range []struct {
		name   string
		q      Question
		port   uint16
		method string
		want   string // content type and body; "" = the universal answer, "refused" = nothing listens
	}{
		{"the pod's name", ask(agnhostImage, []string{"/agnhost", "serve-hostname"}, isRunning), 9376, "GET", "text/plain; charset=utf-8 web-1"},
		{"the name in its spec", ask(agnhostImage, []string{"/agnhost", "serve-hostname", "--port=80"}, isRunning, named), 80, "GET", "text/plain; charset=utf-8 web-0"},
		{"a name that is cut", ask(agnhostImage, []string{"/agnhost", "serve-hostname"}, isRunning, long), 9376, "GET",
			"text/plain; charset=utf-8 " + strings.Repeat("x", 62)},
		{"a port of the environment", ask(agnhostImage, []string{"/agnhost", "porter"}, isRunning, porter), 160, "GET", "text/plain; charset=utf-8 foo"},
		{"a page", ask(agnhostImage, []string{"/agnhost", "porter"}, isRunning, porter), 443, "GET", "text/html; charset=utf-8 <a>bar</a>"},
		{"the method too", ask(agnhostImage, []string{"/agnhost", "porter", "--json-response"}, isRunning, porter), 160, "PUT",
			`application/json {"Method":"PUT","Body":"foo"}`},
		{"a port that porter was not given", ask(agnhostImage, []string{"/agnhost", "porter"}, isRunning, porter), 8080, "GET", "refused"},
		{"an echo", ask(agnhostImage, []string{"/agnhost", "netexec"}, isRunning), 8080, "GET /echo?msg=hello", "text/plain; charset=utf-8 hello"},
		{"its name", ask(agnhostImage, []string{"/agnhost", "netexec", "--http-port=80"}, isRunning), 80, "GET /hostname", "text/plain; charset=utf-8 web-1"},
		{"another server", ask(agnhostImage, []string{"/agnhost", "test-webserver"}, isRunning), 80, "GET", ""},
	} {
		book, got, log := NewBook(up()), "", ""
		method, path, _ := strings.Cut(c.method, " ")
		book.Log = func(_ *corev1.Pod, container string, _ int32, line string) { log += container + ": " + line }
		book.Serve = (&nothing{}).serve
		book.With = func(h http.Handler, _ *tls.Config) func(net.Conn) {
			return func(net.Conn) {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(method, orRoot(path), nil))
				body, _ := io.ReadAll(w.Result().Body)
				got = w.Result().Header.Get("Content-Type") + " " + string(body)
			}
		}
		serving := book.Port(c.q.Pod, c.port, corev1.ProtocolTCP)
		if serving.Serve == nil {
			got = "refused"
		} else {
			a, b := net.Pipe()
			serving.Serve(a)
			b.Close()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if echo := strings.Contains(path, "/echo"); echo != strings.HasSuffix(log, "GET "+path+"&code=") || echo != strings.HasPrefix(log, "app: ") {
			t.Errorf("%s: the log is %q", c.name, log)
		}
	}
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}
