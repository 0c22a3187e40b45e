// Package proxy is the data path: it accepts connections on the sockets of a config.Config, finds the rule of each request
// (package match), chooses backend and endpoint (package balance), and passes the bytes on. HTTP/1.1 is spoken by package
// wire on both sides, with one goroutine a connection; HTTP/2 by net/http. Both meet in the exchange, where filters, retries
// and all else are written once. A Config is swapped whole; a request keeps the one it began with. What lives longer than a
// Config (weights, endpoints, connections, breakers) is carried over by the keys of rules and backends.
package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Limits of a connection, as the package comment of wire says for heads.
const (
	headTimeout = 10 * time.Second // from the first byte of a head to its last; of a TLS handshake as well
	idleTimeout = 75 * time.Second // between requests, and for a client to take what it is sent
	// A body may be slow for bodyGrace, and comes at bodyRate bytes a second at least after that: 408.
	bodyGrace = 10 * time.Second
	bodyRate  = 240
)

// Options of a Gateway. The zero value is usable.
type Options struct {
	// Dial connects to endpoints; nil = the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens sockets; nil = the network.
	Listen func(network, address string) (net.Listener, error)
	// Observe is told of each request and try; nil = nobody is.
	Observe Observer
	// Wake is told when requests begin to be held for a backend without endpoints. It must not block; nil = nobody is.
	Wake func(config.BackendKey)
	Log  *slog.Logger // nil = slog.Default()
	// Zone of this gateway, for backends that prefer their own.
	Zone string
	// Seed of all draws (where sequences begin, which two endpoints are compared, request IDs); 0 = a random one.
	Seed uint64
	// SessionKey seals the tokens of sessions. Gateways that share their clients share it; zero = a random one.
	SessionKey [32]byte
	// TrustedProxies may say in X-Forwarded-For, -Proto and -Host whom they speak for. From others these are replaced.
	TrustedProxies []netip.Prefix
}

// Gateway serves a Config. Make one by New.
type Gateway struct {
	options Options
	log     *slog.Logger
	epoch   time.Time
	sealer  *balance.Sealer
	current atomic.Pointer[snapshot]
	serial  atomic.Uint64 // of connections and HTTP/2 requests, for their draws
	taps    atomic.Pointer[[]*tap]
	mirrors atomic.Int64 // under way
	drains  atomic.Bool
	ctx     context.Context // ends with the gateway
	cancel  context.CancelFunc
	ended   sync.WaitGroup // the gateway's own goroutines
	probing chan struct{}  // a place for each probe at once

	mu        sync.Mutex // of all below: changes only, never a request
	rules     map[config.RuleKey]*ruleState
	backends  map[config.BackendKey]*backend
	variants  map[config.RuleKey][]*ruleState // of rules that differ from Gateway to Gateway, by the key of any
	overrides map[config.RuleKey][]int32
	sockets   map[netip.AddrPort]*socket
	leaving   map[*socket]struct{} // listen no more, and have connections
	tapsMu    sync.Mutex
}

// New returns a gateway that serves nothing yet. It ends with Drain or Close.
func New(o Options) *Gateway {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		o.Seed = binary.LittleEndian.Uint64(b[:]) | 1
	}
	if o.SessionKey == ([32]byte{}) {
		_, _ = rand.Read(o.SessionKey[:])
	}
	g := &Gateway{options: o, log: o.Log, epoch: time.Now(), sealer: balance.NewSealer(o.SessionKey),
		rules: map[config.RuleKey]*ruleState{}, backends: map[config.BackendKey]*backend{}, overrides: map[config.RuleKey][]int32{},
		sockets: map[netip.AddrPort]*socket{}, leaving: map[*socket]struct{}{}, probing: make(chan struct{}, probesMax)}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.current.Store(emptySnapshot())
	g.ended.Add(1)
	go g.sweep()
	return g
}

// now is the time since the gateway began, which does not go back.
func (g *Gateway) now() int64 { return int64(time.Since(g.epoch)) }

// draws begins a sequence of draws that no other connection has.
func (g *Gateway) draws() uint64 { return mix(g.options.Seed ^ mix(g.serial.Add(1))) }

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sweepEvery is how often connections that have been idle for too long are looked for.
const sweepEvery = 5 * time.Second

// sweep closes upstream connections that have been idle for too long, until the gateway ends.
func (g *Gateway) sweep() {
	defer g.ended.Done()
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-t.C:
		}
		for _, b := range g.current.Load().backends {
			b.closeIdle(g.now())
		}
	}
}

// Ready reports whether new connections are to be sent here: not while draining.
func (g *Gateway) Ready() bool { return !g.drains.Load() }

// Drain ends the gateway without losing a request: it listens no more, asks clients to go elsewhere (Connection: close, or
// GOAWAY), waits until they have or ctx ends, and closes what is left. The error is ctx's if something was left.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drains.Store(true)
	g.mu.Lock()
	sockets := g.allSocketsLocked()
	g.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range sockets {
		wg.Go(func() { s.drain(ctx) })
	}
	wg.Wait()
	err := ctx.Err()
	g.Close()
	return err
}

// Close ends the gateway at once. Requests under way are cut off.
func (g *Gateway) Close() {
	g.drains.Store(true)
	g.cancel()
	g.mu.Lock()
	sockets := g.allSocketsLocked()
	backends := make([]*backend, 0, len(g.backends))
	for _, b := range g.backends {
		backends = append(backends, b)
	}
	g.mu.Unlock()
	for _, s := range sockets {
		s.close()
	}
	for _, b := range backends {
		b.leave()
	}
	g.ended.Wait()
}

func (g *Gateway) allSocketsLocked() []*socket {
	var all []*socket
	for _, s := range g.sockets {
		all = append(all, s)
	}
	for s := range g.leaving {
		all = append(all, s)
	}
	return all
}
