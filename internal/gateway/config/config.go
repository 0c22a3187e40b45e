// Package config is what the gateway serves, as plain values: sockets, listeners, hosts, rules, backends. The compiler makes
// one from API objects; matching, the data path, the flow model of rehearsals and `explain` read it. A Config never changes
// once it is published: what moves faster than routes (weights, endpoints, ejections) is held beside it, by the Index of a
// rule or a backend, and carried over to the next Config by their keys.
package config

import (
	"crypto/tls"
	"net/netip"
	"regexp"
	"time"
)

// Config is one state of everything that is served.
type Config struct {
	// Version grows with each Config of a process.
	Version uint64
	// Sockets by address and port.
	Sockets []Socket
	// Rules and Backends of all listeners, by their Index, which stays the same from one Config to the next. A place that is
	// empty for the time being holds one without a Key.
	Rules    []*Rule
	Backends []*Backend
}

// Name of an object.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Protocol of a socket.
type Protocol uint8

// Protocols of sockets.
const (
	HTTP  Protocol = iota // HTTP/1.1 and h2c with prior knowledge
	HTTPS                 // the same within TLS that ends here
	TLS                   // TLS by server name: passed through, or ended here and passed on as bytes
)

// Socket is an address and port that is listened on. All its listeners have its protocol.
type Socket struct {
	Address  netip.AddrPort
	Protocol Protocol
	// Listeners from the most specific host name (exact, then the longest wildcard, then none) to the least. A request is
	// served by the first whose host name fits its own; on the others its routes do not exist (listener isolation).
	Listeners []*Listener
}

// Listener is one listener of a Gateway or a ListenerSet.
type Listener struct {
	Gateway Name
	// Owner is the ListenerSet it comes from; the Gateway's own when that is where it stands.
	Owner Name
	// Section is its name there.
	Section string
	// Hostname is exact, a wildcard ("*.example.com"), or "" for all. In lower case.
	Hostname string
	// Certificates of HTTPS and of TLS that ends here, the first being the default of this listener.
	Certificates []tls.Certificate
	// Clients says which client certificates are asked for; nil = none.
	Clients *ClientValidation
	// Hosts are the routes, from the most specific host name to the least; each host name stands once.
	Hosts []*Host
	// Servers are the routes of TLS by server name, from the most specific to the least.
	Servers []*Server
}

// ClientValidation of a listener.
type ClientValidation struct {
	// CAs in PEM, which a client's certificate must chain to.
	CAs []byte
	// Insecure lets clients in whose certificate is missing or not valid (AllowInsecureFallback).
	Insecure bool
}

// Host is a host name with the rules for it, in the order of precedence.
type Host struct {
	Hostname string // as of a Listener
	// Rules in the order in which they are tried: of the rules whose match fits, the first is taken.
	Matches []Match
}

// Match is one match of one rule. The matches of a Host are sorted: path Exact, then RegularExpression, then the longest
// Prefix; method; number of headers; number of query parameters; the oldest route; its namespace and name; order in it.
type Match struct {
	Path    PathMatch
	Method  string       // "" = any
	Headers []ValueMatch // names in lower case
	Query   []ValueMatch
	Cookies []ValueMatch // of foreign objects
	Rule    *Rule
}

// PathKind says how a path is compared.
type PathKind uint8

// Kinds of path matches.
const (
	PathExact PathKind = iota
	PathRegexp
	PathPrefix // whole segments
	// PathRawPrefix compares characters, as an Istio prefix does.
	PathRawPrefix
)

// PathMatch of a match. Paths are compared as they came, nothing decoded.
type PathMatch struct {
	Kind   PathKind
	Value  string         // of Exact and the prefixes; a Prefix has no slash at its end, and "" fits all paths
	Regexp *regexp.Regexp // of Regexp: anchored at both ends
	// Fold compares letters of any case alike.
	Fold bool
}

// ValueMatch of a header, a query parameter or a cookie. A header by the name ":authority" is the host as it came.
type ValueMatch struct {
	Name  string
	Value string
	// Regexp is set for regular expressions, anchored at both ends.
	Regexp *regexp.Regexp
	// Prefix compares the beginning, Present only asks for the name; Not turns the answer around.
	Prefix, Present, Not bool
}

// Server is a route of TLS by server name.
type Server struct {
	Hostname string
	Rule     *Rule
	// Terminate ends TLS here and passes the bytes on; otherwise they are passed through as they are, and the TLS of the
	// rule's backends is not used.
	Terminate bool
}

// RuleKey is the identity of a rule from one Config to the next.
type RuleKey struct {
	Kind string // of the route: HTTPRoute, GRPCRoute, TLSRoute, Ingress, VirtualService, TrafficSplit
	Name Name
	// Rule is its name, or else its place in the route ("0").
	Rule string
	// Gateway is set where the same rule differs from one Gateway to another, because that one shows backends a
	// certificate of its own. Weights are set for a rule on all Gateways.
	Gateway Name
}

// Rule is what happens to the requests that match.
type Rule struct {
	Index int
	Key   RuleKey
	// GRPC answers failures of the gateway itself as gRPC statuses.
	GRPC bool
	// Filters in the order in which they are carried out.
	Filters []Filter
	// Backends share the requests by weight. Without any, a request is answered 500 (404 when there are no filters either
	// that answer it, and the route is one that has no backends by intent).
	Backends []Share
	Timeouts Timeouts
	Retry    *Retry   // nil: one more try, if nothing of the request has reached the backend
	Session  *Session // nil = requests do not stick
	Mirrors  []Mirror // the request is sent there as well, and the answer thrown away
	CORS     *CORS    // nil = requests from other origins are not treated apart
	Fault    *Fault   // nil = none
	// Broken answers all requests with 500: why it cannot be carried out.
	Broken string
}

// Share of the requests of a rule.
type Share struct {
	// Backend is nil for a reference that cannot be resolved: its share is answered 500.
	Backend *Backend
	// Why the reference cannot be resolved.
	Why    string
	Weight int32
	// Filters of this backend alone, after those of the rule.
	Filters []Filter
	// Service is the name that the reference has, for whoever sets weights by it.
	Service string
}

// Timeouts of a rule.
type Timeouts struct {
	// Request is from the head of the request to that of the response, all tries together; 0 = none.
	// Unset is the default: 15 s.
	Request time.Duration
	// Try is the same of each try; 0 = none.
	Try time.Duration
}

// RequestTimeout is that of a rule that says nothing.
const RequestTimeout = 15 * time.Second

// Retry of a rule.
type Retry struct {
	// Attempts beyond the first.
	Attempts int
	// Codes of answers that are tried again.
	Codes []int
	// Connect tries again after a connection that could not be made or broke before an answer, Timeout after a try that
	// took too long.
	Connect, Timeout bool
	// Backoff is at least waited before the first retry; twice as long before each further.
	Backoff time.Duration
}

// Session makes the requests of a client stick to an endpoint, or to the revision that replaces it.
type Session struct {
	// Cookie or Header that carries the token.
	Cookie, Header string
	// Path and other attributes of the cookie.
	Path string
	// Permanent cookies outlive the browser's session: Absolute is their Max-Age.
	Permanent bool
	// Absolute and Idle end a session that long after its begin and its last request; 0 = never.
	Absolute, Idle time.Duration
}

// Mirror of requests.
type Mirror struct {
	Backend *Backend // nil = not resolved: nothing is sent
	// Numerator of Denominator requests are sent, exactly over time.
	Numerator, Denominator int32
}

// Fault answers or delays a share of the requests, as Istio's VirtualService can.
type Fault struct {
	// AbortPercent of the requests are answered with AbortStatus; DelayPercent wait for Delay.
	AbortPercent, DelayPercent float64
	AbortStatus                int
	Delay                      time.Duration
}
