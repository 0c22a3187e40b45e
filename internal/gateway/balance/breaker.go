package balance

import "sync/atomic"

// Breaker bounds how much a backend is asked for at once. What goes beyond is to be answered 503 at once.
type Breaker struct {
	connections, requests atomic.Int64
	overflows             atomic.Uint64
}

// Connect takes one of at most limit connections (0 = no limit); each that is granted needs one Disconnect.
func (b *Breaker) Connect(limit int) bool { return b.take(&b.connections, limit) }

// Disconnect gives a connection back.
func (b *Breaker) Disconnect() { b.connections.Add(-1) }

// Begin takes one of at most limit requests (0 = no limit); each that is granted needs one End.
func (b *Breaker) Begin(limit int) bool { return b.take(&b.requests, limit) }

// End gives a request back.
func (b *Breaker) End() { b.requests.Add(-1) }

// Requests there are now.
func (b *Breaker) Requests() int64 { return b.requests.Load() }

// Connections there are now.
func (b *Breaker) Connections() int64 { return b.connections.Load() }

// Overflows there have been.
func (b *Breaker) Overflows() uint64 { return b.overflows.Load() }

func (b *Breaker) take(n *atomic.Int64, limit int) bool {
	if n.Add(1) > int64(limit) && limit > 0 {
		n.Add(-1)
		b.overflows.Add(1)
		return false
	}
	return true
}
