package proxy

import (
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

const (
	// mirrorTimeout is all the time that a mirrored request has, mirrorsMax how many there are at once: beyond, none is sent, for
	// no user waits for them.
	mirrorTimeout = 5 * time.Second
	mirrorsMax    = 1024
	// mirrorBehind is how much of the body a mirror may be behind the request, before it is given up.
	mirrorBehind = replayMax
)

// mirror is a copy of a request on its way to another backend. Nobody waits for it.
type mirror struct {
	x      *exchange // its own
	mu     sync.Mutex
	more   *sync.Cond
	bytes  []byte // not sent yet
	piece  []byte // being sent
	ended  bool
	broken bool
}

// startMirrors sends the copies that the rule asks for of this request.
func (x *exchange) startMirrors() {
	for i := range x.rule.Mirrors {
		m := &x.rule.Mirrors[i]
		if m.Backend == nil || !x.state.mirrors[i].Take(m.Numerator, m.Denominator) {
			continue
		}
		if x.g.mirrors.Add(1) > mirrorsMax {
			x.g.mirrors.Add(-1)
			continue
		}
		c := x.copyFor(m.Backend)
		if !c.ended {
			x.mirrorsNow = append(x.mirrorsNow, c)
		}
		x.g.ended.Add(1)
		go c.run()
	}
}

// copyFor copies all that the request has borrowed.
func (x *exchange) copyFor(b *config.Backend) *mirror {
	m := &mirror{ended: x.upload.whole}
	m.more = sync.NewCond(&m.mu)
	c := &exchange{g: x.g, client: noClient{}, peer: x.peer, proto: x.proto, draw: x.random(), length: x.length,
		snapshot: x.snapshot, rule: &config.Rule{Key: x.rule.Key}, state: x.state, trailers: x.trailers,
		method: strings.Clone(x.method), host: strings.Clone(x.host), path: strings.Clone(x.path), query: strings.Clone(x.query)}
	c.head = match.Head{Method: c.method, Host: c.host, Path: c.path, Query: c.query}
	c.headers = make([]match.Header, len(x.headers))
	for i, h := range x.headers {
		c.headers[i] = match.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)}
	}
	c.head.Headers = c.headers
	if x.length != 0 {
		c.body = m
	}
	c.share = &config.Share{Backend: b}
	c.backend = x.snapshot.backends[b.Index]
	c.began = x.began
	c.upload.reset(c)
	c.record = Record{Gateway: x.record.Gateway, Rule: x.rule, Backend: b, Protocol: x.proto, Method: c.method, Host: c.host, Path: c.path,
		Client: x.peer.address, GRPC: -1, Mirror: true}
	m.x = c
	return m
}

// run sends the copy and throws the answer away.
func (m *mirror) run() {
	x := m.x
	defer x.g.ended.Done()
	defer x.g.mirrors.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			x.g.log.Error("a mirrored request panicked", "panic", p, "host", x.head.Host, "path", x.head.Path)
		}
	}()
	x.began = x.g.now()
	x.deadline = x.began + int64(mirrorTimeout)
	timer := time.AfterFunc(mirrorTimeout, func() { m.finish(false) })
	defer timer.Stop()
	m.send()
	m.finish(false)
	x.record.Began = x.g.epoch.Add(time.Duration(x.began))
	x.record.Latency = time.Duration(x.g.now() - x.began)
	x.record.In = x.upload.count
	x.g.observe(&x.record)
	x.upload.release()
}

func (m *mirror) send() {
	x := m.x
	policy := x.backend.pool.Policy()
	if !x.backend.breaker.Begin(policy.MaxRequests) {
		x.record.Reason = Overflow
		return
	}
	defer x.backend.breaker.End()
	var avoid *balance.Endpoint
	// A copy is never sent twice. Only a connection that was closed while idle, or refused, is no copy sent.
	for range passMax {
		e := x.pickNow(avoid, policy)
		if e == nil {
			x.record.Reason = NoEndpoints
			return
		}
		if f := m.sendTo(e, policy); !f.unsent || !x.upload.rewind() {
			return
		}
		avoid = e
	}
}

func (m *mirror) sendTo(e *balance.Endpoint, policy *config.Policy) failure {
	x := m.x
	c, ok := x.connect(e, policy)
	if !ok {
		return failure{}
	}
	x.record.Endpoint = &e.Endpoint
	e.Begin()
	defer e.End()
	defer c.done(x)
	x.response = response{declared: -1}
	f := c.send(x, x.deadline)
	x.record.Reason, x.record.Upstream = f.reason, time.Duration(x.g.now()-x.began)
	x.measure(e, f, x.g.now())
	if f.reason != "" {
		x.record.Status = statusOf(f.reason)
		return f
	}
	x.record.Status = x.response.status
	if u := x.http1.conn; u != nil {
		u.setDeadline(x.g.now(), x.deadline)
	}
	for x.response.length != 0 {
		p, err := x.response.body.Next()
		x.record.Out += int64(len(p))
		if err != nil {
			break
		}
	}
	return failure{}
}

// take keeps a piece of the request's body for the mirror. It never waits.
func (m *mirror) take(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	if len(m.bytes)+len(p) > mirrorBehind {
		m.ended, m.broken = true, true
	} else {
		m.bytes = append(m.bytes, p...)
	}
	m.more.Signal()
}

// finish ends the body: as the request's did, or cut off.
func (m *mirror) finish(whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		m.ended, m.broken = true, !whole
	}
	m.more.Signal()
}

var errMirrorBehind = errors.New("the request that is mirrored was cut off, or faster than its mirror")

// Next implements source.
func (m *mirror) Next() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.bytes) == 0 && !m.ended {
		m.more.Wait()
	}
	switch {
	case m.broken:
		return nil, errMirrorBehind
	case len(m.bytes) == 0:
		return nil, io.EOF
	}
	m.piece, m.bytes = m.bytes, m.piece[:0]
	return m.piece, nil
}

// Buffered implements source.
func (m *mirror) Buffered() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.bytes) > 0 || m.ended
}

// Trailers implements source: those of the request are not mirrored.
func (m *mirror) Trailers() []match.Header { return nil }
