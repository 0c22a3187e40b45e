package vnet

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DeclaredPorts returns the ports that the pod's containers and sidecars declare for the protocol or probe over TCP,
// in ascending order without repetition. It is what an image without a model listens on.
func DeclaredPorts(p *corev1.Pod, protocol corev1.Protocol) []uint16 {
	var out []uint16
	for i := range p.Spec.Containers {
		out = appendPorts(out, &p.Spec.Containers[i], protocol)
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = appendPorts(out, c, protocol)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ContainerPorts is [DeclaredPorts] of one container.
func ContainerPorts(c *corev1.Container, protocol corev1.Protocol) []uint16 {
	out := appendPorts(nil, c, protocol)
	slices.Sort(out)
	return slices.Compact(out)
}

func appendPorts(out []uint16, c *corev1.Container, protocol corev1.Protocol) []uint16 {
	for _, p := range c.Ports {
		if protocolOf(p.Protocol) == protocol && p.ContainerPort > 0 {
			out = append(out, uint16(p.ContainerPort))
		}
	}
	if protocol != corev1.ProtocolTCP {
		return out
	}
	handlers := make([]*corev1.ProbeHandler, 0, 3)
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil {
			handlers = append(handlers, &probe.ProbeHandler)
		}
	}
	for _, h := range handlers {
		switch {
		case h.HTTPGet != nil:
			out = appendPort(out, c, h.HTTPGet.Port)
		case h.TCPSocket != nil:
			out = appendPort(out, c, h.TCPSocket.Port)
		case h.GRPC != nil:
			out = appendPort(out, c, intstr.FromInt32(h.GRPC.Port))
		}
	}
	return out
}

// appendPort adds a port given by number or by the name of one of the container's ports.
func appendPort(out []uint16, c *corev1.Container, port intstr.IntOrString) []uint16 {
	if port.Type == intstr.Int {
		if port.IntVal > 0 && port.IntVal < 1<<16 {
			out = append(out, uint16(port.IntVal))
		}
		return out
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return append(out, uint16(p.ContainerPort))
		}
	}
	return out
}
