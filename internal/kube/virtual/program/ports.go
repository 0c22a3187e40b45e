package program

import (
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	vnet "github.com/fairway-dev/fairway/internal/kube/virtual/net"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
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
			if closed := choice.refusesFrom(pod, c); closed.IsZero() || time.Now().Before(closed) {
				out.Serve = b.serving(pod, c, s, &choice, port)
			}
		default:
			return false
		}
		return true
	})
	return out
}

// serving is what a listening port does with a connection.
func (b *Book) serving(pod *corev1.Pod, c *corev1.Container, s *corev1.ContainerStatus, choice *Choice, port uint16) func(net.Conn) {
	if b.With == nil {
		return b.Serve
	}
	var handler http.Handler
	if answer, ok := choice.Answers[port]; ok {
		handler = answer.handler(b.logger(pod, s))
	}
	if b.Servers == nil {
		if handler == nil {
			return b.Serve
		}
		return b.With(handler, nil)
	}
	w := b.what(pod, c, s, choice)
	w.Port = port
	if handler != nil {
		serve := b.With(handler, nil)
		return func(conn net.Conn) { serve(b.Servers.Conn(w, conn)) }
	}
	how := b.Servers.Port(w)
	if how.Raw == nil {
		how.Raw = b.With(how.Handler, how.TLS)
	}
	return func(conn net.Conn) { how.Raw(b.Servers.Conn(w, conn)) }
}

// what is known of a running container, for whoever answers for it.
func (b *Book) what(pod *corev1.Pod, c *corev1.Container, s *corev1.ContainerStatus, choice *Choice) serve.What {
	w := serve.What{
		Instance: serve.Instance{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Container: c.Name, Restart: s.RestartCount},
		Started:  s.State.Running.StartedAt.Time, Model: choice.Model, Revision: Revision(pod), Echo: choice.Echo,
		Closing: choice.refusesFrom(pod, c), Log: b.logger(pod, s),
	}
	limits := c.Resources.Limits
	if s.Resources != nil { // those in force, when they were changed in place
		limits = s.Resources.Limits
	}
	w.Cores = limits.Cpu().AsApproximateFloat64()
	if choice.Echo {
		w.Env, w.File = environment(&Question{Pod: pod, Container: c}), b.files(pod, c)
	}
	return w
}

// Follow takes in what a pod is now: what answers for its containers changes with its annotations, and ends with them.
func (b *Book) Follow(pod *corev1.Pod) {
	if b.Servers == nil || !b.Servers.Known(string(pod.UID)) {
		return
	}
	var all []serve.What
	rules := b.Rules()
	running(pod, func(c *corev1.Container, s *corev1.ContainerStatus) bool {
		choice := Choose(Question{Pod: pod, Container: c, Restart: s.RestartCount}, rules)
		all = append(all, b.what(pod, c, s, &choice))
		return false
	})
	b.Servers.Update(string(pod.UID), all)
}

// Forget ends what answers for a pod that has gone.
func (b *Book) Forget(pod *corev1.Pod) {
	if b.Servers != nil {
		b.Servers.Update(string(pod.UID), nil)
	}
}

// ServedUsage is what instances use: what their models say, and the CPU time of the requests that were answered for them.
type ServedUsage struct {
	virtual.ModelUsage
	Servers *serve.Servers
}

// Usage implements virtual.UsageSource.
func (u ServedUsage) Usage(i virtual.Instance, at time.Time) virtual.Usage {
	out := u.ModelUsage.Usage(i, at)
	out.CPUSeconds += u.Servers.Used(serve.Instance{Namespace: i.Pod.Namespace, Name: i.Pod.Name, UID: string(i.Pod.UID), Container: i.Container, Restart: i.Restart}, at)
	return out
}

// refusesFrom is when SIGTERM reaches a container that takes no new connections from then on: after its preStop hook. The zero
// time when it does not, or is not being stopped.
func (c *Choice) refusesFrom(pod *corev1.Pod, container *corev1.Container) time.Time {
	if !c.Refuses || pod.DeletionTimestamp == nil {
		return time.Time{}
	}
	at := pod.DeletionTimestamp.Time
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		at = at.Add(-time.Duration(*grace) * time.Second)
	}
	return at.Add(virtual.PreStopTime(container))
}

// Revision is the hash of the template that a pod was made from, by its labels: of a Rollout, a Deployment, a StatefulSet or a
// DaemonSet. "" when it has none.
func Revision(pod *corev1.Pod) string {
	for _, label := range []string{"rollouts-pod-template-hash", "pod-template-hash", "controller-revision-hash"} {
		if hash := pod.Labels[label]; hash != "" {
			return hash
		}
	}
	return ""
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
