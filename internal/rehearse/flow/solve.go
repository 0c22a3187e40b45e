package flow

import "math"

const (
	maxPasses   = 20   // over the call graph, for one solution
	damping     = 0.5  // of retries and closed loops between passes
	closeEnough = 1e-4 // relative change at which passes end
	sameRate    = 1e-12
	sameTime    = 1e-6
)

// solve brings rates, stations and times in line with the inputs, from the solution before.
func (s *System) solve() {
	if !s.unsolved {
		return
	}
	s.stats.Solutions++
	for pass := 0; ; pass++ {
		s.stats.Iterations++
		moved := s.rates(pass)
		moved = max(moved, s.times())
		again := s.shareNodes()
		if !again && (!s.feedback || moved < closeEnough) {
			break
		}
		if pass == maxPasses {
			s.stats.Unconverged++
			if again {
				s.rates(pass)
				s.times()
			}
			break
		}
	}
	// Changes made on the way were taken up by the passes.
	s.unsolved = false
	s.watch()
}

// rates sends the offered rates down the call graph. Services whose arrivals changed are marked. It returns the largest
// relative change of a rate that depends on times.
func (s *System) rates(pass int) float64 {
	moved := 0.0
	for i := range s.loads {
		l := &s.loads[i]
		rate := l.given
		if l.spec.Users > 0 {
			rate = l.next(pass)
			moved = max(moved, change(l.rate, rate))
			if pass == 0 {
				moved = 1 // only the next pass knows the time that goes with the rate
			}
		}
		if change(l.rate, rate) > sameRate {
			for _, k := range l.edges {
				s.touch(&s.services[s.edges[k].to])
			}
			s.closeLoad(l)
			l.rate = rate
		}
		for _, k := range l.edges {
			e := &s.edges[k]
			s.setRate(e, l.rate*e.weight*e.attempts)
		}
	}
	for _, i := range s.order {
		sv := &s.services[i]
		if sv.constant {
			continue
		}
		s.arrive(sv)
		for r := range sv.routes {
			rt := &sv.routes[r]
			through := rt.rate * (1 - sv.refused)
			for k := rt.first; k < rt.last; k++ {
				e := &s.edges[k]
				s.setRate(e, through*e.call.Count*(1-e.call.CacheHit)*e.attempts)
			}
		}
	}
	return moved
}

// next is the rate of a closed load for the next pass. More requests never come back faster, so the rate at which users
// return lies on the other side of the solution than the rate tried: the two enclose it.
func (l *load) next(pass int) float64 {
	back := l.spec.Users / max(1e-3, l.spec.Think.Seconds()+l.time.mean)
	if pass == 0 {
		l.low, l.high = 0, math.Inf(1)
		if l.rate == 0 {
			return back
		}
		return l.rate
	}
	if back < l.rate {
		l.high, l.low = min(l.high, l.rate), max(l.low, back)
	} else {
		l.low, l.high = max(l.low, l.rate), min(l.high, back)
	}
	if l.low >= l.high || change(l.rate, back) < closeEnough {
		return back
	}
	return (l.low + l.high) / 2
}

func change(old, new float64) float64 {
	return math.Abs(new-old) / max(1e-9, max(math.Abs(old), math.Abs(new)))
}

// setRate of an edge; the callee's counts up to now belong to the rate before.
func (s *System) setRate(e *edge, rate float64) {
	if change(e.rate, rate) <= sameRate {
		return
	}
	to := &s.services[e.to]
	s.touch(to)
	e.rate = rate
	to.unsolved = true
}

// arrive sums up what reaches a service.
func (s *System) arrive(sv *service) {
	if !sv.unsolved {
		return
	}
	for r := range sv.routes {
		sv.routes[r].rate = 0
	}
	sv.rate, sv.patience, sv.gapScv = 0, 0, 0
	leaving := 0.0
	for _, k := range sv.in {
		e := &s.edges[k]
		sv.routes[e.toRoute].rate += e.rate
		sv.rate += e.rate
		c, scv := s.client(e), 1.0
		if e.load >= 0 {
			scv = s.loads[e.load].gapScv()
		}
		sv.gapScv += scv * e.rate
		if t := s.timeout(e); c.Cancel && t > 0 {
			leaving += e.rate
			sv.patience += e.rate * t
		}
	}
	if sv.rate <= 0 {
		sv.gapScv = 1
	} else {
		sv.gapScv /= sv.rate
	}
	// Only when every caller leaves is what is inside bounded by their patience.
	if leaving > 0 && leaving >= sv.rate*(1-1e-9) {
		sv.patience /= leaving
	} else {
		sv.patience = 0
	}
	sv.cpu, sv.scv = 0, 0
	second := 0.0
	for r := range sv.routes {
		w := 1 / float64(len(sv.routes))
		if sv.rate > 0 {
			w = sv.routes[r].rate / sv.rate
		}
		sv.cpu += w * sv.routes[r].cpu
		second += w * sv.routes[r].cpu * sv.routes[r].cpu * (1 + sv.routes[r].scv)
	}
	if sv.cpu > 0 {
		sv.scv = max(0, second/(sv.cpu*sv.cpu)-1)
	} else {
		sv.scv = 0
	}
}

func (l *load) gapScv() float64 {
	switch {
	case l.spec.ArrivalScv < 0:
		return 0
	case l.spec.ArrivalScv == 0:
		return 1
	}
	return l.spec.ArrivalScv
}

func (s *System) client(e *edge) *Client {
	if e.load >= 0 {
		return &s.loads[e.load].spec.Client
	}
	return &s.services[e.from].model.Client
}

func (s *System) timeout(e *edge) float64 {
	if e.call.Timeout > 0 {
		return e.call.Timeout.Seconds()
	}
	if e.via != nil && e.via.timeout > 0 {
		if t := s.client(e).Timeout.Seconds(); t <= 0 || e.via.timeout < t {
			return e.via.timeout
		}
	}
	return s.client(e).Timeout.Seconds()
}

// times solves the stations and sums up times and failures from the leaves of the call graph to the loads. It returns the
// largest change of an attempts factor or a response time that rates depend on.
func (s *System) times() float64 {
	moved := 0.0
	for i := range s.services {
		// Callees are solved before their callers, and need to know where these are.
		if sv := &s.services[i]; sv.regroup {
			s.countZones(sv)
		}
	}
	for i := len(s.order) - 1; i >= 0; i-- {
		sv := &s.services[s.order[i]]
		if sv.constant {
			if sv.regroup {
				s.gatherConstant(sv)
			}
			continue
		}
		calls := false
		for r := range sv.routes {
			rt := &sv.routes[r]
			for k := rt.first; k < rt.last; k++ {
				e := &s.edges[k]
				if e.seen != s.services[e.to].version || sv.timing {
					moved = max(moved, s.look(e))
					calls = true
				}
			}
		}
		if calls {
			s.callTimes(sv)
		}
		if sv.unsolved || sv.regroup {
			s.stations(sv)
		}
		if sv.timing {
			sv.timing = false
			s.routeTimes(sv)
		}
	}
	for i := range s.loads {
		l := &s.loads[i]
		seen := false
		for _, k := range l.edges {
			e := &s.edges[k]
			if e.seen != s.services[e.to].version {
				moved = max(moved, s.look(e))
				seen = true
			}
		}
		if seen {
			s.loadTimes(l)
		}
	}
	return moved
}

// stations solves the groups of a service for the step ahead.
func (s *System) stations(sv *service) {
	s.touch(sv)
	if sv.regroup {
		s.gather(sv)
	} else if sv.model.Balance >= Connection || sv.routed > 0 {
		s.ungroup(sv)
		s.gather(sv)
	}
	sv.unsolved = false
	moving := false
	turn := 1.0
	if sv.model.Balance == RoundRobin {
		n := 0
		for i := range sv.groups {
			if sv.groups[i].share > 0 {
				n += sv.groups[i].n
			}
		}
		turn = (1 + 1/max(1, float64(n))) / 2
	}
	for i := range sv.groups {
		g := &sv.groups[i]
		s.station(sv, g, turn)
		g.now = g.st.at(stepSeconds, g.x0, g.v0, s.workers(&g.st))
		if g.now.steady {
			g.x0, g.v0 = g.now.x, g.now.variance
			g.peak = max(g.peak, g.x0)
		} else {
			moving = true
		}
	}
	sv.moving = math.Inf(1)
	if moving {
		sv.moving = s.now + stepSeconds
	}
	sv.timing = true
	s.claim(sv)
}

func (s *System) workers(st *station) []float64 {
	if st.workers == 0 {
		return nil
	}
	if len(s.busy) <= st.workers {
		s.busy = make([]float64, st.workers+64)
	}
	return s.busy
}

func (s *System) station(sv *service, g *group, turn float64) {
	st := &g.st
	*st = station{rate: sv.rate * g.share, cpu: max(leastCPU, sv.cpu*g.factor), scv: sv.scv, cores: g.cores,
		limit: g.limit, turn: turn, gapScv: sv.gapScv, patience: sv.patience}
	if sv.model.Concurrency > 0 {
		st.workers = sv.model.Concurrency
		st.places = st.workers + sv.model.QueueMax
		st.rest = s.rest(sv, g)
	}
}

// rest is the time a worker is held beside its CPU, over the mix of routes.
func (s *System) rest(sv *service, g *group) moments {
	var m moments
	second := 0.0
	for r := range sv.routes {
		w := 1 / float64(len(sv.routes))
		if sv.rate > 0 {
			w = sv.routes[r].rate / sv.rate
		}
		t := sv.routes[r].own.scaled(g.latency).plus(sv.routes[r].calls)
		m.mean += w * t.mean
		second += w * (t.variance + t.mean*t.mean)
	}
	m.variance = max(0, second-m.mean*m.mean)
	return m
}

func (m moments) scaled(f float64) moments { return moments{m.mean * f, m.variance * f * f} }

// routeTimes adds up residence, own latency and calls of each route in each group, and tells callers if that changed.
func (s *System) routeTimes(sv *service) {
	changed := sv.version == 0
	for i := range sv.groups {
		g := &sv.groups[i]
		if len(g.total) < len(sv.routes) {
			g.total = make([]moments, len(sv.routes))
		}
		for r := range sv.routes {
			rt := &sv.routes[r]
			t := g.now.residence(rt.cpu*g.factor, rt.scv, g.cores).plus(rt.own.scaled(g.latency)).plus(rt.calls)
			if change(g.total[r].mean, t.mean) > sameTime || change(g.total[r].variance, t.variance) > 1e-4 {
				changed = true
			}
			g.total[r] = t
		}
	}
	sum := sv.refused
	for i := range sv.groups {
		g := &sv.groups[i]
		sum += float64(i+1) * (g.now.reject + 3*g.errors + 7*g.share*float64(g.n))
		for r, own := range sv.revision(g.rev).RouteErrors {
			sum += float64(i+1) * float64(r+1) * own * 13
		}
	}
	for r := range sv.routes {
		sum += float64(r+1) * (sv.routes[r].fails*11 + sv.routes[r].errors*13)
	}
	if change(sv.worst, sum) > sameTime {
		changed = true
		sv.worst = sum
	}
	if changed {
		sv.version++
	}
}
