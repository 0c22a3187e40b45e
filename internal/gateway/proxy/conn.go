package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

const (
	// writeMax is how much of a response is gathered before it is sent; longer pieces are sent as they are.
	writeMax = 16 << 10
	// What a client still sends after it has been refused is read for lingerTime, up to lingerMax bytes: closing at once would
	// throw the answer away before it is read (RFC 9112, section 9.6).
	lingerTime = 500 * time.Millisecond
	lingerMax  = 256 << 10
)

// phase is what a connection waits for when it reads.
type phase uint8

const (
	waitsForRequest phase = iota
	waitsForHead          // the rest of it
	waitsForBody
	waitsForNothing // a tunnel, or a client that may go
)

// conn is a client's connection in HTTP/1.1. One goroutine serves its requests, one after the other.
type conn struct {
	peer *peer
	nc   net.Conn
	r    *wire.Reader
	req  wire.Request
	body wire.Body
	x    exchange

	w       []byte
	vector  [2][]byte
	chunked bool // the response's body
	closing bool // after this response

	phase           phase
	readBy, writeBy int64 // deadlines in force; 0 = none
	bodyBegan       int64
	bodyRead        int64

	stopped atomic.Bool // nobody reads the body any more
	// idle is since when it waits for a request; 0 = one is under way, -1 = closed.
	idle     atomic.Int64
	tunneled io.Closer // what it was tunneled to
}

func newConn(p *peer, nc net.Conn) *conn {
	c := &conn{peer: p, nc: nc}
	c.r = wire.NewReader(c)
	g := p.socket.g
	c.x.g, c.x.client, c.x.peer, c.x.proto, c.x.draw = g, c, p, "HTTP/1.1", g.draws()
	if v := newVigil(g.ctx, nc); v != nil {
		c.x.vigil, c.x.ctx = v, v.ctx
	}
	c.idle.Store(max(g.now(), 1))
	return c
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// serve serves the connection to its end, or hands it over when HTTP/2 is spoken.
func (c *conn) serve() {
	s := c.peer.socket
	if !s.add(c) {
		_ = c.nc.Close()
		if c.x.vigil != nil {
			c.x.vigil.close()
		}
		return
	}
	handed := false
	defer func() {
		s.remove(c)
		if c.x.vigil != nil {
			c.x.vigil.close()
		}
		if !handed {
			_ = c.nc.Close()
		}
	}()
	if handed = c.speaksHTTP2(); handed {
		return
	}
	for c.next() {
		c.x.serve()
		if !c.after() {
			return
		}
	}
}

// speaksHTTP2 waits for the first bytes. Those that begin HTTP/2 by prior knowledge are handed over.
func (c *conn) speaksHTTP2() bool {
	for {
		if err := c.r.Fill(); err != nil {
			return false
		}
		b := c.r.Buffered()
		n := min(len(b), len(preface))
		if !bytes.Equal(b[:n], preface[:n]) {
			return false
		}
		if n == len(preface) && !c.peer.tls {
			_ = c.nc.SetReadDeadline(time.Time{})
			return c.peer.socket.queue.hand(&handedConn{Conn: c.nc, peer: c.peer, read: bytes.Clone(b)})
		}
		if n == len(preface) {
			return false
		}
		c.phase = waitsForHead
	}
}

// next reads the head of the next request; false = there is none.
func (c *conn) next() bool {
	c.phase = waitsForRequest
	for {
		if len(c.r.Buffered()) > 0 {
			ok, err := c.r.Request(&c.req)
			if err != nil {
				c.refuse(err)
				return false
			}
			if ok {
				break
			}
			if c.phase == waitsForRequest {
				c.phase = waitsForHead
				c.setReadDeadline(c.x.g.now()+int64(headTimeout), 0)
			}
		}
		if err := c.r.Fill(); err != nil {
			if c.phase == waitsForHead && errors.Is(err, os.ErrDeadlineExceeded) {
				c.refuse(errHeadLate)
			}
			return false
		}
	}
	if since := c.idle.Load(); since < 0 || !c.idle.CompareAndSwap(since, 0) {
		return false // closed while draining
	}
	req, x := &c.req, &c.x
	x.head = req.Head
	x.head.ServerName = c.peer.serverName
	x.length, x.upgrade, x.trailers, x.expects = req.Length, req.Upgrade, req.Trailers, req.Continue
	if req.Minor == 0 {
		x.proto = "HTTP/1.0"
	} else {
		x.proto = "HTTP/1.1"
	}
	c.closing, c.chunked = req.Close, false
	c.body.Begin(c.r, req.Length)
	x.body = &c.body
	c.phase, c.bodyBegan, c.bodyRead = waitsForBody, 0, 0
	return true
}

var (
	errHeadLate = &wire.Error{Status: http.StatusRequestTimeout, What: "the head took longer than 10 s"}
	errBodySlow = &wire.Error{Status: http.StatusRequestTimeout, What: "the body comes slower than 240 bytes a second"}
)

// refuse answers a request that cannot be understood, and ends the connection.
func (c *conn) refuse(err error) {
	e, ok := err.(*wire.Error)
	if !ok {
		return
	}
	x := &c.x
	x.head, x.length, x.body, x.upgrade = match.Head{}, 0, nil, ""
	c.closing, c.req.Minor = true, 1
	x.start()
	x.fail(e.Status, Refused, e.What)
	x.finish()
	c.linger()
}

// after ends a request; false = the connection ends too.
func (c *conn) after() bool {
	if c.tunneled != nil {
		return false
	}
	if c.closing {
		if !c.body.Ended() {
			c.linger()
		}
		return false
	}
	if !c.body.Ended() {
		return false // it cannot be told where the next request begins
	}
	c.body.Close()
	c.idle.Store(max(c.x.ended, 1))
	return true
}

// linger reads what the client still sends, for a while.
func (c *conn) linger() {
	if t, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
	c.phase = waitsForNothing
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.nc, lingerMax)
}

// Read is where the reader's bytes come from, with the deadline for what is waited for.
func (c *conn) Read(p []byte) (int, error) {
	switch c.phase {
	case waitsForRequest:
		c.setReadDeadline(c.idle.Load()+int64(idleTimeout), int64(idleTimeout)/deadlineSlack)
	case waitsForBody:
		now := c.x.g.now()
		if c.bodyBegan == 0 {
			c.bodyBegan = now
		}
		allowed := c.bodyBegan + int64(bodyGrace) + c.bodyRead*int64(time.Second)/bodyRate
		c.setReadDeadline(min(allowed, now+int64(idleTimeout)), int64(time.Second))
	}
	if c.stopped.Load() { // asked after the deadline was set: whoever stops sets his own after that
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.nc.Read(p)
	if c.phase == waitsForBody {
		c.bodyRead += int64(n)
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			err = errBodySlow
		}
	}
	return n, err
}

// setReadDeadline makes reads end at want or up to slack later.
func (c *conn) setReadDeadline(want, slack int64) {
	if c.readBy >= want && c.readBy <= want+slack {
		return
	}
	c.readBy = want + slack
	_ = c.nc.SetReadDeadline(c.x.g.epoch.Add(time.Duration(c.readBy)))
}

// stopReading implements client.
func (c *conn) stopReading() {
	c.closing = true
	c.stopped.Store(true)
	_ = c.nc.SetReadDeadline(past)
}

// await implements client: it reads ahead, so that the end of the connection is seen.
func (c *conn) await(gone func()) (stop func()) {
	if len(c.r.Buffered()) > 0 {
		return func() {} // there is a further request; whether its sender is still there cannot be told
	}
	var stopped atomic.Bool
	ended := make(chan struct{})
	c.phase = waitsForNothing
	c.readBy = 0
	_ = c.nc.SetReadDeadline(time.Time{})
	go func() {
		defer close(ended)
		if err := c.r.Fill(); err != nil && !stopped.Load() {
			gone()
		}
	}()
	return func() {
		stopped.Store(true)
		_ = c.nc.SetReadDeadline(past)
		<-ended
		c.readBy = 0
		_ = c.nc.SetReadDeadline(time.Time{})
		c.phase = waitsForBody
	}
}

// inform implements client. Clients of HTTP/1.0 do not know interim responses.
func (c *conn) inform(status int, headers []match.Header) error {
	if c.req.Minor == 0 {
		return nil
	}
	c.w = append(wire.AppendFields(wire.AppendStatusLine(c.w[:0], status), headers), wire.HeadEnd...)
	return c.flush()
}

// begin implements client.
func (c *conn) begin(r *response) error {
	w := wire.AppendFields(wire.AppendStatusLine(c.w[:0], r.status), r.headers)
	bodiless := r.status == http.StatusNoContent || r.status == http.StatusNotModified
	switch {
	case r.length > 0:
		w = wire.AppendLength(w, r.length)
	case r.length < 0 && c.req.Minor == 0:
		c.closing = true
	case r.length < 0:
		c.chunked = true
		w = wire.AppendLength(w, wire.Chunked)
	case r.declared >= 0:
		w = wire.AppendLength(w, r.declared)
	case !bodiless && c.x.head.Method != http.MethodHead:
		w = wire.AppendLength(w, 0)
	}
	if r.own {
		w = append(time.Now().UTC().AppendFormat(append(w, "Date: "...), http.TimeFormat), "\r\n"...)
		c.skipBody()
	}
	if c.peer.socket.drains.Load() {
		c.closing = true
	}
	if c.closing {
		w = append(w, "Connection: close\r\n"...)
	} else if c.req.Minor == 0 {
		w = append(w, "Connection: keep-alive\r\n"...)
	}
	c.w = append(w, wire.HeadEnd...)
	if r.length != 0 && r.body != nil && !r.body.Buffered() {
		return c.flush()
	}
	return nil
}

// skipBody reads the rest of a body that no backend gets, if it is here; else the connection ends.
func (c *conn) skipBody() {
	for !c.body.Ended() && c.body.Buffered() {
		if _, err := c.body.Next(); err != nil {
			break
		}
	}
	c.closing = c.closing || !c.body.Ended()
}

// write implements client.
func (c *conn) write(p []byte, more bool) error {
	if c.chunked {
		c.w = wire.AppendChunkSize(c.w, len(p))
	}
	if len(c.w)+len(p) <= writeMax {
		c.w = append(c.w, p...)
		if c.chunked {
			c.w = append(c.w, wire.ChunkEnd...)
		}
		if more {
			return nil
		}
		return c.flush()
	}
	c.writeDeadline()
	c.vector = [2][]byte{c.w, p}
	buffers := net.Buffers(c.vector[:])
	_, err := buffers.WriteTo(c.nc)
	c.w = c.w[:0]
	if c.chunked {
		c.w = append(c.w, wire.ChunkEnd...)
	}
	return err
}

// end implements client.
func (c *conn) end(trailers []match.Header) error {
	if c.chunked {
		c.w = wire.AppendLastChunk(c.w, trailers)
	}
	return c.flush()
}

func (c *conn) flush() error {
	if len(c.w) == 0 {
		return nil
	}
	c.writeDeadline()
	_, err := c.nc.Write(c.w)
	c.w = c.w[:0]
	return err
}

// writeDeadline lets a client take as long for what it is sent as it may be idle.
func (c *conn) writeDeadline() {
	now := c.x.g.now()
	if want := now + int64(idleTimeout); c.writeBy < want {
		c.writeBy = want + int64(idleTimeout)/deadlineSlack
		_ = c.nc.SetWriteDeadline(c.x.g.epoch.Add(time.Duration(c.writeBy)))
	}
}

// abort implements client.
func (c *conn) abort() {
	c.closing = true
	_ = c.flush() // what has been gathered is true, and the missing end tells the rest
	nc := c.nc
	for inner := nc; inner != nil; {
		nc = inner // without TLS's own good-bye, after which a response that ends with the connection would look whole
		switch o := inner.(type) {
		case *tls.Conn:
			inner = o.NetConn()
		case *handedConn:
			inner = o.Conn
		default:
			inner = nil
		}
	}
	if t, ok := nc.(*net.TCPConn); ok && c.x.response.length == wire.UntilClose {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// closeIdle implements closer.
func (c *conn) closeIdle(before int64) {
	if since := c.idle.Load(); since > 0 && since < before && c.idle.CompareAndSwap(since, -1) {
		_ = c.nc.Close()
	}
}

// Close implements closer.
func (c *conn) Close() error { return c.nc.Close() }
