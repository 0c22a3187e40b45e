package vnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// From is who dials. The zero value is the process itself: the API server, a controller, the gateway.
type From struct {
	Pod  *corev1.Pod // the pod that dials, or nil
	Node string      // its node; decides traffic policies and hints
	Zone string      // its zone
}

// Source is the address the other side sees: the pod's, else [Process].
func (f From) Source() netip.Addr {
	if f.Pod != nil {
		if a, err := netip.ParseAddr(f.Pod.Status.PodIP); err == nil {
			return a
		}
	}
	return Process
}

// Kind says what stands behind an address.
type Kind int

// The kinds of targets.
const (
	ToNothing  Kind = iota // refused at once
	ToNowhere              // one of our ranges, but nobody's: no route
	ToPod                  // a port of Pod
	ToKubelet              // the kubelet endpoint of Node
	ToService              // one of Backends
	ToProcess              // an address of this process; see Network
	ToOutside              // not of the cluster
	ToLoopback             // this machine's own loopback
)

// Target is what an address means to one who dials it.
type Target struct {
	Kind     Kind
	At       netip.AddrPort   // the address to use, after hostPort
	Pod      *corev1.Pod      // ToPod
	Node     string           // ToKubelet
	Service  string           // ToService: namespace/name:port, for the choice and for messages
	Backends []netip.AddrPort // ToService: what kube-proxy would choose from, sorted; shared, not to be changed
	Affinity time.Duration    // ToService: how long a client keeps its backend; 0 = not
	Why      string           // in words, for ToNothing and ToNowhere

	entry *service
}

// Resolve says what the address means to the caller. It only reads the tables. The order: the caller's own loopback, a
// pod, a node (kubelet, hostPort, node port, pod on the host's network), a Service, this process, the rest of our
// ranges, the world.
func Resolve(to netip.AddrPort, protocol corev1.Protocol, from From, t *Tables) Target {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if to.Addr().IsLoopback() {
		if from.Pod == nil {
			return Target{Kind: ToLoopback, At: to}
		}
		at := netip.AddrPortFrom(from.Source(), to.Port())
		return Target{Kind: ToPod, At: at, Pod: from.Pod}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.find(to, protocol, from)
}

func (t *Tables) find(to netip.AddrPort, protocol corev1.Protocol, from From) Target {
	if p := t.pods[to.Addr()]; p != nil {
		return Target{Kind: ToPod, At: to, Pod: p}
	}
	if n := t.nodes[to.Addr()]; n != nil {
		return t.findOnNode(n, to, protocol)
	}
	if s := t.vips[to.Addr()]; s != nil {
		return s.find(to, protocol, from)
	}
	switch a := to.Addr(); {
	case a == Process:
		return Target{Kind: ToProcess, At: to}
	case Services.Contains(a):
		return Target{Kind: ToNothing, At: to, Why: "no Service has this cluster IP"}
	case Pods.Contains(a):
		return Target{Kind: ToNowhere, At: to, Why: "no live pod has this address"}
	case Nodes.Contains(a):
		return Target{Kind: ToNowhere, At: to, Why: "no node has this address"}
	}
	return Target{Kind: ToOutside, At: to}
}

// findOnNode resolves a port of a node address. As with kube-proxy's rules, hostPorts and node ports come before what
// listens on the node itself.
func (t *Tables) findOnNode(n *corev1.Node, to netip.AddrPort, protocol corev1.Protocol) Target {
	if to.Port() == KubeletPort && protocol == corev1.ProtocolTCP {
		return Target{Kind: ToKubelet, At: to, Node: n.Name}
	}
	pods := make([]*corev1.Pod, 0, len(t.onNode[to.Addr()]))
	for _, p := range t.onNode[to.Addr()] {
		pods = append(pods, p)
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	for _, p := range pods {
		if port, ok := hostPort(p, to, protocol); ok && !p.Spec.HostNetwork {
			if a, err := netip.ParseAddr(p.Status.PodIP); err == nil {
				return Target{Kind: ToPod, At: netip.AddrPortFrom(a, port), Pod: p}
			}
		}
	}
	if s := t.nodePorts[nodePort{protocol, int32(to.Port())}]; s != nil && s.object != nil {
		for _, port := range s.object.Spec.Ports {
			if port.NodePort == int32(to.Port()) && protocolOf(port.Protocol) == protocol {
				local := s.object.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
				return s.target(to, port, From{Node: n.Name, Zone: n.Labels[corev1.LabelTopologyZone]}, local)
			}
		}
	}
	for _, p := range pods {
		if p.Spec.HostNetwork && usesPort(p, to.Port(), protocol) {
			return Target{Kind: ToPod, At: to, Pod: p}
		}
	}
	return Target{Kind: ToNothing, At: to, Why: fmt.Sprintf("nothing on node %s uses this port", n.Name)}
}

// find resolves a port of an address of the Service.
func (s *service) find(to netip.AddrPort, protocol corev1.Protocol, from From) Target {
	for _, port := range s.object.Spec.Ports {
		if port.Port != int32(to.Port()) || protocolOf(port.Protocol) != protocol {
			continue
		}
		policy := s.object.Spec.InternalTrafficPolicy
		local := policy != nil && *policy == corev1.ServiceInternalTrafficPolicyLocal && from.Node != ""
		return s.target(to, port, from, local)
	}
	why := fmt.Sprintf("Service %s has no port %d/%s", s.key, to.Port(), protocol)
	return Target{Kind: ToNothing, At: to, Why: why}
}

// target returns the backends of a Service port. kube-proxy rejects where there are none, and drops where the Local
// policy leaves none on the node.
func (s *service) target(to netip.AddrPort, port corev1.ServicePort, from From, local bool) Target {
	out := Target{
		Kind:     ToService,
		At:       to,
		Service:  fmt.Sprintf("%s:%d", s.key, port.Port),
		Affinity: affinityOf(s.object),
		entry:    s,
	}
	b := s.backendsOf(port)
	out.Backends = b.from(from.Node, from.Zone, local)
	switch {
	case len(out.Backends) > 0:
	case local && len(b.all) > 0:
		out.Kind = ToNowhere
		out.Why = fmt.Sprintf("Service %s has the traffic policy Local and no ready endpoint on node %s", s.key, from.Node)
	default:
		out.Kind, out.Why = ToNothing, fmt.Sprintf("Service %s has no ready endpoints", s.key)
	}
	return out
}

// hostPort returns the container port behind a port of the node address.
func hostPort(p *corev1.Pod, to netip.AddrPort, protocol corev1.Protocol) (uint16, bool) {
	for _, set := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range set {
			for _, c := range set[i].Ports {
				bound := c.HostIP == "" || c.HostIP == "0.0.0.0" || c.HostIP == to.Addr().String()
				if c.HostPort == int32(to.Port()) && protocolOf(c.Protocol) == protocol && bound {
					return uint16(c.ContainerPort), true
				}
			}
		}
	}
	return 0, false
}

// usesPort reports whether the pod declares the port or probes it by number.
func usesPort(p *corev1.Pod, port uint16, protocol corev1.Protocol) bool {
	return slices.Contains(DeclaredPorts(p, protocol), port)
}
