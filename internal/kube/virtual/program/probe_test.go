package program

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

func TestProbesThatCannotPassFail(t *testing.T) {
	t.Parallel()
	http := func(port intstr.IntOrString) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port}}
	}
	command := func(argv ...string) corev1.ProbeHandler {
		return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: argv}}
	}
	grpc := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 2333}}
	agnhost := []string{"/agnhost", "grpc-health-checking"}
	named := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8081}}
	}
	beside := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "proxy", Image: "example.com/proxy",
			Ports: []corev1.ContainerPort{{ContainerPort: 9000}}})
	}
	for _, c := range []struct {
		name  string
		q     Question
		probe corev1.ProbeHandler
		fails bool
	}{
		{"a server's own port", ask(agnhostImage, agnhost), corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 5000}}, false},
		{"a port it does not listen on", ask(agnhostImage, agnhost), grpc, true},
		{"a port by its name", ask(agnhostImage, []string{"/agnhost", "netexec"}, named), http(intstr.FromString("web")), true},
		{"nothing listens", ask("busybox", []string{"sleep", "60"}), http(intstr.FromInt32(9000)), true},
		{"another container listens", ask("busybox", []string{"sleep", "60"}, beside), http(intstr.FromInt32(9000)), false},
		{"another host is asked", ask("busybox", []string{"sleep", "60"}),
			corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "10.0.0.1", Port: intstr.FromInt32(1)}}, false},
		{"a loop that may listen", ask("busybox", []string{"sh", "-c", "while true; do nc -l -p 9000; done"}), http(intstr.FromInt32(9000)), false},
		{"an unknown image", ask("example.com/app", nil), http(intstr.FromInt32(9000)), false},
		{"a command that fails", ask("nginx", nil), command("/bin/false"), true},
		{"a command that outlasts the timeout", ask("nginx", nil), command("sleep", "10"), true},
		{"a command that succeeds", ask("nginx", nil), command("sh", "-c", "exit 0"), false},
		{"a command that only a shell could run", ask("nginx", nil), command("cat", "/tmp/health"), false},
	} {
		c.q.Container.ReadinessProbe = &corev1.Probe{ProbeHandler: c.probe}
		m := NewBook(up()).Choose(virtual.Choice{Pod: c.q.Pod, Container: c.q.Container, Identity: "x"})
		if fails := m.Fails == virtual.ReadinessProbe; fails != c.fails || m.Steady != 0 {
			t.Errorf("%s: fails %v, want %v; steady %b", c.name, fails, c.fails, m.Steady)
		}
	}
}

func TestAServerThatIsUnwellStillAcceptsConnections(t *testing.T) {
	t.Parallel()
	q := ask(agnhostImage, []string{"/agnhost", "liveness"})
	q.Container.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
	q.Container.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}}
	m := NewBook(up()).Choose(virtual.Choice{Pod: q.Pod, Container: q.Container, Identity: "x"})
	if m.UnhealthyAfter != livenessHealthy || m.Steady != virtual.LivenessProbe || m.Fails != 0 {
		t.Errorf("unhealthy after %v, steady %b, fails %b", m.UnhealthyAfter, m.Steady, m.Fails)
	}
}
