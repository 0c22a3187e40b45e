package proxy

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

// streamsMax is how many requests of a connection in HTTP/2 are under way at once.
const streamsMax = 250

// newHTTP2 is the server of the connections of a socket that speak HTTP/2.
func newHTTP2(s *socket) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveHTTP2(w, r) }),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		MaxHeaderBytes:    wire.HeadMax,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.g.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if t, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
				nc = t.NetConn()
			}
			if h, ok := nc.(*handedConn); ok {
				return context.WithValue(ctx, peerKey{}, h.peer)
			}
			return ctx
		},
	}
}

type peerKey struct{}

// handedConn is a connection with what is known of it, and what has been read from it already.
type handedConn struct {
	net.Conn
	peer *peer
	read []byte
}

func (c *handedConn) Read(p []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(p, c.read)
		c.read = c.read[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// handover is the listener through which connections come to the server of HTTP/2.
type handover struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newHandover(address net.Addr) *handover {
	return &handover{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand gives a connection over; false when nobody takes it any more.
func (h *handover) hand(nc net.Conn) bool {
	select {
	case h.conns <- nc:
		return true
	case <-h.closed:
		return false
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.address }

// stream is a request in HTTP/2: the client side of an exchange.
type stream struct {
	x       exchange
	w       http.ResponseWriter
	r       *http.Request
	flusher *http.ResponseController
	headers []match.Header
	names   []string
	body    readerSource
	aborted bool
}

var streams = sync.Pool{New: func() any { return &stream{} }}

func serveHTTP2(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		panic(http.ErrAbortHandler) // cannot be: all connections come by the handover
	}
	s := streams.Get().(*stream)
	s.w, s.r, s.flusher, s.aborted = w, r, http.NewResponseController(w), false
	x := &s.x
	x.g, x.client, x.peer, x.proto, x.ctx = p.socket.g, s, p, "HTTP/2.0", r.Context()
	x.draw = x.g.draws()
	if err := s.take(); err != nil {
		x.start()
		x.fail(err.Status, Refused, err.What)
		x.finish()
	} else {
		x.serve()
	}
	aborted := s.aborted
	s.w, s.r, s.flusher, s.body.r, x.ctx = nil, nil, nil, nil, nil
	s.body.free()
	streams.Put(s)
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// take makes the exchange's request of net/http's.
func (s *stream) take() *wire.Error {
	x, r := &s.x, s.r
	x.head = match.Head{Method: r.Method, Host: r.Host, ServerName: x.peer.serverName}
	x.length, x.body, x.upgrade, x.expects, x.trailers = r.ContentLength, nil, "", false, strings.EqualFold(r.Header.Get("Te"), "trailers")
	s.headers, s.names = fromMap(s.headers[:0], s.names[:0], r.Header)
	if len(r.Trailer) > 0 { // net/http has taken the announcement away
		s.headers = append(s.headers, match.Header{Name: "Trailer", Value: strings.Join(slices.Sorted(maps.Keys(r.Trailer)), ", ")})
	}
	x.head.Headers = s.headers
	if len(s.headers) > wire.FieldsMax {
		return &wire.Error{Status: http.StatusRequestHeaderFieldsTooLarge, What: "the head has more than 100 fields"}
	}
	if r.Method != http.MethodConnect {
		var err error
		if x.head.Path, x.head.Query, err = wire.SplitTarget(r.RequestURI); err != nil {
			return err.(*wire.Error)
		}
	}
	if x.length != 0 {
		s.body.begin(r.Body, func() http.Header { return r.Trailer })
		x.body = &s.body
	}
	return nil
}

// fromMap takes the headers out of a map, in the order of their names; those of the connection alone are left out.
func fromMap(headers []match.Header, names []string, from http.Header) ([]match.Header, []string) {
	for name := range from {
		switch name {
		case "Connection", "Te", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection", "Expect", "Host",
			"Proxy-Authorization", "Proxy-Authenticate":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range from[name] {
			headers = append(headers, match.Header{Name: name, Value: v})
		}
	}
	return headers, names
}

// inform implements client. 100 Continue is what net/http sends when the body is read.
func (s *stream) inform(status int, headers []match.Header) error {
	if status == http.StatusContinue {
		return nil
	}
	h := s.w.Header()
	toMap(h, headers)
	s.w.WriteHeader(status)
	clear(h)
	return nil
}

// toMap copies the headers: what they borrow from may be read into again before net/http has written them.
func toMap(to http.Header, headers []match.Header) {
	for _, h := range headers {
		name := http.CanonicalHeaderKey(strings.Clone(h.Name))
		to[name] = append(to[name], strings.Clone(h.Value))
	}
}

// begin implements client.
func (s *stream) begin(r *response) error {
	h := s.w.Header()
	toMap(h, r.headers)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // it is not guessed here
	}
	switch {
	case r.length > 0:
		h.Set("Content-Length", strconv.FormatInt(r.length, 10))
	case r.length == 0 && r.declared > 0:
		h.Set("Content-Length", strconv.FormatInt(r.declared, 10))
	}
	s.w.WriteHeader(r.status)
	if r.length != 0 && r.body != nil && !r.body.Buffered() {
		return s.flusher.Flush()
	}
	return nil
}

// write implements client.
func (s *stream) write(p []byte, more bool) error {
	if _, err := s.w.Write(p); err != nil || more {
		return err
	}
	return s.flusher.Flush()
}

// end implements client.
func (s *stream) end(trailers []match.Header) error {
	for _, t := range trailers {
		s.w.Header().Add(http.TrailerPrefix+t.Name, strings.Clone(t.Value))
	}
	return nil
}

// abort implements client.
func (s *stream) abort() { s.aborted = true }

// stopReading implements client.
func (s *stream) stopReading() { _ = s.r.Body.Close() }

// await implements client.
func (s *stream) await(gone func()) (stop func()) {
	cancel := context.AfterFunc(s.r.Context(), gone)
	return func() { cancel() }
}

// readerSource is a source that reads from an io.Reader.
type readerSource struct {
	r        io.Reader
	trailer  func() http.Header
	buf      *[longPiece]byte
	trailers []match.Header
	err      error
}

// longPiece is how much is read at once.
const longPiece = 16 << 10

var pieceBuffers = sync.Pool{New: func() any { return new([longPiece]byte) }}

func (s *readerSource) begin(r io.Reader, trailer func() http.Header) {
	s.r, s.trailer, s.trailers, s.err = r, trailer, nil, nil
}

// Next implements source.
func (s *readerSource) Next() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.buf == nil {
		s.buf = pieceBuffers.Get().(*[longPiece]byte)
	}
	n, err := s.r.Read(s.buf[:])
	s.err = err
	if err == io.EOF && s.trailer != nil {
		s.trailers, _ = fromMap(nil, nil, s.trailer())
	}
	if n > 0 {
		return s.buf[:n], nil
	}
	if err == nil {
		return s.Next()
	}
	return nil, err
}

// Buffered implements source: only what has ended is known to be.
func (s *readerSource) Buffered() bool { return s.err != nil }

// Trailers implements source.
func (s *readerSource) Trailers() []match.Header { return s.trailers }

func (s *readerSource) free() {
	if s.buf != nil {
		pieceBuffers.Put(s.buf)
		s.buf = nil
	}
}
