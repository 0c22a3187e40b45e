package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

// connect prepares a try at an endpoint in the protocol of its backend. false = it has answered.
func (x *exchange) connect(e *balance.Endpoint, policy *config.Policy) (call, bool) {
	ep := x.backend.connections(e)
	switch speech := x.backend.config.Load().Speech; {
	case speech == config.SpeakH2C && x.upgrade == "":
		return &http2Call{e: ep}, true
	case speech == config.SpeakAuto && x.upgrade == "" && ep.http2.spoken.Load() != speaksHTTP1:
		return &autoCall{e: ep}, true
	case speech == config.SpeakBytes:
		x.fail(http.StatusInternalServerError, BrokenRule, "the backend does not speak HTTP")
		return nil, false
	}
	x.http1 = http1Call{e: ep}
	return &x.http1, true
}

// What an endpoint was found to speak within TLS.
const (
	speaksUnknown int32 = iota
	speaksHTTP1
	speaksHTTP2
)

// http2Upstream are the connections to an endpoint in HTTP/2.
type http2Upstream struct {
	spoken    atomic.Int32
	mu        sync.Mutex
	transport *http.Transport
	made      []net.Conn // connections that the transport is to use first
	left      bool
}

// autoCall is a try whose protocol the endpoint's ALPN says.
type autoCall struct {
	e    *endpoint
	call call
}

func (c *autoCall) send(x *exchange, deadline int64) failure {
	if c.e.http2.spoken.Load() == speaksUnknown {
		nc, f := c.e.dial(x.context(), x.g.now(), deadline, alpnAny)
		if f.reason != "" {
			return f
		}
		if t, ok := nc.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != "h2" {
			c.e.http2.spoken.Store(speaksHTTP1)
			c.e.b.breaker.Connect(0)
			x.http1 = http1Call{e: c.e, given: newUpConn(c.e, nc)}
			c.call = &x.http1
			return c.call.send(x, deadline)
		}
		c.e.http2.spoken.Store(speaksHTTP2)
		c.e.http2.mu.Lock()
		c.e.http2.made = append(c.e.http2.made, nc)
		c.e.http2.mu.Unlock()
	}
	c.call = &http2Call{e: c.e}
	return c.call.send(x, deadline)
}

func (c *autoCall) done(x *exchange) {
	if c.call != nil {
		c.call.done(x)
	}
}

// dialError is why the transport got no connection: nothing was sent.
type dialError struct{ f failure }

func (e *dialError) Error() string {
	if e.f.err != nil {
		return e.f.err.Error()
	}
	return string(e.f.reason)
}

var errNotHTTP2 = errors.New("the backend has stopped to offer HTTP/2")

// transport makes the transport at the first request.
func (e *endpoint) transport() *http.Transport {
	h := &e.http2
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.transport != nil {
		return h.transport
	}
	policy := e.b.pool.Policy()
	protocols := &http.Protocols{}
	if e.b.tls != nil {
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		h.mu.Lock()
		if n := len(h.made); n > 0 {
			nc := h.made[n-1]
			h.made = h.made[:n-1]
			h.mu.Unlock()
			return nc, nil
		}
		h.mu.Unlock()
		nc, f := e.dial(ctx, 0, 0, alpnHTTP2)
		if f.reason != "" {
			return nil, &dialError{f}
		}
		if t, ok := nc.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol != "h2" {
			_ = nc.Close()
			h.spoken.Store(speaksUnknown)
			return nil, &dialError{failure{reason: Unreachable, unsent: true, err: errNotHTTP2}}
		}
		return nc, nil
	}
	h.transport = &http.Transport{DialContext: dial, DialTLSContext: dial, Protocols: protocols, DisableCompression: true,
		IdleConnTimeout: policy.IdleTimeout, MaxResponseHeaderBytes: wire.HeadMax,
		HTTP2: &http.HTTP2Config{SendPingTimeout: policy.KeepAlive, PingTimeout: headTimeout}}
	return h.transport
}

// leave closes connections once their requests have ended.
func (h *http2Upstream) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = true
	for _, nc := range h.made {
		_ = nc.Close()
	}
	h.made = nil
	if h.transport != nil {
		h.transport.CloseIdleConnections()
	}
}

// http2Call is a try in HTTP/2.
type http2Call struct {
	e      *endpoint
	cancel context.CancelFunc
	body   *uploadReader
	answer *http.Response
	source readerSource
}

func (c *http2Call) send(x *exchange, deadline int64) failure {
	if x.expects && !x.upload.whole {
		x.expects = false
		if err := x.client.inform(http.StatusContinue, nil); err != nil {
			c.cancel = func() {}
			return failure{reason: ClientGone, err: err}
		}
	}
	ctx, cancel := context.WithCancel(x.context())
	c.cancel = cancel
	var late atomic.Bool
	if deadline > 0 {
		t := time.AfterFunc(time.Duration(deadline-x.g.now()), func() { late.Store(true); cancel() })
		defer t.Stop()
	}
	between := &interims{client: x.client}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: between.got})
	answer, err := c.e.transport().RoundTrip(c.request(x).WithContext(ctx))
	tooMany, broken := between.end()
	switch {
	case err != nil && tooMany:
		c.settle(x)
		return failure{reason: Malformed, err: errInterim}
	case err != nil:
		return c.failed(x, err, late.Load())
	case broken != nil:
		_ = answer.Body.Close()
		c.settle(x)
		return failure{reason: ClientGone, err: broken}
	}
	c.answer = answer
	x.response.status = answer.StatusCode
	x.response.headers, _ = fromMap(nil, nil, answer.Header)
	bodiless := x.method == http.MethodHead || answer.StatusCode == http.StatusNoContent || answer.StatusCode == http.StatusNotModified
	switch {
	case bodiless:
		x.response.declared = answer.ContentLength
	case answer.ContentLength >= 0 && (len(answer.Trailer) == 0 || x.proto == "HTTP/2.0"): // in HTTP/1.1 only chunks have trailers
		x.response.length, x.response.declared = answer.ContentLength, answer.ContentLength
	default:
		x.response.length = wire.Chunked
	}
	c.source.begin(answer.Body, func() http.Header { return answer.Trailer })
	x.response.body = &c.source
	return failure{busy: c.body != nil && !c.body.finished()}
}

// request makes net/http's request of the exchange's. Path and query go as they came.
func (c *http2Call) request(x *exchange) *http.Request {
	u := &url.URL{Scheme: "http", Host: c.e.address, Opaque: strings.Clone(x.path), RawQuery: strings.Clone(x.query)}
	if c.e.b.tls != nil {
		u.Scheme = "https"
	}
	if strings.HasPrefix(x.path, "//") {
		// Opaque would be read as a host.
		u.Opaque = ""
		u.RawPath = strings.Clone(x.path)
		u.Path, _ = url.PathUnescape(u.RawPath)
	}
	r := &http.Request{Method: strings.Clone(x.method), URL: u, Host: strings.Clone(x.host), Header: make(http.Header, len(x.headers)+2),
		Proto: "HTTP/2.0", ProtoMajor: 2}
	r.Header["User-Agent"] = nil // none is made up
	toMap(r.Header, x.headers)
	if x.trailers || x.isGRPC() {
		r.Header["Te"] = []string{"trailers"}
	}
	if x.length != 0 {
		c.body = &uploadReader{u: &x.upload}
		r.Body, r.ContentLength = c.body, x.length
		if x.length == wire.Chunked { // whether there are trailers is seen at its end
			r.Trailer = http.Header{}
			c.body.trailers = r.Trailer
		}
	}
	return r
}

func (c *http2Call) failed(x *exchange, err error, late bool) failure {
	c.settle(x)
	f := failure{reason: Reset, err: err}
	var d *dialError
	switch {
	case late:
		f.reason = TimedOut
	case x.ctx != nil && x.ctx.Err() != nil:
		f.reason = ClientGone
	case x.upload.err != nil:
		f.reason = ClientGone
	case errors.As(err, &d):
		f = d.f
	case strings.Contains(err.Error(), "malformed"):
		f.reason = Malformed
	}
	return f
}

// settle waits until nobody reads the client's body any more.
func (c *http2Call) settle(x *exchange) {
	if c.body == nil {
		return
	}
	if !c.body.finished() {
		c.cancel()
		x.client.stopReading()
	}
	_ = c.body.Close()
	c.body = nil
}

func (c *http2Call) done(x *exchange) {
	c.settle(x)
	if c.answer != nil {
		_ = c.answer.Body.Close()
	}
	c.cancel()
	c.source.free()
	c.e.http2.mu.Lock()
	if c.e.http2.left && c.e.http2.transport != nil {
		c.e.http2.transport.CloseIdleConnections()
	}
	c.e.http2.mu.Unlock()
}

// uploadReader is the body of a request as net/http reads it. Once it is closed nobody reads the client any more.
type uploadReader struct {
	u      *upload
	rest   []byte
	mu     sync.Mutex
	ended  atomic.Bool
	closed bool
	// trailers that are sent after the end; nil = none may be.
	trailers http.Header
}

// Read implements io.Reader.
func (r *uploadReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, net.ErrClosed
	}
	if len(r.rest) == 0 {
		piece, err := r.u.Next()
		if err != nil {
			if err == io.EOF && r.trailers != nil {
				toMap(r.trailers, r.u.Trailers())
			}
			r.ended.Store(err == io.EOF)
			return 0, err
		}
		r.rest = piece
		r.ended.Store(r.u.whole)
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *uploadReader) finished() bool { return r.ended.Load() }

// Close implements io.Closer. It waits for a Read that is under way.
func (r *uploadReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
