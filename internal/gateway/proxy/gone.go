package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// goneAfter is how long an answer is waited for before it is looked whether the client still waits: most answers come
	// sooner and cost nothing. goneMost is the longest time between two further looks, each twice as long as the one before.
	goneAfter = 50 * time.Millisecond
	goneMost  = time.Second
)

// vigil notices that a client in HTTP/1.1 goes away while its request is under way, of which nothing else tells: nobody reads
// its connection then. The kernel is asked at long intervals. One timer is armed while requests come, and never set back.
type vigil struct {
	ctx    context.Context // ends when the client has gone, and with the connection
	cancel context.CancelFunc
	raw    syscall.RawConn
	secure bool // within TLS

	mu       sync.Mutex
	timer    *time.Timer
	armed    bool
	kept     bool // a request is under way
	since    time.Time
	wait     time.Duration
	upstream net.Conn // that waits for the answer; nil = none
}

// newVigil returns nil for connections that cannot be asked: those in memory.
func newVigil(ctx context.Context, nc net.Conn) *vigil {
	v := &vigil{}
	for {
		switch c := nc.(type) {
		case *tls.Conn:
			nc, v.secure = c.NetConn(), true
			continue
		case *handedConn:
			nc = c.Conn
			continue
		}
		break
	}
	c, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	v.raw = raw
	v.ctx, v.cancel = context.WithCancel(ctx)
	return v
}

// begin keeps it over a try.
func (v *vigil) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept, v.since, v.wait = true, time.Now(), goneAfter
	switch {
	case v.armed:
	case v.timer == nil:
		v.timer = time.AfterFunc(goneAfter, v.look)
	default:
		v.timer.Reset(goneAfter)
	}
	v.armed = true
}

// over gives the connection that waits for the answer; it is given up when the client has gone.
func (v *vigil) over(upstream net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.upstream = upstream
	if v.ctx.Err() != nil {
		_ = upstream.SetDeadline(past)
	}
}

// end of the try: from now on nothing happens to the upstream connection. If ctx has ended, something may have.
func (v *vigil) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept, v.upstream = false, nil
}

// close ends it with the connection.
func (v *vigil) close() {
	v.cancel()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept, v.upstream = false, nil
	if v.timer != nil {
		v.timer.Stop()
	}
}

// look at the client if a request has been under way for long enough.
func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.armed = v.kept; !v.kept {
		return
	}
	if early := v.wait - time.Since(v.since); early > 0 { // it is another request by now
		v.timer.Reset(early)
		return
	}
	left := true
	if v.raw.Control(func(fd uintptr) { left = hungUp(int(fd), v.secure) }) != nil || left {
		v.cancel()
		if v.upstream != nil {
			_ = v.upstream.SetDeadline(past)
		}
		return
	}
	v.since, v.wait = time.Now(), min(2*v.wait, goneMost)
	v.timer.Reset(v.wait)
}
