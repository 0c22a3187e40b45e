package vnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// PacketConn is a UDP socket in memory: datagrams keep their bounds, arrive in order, and are dropped when the receiver
// holds 64 KiB unread, when nobody listens, or when they are larger than UDP allows. A connected one (from
// [Dialer.Dial]) is a net.Conn as well.
type PacketConn struct {
	net   *Network
	local netip.AddrPort
	peer  netip.AddrPort // of a connected socket
	via   netip.AddrPort // where its datagrams really go; answers are shown as coming from peer

	mu      sync.Mutex
	arrived sync.Cond
	inbox   []datagram
	held    int
	closed  bool
	expired bool
	setting uint64
	timer   *time.Timer
}

type datagram struct {
	from netip.AddrPort
	data []byte
}

// datagramMax is the largest UDP payload over IPv4.
const datagramMax = 65507

// ListenPacket returns a socket bound to the address; port 0 takes an ephemeral one. An address in use gives EADDRINUSE.
func (n *Network) ListenPacket(at netip.AddrPort) (*PacketConn, error) {
	for tries := 0; ; tries++ {
		bind := at
		if at.Port() == 0 {
			bind = netip.AddrPortFrom(at.Addr(), n.port())
		}
		p := &PacketConn{net: n, local: bind}
		p.arrived.L = &p.mu
		if n.bind(p) {
			return p, nil
		}
		if at.Port() != 0 || tries > ephemeralLast-ephemeralFirst {
			return nil, inUse("udp", net.UDPAddrFromAddrPort(bind))
		}
	}
}

func (n *Network) bind(p *PacketConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.packets[p.local]; taken {
		return false
	}
	if n.packets == nil {
		n.packets = map[netip.AddrPort]*PacketConn{}
	}
	n.packets[p.local] = p
	return true
}

func (n *Network) bound(at netip.AddrPort) *PacketConn {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.packets[at]
}

// connectPacket returns a socket of source connected to peer, whose datagrams go to via.
func (n *Network) connectPacket(source netip.Addr, peer, via netip.AddrPort) (*PacketConn, error) {
	p, err := n.ListenPacket(netip.AddrPortFrom(source, 0))
	if err != nil {
		return nil, err
	}
	p.peer, p.via = peer, via
	return p, nil
}

// ReadFrom implements net.PacketConn. What does not fit into b is lost, as with UDP.
func (p *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, nil, p.wrap("read", net.ErrClosed)
		case p.expired:
			return 0, nil, p.wrap("read", os.ErrDeadlineExceeded)
		case len(p.inbox) > 0:
			d := p.inbox[0]
			p.inbox = p.inbox[1:]
			p.held -= len(d.data)
			if len(p.inbox) == 0 {
				p.inbox = nil
			} else {
				p.arrived.Signal()
			}
			return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
		}
		p.arrived.Wait()
	}
}

// WriteTo implements net.PacketConn. It never waits.
func (p *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, p.wrap("write", &net.AddrError{Err: "is not a UDP address", Addr: to.String()})
	}
	at := u.AddrPort()
	return p.send(b, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
}

// Read implements net.Conn for a connected socket.
func (p *PacketConn) Read(b []byte) (int, error) {
	n, _, err := p.ReadFrom(b)
	return n, err
}

// Write implements net.Conn for a connected socket.
func (p *PacketConn) Write(b []byte) (int, error) {
	if !p.via.IsValid() {
		return 0, p.wrap("write", syscall.EDESTADDRREQ)
	}
	return p.send(b, p.via)
}

func (p *PacketConn) send(b []byte, to netip.AddrPort) (int, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return 0, p.wrap("write", net.ErrClosed)
	case len(b) > datagramMax:
		return 0, p.wrap("write", os.NewSyscallError("write", syscall.EMSGSIZE))
	}
	if far := p.net.bound(to); far != nil {
		far.receive(b, p.local)
	}
	return len(b), nil
}

func (p *PacketConn) receive(b []byte, from netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.held+len(b) > window {
		return
	}
	if p.via.IsValid() { // a connected socket hears its peer only, under the name it dialed
		if from != p.via {
			return
		}
		from = p.peer
	}
	p.inbox = append(p.inbox, datagram{from: from, data: append([]byte(nil), b...)})
	p.held += len(b)
	p.arrived.Signal()
}

// Close implements net.PacketConn and frees the address.
func (p *PacketConn) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return p.wrap("close", net.ErrClosed)
	}
	p.closed, p.inbox = true, nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.arrived.Broadcast()
	p.mu.Unlock()
	p.net.mu.Lock()
	delete(p.net.packets, p.local)
	p.net.mu.Unlock()
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.local) }

// RemoteAddr implements net.Conn; nil when not connected.
func (p *PacketConn) RemoteAddr() net.Addr {
	if !p.peer.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(p.peer)
}

// SetDeadline implements net.PacketConn.
func (p *PacketConn) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn; writes never wait.
func (p *PacketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (p *PacketConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.wrap("set", net.ErrClosed)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.setting++
	p.expired = !t.IsZero() && time.Until(t) <= 0
	p.arrived.Broadcast()
	if t.IsZero() || p.expired {
		return nil
	}
	setting := p.setting
	p.timer = time.AfterFunc(time.Until(t), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.setting == setting {
			p.expired = true
			p.arrived.Broadcast()
		}
	})
	return nil
}

func (p *PacketConn) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: p.LocalAddr(), Addr: p.RemoteAddr(), Err: err}
}
