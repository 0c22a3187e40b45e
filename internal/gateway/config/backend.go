package config

import "time"

// BackendKind says what a backend is.
type BackendKind uint8

// Kinds of backends.
const (
	ServiceBackend  BackendKind = iota // the endpoints of a port of a Service
	ExternalBackend                    // a host name outside (XBackend)
	SubsetBackend                      // those pods of a Service whose labels fit (Istio's subsets)
)

// BackendKey is the identity of a backend from one Config to the next.
type BackendKey struct {
	Kind BackendKind
	Name Name
	// Port of the Service, not of its pods.
	Port int32
	// Subset tells subsets of one Service apart.
	Subset string
	// Protocol and TLS tell apart how the same endpoints are spoken to: a hash of the settings, "" for plain HTTP/1.1.
	Dress string
}

// Speech is the protocol that a backend is spoken to in.
type Speech uint8

// Protocols of backends.
const (
	SpeakHTTP1 Speech = iota // WebSocket and other upgrades pass
	SpeakH2C                 // HTTP/2 in clear text, by prior knowledge; of gRPC too
	SpeakAuto                // HTTP/2 or HTTP/1.1 within TLS, as the backend's ALPN says
	SpeakBytes               // no HTTP: bytes are passed on
)

// Backend is somewhere that requests can go.
type Backend struct {
	Index int
	Key   BackendKey
	// Labels select the pods of a SubsetBackend.
	Labels map[string]string
	// Host of an ExternalBackend.
	Host   string
	Speech Speech
	// TLS is nil for clear text.
	TLS *BackendTLS
	// Policy says how endpoints are chosen and watched over.
	Policy Policy
}

// BackendTLS is how a backend is trusted, of a BackendTLSPolicy or a DestinationRule.
type BackendTLS struct {
	// ServerName is sent as SNI and, without SANs, must be in the certificate.
	ServerName string
	// CAs in PEM; nil = those of the system.
	CAs []byte
	// SANs of which the certificate must have one: DNS names, or URIs (with "://").
	SANs []string
	// Certificate and Key of this gateway for the backend, in PEM; nil = none.
	Certificate, Key []byte
}

// Algorithm of balancing.
type Algorithm uint8

// Algorithms. P2C is the power of two choices on requests in flight and latency.
const (
	P2C Algorithm = iota
	RoundRobin
	LeastRequest
	Random
	ConsistentHash
)

// Policy of a backend; Defaults has the values of a backend that nothing is said about.
type Policy struct {
	Algorithm Algorithm
	// HashHeader, HashCookie, HashQuery or HashSource (the client's address) is what ConsistentHash hashes.
	HashHeader, HashCookie, HashQuery string
	HashSource                        bool
	// SlowStart is how long the share of a new endpoint grows from 10 % to its whole; 0 = at once.
	SlowStart time.Duration

	// MaxConnections, MaxPending and MaxRequests at once, of all endpoints together; 0 = no limit. What is beyond is
	// answered 503 at once.
	MaxConnections, MaxPending, MaxRequests int

	// Budget of retries: at most Percent of the requests of the last Interval, and at least Rate in each RateInterval.
	BudgetPercent      int
	BudgetInterval     time.Duration
	BudgetRate         int
	BudgetRateInterval time.Duration

	Outlier *Outlier // nil = endpoints are not ejected
	Health  *Health  // nil = endpoints are not probed

	ConnectTimeout, IdleTimeout, KeepAlive time.Duration
	MaxIdlePerEndpoint                     int
	MaxRequestsPerConnection               int // 0 = no limit

	// Zone prefers endpoints of the same zone as long as they carry it: Overprovision × their healthy share reaches 100 %.
	Zone          bool
	Overprovision float64

	// Hold keeps requests while there is no endpoint, waiting for the first; nil = they are answered 503.
	Hold *Hold

	// Session of the backend, for rules that have none of their own.
	Session *Session
}

// Outlier says when an endpoint is ejected for a time.
type Outlier struct {
	Consecutive5xx, ConsecutiveGatewayErrors int
	Interval, BaseEjection, MaxEjection      time.Duration
	MaxEjectedPercent, PanicBelowPercent     int
}

// PanicBelow is the percentage of healthy endpoints below which requests go to all of them: that of Outlier, or the default
// where endpoints are only probed; 0 = never.
func (p *Policy) PanicBelow() int {
	switch {
	case p.Outlier != nil:
		return p.Outlier.PanicBelowPercent
	case p.Health != nil:
		return DefaultOutlier().PanicBelowPercent
	}
	return 0
}

// Health says how each endpoint is asked whether it is well.
type Health struct {
	// Path to get, with its query. An answer from Lowest to Highest is a good one.
	Path            string
	Lowest, Highest int
	// GRPC asks the health service of gRPC for Service ("" = the whole server) instead.
	GRPC    bool
	Service string
	// Interval between two probes of an endpoint; what has not been answered after Timeout is bad.
	Interval, Timeout time.Duration
	// Healthy good answers in a row make an endpoint healthy, Unhealthy bad ones unhealthy.
	Healthy, Unhealthy int
}

// DefaultHealth are the values of a healthCheck.active that leaves fields out.
func DefaultHealth() Health {
	return Health{Path: "/", Lowest: 200, Highest: 399, Interval: 5 * time.Second, Timeout: time.Second, Healthy: 2, Unhealthy: 3}
}

// Hold of requests without endpoints.
type Hold struct {
	For          time.Duration
	MaxPending   int
	MaxBodyBytes int64
}

// Defaults is the policy of a backend that nothing is said about.
func Defaults() Policy {
	return Policy{
		MaxConnections: 1024, MaxPending: 1024,
		BudgetPercent: 20, BudgetInterval: 10 * time.Second, BudgetRate: 10, BudgetRateInterval: time.Second,
		ConnectTimeout: 2 * time.Second, IdleTimeout: 60 * time.Second, KeepAlive: 30 * time.Second, MaxIdlePerEndpoint: 64,
		Zone: true, Overprovision: 1.4,
	}
}

// DefaultOutlier are the values of an outlierDetection that leaves fields out.
func DefaultOutlier() Outlier {
	return Outlier{Consecutive5xx: 5, ConsecutiveGatewayErrors: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second,
		MaxEjection: 300 * time.Second, MaxEjectedPercent: 10, PanicBelowPercent: 50}
}

// Endpoint of a backend, from an EndpointSlice.
type Endpoint struct {
	// Address and Port of the pod, as in the slice; the dialer knows how to reach it.
	Address string
	Port    int32
	Zone    string
	// Pod it belongs to ("" = none), and its UID.
	Pod, UID string
	// Revision is the hash of the pod's template: its label rollouts-pod-template-hash, else pod-template-hash, else
	// controller-revision-hash.
	Revision string
	// Terminating endpoints get no new requests as long as there are others.
	Terminating bool
}
