package controlplane

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// errNotServing is what an in-process client sees before the API server is up and after it has stopped.
var errNotServing = errors.New("the embedded API server is not serving")

// wire carries requests from clients of this process straight into the API server's handler: no socket, no TLS, no
// framing. A request keeps everything else a request has: it is authenticated as a named user, authorised, admitted,
// audited and rate-limited like one that came over the network.
type wire struct {
	life    context.Context // ends all streams
	handler atomic.Pointer[http.Handler]
	profile Profile
	watch   func(Request) // every request that is not a watch, before it is served; may be nil
	events  func(Event)   // takes Events instead of the store; may be nil
	count   atomic.Int64
}

// Request is one API request of a client in this process, as an observer sees it.
type Request struct {
	Method, Path, Query string
	User                string
	Body                []byte // only for writes
	ContentType         string
}

func (w *wire) serve(h http.Handler) { w.handler.Store(&h) }
func (w *wire) stop()                { w.handler.Store(nil) }

// client is the wire as one user.
type client struct {
	wire *wire
	user func(*http.Request) user.Info
}

func (w *wire) as(u user.Info) http.RoundTripper {
	return &client{wire: w, user: func(*http.Request) user.Info { return u }}
}

type userKey struct{}

// inProcess authenticates requests that came by the wire. The user travels in the request's context, which nothing that
// arrives by a socket can set.
var inProcess authenticator.RequestFunc = func(r *http.Request) (*authenticator.Response, bool, error) {
	u, ok := r.Context().Value(userKey{}).(user.Info)
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: u}, true, nil
}

// RoundTrip serves the request. Watches and followed logs are served on a goroutine of their own that ends with the
// response body; everything else on the caller's.
func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	h := c.wire.handler.Load()
	if h == nil {
		closeBody(req)
		return nil, errNotServing
	}
	c.wire.count.Add(1)
	u := c.user(req)
	streams := isStream(req)
	if !streams && c.wire.watch != nil {
		if err := c.wire.observe(req, u); err != nil {
			return nil, err
		}
	}
	if c.wire.events != nil && isEventWrite(req) {
		return c.wire.takeEvent(req)
	}
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), userKey{}, u))
	sreq := req.Clone(ctx)
	if streams && c.wire.profile == Rehearsal {
		lengthenWatch(sreq)
	}
	sreq.RequestURI = sreq.URL.RequestURI()
	sreq.RemoteAddr = "127.0.0.1:1"
	sreq.Proto, sreq.ProtoMajor, sreq.ProtoMinor = "HTTP/2.0", 2, 0
	if sreq.Host == "" {
		sreq.Host = req.URL.Host
	}
	if sreq.Body == nil {
		sreq.Body = http.NoBody
	}
	defer closeBody(req)
	rw := &responseWriter{header: http.Header{}, body: body{cancel: cancel}}
	rw.body.cond.L = &rw.body.mu
	if !streams {
		rw.run(*h, sreq)
		if err := ctx.Err(); err != nil {
			cancel()
			return nil, err
		}
		return rw.response(req, int64(rw.body.buf.Len())), nil
	}
	rw.started = make(chan struct{})
	stopAfter := context.AfterFunc(c.wire.life, cancel)
	rw.body.cancel = func() { stopAfter(); cancel() }
	go rw.run(*h, sreq)
	select {
	case <-rw.started:
		return rw.response(req, -1), nil
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
}

func (w *wire) observe(req *http.Request, u user.Info) error {
	r := Request{Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, User: u.GetName(), ContentType: req.Header.Get("Content-Type")}
	if req.Method != http.MethodGet && req.Body != nil && req.Body != http.NoBody {
		b, err := io.ReadAll(req.Body)
		closeBody(req)
		if err != nil {
			return err
		}
		r.Body = b
		req.Body = io.NopCloser(bytes.NewReader(b))
	}
	w.watch(r)
	return nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func isStream(req *http.Request) bool {
	q := req.URL.RawQuery
	return strings.Contains(q, "watch=") || strings.Contains(q, "follow=true") || strings.Contains(req.URL.Path, "/watch/") ||
		strings.Contains(req.URL.Path, "/proxy")
}

// lengthenWatch turns the usual watch of five to ten minutes into one that lasts: re-listing changes nothing that a
// scenario can see and costs a rehearsal a full list of every kind and client each time. Bookmarks are only asked for
// where the initial list depends on them.
func lengthenWatch(r *http.Request) {
	q := r.URL.Query()
	if !q.Has("watch") {
		return
	}
	u := *r.URL
	q.Set("timeoutSeconds", "8640000")
	if q.Get("sendInitialEvents") != "true" {
		q.Del("allowWatchBookmarks")
	}
	u.RawQuery = q.Encode()
	r.URL = &u
}

// responseWriter is the server's side of one exchange; its body the client's.
type responseWriter struct {
	header  http.Header
	sent    http.Header
	status  int
	body    body
	started chan struct{}
}

func (w *responseWriter) run(h http.Handler, r *http.Request) {
	defer func() {
		e := recover()
		if e != nil && e != http.ErrAbortHandler {
			panic(e)
		}
		w.WriteHeader(http.StatusOK)
		w.body.finish()
	}()
	h.ServeHTTP(w, r)
}

func (w *responseWriter) response(req *http.Request, length int64) *http.Response {
	return &http.Response{Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: w.sent, Body: &w.body, ContentLength: length, Request: req}
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(code int) {
	if w.status != 0 || code < 200 {
		return
	}
	w.status = code
	if w.started == nil {
		w.sent = w.header // the handler has no more use for it before the client reads it
		return
	}
	w.sent = w.header.Clone()
	close(w.started)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.body.write(p)
}

func (w *responseWriter) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.body.cond.Broadcast()
}

// CloseNotify is asked for by the API server's response wrappers before they offer Flush. The request's context carries
// the same news, so the channel never speaks.
func (w *responseWriter) CloseNotify() <-chan bool { return make(chan bool) }

// bodyBytesMax bounds what a slow reader of a watch may leave unread before its watch is cut, as a full socket would.
const bodyBytesMax = 64 << 20

var errSlowReader = errors.New("the reader of this response is too slow")

type body struct {
	mu     sync.Mutex
	cond   sync.Cond
	buf    bytes.Buffer
	ended  bool
	closed bool
	cancel context.CancelFunc
}

func (b *body) write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	if b.buf.Len() > bodyBytesMax {
		return 0, errSlowReader
	}
	return b.buf.Write(p)
}

func (b *body) finish() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.cond.Broadcast()
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.buf.Len() == 0 && !b.ended && !b.closed {
		b.cond.Wait()
	}
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	return b.buf.Read(p) // io.EOF once empty
}

func (b *body) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cond.Broadcast()
	b.cancel()
	return nil
}
