//go:build unix

package proxy

import (
	"crypto/tls"
	"net"
	"syscall"
)

// liveness asks the kernel whether the other side has closed a connection, or sent what nobody asked for.
type liveness struct {
	raw    syscall.RawConn // nil: a connection in memory, which cannot be asked
	secure bool            // within TLS, bytes may come that are none of HTTP's
	open   bool
	peek   func(fd uintptr) bool
}

func (p *liveness) prepare(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc, p.secure = t.NetConn(), true
	}
	c, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	var b [1]byte
	p.peek = func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.open = err == syscall.EAGAIN || err == syscall.EINTR || n > 0 && p.secure
		return true
	}
}

// ask reports whether the connection looks open. Its read deadline must lie ahead.
func (p *liveness) ask() bool {
	if p.raw == nil {
		return true
	}
	p.open = false
	return p.raw.Read(p.peek) == nil && p.open
}
