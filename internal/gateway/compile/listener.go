package compile

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Kinds of parents and routes.
const (
	kindGateway     = "Gateway"
	kindListenerSet = "ListenerSet"
	kindHTTPRoute   = "HTTPRoute"
	kindGRPCRoute   = "GRPCRoute"
	kindTLSRoute    = "TLSRoute"
)

type parentKey struct {
	kind string
	name config.Name
}

// parent is what routes attach to: a Gateway, or a ListenerSet of one.
type parent struct {
	key       parentKey
	gateway   *gw.Gateway
	set       *gw.ListenerSet // nil for a Gateway
	refused   verdict         // bad: nothing of it is served
	listeners []*listener
	// identity of the gateway towards backends
	identity *identity
}

// listener of a parent, while it is compiled.
type listener struct {
	parent *parent
	spec   gw.Listener
	kinds  []gw.RouteGroupKind // of routes that may attach

	conflict verdict
	accepted verdict
	resolved verdict
	program  verdict
	overlap  bool // with the host name of another on the same port, within TLS

	certificates []tls.Certificate
	clients      *config.ClientValidation
	insecure     bool
	sockets      []netip.AddrPort
	attached     int32

	hosts map[string][]*hosted
	names map[string]*names // of the routes that are attached, by their kind
}

func newListener(p *parent, spec gw.Listener) *listener {
	l := &listener{parent: p, spec: spec, hosts: map[string][]*hosted{}, names: map[string]*names{}}
	l.allowedKinds()
	return l
}

// owner is the object the listener stands in.
func (l *listener) owner() parentKey { return l.parent.key }

func (l *listener) hostname() string { return strings.ToLower(string(or(l.spec.Hostname, ""))) }

// serves is false for a listener that no route can attach to.
func (l *listener) serves() bool {
	return !l.conflict.bad && !l.parent.refused.bad && len(supportedKinds(l.spec.Protocol)) > 0
}

// valid is false for a listener that is not served, whatever routes there are.
func (l *listener) valid() bool {
	return !l.conflict.bad && !l.accepted.bad && !(l.terminates() && len(l.certificates) == 0)
}

// supportedKinds of routes, by the protocol of the listener.
func supportedKinds(p gw.ProtocolType) []string {
	switch p {
	case gw.HTTPProtocolType, gw.HTTPSProtocolType:
		return []string{kindHTTPRoute, kindGRPCRoute}
	case gw.TLSProtocolType:
		return []string{kindTLSRoute}
	}
	return nil
}

func (l *listener) allowedKinds() {
	group := gw.Group(gw.GroupName)
	supported := supportedKinds(l.spec.Protocol)
	l.kinds = []gw.RouteGroupKind{}
	if l.spec.AllowedRoutes == nil || len(l.spec.AllowedRoutes.Kinds) == 0 {
		for _, kind := range supported {
			l.kinds = append(l.kinds, gw.RouteGroupKind{Group: &group, Kind: gw.Kind(kind)})
		}
		return
	}
	for _, k := range l.spec.AllowedRoutes.Kinds {
		if or(k.Group, group) != group || !slices.Contains(supported, string(k.Kind)) {
			l.resolved.blame(string(gw.ListenerReasonInvalidRouteKinds), fmt.Sprintf("allowedRoutes.kinds: %s is not served by protocol %s, only %s",
				k.Kind, l.spec.Protocol, strings.Join(supported, ", ")))
			continue
		}
		l.kinds = append(l.kinds, gw.RouteGroupKind{Group: &group, Kind: k.Kind})
	}
}

func (l *listener) allowsKind(kind string) bool {
	return slices.ContainsFunc(l.kinds, func(k gw.RouteGroupKind) bool { return string(k.Kind) == kind })
}

// selectsByLabel tells whether routes are taken by the labels of their namespaces.
func (l *listener) selectsByLabel() bool {
	a := l.spec.AllowedRoutes
	return a != nil && a.Namespaces != nil && or(a.Namespaces.From, gw.NamespacesFromSame) == gw.NamespacesFromSelector
}

// check what a listener asks for apart from its references.
func (l *listener) check() {
	mode := gw.TLSModeTerminate
	if l.spec.TLS != nil {
		mode = or(l.spec.TLS.Mode, mode)
	}
	switch l.spec.Protocol {
	case gw.HTTPProtocolType, gw.TLSProtocolType:
	case gw.HTTPSProtocolType:
		if mode != gw.TLSModeTerminate {
			l.accepted.blame(string(gw.ListenerReasonUnsupportedValue), "tls.mode: protocol HTTPS ends TLS here; write Terminate, or protocol TLS to pass it through")
		}
	default:
		l.accepted.blame(string(gw.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("protocol: %s is not served; use HTTP, HTTPS or TLS", l.spec.Protocol))
	}
}

// terminates tells whether TLS ends at this listener.
func (l *listener) terminates() bool {
	if l.spec.Protocol == gw.HTTPSProtocolType {
		return true
	}
	return l.spec.Protocol == gw.TLSProtocolType && (l.spec.TLS == nil || or(l.spec.TLS.Mode, gw.TLSModeTerminate) == gw.TLSModeTerminate)
}

// conflicts finds listeners that a connection cannot be told apart for. Within one object all of them lose; between
// objects the first in the order Gateway, then ListenerSets by age, keeps its place (GEP-1713).
func conflicts(listeners []*listener) {
	for i, l := range listeners {
		if len(supportedKinds(l.spec.Protocol)) == 0 && l.spec.Protocol != gw.TCPProtocolType {
			continue // UDP has ports of its own
		}
		for j, other := range listeners {
			if i == j || other.spec.Port != l.spec.Port || len(supportedKinds(other.spec.Protocol)) == 0 {
				continue
			}
			same := other.parent == l.parent
			if !same && (j > i || other.conflict.bad) {
				continue
			}
			switch {
			case other.spec.Protocol != l.spec.Protocol:
				l.conflict.blame(string(gw.ListenerReasonProtocolConflict),
					fmt.Sprintf("port %d is also listened on with protocol %s; give one of them another port", l.spec.Port, other.spec.Protocol))
			case other.hostname() == l.hostname():
				l.conflict.blame(string(gw.ListenerReasonHostnameConflict),
					fmt.Sprintf("another listener of port %d has the same host name %q; give one of them another", l.spec.Port, l.hostname()))
			}
		}
	}
}

// overlaps marks listeners within TLS whose host names another one's include.
func overlaps(listeners []*listener) {
	for i, a := range listeners {
		for _, b := range listeners[i+1:] {
			if a.spec.Port != b.spec.Port || a.conflict.bad || b.conflict.bad || a.spec.Protocol == gw.HTTPProtocolType || b.spec.Protocol != a.spec.Protocol {
				continue
			}
			if _, meet := intersect(a.hostname(), b.hostname()); meet {
				a.overlap, b.overlap = true, true
			}
		}
	}
}

// intersect is what two host names have in common, which is the more specific of them. "" is all names; "*.example.com"
// all that end with ".example.com".
func intersect(a, b string) (string, bool) {
	switch {
	case a == b || b == "":
		return a, true
	case a == "":
		return b, true
	}
	aw, bw := strings.HasPrefix(a, "*."), strings.HasPrefix(b, "*.")
	switch {
	case bw && strings.HasSuffix(a, b[1:]): // of a wildcard too: "*.x.example.com" lies in "*.example.com"
		return a, true
	case aw && strings.HasSuffix(b, a[1:]):
		return b, true
	}
	return "", false
}

// moreSpecific orders host names: exact ones by length, then wildcards by length, then "". The longest is first.
func moreSpecific(a, b string) int {
	class := func(h string) int {
		switch {
		case h == "":
			return 2
		case strings.HasPrefix(h, "*."):
			return 1
		}
		return 0
	}
	if x, y := class(a), class(b); x != y {
		return x - y
	}
	if len(a) != len(b) {
		return len(b) - len(a)
	}
	return strings.Compare(a, b)
}

// names are host names that routes have.
type names struct {
	exact map[string]bool
	wild  []string // with "" for all
}

// meet tells whether any of them has something in common with a host name.
func (n *names) meet(h string) bool {
	if n.exact[h] {
		return true
	}
	for _, w := range n.wild {
		if _, ok := intersect(w, h); ok {
			return true
		}
	}
	if h == "" {
		return len(n.exact) > 0
	}
	if strings.HasPrefix(h, "*.") {
		for e := range n.exact {
			if strings.HasSuffix(e, h[1:]) {
				return true
			}
		}
	}
	return false
}

// otherKind of a route that a host name of a listener can belong to: HTTPRoutes and GRPCRoutes do not share one.
var otherKind = map[string]string{kindHTTPRoute: kindGRPCRoute, kindGRPCRoute: kindHTTPRoute}

// common are the host names that a route has at this listener.
func (l *listener) common(r *route) []string {
	if len(r.hostnames) == 0 {
		return []string{l.hostname()}
	}
	var out []string
	for _, h := range r.hostnames {
		if x, ok := intersect(l.hostname(), strings.ToLower(string(h))); ok {
			out = append(out, x)
		}
	}
	return out
}

// takenBy tells whether an older route of the other kind has a host name of the route.
func (l *listener) takenBy(r *route) bool {
	others := l.names[otherKind[r.kind]]
	return others != nil && slices.ContainsFunc(l.common(r), others.meet)
}

// take the host names of a route for its kind.
func (l *listener) take(r *route) {
	if otherKind[r.kind] == "" {
		return
	}
	n := l.names[r.kind]
	if n == nil {
		n = &names{exact: map[string]bool{}}
		l.names[r.kind] = n
	}
	for _, h := range l.common(r) {
		switch {
		case h != "" && !strings.HasPrefix(h, "*."):
			n.exact[h] = true
		case !slices.Contains(n.wild, h):
			n.wild = append(n.wild, h)
		}
	}
}
