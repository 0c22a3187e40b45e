package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// socket is an address that is listened on, with its connections.
type socket struct {
	g        *Gateway
	address  netip.AddrPort
	listener net.Listener // nil for the moment until it is bound
	started  bool
	// last is the snapshot that had it last, once it is gone from the present one.
	last   atomic.Pointer[pinned]
	drains atomic.Bool

	tls   *tls.Config
	http2 *http.Server
	queue *handover

	mu    sync.Mutex
	conns map[closer]struct{}
	empty chan struct{} // closed when draining and no connection is left
}

// closer is a connection as the socket knows it.
type closer interface {
	// closeIdle closes it if no request is under way since before.
	closeIdle(before int64)
	Close() error
}

// pinned is a snapshot with the place of a socket in it.
type pinned struct {
	snapshot *snapshot
	place    int
}

// pin is the snapshot for a request that begins now.
func (s *socket) pin() (*snapshot, int) {
	now := s.g.current.Load()
	if place, ok := now.places[s]; ok {
		return now, place
	}
	if last := s.last.Load(); last != nil {
		return last.snapshot, last.place
	}
	return now, -1
}

// bind opens the sockets of a Config that are not open yet.
func (g *Gateway) bind(c *config.Config) (bound map[netip.AddrPort]*socket, problems []*SocketError) {
	bound = make(map[netip.AddrPort]*socket, len(c.Sockets))
	for i := range c.Sockets {
		address := c.Sockets[i].Address
		if s := g.sockets[address]; s != nil {
			bound[address] = s
			continue
		}
		l, err := g.options.Listen("tcp", address.String())
		if err != nil && g.overlaps(address, c) {
			l, err = g.options.Listen("tcp", address.String())
		}
		if err != nil {
			problems = append(problems, &SocketError{address, err, remedy(address, err)})
			continue
		}
		s := newSocket(g, address, l)
		g.sockets[address], bound[address] = s, s
	}
	return bound, problems
}

// overlaps releases the sockets of the same port that the next Config does not have: an address and all addresses cannot be
// bound at the same time. This is the only case in which nobody listens for a moment.
func (g *Gateway) overlaps(address netip.AddrPort, c *config.Config) (released bool) {
	for other, s := range g.sockets {
		if other.Port() != address.Port() || other.Port() == 0 || wanted(c, other) {
			continue
		}
		_ = s.listener.Close()
		released = true
	}
	return released
}

func wanted(c *config.Config, address netip.AddrPort) bool {
	for i := range c.Sockets {
		if c.Sockets[i].Address == address {
			return true
		}
	}
	return false
}

// release stops listening on the sockets that are not among those bound, and drains them.
func (g *Gateway) release(bound map[netip.AddrPort]*socket) {
	for address, s := range g.sockets {
		if bound[address] != nil {
			continue
		}
		delete(g.sockets, address)
		g.leaving[s] = struct{}{}
		s.drains.Store(true) // from the next response on
		g.ended.Add(1)
		go func() {
			defer g.ended.Done()
			ctx, cancel := context.WithTimeout(g.ctx, releaseDrain)
			defer cancel()
			s.drain(ctx)
			s.close()
			g.mu.Lock()
			delete(g.leaving, s)
			g.mu.Unlock()
		}()
	}
}

const (
	// releaseDrain is how long connections of a socket that is gone may take to end their requests.
	releaseDrain = 30 * time.Second
	// idleGrace is how long a connection that is idle while draining may still send a request that was on its way.
	idleGrace = time.Second
	drainStep = 20 * time.Millisecond
)

func newSocket(g *Gateway, address netip.AddrPort, l net.Listener) *socket {
	s := &socket{g: g, address: address, listener: l, conns: map[closer]struct{}{}}
	s.tls = s.tlsConfig()
	s.queue = newHandover(l.Addr())
	s.http2 = newHTTP2(s)
	return s
}

// start accepts connections, if it does not yet.
func (s *socket) start() {
	if s.started {
		return
	}
	s.started = true
	s.g.ended.Add(2)
	go func() {
		defer s.g.ended.Done()
		s.accept()
	}()
	go func() {
		defer s.g.ended.Done()
		_ = s.http2.Serve(s.queue) // returns when the queue is closed
	}()
}

// accept takes connections until the listener is closed. When the process has no file left for one, it waits for another to
// end.
func (s *socket) accept() {
	wait := time.Duration(0)
	for {
		nc, err := s.listener.Accept()
		if err == nil {
			wait = 0
			go s.serve(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || s.drains.Load() {
			return
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.g.log.Warn("cannot accept a connection", "address", s.address, "error", err, "wait", wait)
		select {
		case <-time.After(wait):
		case <-s.g.ctx.Done():
			return
		}
	}
}

// Serve serves a connection that came another way than by the network, as if it had been accepted on that socket of the
// Config. It returns when the connection has ended (or, of HTTP/2, is looked after elsewhere).
func (g *Gateway) Serve(address netip.AddrPort, nc net.Conn) error {
	g.mu.Lock()
	s := g.sockets[address]
	g.mu.Unlock()
	if s == nil || s.drains.Load() {
		_ = nc.Close()
		return fmt.Errorf("serve a connection to %s: the gateway does not listen there", address)
	}
	s.serve(nc)
	return nil
}

// serve looks after one connection.
func (s *socket) serve(nc net.Conn) {
	snapshot, place := s.pin()
	if place < 0 {
		_ = nc.Close()
		return
	}
	p := newPeer(s, nc)
	switch snapshot.config.Sockets[place].Protocol {
	case config.TLS:
		s.serveBytes(nc, p)
	case config.HTTPS:
		s.serveTLS(nc, p)
	default:
		newConn(p, nc).serve()
	}
}

// add keeps a connection for draining and closing; false when the socket is closed already.
func (s *socket) add(c closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *socket) remove(c closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// drain listens no more and waits until all connections have ended, or ctx has.
func (s *socket) drain(ctx context.Context) {
	s.drains.Store(true)
	_ = s.listener.Close()
	done := make(chan struct{})
	s.mu.Lock()
	if len(s.conns) == 0 || s.empty != nil {
		close(done)
	} else {
		s.empty = done
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	if s.started {
		wg.Go(func() { _ = s.http2.Shutdown(ctx) })
	}
	grace := s.g.now() + int64(idleGrace)
	t := time.NewTicker(drainStep)
	defer t.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-t.C:
			if s.g.now() > grace {
				for _, c := range s.all() {
					c.closeIdle(s.g.now() - int64(idleGrace))
				}
			}
		}
	}
	wg.Wait()
}

func (s *socket) all() []closer {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]closer, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// close cuts all connections.
func (s *socket) close() {
	s.drains.Store(true)
	_ = s.listener.Close()
	all := s.all()
	s.mu.Lock()
	s.conns = nil
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	_ = s.http2.Close()
	_ = s.queue.Close()
}

// peer is what is known of a connection's client.
type peer struct {
	socket     *socket
	address    string // without port
	trusted    bool   // its X-Forwarded headers count
	tls        bool
	serverName string
	port       uint16 // of the gateway that it connected to
}

func newPeer(s *socket, nc net.Conn) *peer {
	p := &peer{socket: s, port: s.address.Port()}
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok && p.port == 0 {
		p.port = uint16(a.Port)
	}
	a, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return p // a connection in memory
	}
	ip := a.Addr().Unmap()
	p.address = ip.WithZone("").String()
	for _, t := range s.g.options.TrustedProxies {
		p.trusted = p.trusted || t.Contains(ip)
	}
	return p
}
