package flow

import (
	"math"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// passed accounts for the requests that a gateway sent over an edge, by revision, of which first are new. It returns the
// tries, of users and of the gateway together.
func (s *System) passed(sv *service, e *edge, first int64, h float64, d *draws) int64 {
	v := e.via
	users := max(1, e.users)
	base := e.rate / (users * max(1, v.tries))
	requests := first
	if users > 1 {
		requests += d.poisson(base*(users-1)*h, 1)
	}
	tries := requests
	if v.tries > 1 {
		tries += d.poisson(base*users*(v.tries-1)*h, 1)
	}
	rest, weight := requests-d.binomial(requests, sv.missed(e)), 0.0
	for len(v.accounts) < len(sv.revs) {
		v.accounts = append(v.accounts, viaAccount{latency: account{sketch: new(sketch.Sketch)}})
	}
	parts := make([]float64, len(sv.revs))
	fails := make([]float64, len(sv.revs))
	for i := range sv.groups {
		g := &sv.groups[i]
		w := g.part(e) * float64(g.n)
		if w <= 0 {
			continue
		}
		rev := g.rev
		if rev < 0 || rev >= len(parts) {
			rev = 0
		}
		fail, _, _ := s.outcome(sv, e, g)
		parts[rev] += w
		fails[rev] += w * fail
		weight += w
	}
	for rev, part := range parts {
		if part <= 0 || weight <= 0 {
			continue
		}
		n := rest
		if part < weight*(1-1e-9) {
			n = d.binomial(rest, min(1, part/weight))
		}
		weight -= part
		rest -= n
		a := &v.accounts[rev]
		a.requests += n
		a.errors += d.binomial(n, min(1, fails[rev]/part*v.kept))
		if n > 0 {
			s.latencies(sv, e.toRoute, rev, e.delay, 0, math.Inf(1), float64(n), &a.latency)
		}
	}
	return tries
}

// outcome is how tries at a group end: the share that fails, that is refused by a full queue, and that takes too long.
func (s *System) outcome(sv *service, e *edge, g *group) (fail, reject, late float64) {
	rt := &sv.routes[e.toRoute]
	good := (1 - sv.ownErrors(g.rev, e.toRoute)) * (1 - g.errors) * (1 - rt.fails)
	late, _, _ = moments{g.total[e.toRoute].mean + e.delay, g.total[e.toRoute].variance}.cut(s.timeout(e))
	in := 1 - g.now.reject
	return g.now.reject + in*(1-good*(1-late)), g.now.reject, in * late
}

// closeRouted accounts for the requests of one route of a routed load.
func (s *System) closeRouted(l *load, c *loadCell, d *draws) {
	offered, inside, weights := int64(0), 0.0, 0.0
	for _, k := range c.edges {
		e := &s.edges[k]
		s.arrivals(l, e)
		offered += e.arrived - e.closed
		e.closed = e.arrived
		_, mean, _ := e.total.cut(l.spec.GiveUp.Seconds())
		inside += l.rate * e.weight * mean
		weights += e.weight
	}
	own := c.own.fine + c.own.failing
	if h := s.now - c.own.drawn; h > 0 {
		o := drawsAt(mix(c.draws+1), int64(math.Round(c.own.drawn*1e9)))
		c.own.arrived += o.poisson(l.rate*c.weight*own*h, l.gapScv())
		c.own.drawn = s.now
	}
	answered := c.own.arrived - c.own.closed
	c.own.closed = c.own.arrived
	before := c.counts.Inside
	held := min(max(0, int64(math.Round(inside))), before+offered)
	var got Counts
	fine := int64(0)
	if answered > 0 && own > 0 {
		fine = d.binomial(answered, c.own.fine/own)
		got.Served, got.Failed = fine, answered-fine
		if fine > 0 {
			c.latency.sketch.Add(2*s.network.SameZone.Seconds(), float64(fine))
		}
	}
	rest := before + offered - held
	for _, k := range c.edges {
		e := &s.edges[k]
		if e.weight <= 0 {
			continue
		}
		n := rest
		if e.weight < weights*(1-1e-9) {
			n = d.binomial(rest, min(1, e.weight/weights))
		}
		weights -= e.weight
		rest -= n
		part := s.ended(l, e, c, n, d)
		got.add(part)
	}
	got.Failed += rest // who was on a way that is gone
	got.Offered = offered + answered
	got.Inside = held - before
	c.counts.add(got)
}

// Tries tells of each pod that routed requests go to how the tries there end at present: how many a second, the share that
// fails, and of that the share of tries without an answer in time or with one that says overload.
func (s *System) Tries(tell func(load, cell int, backend string, pod PodID, perSecond, fail, gateway float64)) {
	s.solve()
	for i := range s.edges {
		e := &s.edges[i]
		if e.via == nil || e.rate <= 0 {
			continue
		}
		sv := &s.services[e.to]
		for _, p := range e.via.pods {
			if pd := &s.pods[p.Pod]; pd.group >= 0 {
				g := &sv.groups[pd.group]
				fail, reject, late := s.outcome(sv, e, g)
				tell(e.via.load, e.via.cell, e.via.backend, p.Pod, e.rate*p.Share, fail, min(1, reject+late))
			}
		}
	}
}

// Accounts draws what came of routed requests up to now and tells it, by revision, since it was asked last. The sketch is
// valid until the next call.
func (s *System) Accounts(tell func(load, cell int, backend string, service, revision int, requests, errors int64, latency *sketch.Sketch)) {
	if len(s.vias) == 0 {
		return
	}
	s.solve()
	for i := range s.services {
		if s.services[i].routed > 0 {
			s.touch(&s.services[i])
		}
	}
	for _, v := range s.vias {
		for rev := range v.accounts {
			a := &v.accounts[rev]
			if a.requests == 0 {
				continue
			}
			a.latency.flush()
			tell(v.load, v.cell, v.backend, v.to, rev, a.requests, a.errors, a.latency.sketch)
			a.requests, a.errors = 0, 0
			a.latency.sketch.Reset()
		}
	}
}
