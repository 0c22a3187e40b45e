package balance

import (
	"sync"
	"sync/atomic"
	"time"
)

// Outcome of a try.
type Outcome uint8

// Outcomes. A GatewayError is a connection that could not be made or broke, a try that took too long, or an answer 502, 503
// or 504; a ServerError any other 5xx.
const (
	Success Outcome = iota
	ServerError
	GatewayError
)

// record of what an endpoint did, for its ejection.
type record struct {
	serverErrors, gatewayErrors atomic.Int32 // one after the other
	until                       atomic.Int64 // ejected until then
	times                       atomic.Int32 // it was ejected, less one for each interval without
	last                        atomic.Int64 // when times changed
}

// ejection makes one ejection at a time in a pool.
type ejection struct {
	mu    sync.Mutex
	total atomic.Uint64
}

// Report takes in the outcome of a try, and ejects the endpoint when it has failed too often in a row. It reports whether
// it did.
func (p *Pool) Report(e *Endpoint, o Outcome, now int64) bool {
	policy := p.Policy().Outlier
	if policy == nil {
		return false
	}
	r := &e.outlier
	switch o {
	case Success:
		if r.serverErrors.Load() != 0 || r.gatewayErrors.Load() != 0 {
			r.serverErrors.Store(0)
			r.gatewayErrors.Store(0)
		}
		return false
	case ServerError:
		r.gatewayErrors.Store(0)
	case GatewayError:
		r.gatewayErrors.Add(1)
	}
	all := r.serverErrors.Add(1) // a gateway error is a 5xx too
	if !(policy.Consecutive5xx > 0 && int(all) >= policy.Consecutive5xx ||
		policy.ConsecutiveGatewayErrors > 0 && int(r.gatewayErrors.Load()) >= policy.ConsecutiveGatewayErrors) {
		return false
	}
	p.eject.mu.Lock()
	defer p.eject.mu.Unlock()
	if r.until.Load() > now || !p.mayEject(policy.MaxEjectedPercent, now) {
		return false
	}
	for interval := max(int64(policy.Interval), 1); r.times.Load() > 0 && now-r.last.Load() >= interval; r.last.Add(interval) {
		r.times.Add(-1)
	}
	times := r.times.Add(1)
	length := min(policy.BaseEjection*time.Duration(times), policy.MaxEjection)
	r.last.Store(now + int64(length))
	r.serverErrors.Store(0)
	r.gatewayErrors.Store(0)
	r.until.Store(now + int64(length))
	p.lookLocked()
	p.eject.total.Add(1)
	return true
}

// Eject keeps requests away from an endpoint until then, whatever its record, as long as no more than percent of the
// endpoints (and at least one) are ejected. It reports whether it did. An ejection is only made longer by a further one.
func (p *Pool) Eject(e *Endpoint, until int64, percent int, now int64) bool {
	p.eject.mu.Lock()
	defer p.eject.mu.Unlock()
	if e.outlier.until.Load() <= now && !p.mayEject(percent, now) {
		return false
	}
	if until > e.outlier.until.Load() {
		e.outlier.until.Store(until)
		p.lookLocked()
		p.eject.total.Add(1)
	}
	return true
}

// mayEject reports whether one more may be ejected.
func (p *Pool) mayEject(percent int, now int64) bool {
	all := p.Endpoints()
	most := max(1, len(all)*percent/100)
	return len(all) > 1 && p.Ejected(now) < most
}

// Ejected endpoints now.
func (p *Pool) Ejected(now int64) (n int) {
	for _, e := range p.Endpoints() {
		if e.outlier.until.Load() > now {
			n++
		}
	}
	return n
}

// EjectedUntil is when the endpoint comes back; in the past when it is not ejected.
func (e *Endpoint) EjectedUntil() int64 { return e.outlier.until.Load() }

// Ejections there have been.
func (p *Pool) Ejections() uint64 { return p.eject.total.Load() }
