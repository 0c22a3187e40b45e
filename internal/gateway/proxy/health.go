package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// probesMax is how many probes of a gateway are under way at once: enough for 10,000 endpoints every 5 s that answer within
// 30 ms, and few beside the connections of clients. What is beyond waits, and its time begins later.
const probesMax = 64

const (
	// probeSlots of an interval is how finely probes are spread over it; those of a slot begin together.
	probeSlots = 64
	// probeLate is by what part of an interval a probe may be late, so that gateways do not fall into step.
	probeLate = 0.1
)

// prober asks the endpoints of a backend whether they are well. One goroutine says when; each probe has one of its own. It
// ends with the backend, or when other probes are asked for.
type prober struct {
	b      *backend
	policy config.Health
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // the endpoints may be others

	mu    sync.Mutex
	known map[endpointID]*checkup
}

// checkup is what is known of an endpoint's health. The endpoint is healthy until the probes have said otherwise.
type checkup struct {
	next      int64 // when it is probed
	running   bool
	round     uint64
	good, bad int // in a row
	last      error
}

// probe has the endpoints probed so from now on; nil = not at all, and all are healthy.
func (b *backend) probe(policy *config.Health) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health != nil {
		b.health.end()
		if policy == nil {
			b.health.told(func(o ProbeObserver) { o.NotProbed(b.key) })
		}
		b.health = nil
	}
	if policy == nil || b.g.ctx.Err() != nil {
		return
	}
	p := &prober{b: b, policy: *policy, wake: make(chan struct{}, 1), known: map[endpointID]*checkup{}}
	p.ctx, p.cancel = context.WithCancel(b.g.ctx)
	b.health = p
	b.g.ended.Add(1)
	go p.run()
}

// end the prober: what is under way changes nothing any more, and all endpoints are healthy.
func (p *prober) end() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
	for _, e := range p.b.pool.Endpoints() {
		p.b.pool.SetHealthy(e, true)
	}
}

// look at the endpoints anew.
func (p *prober) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run begins probes when they are due, until the prober ends, and waits for those under way.
func (p *prober) run() {
	defer p.b.g.ended.Done()
	var probes sync.WaitGroup
	defer probes.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		now := p.b.g.now()
		due, next := p.due(now)
		for _, e := range due {
			probes.Go(func() { p.ask(e) })
		}
		timer.Reset(max(time.Duration(next-now), p.policy.Interval/probeSlots))
	}
}

// due are the endpoints to be probed now, and when the next will be. Of those that are new the first probe is drawn from a
// whole interval, so that endpoints that come together are not asked together.
func (p *prober) due(now int64) (due []*balance.Endpoint, next int64) {
	endpoints := p.b.pool.Endpoints()
	interval := float64(p.policy.Interval)
	next = now + int64(interval)
	there := make(map[endpointID]bool, len(endpoints))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, next
	}
	for _, e := range endpoints {
		id := idOf(e)
		there[id] = true
		c := p.known[id]
		switch {
		case c == nil:
			c = &checkup{next: now + int64(p.draw(id, 0)*interval)}
			p.known[id] = c
		case c.next > now:
		case c.running: // it waited for a place
			c.next = now + int64(interval/probeSlots)
		default:
			c.round++
			c.running, c.next = true, now+int64((1+probeLate*p.draw(id, c.round))*interval)
			due = append(due, e)
		}
		next = min(next, c.next)
	}
	for id := range p.known {
		if !there[id] {
			delete(p.known, id)
		}
	}
	return due, next
}

func idOf(e *balance.Endpoint) endpointID { return endpointID{e.Address, e.Port, e.UID} }

// draw is a number from 0 to 1, of an endpoint's round.
func (p *prober) draw(id endpointID, round uint64) float64 {
	h := balance.Hash(fmt.Sprintf("probe %v %v %d", p.b.key, id, round))
	return float64(mix(p.b.g.options.Seed^h)>>11) / (1 << 53)
}

// ask an endpoint, as soon as there is a place.
func (p *prober) ask(e *balance.Endpoint) {
	select {
	case p.b.g.probing <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.policy.Timeout)
	err := p.check(ctx, p.b.connections(e))
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v", p.policy.Timeout)
	}
	cancel()
	<-p.b.g.probing
	p.take(e, err)
}

// take what a probe found: enough of the same in a row change what the endpoint is.
func (p *prober) take(e *balance.Endpoint, err error) {
	p.mu.Lock()
	c := p.known[idOf(e)]
	if c == nil || p.ctx.Err() != nil {
		p.mu.Unlock()
		return // the endpoint has gone, or the probe was cut off
	}
	c.running = false
	if err == nil {
		c.good, c.bad = c.good+1, 0
	} else {
		c.good, c.bad, c.last = 0, c.bad+1, err
	}
	pool := p.b.pool
	fell := c.bad >= p.policy.Unhealthy && pool.SetHealthy(e, false)
	rose := c.good >= p.policy.Healthy && pool.SetHealthy(e, true)
	p.told(func(o ProbeObserver) {
		unhealthy := 0
		for _, e := range pool.Endpoints() {
			if !e.Healthy() {
				unhealthy++
			}
		}
		o.Probed(p.b.key, err == nil, unhealthy)
	})
	p.mu.Unlock()
	log := p.b.g.log.With("backend", p.b.key.Name.String(), "pod", e.Pod, "address", e.Address)
	switch {
	case fell:
		log.Warn("an endpoint is unhealthy", "probes", p.policy.Unhealthy, "error", err)
	case rose:
		log.Info("an endpoint is healthy again")
	}
}

func (p *prober) told(tell func(ProbeObserver)) {
	if o, ok := p.b.g.options.Observe.(ProbeObserver); ok {
		tell(o)
	}
}

// found is what the probes of an unhealthy endpoint said last.
func (p *prober) found(e *balance.Endpoint) string {
	if p == nil || e.Healthy() {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.known[idOf(e)]; c != nil && c.last != nil {
		return c.last.Error()
	}
	return "its probes fail"
}
