package program

import (
	corev1 "k8s.io/api/core/v1"

	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
)

// Port says what a port of a pod does with a connection; it is a vnet.Dialer's Pods. A container that runs serves the
// ports it declares and probes if its choice listens, and the choice's own ports; a local: choice serves every port.
func (b *Book) Port(pod *corev1.Pod, port uint16, protocol corev1.Protocol) vnet.Serving {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || b.Lost != nil && b.Lost(pod) {
		return vnet.Serving{Lost: true}
	}
	rules := b.Rules()
	var out vnet.Serving
	running(pod, func(c *corev1.Container, s *corev1.ContainerStatus) bool {
		choice := Choose(Question{Pod: pod, Container: c, Restart: s.RestartCount}, rules)
		listens := choice.listensOn(c, port)
		switch {
		case choice.Local != 0 && (listens || len(c.Ports) == 0):
			out = vnet.Serving{Local: choice.Local}
		case choice.Local != 0 && out.Serve == nil:
			out.Local = choice.Local // unless another container declares the port
			return false
		case listens && protocol == corev1.ProtocolTCP:
			out = vnet.Serving{Serve: b.Serve}
			if answer, ok := choice.Answers[port]; ok && b.With != nil {
				out.Serve = b.With(answer.handler(b.logger(pod, s)))
			}
		default:
			return false
		}
		return true
	})
	return out
}

// logger writes to the log of a running container.
func (b *Book) logger(pod *corev1.Pod, s *corev1.ContainerStatus) func(string) {
	name, restart := s.Name, s.RestartCount
	return func(line string) {
		if b.Log != nil {
			b.Log(pod, name, restart, line)
		}
	}
}

// running visits the running containers and sidecars until visit returns true.
func running(pod *corev1.Pod, visit func(*corev1.Container, *corev1.ContainerStatus) bool) {
	for _, set := range []struct {
		containers []corev1.Container
		statuses   []corev1.ContainerStatus
	}{{pod.Spec.Containers, pod.Status.ContainerStatuses}, {pod.Spec.InitContainers, pod.Status.InitContainerStatuses}} {
		for i := range set.containers {
			for j := range set.statuses {
				s := &set.statuses[j]
				if s.Name == set.containers[i].Name && s.State.Running != nil && visit(&set.containers[i], s) {
					return
				}
			}
		}
	}
}
