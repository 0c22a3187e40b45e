package proxy

import (
	"io"
	"net"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/gateway/wire"
)

// tunnel passes bytes both ways once the backend has agreed to another protocol (WebSocket, say), until one side ends it.
func (x *exchange) tunnel() {
	c, ok := x.client.(*conn)
	u := x.http1.conn
	if !ok || u == nil {
		x.client.abort()
		return
	}
	u.tunneled = true
	_ = u.nc.SetDeadline(time.Time{})
	_ = c.nc.SetDeadline(time.Time{})
	c.tunneled, c.closing, c.phase = u.nc, true, waitsForNothing
	w := wire.AppendFields(wire.AppendStatusLine(c.w[:0], x.response.status), x.response.headers)
	w = wire.AppendField(wire.AppendField(w, "Connection", "Upgrade"), "Upgrade", u.resp.Upgrade)
	c.w = append(w, wire.HeadEnd...)
	if err := c.flush(); err != nil {
		x.gone()
		return
	}
	x.record.In, x.record.Out = splice(&bufferedConn{c.nc, c.r}, &bufferedConn{u.nc, u.r})
	x.upload.count = x.record.In
}

// bufferedConn is a connection of which a reader may have read on already.
type bufferedConn struct {
	net.Conn
	r *wire.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) {
	if c.r != nil {
		if b := c.r.Buffered(); len(b) > 0 {
			n := copy(p, b)
			c.r.Discard(n)
			return n, nil
		}
		c.r = nil
	}
	return c.Conn.Read(p)
}

// WriteTo lets the kernel move the bytes where it can.
func (c *bufferedConn) WriteTo(w io.Writer) (n int64, err error) {
	if c.r != nil {
		if b := c.r.Buffered(); len(b) > 0 {
			written, err := w.Write(b)
			if err != nil {
				return int64(written), err
			}
			n = int64(written)
		}
		c.r = nil
	}
	if to, ok := w.(*bufferedConn); ok {
		w = to.Conn
	}
	more, err := io.Copy(w, c.Conn)
	return n + more, err
}

// splice copies both ways. When one side says that it will send no more, so the other is told; when one breaks, both end.
func splice(client, backend net.Conn) (in, out int64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err := io.Copy(client, backend)
		out = n
		endWriting(client, err)
		if err != nil {
			_ = backend.Close()
		}
	}()
	n, err := io.Copy(backend, client)
	in = n
	endWriting(backend, err)
	if err != nil {
		_ = client.Close()
	}
	<-done
	_ = client.Close()
	_ = backend.Close()
	return in, out
}

// endWriting says that nothing more comes, or closes the connection where that cannot be said.
func endWriting(nc net.Conn, err error) {
	for {
		switch c := nc.(type) {
		case *bufferedConn:
			nc = c.Conn
			continue
		case *handedConn:
			nc = c.Conn
			continue
		}
		break
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		return
	}
	_ = nc.Close()
}

// passOn connects to an endpoint of the rule and passes bytes both ways.
func (x *exchange) passOn(in net.Conn, l *config.Listener) {
	s := x.peer.socket
	guard := &plainCloser{in}
	defer in.Close()
	if !s.add(guard) {
		return
	}
	defer s.remove(guard)
	x.beginBytes(l)
	defer func() {
		x.record.Latency = time.Duration(x.g.now() - x.began)
		x.g.observe(&x.record)
	}()
	i := x.state.split.Next()
	if i < 0 || i >= len(x.rule.Backends) || x.rule.Backends[i].Backend == nil {
		x.record.Reason = NoBackend
		return
	}
	x.share = &x.rule.Backends[i]
	x.backend = x.snapshot.backends[x.share.Backend.Index]
	x.record.Backend = x.share.Backend
	policy := x.backend.pool.Policy()
	if !x.backend.breaker.Connect(policy.MaxConnections) {
		x.record.Reason = Overflow
		return
	}
	defer x.backend.breaker.Disconnect()
	x.passOnTo(in, policy)
}

// beginBytes begins the record of a connection that is passed on.
func (x *exchange) beginBytes(l *config.Listener) {
	x.began = x.g.now()
	x.record = Record{Protocol: x.proto, Gateway: l.Gateway, Rule: x.rule, Host: x.head.Host, Client: x.peer.address, GRPC: -1,
		Began: x.g.epoch.Add(time.Duration(x.began))}
}

// passOnTo tries endpoints until one takes the connection.
func (x *exchange) passOnTo(in net.Conn, policy *config.Policy) {
	var t tries
	for range passMax + 1 {
		e := x.pickNow(t.avoid, policy)
		if e == nil {
			x.record.Reason = NoEndpoints
			return
		}
		x.record.Endpoint = &e.Endpoint
		began := x.g.now()
		nc, f := x.backend.connections(e).dial(x.g.ctx, began, 0, nil)
		x.record.Upstream = time.Duration(x.g.now() - began)
		x.measure(e, f, x.g.now())
		if f.reason != "" {
			x.record.Reason, t.avoid = f.reason, e
			continue
		}
		x.record.Reason = ""
		e.Begin()
		defer e.End()
		guard := &plainCloser{nc}
		if x.peer.socket.add(guard) {
			defer x.peer.socket.remove(guard)
			x.record.In, x.record.Out = splice(in, nc)
		}
		_ = nc.Close()
		return
	}
}

// noClient stands for a client whose connection is passed on as bytes: nothing can be answered to it.
type noClient struct{}

func (noClient) inform(int, []match.Header) error { return nil }
func (noClient) begin(*response) error            { return nil }
func (noClient) write([]byte, bool) error         { return nil }
func (noClient) end([]match.Header) error         { return nil }
func (noClient) abort()                           {}
func (noClient) stopReading()                     {}
func (noClient) await(func()) func()              { return func() {} }
