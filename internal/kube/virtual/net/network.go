package vnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

const (
	// backlog is how many connections wait for Accept in order; later ones wait beside it (Linux's somaxconn).
	backlog = 4096
	// ephemeralFirst and ephemeralLast bound the ports given to dialing ends, as Linux does.
	ephemeralFirst, ephemeralLast = 32768, 60999
)

// Network holds what listens in memory, by address. The zero value is ready to use.
type Network struct {
	mu        sync.RWMutex
	streams   map[netip.AddrPort]func(net.Conn)
	packets   map[netip.AddrPort]*PacketConn
	ephemeral uint32
}

// Listen returns a listener for connections to the address. Closing it frees the address and resets the connections
// that nobody accepted. An address in use gives EADDRINUSE.
func (n *Network) Listen(at netip.AddrPort) (*Listener, error) {
	l := &Listener{at: at, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
	release, err := n.Handle(at, l.deliver)
	if err != nil {
		return nil, err
	}
	l.release = release
	return l, nil
}

// Handle has serve called, in a goroutine of its own, with every connection to the address, until release is called.
// Nothing runs while nobody dials. serve owns the connection and closes it. An address in use gives EADDRINUSE.
func (n *Network) Handle(at netip.AddrPort, serve func(net.Conn)) (release func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.streams[at]; taken {
		return nil, inUse("tcp", net.TCPAddrFromAddrPort(at))
	}
	if n.streams == nil {
		n.streams = map[netip.AddrPort]func(net.Conn){}
	}
	n.streams[at] = serve
	return sync.OnceFunc(func() {
		n.mu.Lock()
		delete(n.streams, at)
		n.mu.Unlock()
	}), nil
}

// listening returns what serves the address, or nil.
func (n *Network) listening(at netip.AddrPort) func(net.Conn) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.streams[at]
}

// connect makes a connection from an ephemeral port of source to the address and gives its far end to serve.
func (n *Network) connect(source netip.Addr, to netip.AddrPort, serve func(net.Conn)) net.Conn {
	near, far := Pair(
		&net.TCPAddr{IP: source.AsSlice(), Port: int(n.port())},
		&net.TCPAddr{IP: to.Addr().AsSlice(), Port: int(to.Port())},
	)
	go serve(far)
	return near
}

// port returns the next ephemeral port.
func (n *Network) port() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := ephemeralFirst + n.ephemeral
	n.ephemeral = (n.ephemeral + 1) % (ephemeralLast - ephemeralFirst + 1)
	return uint16(p)
}

func inUse(network string, at net.Addr) error {
	return &net.OpError{Op: "listen", Net: network, Addr: at, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
}

// Listener is a net.Listener in memory.
type Listener struct {
	at      netip.AddrPort
	conns   chan net.Conn
	done    chan struct{}
	release func()
	once    sync.Once
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.done:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed})
	l.once.Do(func() {
		l.release()
		close(l.done)
		err = nil
		for {
			select {
			case c := <-l.conns:
				refuse(c)
			default:
				return
			}
		}
	})
	return err
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// deliver hands a connection to Accept; the goroutine that runs it ends when the connection is accepted or the
// listener closed.
func (l *Listener) deliver(c net.Conn) {
	select {
	case <-l.done:
		refuse(c)
	case l.conns <- c:
		select {
		case <-l.done: // Close may have emptied the queue before this one got in
			select {
			case late := <-l.conns:
				refuse(late)
			default:
			}
		default:
		}
	}
}

// refuse resets a connection that nobody will serve.
func refuse(c net.Conn) {
	if r, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = r.SetLinger(0)
	}
	_ = c.Close()
}

// forward serves the connections that l accepts by dialing into the network, until l is closed. It returns when all
// copies have ended.
func forward(ctx context.Context, l net.Listener, dial func(context.Context) (net.Conn, error)) error {
	var copies sync.WaitGroup
	defer copies.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		copies.Go(func() {
			far, err := dial(ctx)
			if err != nil {
				refuse(c)
				return
			}
			Splice(ctx, c, far)
		})
	}
}
