package program

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// probes sorts out the probes of the container that see something else than its health.
func (b *Book) probes(q *Question, c *Choice) (fails, steady virtual.ProbeSet) {
	for _, p := range []struct {
		kind  virtual.ProbeSet
		probe *corev1.Probe
	}{{virtual.StartupProbe, q.Container.StartupProbe}, {virtual.ReadinessProbe, q.Container.ReadinessProbe}, {virtual.LivenessProbe, q.Container.LivenessProbe}} {
		switch {
		case p.probe == nil:
		case b.fails(q, c, p.probe):
			fails |= p.kind
		case c.HealthPath != "" && (p.probe.HTTPGet == nil || p.probe.HTTPGet.Path != c.HealthPath):
			steady |= p.kind
		}
	}
	return fails, steady
}

// fails reports whether the probe can never pass, as far as that is known: its port is one on which no container of the
// pod listens, or its command is read and fails or outlasts the timeout.
func (b *Book) fails(q *Question, c *Choice, p *corev1.Probe) bool {
	if p.Exec != nil {
		s := Read(p.Exec.Command, Setting{Env: environment(q)})
		return s.Known && (!s.Ends || s.Code != 0 || s.After > probeTimeout(p))
	}
	if !c.OnlyPorts || c.Local != 0 || c.Model != nil {
		return false
	}
	port, ok := probedPort(p, q.Container)
	return ok && !slices.Contains(c.Ports, port) && !b.besides(q, port)
}

// besides reports whether another container of the pod may listen on the port.
func (b *Book) besides(q *Question, port uint16) bool {
	rules := b.Rules()
	for _, set := range [][]corev1.Container{q.Pod.Spec.Containers, q.Pod.Spec.InitContainers} {
		for i := range set {
			if set[i].Name == q.Container.Name {
				continue
			}
			other := Choose(Question{Pod: q.Pod, Container: &set[i], Identity: q.Identity, Seed: q.Seed}, rules)
			if other.listensOn(&set[i], port) || other.Local != 0 {
				return true
			}
		}
	}
	return false
}

// listensOn reports whether the container listens on the TCP port.
func (c *Choice) listensOn(container *corev1.Container, port uint16) bool {
	return slices.Contains(c.Ports, port) ||
		c.Listens && !c.OnlyPorts && slices.Contains(vnet.ContainerPorts(container, corev1.ProtocolTCP), port)
}

// probedPort is the port of the pod that a probe asks; ok is false where it asks another host.
func probedPort(p *corev1.Probe, c *corev1.Container) (port uint16, ok bool) {
	asked := intstr.IntOrString{}
	switch {
	case p.HTTPGet != nil && p.HTTPGet.Host == "":
		asked = p.HTTPGet.Port
	case p.TCPSocket != nil && p.TCPSocket.Host == "":
		asked = p.TCPSocket.Port
	case p.GRPC != nil:
		asked = intstr.FromInt32(p.GRPC.Port)
	default:
		return 0, false
	}
	if asked.Type == intstr.Int {
		return uint16(asked.IntVal), asked.IntVal > 0 && asked.IntVal < 1<<16
	}
	for i := range c.Ports {
		if c.Ports[i].Name == asked.StrVal {
			return uint16(c.Ports[i].ContainerPort), true
		}
	}
	return 0, false
}

func probeTimeout(p *corev1.Probe) time.Duration {
	return time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
}
