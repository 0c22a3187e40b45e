package proxy

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// State of a gateway at a moment, for its status.
type State struct {
	Version uint64 // of the Config in force
	Sockets []SocketState
	// Backends by name and port.
	Backends []BackendState
	Draining bool
	Mirrors  int64 // under way
}

// SocketState is a socket that is listened on.
type SocketState struct {
	Address netip.AddrPort // of the Config
	Bound   net.Addr       // differs where the Config leaves the port open
	// Connections with HTTP/1.1 and of bytes; those of HTTP/2 are not counted.
	Connections int
}

// BackendState is a backend with its endpoints.
type BackendState struct {
	Key                   config.BackendKey
	Requests, Connections int64 // now
	// Held wait for the first endpoint, Pending for a connection.
	Held, Pending                         int
	Overflows, BudgetExhausted, Ejections uint64
	Endpoints                             []EndpointState
}

// EndpointState is an endpoint that requests go to.
type EndpointState struct {
	config.Endpoint
	InFlight int64
	Latency  time.Duration // moving average to the response's head; 0 = none yet
	Ejected  time.Duration // for how much longer; 0 = it is not
	Idle     int           // connections
	// Unhealthy is what its probes found, when they keep requests away from it; "" = nothing.
	Unhealthy string
}

// State returns what is served, by whom, at this moment.
func (g *Gateway) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Version: g.current.Load().config.Version, Draining: g.drains.Load(), Mirrors: g.mirrors.Load()}
	for address, socket := range g.sockets {
		socket.mu.Lock()
		s.Sockets = append(s.Sockets, SocketState{address, socket.listener.Addr(), len(socket.conns)})
		socket.mu.Unlock()
	}
	slices.SortFunc(s.Sockets, func(a, b SocketState) int { return a.Address.Compare(b.Address) })
	for _, b := range g.current.Load().backends {
		s.Backends = append(s.Backends, b.state())
	}
	slices.SortStableFunc(s.Backends, func(a, b BackendState) int {
		return cmp.Or(cmp.Compare(a.Key.Name.String(), b.Key.Name.String()), cmp.Compare(a.Key.Port, b.Key.Port),
			cmp.Compare(a.Key.Subset, b.Key.Subset), cmp.Compare(a.Key.Dress, b.Key.Dress))
	})
	return s
}

func (b *backend) state() BackendState {
	now := b.g.now()
	s := BackendState{Key: b.key, Requests: b.breaker.Requests(), Connections: b.breaker.Connections(), Overflows: b.breaker.Overflows(),
		BudgetExhausted: b.budget.Exhausted(), Ejections: b.pool.Ejections()}
	b.mu.Lock()
	s.Held, s.Pending = len(b.waiting.line), len(b.pending.line)
	health := b.health
	b.mu.Unlock()
	for _, e := range b.pool.Endpoints() {
		c := b.connections(e)
		c.mu.Lock()
		idle := len(c.idle)
		c.mu.Unlock()
		s.Endpoints = append(s.Endpoints, EndpointState{Endpoint: e.Endpoint, InFlight: e.InFlight(), Latency: e.Latency(),
			Ejected: time.Duration(max(e.EjectedUntil()-now, 0)), Idle: idle, Unhealthy: health.found(e)})
	}
	return s
}

// Address that a socket of the Config is bound to; nil when it is not.
func (g *Gateway) Address(socket netip.AddrPort) net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sockets[socket]; s != nil {
		return s.listener.Addr()
	}
	return nil
}
