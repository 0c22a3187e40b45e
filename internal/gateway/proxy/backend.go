package proxy

import (
	"crypto/tls"
	"net"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// backend is what a backend keeps from one Config to the next.
type backend struct {
	g       *Gateway
	key     config.BackendKey
	early   bool // its endpoints came before a Config that has it; with Gateway.mu
	config  atomic.Pointer[config.Backend]
	pool    *balance.Pool
	breaker balance.Breaker
	budget  balance.Budget
	left    atomic.Bool // in no Config any more
	health  *prober     // nil = its endpoints are not probed; with mu

	tls    *tls.Config // nil = clear text
	tlsErr error       // why it cannot be made

	endpoints atomic.Pointer[map[*balance.Endpoint]*endpoint]
	mu        sync.Mutex // of the changes of all below
	given     []config.Endpoint
	byID      map[endpointID]*endpoint
	waiting   queue        // for the first endpoint
	pending   queue        // for a connection
	lined     atomic.Int64 // how many are in it, or about to be
}

type endpointID struct {
	address string
	port    int32
	uid     string
}

// endpoint is an endpoint with its connections.
type endpoint struct {
	b       *backend
	address string
	gone    atomic.Bool

	mu   sync.Mutex
	idle []*upConn // the one used last is the last

	http2 http2Upstream
}

func newBackend(g *Gateway, key config.BackendKey) *backend {
	b := &backend{g: g, key: key, pool: balance.NewPool(config.Defaults()), byID: map[endpointID]*endpoint{}}
	b.endpoints.Store(&map[*balance.Endpoint]*endpoint{})
	return b
}

// configure takes in what a Config says of it.
func (b *backend) configure(c *config.Backend) {
	before := b.config.Swap(c)
	if before == nil {
		if c.TLS != nil {
			b.tls, b.tlsErr = backendTLS(c)
		}
		if c.Key.Kind == config.ExternalBackend && b.given == nil {
			b.given = []config.Endpoint{{Address: c.Host, Port: c.Key.Port}}
		}
	}
	if before == nil || !reflect.DeepEqual(before.Policy, c.Policy) {
		b.pool.SetPolicy(c.Policy)
		b.set(b.given)
	}
	if before == nil || !reflect.DeepEqual(before.Policy.Health, c.Policy.Health) {
		b.probe(c.Policy.Health)
	}
}

// SetEndpoints says which endpoints a backend has from now on, whether the present Config knows it or the next will. Idle
// connections to those that are gone or terminate are closed; requests that they have go on.
func (g *Gateway) SetEndpoints(key config.BackendKey, endpoints []config.Endpoint) {
	g.mu.Lock()
	b := g.backends[key]
	if b == nil {
		b = newBackend(g, key)
		g.backends[key] = b
	}
	if b.config.Load() == nil {
		b.early = true
	}
	g.mu.Unlock()
	b.set(slices.Clone(endpoints))
}

func (b *backend) set(endpoints []config.Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.given = endpoints
	b.pool.SetEndpoints(endpoints, b.g.options.Zone, b.g.now())
	b.refresh()
	if b.health != nil {
		b.health.look()
	}
	if len(b.pool.Endpoints()) > 0 {
		b.waiting.releaseAll()
	}
}

// refresh gives each endpoint of the pool its connections, and closes those of the ones that are no more. With mu held.
func (b *backend) refresh() {
	next := make(map[*balance.Endpoint]*endpoint, len(b.pool.Endpoints()))
	byID := make(map[endpointID]*endpoint, len(next))
	for _, e := range b.pool.Endpoints() {
		id := endpointID{e.Address, e.Port, e.UID}
		c := b.byID[id]
		if c == nil {
			c = &endpoint{b: b, address: net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port)))}
		}
		next[e], byID[id] = c, c
	}
	old := b.byID
	b.byID = byID
	b.endpoints.Store(&next)
	for id, c := range old {
		if byID[id] == nil {
			c.leave()
		}
	}
}

// connections of an endpoint of the pool.
func (b *backend) connections(e *balance.Endpoint) *endpoint {
	if c := (*b.endpoints.Load())[e]; c != nil {
		return c
	}
	b.mu.Lock() // the pool has just changed
	defer b.mu.Unlock()
	if c := (*b.endpoints.Load())[e]; c != nil {
		return c
	}
	// It was chosen just before it went: it gets a last connection of its own.
	c := &endpoint{b: b, address: net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port)))}
	c.gone.Store(true)
	return c
}

// leave ends a backend that no Config has any more. Requests under way end as they would.
func (b *backend) leave() {
	b.left.Store(true)
	b.probe(nil)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.byID {
		c.leave()
	}
	b.waiting.releaseAll()
	b.pending.releaseAll()
}

// leave closes what is idle, now and when it becomes so.
func (e *endpoint) leave() {
	e.gone.Store(true)
	e.mu.Lock()
	idle := e.idle
	e.idle = nil
	e.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	e.http2.leave()
}

// closeIdle closes connections that have been idle for longer than the policy says.
func (b *backend) closeIdle(now int64) {
	policy := b.pool.Policy()
	if policy.IdleTimeout <= 0 {
		return
	}
	for _, e := range *b.endpoints.Load() {
		e.mu.Lock()
		n := 0
		for n < len(e.idle) && now-e.idle[n].idleSince > int64(policy.IdleTimeout) {
			n++
		}
		old := slices.Clone(e.idle[:n])
		e.idle = slices.Delete(e.idle, 0, n)
		e.mu.Unlock()
		for _, c := range old {
			c.close()
		}
	}
}

// closeOneIdle makes room for a connection to another endpoint, when there are as many as there may be.
func (b *backend) closeOneIdle() bool {
	for _, p := range b.pool.Endpoints() {
		e := b.connections(p)
		e.mu.Lock()
		var c *upConn
		if len(e.idle) > 0 {
			c = e.idle[0]
			e.idle = slices.Delete(e.idle, 0, 1)
		}
		e.mu.Unlock()
		if c != nil {
			c.close()
			return true
		}
	}
	return false
}

// Eject keeps requests away from an endpoint (by the ID of its pod, or its address) until then, unless more than percent of
// the backend's endpoints would be ejected. It reports whether the endpoint is ejected now.
func (g *Gateway) Eject(key config.BackendKey, endpoint string, until time.Time, percent int) bool {
	g.mu.Lock()
	b := g.backends[key]
	g.mu.Unlock()
	if b == nil {
		return false
	}
	e := b.pool.Find(endpoint)
	return e != nil && b.pool.Eject(e, int64(until.Sub(g.epoch)), percent, g.now())
}

// queue is a line of requests that wait, first come first served. Its owner's lock guards it.
type queue struct {
	line []*waiter
}

type waiter struct {
	turn chan struct{} // closed when it is its turn
}

// join takes a place in the line; nil when it is as long as it may be (0 = no limit).
func (q *queue) join(limit int) *waiter {
	if limit > 0 && len(q.line) >= limit {
		return nil
	}
	w := &waiter{make(chan struct{})}
	q.line = append(q.line, w)
	return w
}

// quit gives a place up.
func (q *queue) quit(w *waiter) {
	q.line = slices.DeleteFunc(q.line, func(o *waiter) bool { return o == w })
}

func (q *queue) releaseAll() {
	for _, w := range q.line {
		close(w.turn)
	}
	q.line = nil
}

// releaseOne lets the first go on.
func (q *queue) releaseOne() {
	if len(q.line) > 0 {
		close(q.line[0].turn)
		q.line = q.line[1:]
	}
}
