package vnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how much one direction of a connection buffers before the writer waits: Linux's usual initial
	// receive window, and enough for a whole HTTP exchange of a probe or a webhook without a switch of goroutines.
	window = 64 << 10
	// windowStart is the first buffer of a direction; most connections carry one small request and answer.
	windowStart = 2 << 10
)

// Conn is one end of a buffered connection in memory. It behaves as a *net.TCPConn does: what was written before Close
// is still delivered, reads after that return io.EOF, writes to a closed peer fail with EPIPE, deadlines wake those who
// wait, and each direction can be shut alone. The window is 64 KiB each way. All methods may be called concurrently.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
	network       string
	linger        sync.Mutex
	reset         bool
}

// Pair returns the two ends of a new connection between the given addresses: the first end has local as its local
// address, the second has remote.
func Pair(local, remote net.Addr) (*Conn, *Conn) {
	p := &struct {
		ab, ba stream
		a, b   Conn
	}{}
	p.ab.init()
	p.ba.init()
	p.a.in, p.a.out, p.a.local, p.a.remote, p.a.network = &p.ba, &p.ab, local, remote, local.Network()
	p.b.in, p.b.out, p.b.local, p.b.remote, p.b.network = &p.ab, &p.ba, remote, local, local.Network()
	return &p.a, &p.b
}

// Read implements net.Conn. It returns what is there, at most len(b) bytes, and waits only when nothing is.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.wrap("read", err)
}

// Write implements net.Conn. It waits while the window is full, until the deadline or the end of either side.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.wrap("write", err)
}

// Close ends both directions. The peer reads what was written before, then io.EOF (or ECONNRESET after SetLinger(0)).
// A second Close returns net.ErrClosed.
func (c *Conn) Close() error {
	c.linger.Lock()
	reset := c.reset
	c.linger.Unlock()
	if !c.in.closeReader() {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.closeWriter(true, reset)
	return nil
}

// CloseWrite ends the outgoing direction: the peer reads io.EOF after what was written, and may go on writing.
func (c *Conn) CloseWrite() error {
	if !c.out.closeWriter(false, false) {
		return c.wrap("close", net.ErrClosed)
	}
	return nil
}

// CloseRead ends the incoming direction: reads return io.EOF at once, what the peer writes fails with EPIPE.
func (c *Conn) CloseRead() error {
	if !c.in.shutReader() {
		return c.wrap("close", net.ErrClosed)
	}
	return nil
}

// SetLinger with 0 makes Close discard what the peer has not read and reset the connection; any other value restores
// the orderly end. It mirrors (*net.TCPConn).SetLinger.
func (c *Conn) SetLinger(sec int) error {
	c.linger.Lock()
	c.reset = sec == 0
	c.linger.Unlock()
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.in.setDeadline(&c.in.reader, t))
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.out.setDeadline(&c.out.writer, t))
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.network, Source: c.local, Addr: c.remote, Err: err}
}

// stream is one direction of a connection: a ring of at most window bytes between one side that writes and one that
// reads.
type stream struct {
	mu             sync.Mutex
	readable       sync.Cond
	writable       sync.Cond
	ring           []byte
	start, held    int
	reader, writer side
	reset          bool // the writer discarded what was not read
}

// side is what one end has done to its half of a stream.
type side struct {
	closed  bool // the whole connection was closed by this end
	shut    bool // this direction was ended by this end
	expired bool
	timer   *time.Timer
	cond    *sync.Cond
	setting uint64 // counts deadlines, so that a timer that fired late cannot expire a newer one
}

func (s *stream) init() {
	s.readable.L, s.writable.L = &s.mu, &s.mu
	s.reader.cond, s.writer.cond = &s.readable, &s.writable
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.reader.closed:
			return 0, net.ErrClosed
		case s.reader.expired:
			return 0, os.ErrDeadlineExceeded
		case s.reset:
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		case s.reader.shut:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		case s.held > 0:
			n := s.take(b)
			s.writable.Signal()
			if s.held > 0 {
				s.readable.Signal()
			}
			return n, nil
		case s.writer.shut:
			return 0, io.EOF
		}
		s.readable.Wait()
	}
}

func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for {
		switch {
		case s.writer.closed:
			return written, net.ErrClosed
		case s.writer.expired:
			return written, os.ErrDeadlineExceeded
		case s.writer.shut, s.reader.shut:
			return written, os.NewSyscallError("write", syscall.EPIPE)
		}
		if n := s.put(b[written:]); n > 0 {
			written += n
			s.readable.Signal()
		}
		if written == len(b) {
			if s.held < window {
				s.writable.Signal() // another writer may have been waiting behind this one
			}
			return written, nil
		}
		s.writable.Wait()
	}
}

// take moves up to len(b) bytes out of the ring.
func (s *stream) take(b []byte) int {
	n := copy(b, s.ring[s.start:min(s.start+s.held, len(s.ring))])
	if n < len(b) && n < s.held {
		n += copy(b[n:], s.ring[:s.held-n])
	}
	s.held -= n
	s.start += n
	if s.start >= len(s.ring) {
		s.start -= len(s.ring)
	}
	if s.held == 0 {
		s.start = 0
		if len(s.ring) > windowStart || s.writer.shut {
			s.ring = nil // an idle connection keeps no large buffer
		}
	}
	return n
}

// put moves as much of b into the ring as the window allows.
func (s *stream) put(b []byte) int {
	n := min(len(b), window-s.held)
	if n == 0 {
		return 0
	}
	if need := s.held + n; need > len(s.ring) {
		size := max(windowStart, len(s.ring))
		for size < need {
			size *= 2
		}
		grown := make([]byte, size)
		k := copy(grown, s.ring[s.start:min(s.start+s.held, len(s.ring))])
		copy(grown[k:], s.ring[:s.held-k])
		s.ring, s.start = grown, 0
	}
	end := s.start + s.held
	if end >= len(s.ring) {
		end -= len(s.ring)
	}
	k := copy(s.ring[end:], b[:n])
	copy(s.ring, b[k:n])
	s.held += n
	return n
}

// closeReader ends the connection from the reading side; it reports false if that had happened before.
func (s *stream) closeReader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader.closed {
		return false
	}
	s.reader.closed, s.reader.shut = true, true
	s.drop()
	s.reader.stop()
	s.wake()
	return true
}

// shutReader ends reading only; it reports false if the connection was closed before.
func (s *stream) shutReader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader.closed {
		return false
	}
	s.reader.shut = true
	s.drop()
	s.wake()
	return true
}

// closeWriter ends writing, and with whole the connection from the writing side; it reports false if the connection
// was closed before.
func (s *stream) closeWriter(whole, reset bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer.closed {
		return false
	}
	s.writer.shut, s.writer.closed, s.reset = true, whole, reset
	if reset {
		s.drop()
	}
	if whole {
		s.writer.stop()
	}
	s.wake()
	return true
}

func (s *stream) drop() { s.ring, s.start, s.held = nil, 0, 0 }

func (s *stream) wake() {
	s.readable.Broadcast()
	s.writable.Broadcast()
}

func (s *stream) setDeadline(e *side, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.stop()
	e.setting++
	e.expired = false
	if t.IsZero() {
		return nil
	}
	left := time.Until(t)
	if left <= 0 {
		e.expired = true
		e.cond.Broadcast()
		return nil
	}
	setting := e.setting
	e.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.setting == setting {
			e.expired = true
			e.cond.Broadcast()
		}
	})
	return nil
}

func (e *side) stop() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}
