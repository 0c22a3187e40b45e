package vnet

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Tables are the indexes by which addresses and names are resolved: pods and nodes by address, Services by cluster IP,
// external IP, node port and name, endpoints by Service. They are kept up one object at a time and hold the objects
// given to them, which must not change afterwards (as those of an informer do not). The zero value is ready to use; all
// methods may be called concurrently.
type Tables struct {
	mu        sync.RWMutex
	pods      map[netip.Addr]*corev1.Pod
	podNames  map[types.NamespacedName]*corev1.Pod
	onNode    map[netip.Addr]map[types.UID]*corev1.Pod // pods that use ports of the node address
	nodes     map[netip.Addr]*corev1.Node
	nodeNames map[string]*corev1.Node
	services  map[types.NamespacedName]*service
	vips      map[netip.Addr]*service
	nodePorts map[nodePort]*service
}

type nodePort struct {
	protocol corev1.Protocol
	port     int32
}

// service is a Service with its EndpointSlices. Slices may come before the Service, or outlive it.
type service struct {
	key    types.NamespacedName
	object *corev1.Service
	slices map[string]*discoveryv1.EndpointSlice

	computing sync.Mutex // held, below Tables.mu, for what follows
	ready     map[portKey]backends
	turn      uint64 // connections made so far
	clients   map[netip.Addr]client
}

// portKey is what a Service port and the ports of its slices have in common.
type portKey struct {
	name     string
	protocol corev1.Protocol
}

// SetPod adds or replaces a pod. A pod without an address is known by name only.
func (t *Tables) SetPod(p *corev1.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	if old := t.podNames[key]; old != nil {
		t.dropPod(old)
	}
	if t.pods == nil {
		t.pods, t.podNames = map[netip.Addr]*corev1.Pod{}, map[types.NamespacedName]*corev1.Pod{}
		t.onNode = map[netip.Addr]map[types.UID]*corev1.Pod{}
	}
	t.podNames[key] = p
	if ended(p) {
		return // its address may already be another's
	}
	if !p.Spec.HostNetwork {
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				t.pods[a] = p
			}
		}
	}
	if a, err := netip.ParseAddr(p.Status.HostIP); err == nil && (p.Spec.HostNetwork || hasHostPort(p)) {
		if t.onNode[a] == nil {
			t.onNode[a] = map[types.UID]*corev1.Pod{}
		}
		t.onNode[a][p.UID] = p
	}
}

// DeletePod removes the pod, unless another of the same name has taken its place.
func (t *Tables) DeletePod(p *corev1.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	if old := t.podNames[key]; old != nil && old.UID == p.UID {
		t.dropPod(old)
		delete(t.podNames, key)
	}
}

func (t *Tables) dropPod(p *corev1.Pod) {
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && t.pods[a] != nil && t.pods[a].UID == p.UID {
			delete(t.pods, a)
		}
	}
	if a, err := netip.ParseAddr(p.Status.HostIP); err == nil && t.onNode[a] != nil {
		if delete(t.onNode[a], p.UID); len(t.onNode[a]) == 0 {
			delete(t.onNode, a)
		}
	}
}

// SetNode adds or replaces a node.
func (t *Tables) SetNode(n *corev1.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.nodeNames[n.Name]; old != nil {
		t.dropNode(old)
	}
	if t.nodes == nil {
		t.nodes, t.nodeNames = map[netip.Addr]*corev1.Node{}, map[string]*corev1.Node{}
	}
	t.nodeNames[n.Name] = n
	for _, a := range nodeAddresses(n) {
		t.nodes[a] = n
	}
}

// DeleteNode removes the node.
func (t *Tables) DeleteNode(n *corev1.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.nodeNames[n.Name]; old != nil {
		t.dropNode(old)
		delete(t.nodeNames, n.Name)
	}
}

func (t *Tables) dropNode(n *corev1.Node) {
	for _, a := range nodeAddresses(n) {
		if t.nodes[a] != nil && t.nodes[a].Name == n.Name {
			delete(t.nodes, a)
		}
	}
}

func nodeAddresses(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// SetService adds or replaces a Service.
func (t *Tables) SetService(s *corev1.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.service(types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
	t.dropService(e)
	e.object, e.ready = s, nil
	for _, a := range serviceAddresses(s) {
		t.vips[a] = e
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			t.nodePorts[nodePort{protocolOf(p.Protocol), p.NodePort}] = e
		}
	}
}

// DeleteService removes the Service; its EndpointSlices are forgotten as they are deleted.
func (t *Tables) DeleteService(s *corev1.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}]; e != nil {
		t.dropService(e)
		e.object, e.ready = nil, nil
		t.prune(e)
	}
}

func (t *Tables) dropService(e *service) {
	if e.object == nil {
		return
	}
	for _, a := range serviceAddresses(e.object) {
		if t.vips[a] == e {
			delete(t.vips, a)
		}
	}
	for _, p := range e.object.Spec.Ports {
		if k := (nodePort{protocolOf(p.Protocol), p.NodePort}); t.nodePorts[k] == e {
			delete(t.nodePorts, k)
		}
	}
}

// SetSlice adds or replaces an EndpointSlice.
func (t *Tables) SetSlice(s *discoveryv1.EndpointSlice) {
	key, ok := sliceOwner(s)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.service(key)
	e.slices[s.Name], e.ready = s, nil
}

// DeleteSlice removes the EndpointSlice.
func (t *Tables) DeleteSlice(s *discoveryv1.EndpointSlice) {
	key, ok := sliceOwner(s)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.services[key]; e != nil {
		delete(e.slices, s.Name)
		e.ready = nil
		t.prune(e)
	}
}

// service returns the entry of a Service, made if there is none.
func (t *Tables) service(key types.NamespacedName) *service {
	if t.services == nil {
		t.services, t.vips = map[types.NamespacedName]*service{}, map[netip.Addr]*service{}
		t.nodePorts = map[nodePort]*service{}
	}
	e := t.services[key]
	if e == nil {
		e = &service{key: key, slices: map[string]*discoveryv1.EndpointSlice{}}
		t.services[key] = e
	}
	return e
}

func (t *Tables) prune(e *service) {
	if e.object == nil && len(e.slices) == 0 {
		delete(t.services, e.key)
	}
}

// PodAt returns the live pod that has the address as its own, or nil.
func (t *Tables) PodAt(a netip.Addr) *corev1.Pod {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pods[a.Unmap()]
}

// NodeAt returns the node that has the address, or nil.
func (t *Tables) NodeAt(a netip.Addr) *corev1.Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes[a.Unmap()]
}

func serviceAddresses(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	add(s.Spec.ClusterIP)
	for _, ip := range s.Spec.ClusterIPs {
		add(ip)
	}
	for _, ip := range s.Spec.ExternalIPs {
		add(ip)
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			add(in.IP)
		}
	}
	return out
}

func sliceOwner(s *discoveryv1.EndpointSlice) (types.NamespacedName, bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	ours := name != "" && s.AddressType == discoveryv1.AddressTypeIPv4
	return types.NamespacedName{Namespace: s.Namespace, Name: name}, ours
}

func hasHostPort(p *corev1.Pod) bool {
	for _, set := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range set {
			if slices.ContainsFunc(set[i].Ports, func(c corev1.ContainerPort) bool { return c.HostPort != 0 }) {
				return true
			}
		}
	}
	return false
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// protocolFor returns the protocol of a Go network name ("tcp4", "udp", …); "" for others.
func protocolFor(network string) corev1.Protocol {
	switch {
	case strings.HasPrefix(network, "tcp"):
		return corev1.ProtocolTCP
	case strings.HasPrefix(network, "udp"):
		return corev1.ProtocolUDP
	}
	return ""
}
