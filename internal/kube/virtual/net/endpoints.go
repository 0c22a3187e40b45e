package vnet

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address behind a Service port.
type endpoint struct {
	at          netip.AddrPort
	node        string
	ready       bool
	terminating bool // serving while it ends
	forZones    []string
	forNodes    []string
}

// backends are the endpoints of a Service port that are ready or still serve while they end, sorted by address.
type backends struct {
	all      []endpoint
	everyone []netip.AddrPort // those usable from anywhere, when no hint says otherwise
	hinted   bool
}

// backendsOf returns the endpoints of the port. They are kept until the Service or one of its slices changes.
func (e *service) backendsOf(port corev1.ServicePort) backends {
	key := portKey{port.Name, protocolOf(port.Protocol)}
	e.computing.Lock()
	defer e.computing.Unlock()
	if out, ok := e.ready[key]; ok {
		return out
	}
	var out []endpoint
	for _, s := range e.slices {
		number, ok := portNumber(s, port)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			out = appendEndpoint(out, &s.Endpoints[i], number)
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.at.Compare(b.at) })
	out = slices.CompactFunc(out, func(a, b endpoint) bool { return a.at == b.at })
	b := backends{all: out, everyone: addresses(usable(out))}
	b.hinted = slices.ContainsFunc(out, func(e endpoint) bool { return len(e.forZones)+len(e.forNodes) > 0 })
	if e.ready == nil {
		e.ready = map[portKey]backends{}
	}
	e.ready[key] = b
	return b
}

func appendEndpoint(out []endpoint, from *discoveryv1.Endpoint, port uint16) []endpoint {
	e := endpoint{ready: yes(from.Conditions.Ready, true)}
	e.terminating = !e.ready && yes(from.Conditions.Serving, false) && yes(from.Conditions.Terminating, false)
	if !e.ready && !e.terminating || len(from.Addresses) == 0 {
		return out
	}
	if from.NodeName != nil {
		e.node = *from.NodeName
	}
	if from.Hints != nil {
		for _, z := range from.Hints.ForZones {
			e.forZones = append(e.forZones, z.Name)
		}
		for _, n := range from.Hints.ForNodes {
			e.forNodes = append(e.forNodes, n.Name)
		}
	}
	// kube-proxy uses the first address only; the others are fungible.
	a, err := netip.ParseAddr(from.Addresses[0])
	if err != nil {
		return out
	}
	e.at = netip.AddrPortFrom(a.Unmap(), port)
	return append(out, e)
}

// portNumber returns the target port of a slice for a Service port: the ports match by name.
func portNumber(s *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	for _, p := range s.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if name == port.Name && protocol == protocolOf(port.Protocol) && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// from returns those endpoints among which kube-proxy on the caller's node would choose: with the Local policy the
// node's own, else those hinted to its node or zone where every ready endpoint carries such hints, else all.
func (b backends) from(node, zone string, local bool) []netip.AddrPort {
	switch {
	case local:
		return addresses(usable(filter(b.all, func(e endpoint) bool { return e.node == node })))
	case !b.hinted:
		return b.everyone
	}
	near := hinted(usable(b.all), node, func(e endpoint) []string { return e.forNodes })
	return addresses(hinted(near, zone, func(e endpoint) []string { return e.forZones }))
}

// usable returns the ready endpoints, or those that still serve while they end when none is ready.
func usable(all []endpoint) []endpoint {
	if ready := filter(all, func(e endpoint) bool { return e.ready }); len(ready) > 0 {
		return ready
	}
	return all
}

func hinted(ready []endpoint, place string, hints func(endpoint) []string) []endpoint {
	if place == "" || slices.ContainsFunc(ready, func(e endpoint) bool { return len(hints(e)) == 0 }) {
		return ready
	}
	if near := filter(ready, func(e endpoint) bool { return slices.Contains(hints(e), place) }); len(near) > 0 {
		return near
	}
	return ready
}

func filter(in []endpoint, keep func(endpoint) bool) []endpoint {
	if !slices.ContainsFunc(in, func(e endpoint) bool { return !keep(e) }) {
		return in
	}
	var out []endpoint
	for _, e := range in {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func addresses(in []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, len(in))
	for i, e := range in {
		out[i] = e.at
	}
	return out
}

// affinityOf returns how long a client keeps its endpoint; 0 without session affinity.
func affinityOf(s *corev1.Service) time.Duration {
	if s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

func yes(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}
