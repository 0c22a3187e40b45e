package flow

import (
	"math"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// Counts is an account of requests. It always adds up: Offered plus those inside before equals Served + Failed + Rejected +
// Abandoned + Inside.
type Counts struct {
	Offered   int64
	Served    int64 // good replies in time
	Failed    int64 // errors, timeouts of all attempts, lost with their pod, or nobody there to ask
	Rejected  int64 // refused at once by a full queue
	Abandoned int64 // the caller had stopped waiting; the work was done in vain unless it cancels
	Inside    int64 // still there at the end
}

func (c *Counts) add(o Counts) {
	c.Offered += o.Offered
	c.Served += o.Served
	c.Failed += o.Failed
	c.Rejected += o.Rejected
	c.Abandoned += o.Abandoned
	c.Inside += o.Inside
}

// ended is what left, by outcome.
func (c *Counts) ended() int64 { return c.Served + c.Failed + c.Rejected + c.Abandoned }

// EdgeCounts is an account of attempts on a call edge.
type EdgeCounts struct{ Attempts, Failed int64 }

// cell counts the requests of one route in one revision.
type cell struct {
	draws   uint64
	counts  Counts // since the last sample; Inside is the present
	latency account
}

// loadCell counts the requests of one route of a load.
type loadCell struct {
	draws   uint64
	weight  float64 // in the mix
	edges   []int   // one, or if the load is routed as many as there are ways
	own     answers // of the gateway
	counts  Counts
	latency account
}

func (sv *service) cell(rev, route int) *cell {
	if rev < 0 || rev >= len(sv.revs) {
		rev = 0
	}
	return &sv.cells[rev*len(sv.routes)+route]
}

// resizeCells makes a cell for each revision and route, keeping those there are.
func (sv *service) resizeCells() {
	n := len(sv.revs) * len(sv.routes)
	for len(sv.cells) < n {
		i := len(sv.cells)
		sv.cells = append(sv.cells, cell{draws: mix(sv.draws + uint64(i)), latency: account{sketch: new(sketch.Sketch)}})
	}
}

// touch accounts for all that happened in a service up to now, under the solution in force, and takes the present as the
// new anchor. Nothing happens when that was done already.
func (s *System) touch(sv *service) {
	if sv.constant {
		return
	}
	if h := s.now - sv.anchor; h > 0 {
		for i := range sv.groups {
			g := &sv.groups[i]
			if !g.now.steady {
				g.now = g.st.at(h, g.x0, g.v0, s.workers(&g.st))
				if rt := sv.routes; len(rt) > 0 {
					s.totals(sv, g)
				}
			}
		}
	}
	if s.now > sv.since {
		for _, k := range sv.in {
			if l := s.edges[k].load; l >= 0 {
				s.closeLoad(&s.loads[l])
			}
		}
		s.closeCounts(sv)
	}
	if h := s.now - sv.anchor; h > 0 {
		for i := range sv.groups {
			g := &sv.groups[i]
			g.work += g.now.cores * h
			g.x0, g.v0 = g.now.x, g.now.variance
			g.peak = max(g.peak, g.x0)
			if !g.now.steady {
				sv.unsolved = true
				s.unsolved = true
			}
		}
		sv.anchor = s.now
	}
}

func (s *System) totals(sv *service, g *group) {
	for r := range sv.routes {
		rt := &sv.routes[r]
		g.total[r] = g.now.residence(rt.cpu*g.factor, rt.scv, g.cores).plus(rt.own.scaled(g.latency)).plus(rt.calls)
	}
}

// arrivals brings the drawn arrivals of a load's edge up to now.
func (s *System) arrivals(l *load, e *edge) {
	if h := s.now - e.drawn; h > 0 {
		d := drawsAt(e.coming, int64(math.Round(e.drawn*1e9)))
		e.arrived += d.poisson(l.rate*e.weight*h, l.gapScv())
		e.drawn = s.now
	}
}

// closeLoad accounts for the requests of a load up to now.
func (s *System) closeLoad(l *load) {
	h := s.now - l.since
	if h <= 0 {
		return
	}
	for k := range l.cells {
		c := &l.cells[k]
		d := drawsAt(mix(c.draws), int64(math.Round(l.since*1e9)))
		if l.spec.Routed {
			s.closeRouted(l, c, &d)
			continue
		}
		e := &s.edges[c.edges[0]]
		s.arrivals(l, e)
		offered := e.arrived - e.closed
		e.closed = e.arrived
		_, mean, _ := e.total.cut(l.spec.GiveUp.Seconds())
		before := c.counts.Inside
		inside := int64(math.Round(l.rate * e.weight * mean))
		inside = min(max(0, inside), before+offered)
		got := s.ended(l, e, c, before+offered-inside, &d)
		got.Offered = offered
		got.Inside = inside - before
		c.counts.add(got)
	}
	l.since = s.now
}

// ended draws what became of requests that went over an edge.
func (s *System) ended(l *load, e *edge, c *loadCell, rest int64, d *draws) (got Counts) {
	left, _, _ := e.total.cut(l.spec.GiveUp.Seconds())
	got.Abandoned = d.binomial(rest, left)
	rest -= got.Abandoned
	got.Rejected = d.binomial(rest, min(1, e.reject))
	rest -= got.Rejected
	if e.reject < 1 {
		got.Failed = d.binomial(rest, min(1, max(0, e.fail-e.reject)/(1-e.reject)))
	}
	got.Served = rest - got.Failed
	if got.Served > 0 {
		s.served(l, e, &c.latency, float64(got.Served))
	}
	return got
}

// served adds the latencies of good replies to a load. Those after a retry come later by the failed attempts before.
func (s *System) served(l *load, e *edge, to *account, n float64) {
	sv := &s.services[e.to]
	limit := s.timeout(e)
	if limit <= 0 {
		limit = math.Inf(1)
	}
	again := 0.0
	if e.attempts > 1 && e.fail < 1 {
		again = min(1, max(0, 1-(1-e.view.fail)/(1-e.fail)))
	}
	first := n * (1 - again)
	s.latencies(sv, e.toRoute, -1, e.delay, 0, limit, first, to)
	if again > 1e-6 {
		s.latencies(sv, e.toRoute, -1, e.delay, max(0, e.total.mean-e.view.mean)/max(again, 1e-6), limit, n*again, to)
	}
}

// closeCounts draws what happened to the requests of a service since the last time.
func (s *System) closeCounts(sv *service) {
	h := s.now - sv.since
	if h <= 0 {
		return
	}
	s.stats.ClosedCounts++
	from := int64(math.Round(sv.since * 1e9))
	sv.since = s.now
	lost := int64(math.Round(sv.lost))
	sv.lost = 0
	for r := range sv.routes {
		offered := s.attempts(sv, r, h, from)
		d := drawsAt(mix(sv.cells[r].draws), from)
		refused := d.binomial(offered, s.refusedOf(sv, r))
		rest, weight := offered-refused, 0.0
		for rev := range sv.revs {
			weight += s.revShare(sv, r, rev)
		}
		for rev := range sv.revs {
			w := s.revShare(sv, r, rev)
			n := rest
			if rev < len(sv.revs)-1 {
				n = 0
				if weight > 0 {
					n = d.binomial(rest, min(1, w/weight))
				}
			}
			weight -= w
			rest -= n
			extra := int64(0)
			if rev == 0 {
				extra = refused
			}
			lost = s.closeCell(sv, rev, r, n, extra, lost, from)
		}
	}
}

// revShare is the share of a route's requests that a revision gets.
func (s *System) revShare(sv *service, r, rev int) float64 {
	if sv.routed > 0 {
		return s.routedShare(sv, r, rev)
	}
	sum := 0.0
	for i := range sv.groups {
		if g := &sv.groups[i]; g.rev == rev {
			sum += g.share * float64(g.n)
		}
	}
	return sum
}

// attempts draws the requests that came over each edge.
func (s *System) attempts(sv *service, r int, h float64, from int64) int64 {
	offered := int64(0)
	for _, k := range sv.in {
		e := &s.edges[k]
		if e.toRoute != r {
			continue
		}
		d := drawsAt(e.draws, from)
		n := int64(0)
		if e.load >= 0 {
			s.arrivals(&s.loads[e.load], e)
			n = e.arrived - e.taken
			e.taken = e.arrived
			if e.via != nil {
				n = s.passed(sv, e, n, h, &d)
			} else if e.attempts > 1 {
				n += d.poisson(e.rate*(1-1/e.attempts)*h, 1)
			}
		} else {
			n = d.poisson(e.rate*h, 1)
		}
		e.counts.Attempts += n
		e.counts.Failed += d.binomial(n, e.view.fail)
		offered += n
	}
	return offered
}

// closeCell accounts for n requests that came to a revision and refused ones that found nobody. It returns how many of the
// lost requests it could not find inside.
func (s *System) closeCell(sv *service, rev, r int, n, refused, lost, from int64) int64 {
	c := sv.cell(rev, r)
	rt := &sv.routes[r]
	mix := 1 / float64(len(sv.routes))
	if sv.rate > 0 {
		mix = rt.rate / sv.rate
	}
	x, reject, errors, weight := 0.0, 0.0, 0.0, 0.0
	for i := range sv.groups {
		g := &sv.groups[i]
		if g.rev != rev && !(rev == 0 && g.rev >= len(sv.revs)) {
			continue
		}
		inside := g.now.x
		if g.st.workers == 0 {
			inside += g.st.rate * (rt.own.mean*g.latency + rt.calls.mean)
		}
		x += float64(g.n) * inside * mix
		w := g.share * float64(g.n)
		reject += w * g.now.reject
		errors += w * g.errors
		weight += w
	}
	if weight > 0 {
		reject /= weight
		errors /= weight
	}
	before := c.counts.Inside
	inside := min(max(0, int64(math.Round(x))), before+n)
	d := drawsAt(c.draws, from)
	rest := before + n - inside
	var got Counts
	got.Offered = n + refused
	got.Inside = inside - before
	gone := min(lost, rest)
	rest -= gone
	got.Failed = refused + gone
	got.Rejected = d.binomial(rest, reject)
	rest -= got.Rejected
	late := d.binomial(rest, s.lateShare(sv, r))
	failed := d.binomial(rest-late, 1-(1-sv.ownErrors(rev, r))*(1-errors)*(1-rt.fails))
	got.Abandoned = late
	got.Failed += failed
	got.Served = rest - late - failed
	c.counts.add(got)
	if rest > 0 {
		s.latencies(sv, r, rev, 0, 0, math.Inf(1), float64(rest), &c.latency)
	}
	return lost - gone
}

// lateShare is the share of a route's admitted requests whose caller stopped waiting.
func (s *System) lateShare(sv *service, r int) float64 {
	sum, rate := 0.0, 0.0
	for _, k := range sv.in {
		if e := &s.edges[k]; e.toRoute == r {
			sum += e.rate * e.view.late / max(1e-9, 1-e.view.reject)
			rate += e.rate
		}
	}
	if rate <= 0 {
		return 0
	}
	return min(1, sum/rate)
}

func (s *System) closeAll() {
	for i := range s.services {
		s.touch(&s.services[i])
	}
	for i := range s.loads {
		s.closeLoad(&s.loads[i])
	}
}
