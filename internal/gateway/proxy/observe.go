package proxy

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Observer is told how requests ended. It is called on the request's own goroutine and must neither block nor keep the
// record.
type Observer interface {
	Observe(*Record)
}

// ProbeObserver is an Observer that is told of health probes too.
type ProbeObserver interface {
	// Probed is told of each probe of an endpoint, and how many of the backend's endpoints are unhealthy after it.
	Probed(backend config.BackendKey, good bool, unhealthy int)
	// NotProbed is told of a backend whose endpoints are probed no more.
	NotProbed(backend config.BackendKey)
}

// Reason is why the gateway answered itself; "" = the backend's answer was passed on.
type Reason string

// Reasons.
const (
	NoRoute     Reason = "no_route"
	Misdirected Reason = "misdirected"
	Refused     Reason = "refused" // the request is malformed, or asks for what is never done (CONNECT)
	Filtered    Reason = "filter"  // a redirect, or the answer to a CORS preflight
	BrokenRule  Reason = "broken_rule"
	NoBackend   Reason = "no_backend" // the share's reference cannot be resolved, or no share has weight
	NoEndpoints Reason = "no_endpoints"
	HoldExpired Reason = "hold_expired"
	HoldFull    Reason = "hold_full"
	Overflow    Reason = "overflow"
	TimedOut    Reason = "timeout"
	Unreachable Reason = "connect"
	Reset       Reason = "reset" // the connection broke before the answer
	Malformed   Reason = "malformed_response"
	ClientGone  Reason = "client_gone"
	Injected    Reason = "fault"
	Panicked    Reason = "panic"
	Interrupted Reason = "interrupted" // the connection broke within the answer's body
)

// Record of a request, of a try, of a mirrored request, or of a connection that is passed on as bytes.
type Record struct {
	Gateway  config.Name
	Rule     *config.Rule     // nil when none fitted
	Backend  *config.Backend  // nil when none was asked
	Endpoint *config.Endpoint // of the last try; nil when none was asked
	// Protocol of the client: "HTTP/1.1", "HTTP/2.0", "TLS".
	Protocol           string
	Method, Host, Path string // good during the call only
	Client             string // its address
	// Status that was answered; 499 when the client was gone before. 0 for bytes.
	Status int
	Reason Reason
	// GRPC is the status of gRPC, -1 when the answer has none.
	GRPC  int
	Began time.Time
	// Latency is from the head of the request to the end of its response. Upstream is that of the try, to the response's head.
	Latency, Upstream time.Duration
	// In and Out are the bytes of the bodies, from and to the client.
	In, Out int64
	// Retries that were made after the first try.
	Retries int
	// Mirror: the client did not wait for this. Retried: this try was followed by another, whose answer the client got.
	Mirror, Retried bool
	// Held requests waited for the backend's first endpoint.
	Held bool
}

// Summary is a Record to keep.
type Summary struct {
	Began                                 time.Time
	Gateway, Rule, Backend, Pod, Revision string
	Protocol, Method, Host, Path, Client  string
	Status, GRPC, Retries                 int
	Reason                                Reason
	Latency, Upstream                     time.Duration
	In, Out                               int64
	Mirror, Retried, Held                 bool
}

// tapQueue is how many summaries a tap may be behind; what is beyond is dropped, for requests do not wait.
const tapQueue = 1024

type tap struct {
	filter  func(*Record) bool
	out     chan Summary
	dropped atomic.Uint64
}

// Tap streams summaries of the requests that the filter takes (nil = all) until stop is called, which also closes the
// channel's sender side: nothing comes after it. Summaries that nobody fetches in time are dropped.
func (g *Gateway) Tap(filter func(*Record) bool) (summaries <-chan Summary, stop func()) {
	t := &tap{filter: filter, out: make(chan Summary, tapQueue)}
	g.changeTaps(func(taps []*tap) []*tap { return append(taps, t) })
	return t.out, func() {
		g.changeTaps(func(taps []*tap) []*tap { return slices.DeleteFunc(taps, func(o *tap) bool { return o == t }) })
	}
}

func (g *Gateway) changeTaps(change func([]*tap) []*tap) {
	g.tapsMu.Lock()
	defer g.tapsMu.Unlock()
	var taps []*tap
	if old := g.taps.Load(); old != nil {
		taps = slices.Clone(*old)
	}
	if taps = change(taps); len(taps) == 0 {
		g.taps.Store(nil)
		return
	}
	g.taps.Store(&taps)
}

// observe tells the observer and the taps.
func (g *Gateway) observe(r *Record) {
	if g.options.Observe != nil {
		g.options.Observe.Observe(r)
	}
	taps := g.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t.filter != nil && !t.filter(r) {
			continue
		}
		select {
		case t.out <- summarize(r):
		default:
			t.dropped.Add(1)
		}
	}
}

func summarize(r *Record) Summary {
	s := Summary{Began: r.Began, Gateway: r.Gateway.String(), Protocol: r.Protocol, Method: strings.Clone(r.Method), Host: strings.Clone(r.Host),
		Path: strings.Clone(r.Path), Client: strings.Clone(r.Client), Status: r.Status, GRPC: r.GRPC, Retries: r.Retries, Reason: r.Reason,
		Latency: r.Latency, Upstream: r.Upstream, In: r.In, Out: r.Out, Mirror: r.Mirror, Retried: r.Retried, Held: r.Held}
	if r.Rule != nil {
		s.Rule = r.Rule.Key.Kind + " " + r.Rule.Key.Name.String() + " " + r.Rule.Key.Rule
	}
	if r.Backend != nil {
		s.Backend = r.Backend.Key.Name.String()
	}
	if r.Endpoint != nil {
		s.Pod, s.Revision = r.Endpoint.Pod, r.Endpoint.Revision
	}
	return s
}
