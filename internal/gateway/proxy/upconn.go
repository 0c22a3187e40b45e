package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

// upConn is a connection to an endpoint in HTTP/1.1. Nobody reads it while it is idle: whether the other side has closed it
// is asked before it is used again.
type upConn struct {
	e     *endpoint
	nc    net.Conn
	alive liveness
	r     *wire.Reader
	resp  wire.Response
	body  wire.Body

	idleSince int64
	uses      int
	deadline  int64 // of reads, in force; 0 = none
	answered  bool  // the head of the response has been read
	tunneled  bool

	uploaded  chan struct{} // closed when the goroutine that sends the body ends; nil = there is none
	uploadErr error
	// cutOff: the client will not send the rest of the body.
	cutOff atomic.Bool
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// deadlineSlack is by what part of it a long wait may be longer: so a connection in constant use need not be told anew
// each time. Below a second deadlines are exact.
const deadlineSlack = 16

// setDeadline makes reads end at want (0 = never).
func (c *upConn) setDeadline(now, want int64) {
	slack := (want - now) / deadlineSlack
	if want-now < int64(time.Second) {
		slack = 0
	}
	switch {
	case want == 0 && c.deadline == 0, want != 0 && c.deadline >= want && c.deadline <= want+slack:
		return
	case want == 0:
		c.deadline = 0
		_ = c.nc.SetReadDeadline(time.Time{})
	default:
		c.deadline = want + slack
		_ = c.nc.SetReadDeadline(c.e.b.g.epoch.Add(time.Duration(c.deadline)))
	}
}

func (c *upConn) close() {
	_ = c.nc.Close()
	c.body.Close()
	c.e.b.breaker.Disconnect()
	c.e.b.roomFor()
}

// fresh is how long a connection may have been idle and is used for an idempotent request without being asked: if it has been
// closed since, the request goes elsewhere.
const fresh = 5 * time.Millisecond

// take finds an idle connection that is still open.
func (e *endpoint) take(x *exchange, deadline int64) *upConn {
	for {
		e.mu.Lock()
		n := len(e.idle)
		if n == 0 {
			e.mu.Unlock()
			return nil
		}
		c := e.idle[n-1]
		e.idle[n-1] = nil
		e.idle = e.idle[:n-1]
		e.mu.Unlock()
		now := x.g.now()
		c.setDeadline(now, deadline)
		idle := now - c.idleSince
		tooOld := idle > int64(e.b.pool.Policy().IdleTimeout) && e.b.pool.Policy().IdleTimeout > 0
		if !tooOld && (idle < int64(fresh) && idempotentMethod(x.method) || c.alive.ask()) {
			return c
		}
		c.close()
	}
}

// put keeps a connection for the next request.
func (e *endpoint) put(c *upConn) {
	policy := e.b.pool.Policy()
	c.uses++
	c.idleSince = e.b.g.now()
	if policy.MaxRequestsPerConnection > 0 && c.uses >= policy.MaxRequestsPerConnection {
		c.close()
		return
	}
	e.mu.Lock()
	if e.gone.Load() || len(e.idle) >= policy.MaxIdlePerEndpoint {
		e.mu.Unlock()
		c.close()
		return
	}
	e.idle = append(e.idle, c)
	e.mu.Unlock()
	e.b.roomFor()
}

// roomFor lets a request go on that waits for a connection.
func (b *backend) roomFor() {
	if b.lined.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.pending.releaseOne()
	b.mu.Unlock()
}

// get takes an idle connection, or makes one, or waits until there may be one.
func (e *endpoint) get(x *exchange, deadline int64) (*upConn, failure) {
	if c := e.take(x, deadline); c != nil {
		return c, failure{}
	}
	policy := e.b.pool.Policy()
	if e.b.breaker.Connect(policy.MaxConnections) || e.b.closeOneIdle() && e.b.breaker.Connect(policy.MaxConnections) {
		return e.open(x, deadline)
	}
	b := e.b
	b.lined.Add(1)
	defer b.lined.Add(-1)
	for {
		b.mu.Lock()
		w := b.pending.join(policy.MaxPending)
		b.mu.Unlock()
		if w == nil {
			return nil, failure{reason: Overflow}
		}
		// One may have become free before there was a line.
		c := e.take(x, deadline)
		if c == nil && !b.breaker.Connect(policy.MaxConnections) {
			if f := x.line(w, deadline); f.reason != "" {
				return nil, f
			}
			if c = e.take(x, deadline); c == nil && !b.breaker.Connect(policy.MaxConnections) {
				if !b.closeOneIdle() || !b.breaker.Connect(policy.MaxConnections) {
					continue
				}
			}
		} else {
			b.mu.Lock()
			b.pending.quit(w)
			b.mu.Unlock()
		}
		if c != nil {
			return c, failure{}
		}
		return e.open(x, deadline)
	}
}

// line waits for a turn.
func (x *exchange) line(w *waiter, deadline int64) failure {
	var expired <-chan time.Time
	if deadline > 0 {
		t := time.NewTimer(time.Duration(deadline - x.g.now()))
		defer t.Stop()
		expired = t.C
	}
	var gone <-chan struct{}
	if x.ctx != nil {
		gone = x.ctx.Done()
	}
	f := failure{reason: Overflow}
	select {
	case <-w.turn:
		return failure{}
	case <-expired:
		f = failure{reason: TimedOut, unsent: true}
	case <-gone:
		f = failure{reason: ClientGone}
	case <-x.g.ctx.Done():
	}
	x.backend.mu.Lock()
	x.backend.pending.quit(w)
	x.backend.mu.Unlock()
	return f
}

// open makes a connection, which the breaker has granted.
func (e *endpoint) open(x *exchange, deadline int64) (*upConn, failure) {
	nc, f := e.dial(x.context(), x.g.now(), deadline, alpnHTTP1)
	if f.reason != "" {
		e.b.breaker.Disconnect()
		e.b.roomFor()
		return nil, f
	}
	return newUpConn(e, nc), failure{}
}

func newUpConn(e *endpoint, nc net.Conn) *upConn {
	c := &upConn{e: e, nc: nc, r: wire.NewReader(nc)}
	c.alive.prepare(nc)
	return c
}

// context of the request.
func (x *exchange) context() context.Context {
	if x.ctx != nil {
		return x.ctx
	}
	return x.g.ctx
}

var alpnHTTP1, alpnHTTP2, alpnAny = []string{"http/1.1"}, []string{"h2"}, []string{"h2", "http/1.1"}

// dial connects, within the backend's time for that, and begins TLS if it is spoken.
func (e *endpoint) dial(ctx context.Context, now, deadline int64, protocols []string) (net.Conn, failure) {
	limit := time.Duration(deadline - now)
	timeout := e.b.pool.Policy().ConnectTimeout
	late := Unreachable
	if timeout <= 0 || deadline > 0 && limit < timeout {
		timeout, late = limit, TimedOut
	}
	if deadline > 0 || timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	nc, err := e.b.g.options.Dial(ctx, "tcp", e.address)
	if err == nil {
		if t, ok := nc.(*net.TCPConn); ok {
			if alive := e.b.pool.Policy().KeepAlive; alive > 0 {
				_ = t.SetKeepAlivePeriod(alive)
			}
		}
		nc, err = e.secure(ctx, nc, protocols)
	}
	if err != nil {
		reason := Unreachable
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
			reason = late
		}
		return nil, failure{reason: reason, unsent: true, err: err}
	}
	return nc, failure{}
}

// secure begins TLS, if the backend is spoken to so.
func (e *endpoint) secure(ctx context.Context, nc net.Conn, protocols []string) (net.Conn, error) {
	if e.b.tlsErr != nil {
		_ = nc.Close()
		return nil, e.b.tlsErr
	}
	if e.b.tls == nil {
		return nc, nil
	}
	c := e.b.tls.Clone()
	if e.b.config.Load().Speech != config.SpeakBytes {
		c.NextProtos = slices.Clone(protocols)
	}
	t := tls.Client(nc, c)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return t, nil
}

func isEOF(err error) bool { return err == io.EOF }
