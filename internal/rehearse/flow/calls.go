package flow

import "math"

// callView is a service's route as one caller sees it, with the caller's timeout.
type callView struct {
	fail   float64 // share of attempts without a good reply in time
	retry  float64 // share of attempts that are tried again while tries last
	late   float64 // share that the caller stopped waiting for
	reject float64 // refused at once by a full queue
	mean   float64
	second float64
}

// view sums over the groups of the callee.
func (s *System) view(e *edge, delay float64) callView {
	to := &s.services[e.to]
	rt := &to.routes[e.toRoute]
	timeout := s.timeout(e)
	missed := to.missed(e)
	v := callView{fail: missed, mean: missed * delay, second: missed * delay * delay}
	for i := range to.groups {
		g := &to.groups[i]
		w := g.part(e) * float64(g.n)
		if w <= 0 {
			continue
		}
		good := (1 - to.ownErrors(g.rev, e.toRoute)) * (1 - g.errors) * (1 - rt.fails)
		total := moments{g.total[e.toRoute].mean + delay, g.total[e.toRoute].variance}
		late, mean, second := total.cut(timeout)
		in := w * (1 - g.now.reject)
		v.reject += w * g.now.reject
		v.late += in * late
		v.fail += w*g.now.reject + in*(1-good*(1-late))
		v.mean += in*mean + w*g.now.reject*delay
		v.second += in*second + w*g.now.reject*delay*delay
	}
	v.fail = min(1, v.fail)
	c := s.client(e)
	onError, onTimeout := c.RetryOnError, c.RetryOnTimeout
	if !onError && !onTimeout {
		onError, onTimeout = true, true
	}
	if onTimeout {
		v.retry += v.late
	}
	if onError {
		v.retry += max(0, v.fail-v.late)
	}
	if e.via != nil {
		return s.again(e, v)
	}
	return v
}

// near says whether requests fare alike: the same outcomes, and times less than a bucket of the sketch apart.
func (v *callView) near(o *callView) bool {
	const same = 1e-6
	return math.Abs(v.fail-o.fail) < same && math.Abs(v.late-o.late) < same && math.Abs(v.reject-o.reject) < same &&
		change(v.mean, o.mean) < sameShape && change(v.second, o.second) < 3*sameShape
}

// Attempts is the mean number of tries of a call that fails with probability p each time, with at most retries further
// ones, bounded by a budget of retries a first try (0: none).
func Attempts(p float64, retries int, budget float64) float64 {
	sum, term := 1.0, 1.0
	for range min(retries, maxRetries) {
		term *= p
		sum += term
	}
	if budget > 0 {
		sum = min(sum, 1+budget)
	}
	return sum
}

// look brings an edge up to date with its callee. It returns the change of its attempts.
func (s *System) look(e *edge) float64 {
	if e.via == nil {
		return s.lookOn(e)
	}
	// The client's tries first; those of the gateway come on top of them.
	before := e.attempts
	e.attempts = e.users
	moved := s.lookOn(e)
	e.users = e.attempts
	e.attempts *= e.via.tries
	if e.via.moving {
		e.seen = -1
	}
	if e.via.retry.Attempts == 0 {
		return moved
	}
	return max(moved, change(before, e.attempts))
}

func (s *System) lookOn(e *edge) float64 {
	to := &s.services[e.to]
	delay := s.delay(e, to)
	view := s.view(e, delay)
	if !view.near(&e.view) {
		// What happened so far belongs to the view before. A latency that hardly moved is within what a sketch can tell.
		if e.load < 0 {
			s.touch(&s.services[e.from])
		} else {
			s.closeLoad(&s.loads[e.load])
		}
	}
	if e.load < 0 {
		s.services[e.from].timing = true
	}
	e.seen, e.delay, e.view = to.version, delay, view
	c := s.client(e)
	attempts := Attempts(e.view.retry, c.Retries, c.RetryBudget)
	moved := change(e.attempts, attempts)
	if c.Retries > 0 {
		attempts = e.attempts + damping*(attempts-e.attempts)
		if moved < closeEnough {
			attempts = Attempts(e.view.retry, c.Retries, c.RetryBudget)
		} else {
			// Not there yet: look again in the next pass even if the callee holds still.
			e.seen = -1
			s.unsolvedAgain(e)
		}
	}
	e.attempts = attempts
	e.fail = min(1, max(0, 1-e.attempts*(1-e.view.fail)))
	e.late, e.reject = 0, 0
	if e.view.fail > 0 {
		e.late = e.fail * e.view.late / e.view.fail
		e.reject = e.fail * e.view.reject / e.view.fail
	}
	variance := max(0, e.view.second-e.view.mean*e.view.mean)
	more := e.attempts - 1
	wait := 0.0
	if more > 0 {
		// Full jitter halves the mean of each pause.
		pause, p := c.Backoff.Seconds()/2, e.view.retry
		for range min(c.Retries, maxRetries) {
			wait += pause * p
			pause *= 2
			p *= e.view.retry
		}
	}
	e.total = moments{e.attempts*e.view.mean + wait, e.attempts*variance + more*e.view.mean*e.view.mean + wait*wait}
	if c.Retries == 0 {
		return 0
	}
	return moved
}

func (s *System) unsolvedAgain(e *edge) {
	if e.load < 0 {
		s.services[e.from].timing = true
	}
}

// delay is the mean time on the network, both ways.
func (s *System) delay(e *edge, to *service) float64 {
	same, cross := s.network.SameZone.Seconds(), s.network.CrossZone.Seconds()
	if same == cross || len(s.zones) <= 1 {
		return 2 * same
	}
	p := 0.0
	for _, z := range s.byZone {
		if z >= len(to.zone) {
			continue
		}
		from := s.callersIn(e, to, z)
		if to.model.Balance == Zone && to.zone[z] > 0 {
			p += from
		} else {
			p += from * to.zone[z]
		}
	}
	return 2 * (same*p + cross*(1-p))
}

// callTimes adds up the calls of each route: one after the other, groups of parallel ones by their longest.
func (s *System) callTimes(sv *service) {
	for r := range sv.routes {
		rt := &sv.routes[r]
		var sum moments
		good := 1.0
		for k := rt.first; k < rt.last; {
			end := k + 1
			for g := s.edges[k].call.Parallel; g > 0 && end < rt.last && s.edges[end].call.Parallel == g; {
				end++
			}
			s.parts = s.parts[:0]
			for ; k < end; k++ {
				e := &s.edges[k]
				n := e.call.Count * (1 - e.call.CacheHit)
				if !e.call.Async {
					s.parts = append(s.parts, e.total.times(n))
					if !e.call.Optional && e.fail > 0 {
						good *= math.Pow(1-e.fail, n)
					}
				}
			}
			switch len(s.parts) {
			case 0:
			case 1:
				sum = sum.plus(s.parts[0])
			default:
				sum = sum.plus(longest(s.parts))
			}
		}
		if sv.model.Concurrency > 0 && change(rt.calls.mean, sum.mean) > sameTime {
			sv.unsolved = true
		}
		rt.calls = sum
		rt.fails = 1 - good
	}
	sv.timing = true
}

// times is the time of n calls one after the other; the fractional one happens with that probability.
func (m moments) times(n float64) moments {
	whole := math.Floor(n)
	part := n - whole
	return moments{n * m.mean, n*m.variance + part*(1-part)*m.mean*m.mean}
}

// loadTimes sums up what the users of a load see.
func (s *System) loadTimes(l *load) {
	l.time, l.failed, l.rejected, l.left = moments{}, 0, 0, 0
	second := 0.0
	for _, k := range l.edges {
		e := &s.edges[k]
		left, mean, sq := e.total.cut(l.spec.GiveUp.Seconds())
		l.time.mean += e.weight * mean
		second += e.weight * sq
		l.left += e.weight * left
		l.rejected += e.weight * (1 - left) * e.reject
		l.failed += e.weight * (1 - left) * (e.fail - e.reject)
	}
	l.time.variance = max(0, second-l.time.mean*l.time.mean)
}
