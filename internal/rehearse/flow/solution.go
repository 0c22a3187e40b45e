package flow

import "math"

// station is one pod of a group with what arrives at it.
type station struct {
	rate     float64 // arrivals a second
	cpu      float64 // mean CPU seconds a request
	scv      float64
	cores    float64
	limit    float64 // cores of the CPU limit that are left for requests; 0 none or never reached
	turn     float64 // factor on waiting for balancing in turn
	workers  int
	places   int // workers and queue
	rest     moments
	gapScv   float64
	patience float64 // callers cancel after this time; 0 never
}

// solution is a station at a time h after its anchor.
type solution struct {
	steady   bool
	h        float64
	x        float64 // mean requests inside
	variance float64 // of x
	served   float64 // throughput, requests a second
	cores    float64 // used
	slowdown float64 // residence by multiples of the time alone
	share    float64 // probability of sharing a core
	extra    float64 // added seconds (throttling, wait for a worker)
	extraP   float64 // share of requests with an added delay
	spread   float64 // 0…1: how far waits vary as in a stationary queue
	reject   float64
	periods  float64 // throttled
	load     float64 // offered ÷ most throughput
}

const (
	stepSeconds = 15   // a state that moves is solved anew after this time
	nearRatio   = 0.05 // transients that have faded to this within a step are not followed
	nearCount   = 0.05
	leastCPU    = 1e-9
)

// alone is the time of a mean request alone on the station.
func (t *station) alone() float64 { return t.cpu / min(1, t.cores) }

// top is the most throughput.
func (t *station) top(busy []float64) float64 {
	if t.workers > 0 {
		return busy[t.workers]
	}
	return t.cap() / t.cpu
}

func (t *station) cap() float64 {
	if t.limit > 0 && t.limit < t.cores {
		return t.limit
	}
	return t.cores
}

// throttle is the delay by the CPU limit at a throughput of which a share idle of cap is unused.
func (t *station) throttle(idle float64) Throttling {
	if t.limit <= 0 || t.cores <= t.limit {
		return Throttling{}
	}
	return Throttle(t.limit, t.cpu, t.scv, idle)
}

// fill writes the throughput of 1…workers busy workers to busy: mean value analysis of CPU and the time a worker waits for
// replies (the cores as one fast server behind a delay, Seidmann, Schweitzer, Shalev-Oren 1987).
func (t *station) fill(busy []float64) {
	alone := t.alone()
	fast := t.cpu / t.cores
	delay := t.rest.mean
	cap := t.cap() / t.cpu
	q := 0.0
	for n := 1; n <= t.workers; n++ {
		if float64(n) <= t.cores {
			busy[n] = min(cap, float64(n)/(alone+delay))
			continue
		}
		r := fast * (1 + q)
		busy[n] = min(cap, float64(n)/(r+alone-min(alone, fast)+delay))
		q = busy[n] * r
	}
}

// crew is a pool of workers in equilibrium: number inside, number waiting, share refused, probability of waiting. places
// < 0 means an endless queue.
func crew(rate float64, busy []float64, workers, places int) (number, queue, loss, wait float64) {
	term, sum, weighted := 1.0, 1.0, 0.0
	for n := 1; n <= workers; n++ {
		term *= rate / busy[n]
		sum += term
		weighted += float64(n) * term
		if term > 1e100 {
			sum, weighted, term = sum/1e100, weighted/1e100, term/1e100
		}
	}
	rho := rate / busy[workers]
	full := term
	var tail, tailN float64 // over the waiting places
	if places < 0 {
		tail = rho / (1 - rho)
		tailN = rho / ((1 - rho) * (1 - rho))
		loss = 0
	} else {
		extra := float64(places - workers)
		switch {
		case math.Abs(rho-1) < 1e-6:
			tail, tailN = extra, extra*(extra+1)/2
			loss = full
		default:
			p := math.Pow(rho, extra)
			if p > 1e60 {
				return float64(places), extra, 1 - 1/rho, 1
			}
			tail = rho * (1 - p) / (1 - rho)
			tailN = rho * (1 - (extra+1)*p + extra*p*rho) / ((1 - rho) * (1 - rho))
			loss = full * p
		}
	}
	sum += full * tail
	queue = full * tailN / sum
	number = (weighted+full*tail*float64(workers))/sum + queue
	return number, queue, loss / sum, (full + full*tail) / sum
}

// inside is the mean number in the system when the throughput is top·y/(1+y), and its parts.
func (t *station) inside(y float64, busy []float64) (number, own, share float64, th Throttling, queue, wait float64) {
	idle := 1 / (1 + y)
	if t.workers > 0 {
		rate := busy[t.workers] * (1 - idle)
		n, q, _, w := crew(rate, busy, t.workers, -1)
		q2 := q * (t.gapScv + t.holdScv(rate, n-q)) / 2
		return n - q + q2, max(0, n-q-rate*t.rest.mean), 1, Throttling{}, q2, w
	}
	cap := t.cap()
	a := cap * (1 - idle)
	n, p := sharing(a, t.cores, (t.cores-cap+cap*idle)/t.cores)
	base := a / min(1, t.cores)
	n = base + max(0, n-base)*t.turn
	th = t.throttle(idle)
	return n + a/t.cpu*th.Delay, n, p, th, 0, 0
}

// variability is the factor on the waiting of a finite queue. A queue that overflows is full however regular its arrivals.
func (t *station) variability(served, busy, load float64) float64 {
	f := (t.gapScv + t.holdScv(served, busy)) / 2
	if f >= 1 {
		return f
	}
	return f + (1-f)*min(1, max(0, (load-0.9)/0.1))
}

func (t *station) holdScv(rate, busy float64) float64 {
	if rate <= 0 || busy <= 0 {
		return 1
	}
	hold := busy / rate
	alone := t.alone()
	return (alone*alone*t.scv + t.rest.variance) / (hold * hold)
}

// at solves the station h seconds after its anchor, where x0 requests were inside. The balance dx/dt = λ − a(x)/d takes one
// implicit Euler step, stable for any h.
func (t *station) at(h, x0, v0 float64, busy []float64) solution {
	if t.workers > 0 {
		t.fill(busy)
		x0 = max(0, x0)
	}
	top := t.top(busy)
	out := solution{h: h, load: t.rate / top}
	target, y, loss := t.rest0(top, busy)
	out.reject = loss
	if !math.IsInf(target, 1) {
		slack := nearCount + nearRatio*target
		near := math.Abs(x0-target) <= slack/10
		if !near {
			look := max(h, stepSeconds)
			_, x := t.step(look, x0, top, busy)
			near = math.Abs(t.bound(x, x0, look)-target) <= slack || t.workers > 0 && x >= t.toward(target, x0, look*top)
		}
		if near {
			out.steady = true
			return t.finish(out, y, target, v0, top, busy)
		}
	}
	ym, x := t.step(h, x0, top, busy)
	bounded := t.bound(x, x0, h)
	if bounded < x-1e-9 && t.workers > 0 && bounded >= float64(t.places)-1e-9 {
		// The queue is full: what arrives beyond the throughput is refused.
		mu := top * ym / (1 + ym)
		out.reject = min(1, max(loss, (x0+(t.rate-mu)*h-bounded)/max(t.rate*h, 1e-9)))
	} else if t.workers > 0 {
		out.reject = 0
	}
	return t.finish(out, ym, bounded, v0, top, busy)
}

// toward is where a finite queue that held x0 is at most after as many requests have left as could have: at its equilibrium, or
// on its way down to it. The balance of flows alone knows no refusals before the queue is full, so that it would fill it to
// the brim and leave it there.
func (t *station) toward(target, x0, left float64) float64 {
	return target + max(0, x0-target)*math.Exp(-left/float64(t.places))
}

// rest0 is the equilibrium: number inside, throughput as y, and loss. Infinite when more arrives than can leave.
func (t *station) rest0(top float64, busy []float64) (number, y, loss float64) {
	if t.rate <= 0 {
		return 0, 0, 0
	}
	if t.workers > 0 {
		n, q, loss, _ := crew(t.rate, busy, t.workers, t.places)
		served := min(t.rate*(1-loss), top*(1-1e-9))
		more := (t.variability(served, n-q, t.rate/top) - 1) * q
		if more > 0 {
			// Nobody waits longer than for a full queue.
			more = max(0, min(more, float64(t.places)*served/top-n))
		}
		n += more
		return t.bound(n, n, math.Inf(1)), served / (top - served), loss
	}
	if t.rate >= top*(1-1e-9) {
		if t.patience > 0 {
			return t.rate * t.patience, 1e9, 0
		}
		return math.Inf(1), 1e9, 0
	}
	y = t.rate / (top - t.rate)
	n, _, _, _, _, _ := t.inside(y, busy)
	return t.bound(n, n, math.Inf(1)), y, 0
}

// bound keeps the number inside below what queue and patience allow.
func (t *station) bound(x, x0, h float64) float64 {
	if t.workers > 0 {
		x = min(x, float64(t.places))
	}
	if t.patience > 0 {
		left := max(0, 1-h/t.patience)
		x = min(x, max(t.rate*t.patience*(1-left)+x0*left, t.rate*min(t.patience, h)))
	}
	return max(0, x)
}

// step finds y with N(y) − x0 = h·(λ − top·y/(1+y)); the left side minus the right grows with y.
func (t *station) step(h, x0, top float64, busy []float64) (y, x float64) {
	f := func(y float64) float64 {
		n, _, _, _, _, _ := t.inside(y, busy)
		return n - x0 - h*(t.rate-top*y/(1+y))
	}
	lo, flo := 0.0, -x0-h*t.rate
	if flo >= 0 {
		return 0, 0
	}
	hi := 1.0
	fhi := f(hi)
	for fhi < 0 && hi < 1e13 {
		lo, flo = hi, fhi
		hi *= 8
		fhi = f(hi)
	}
	// Regula falsi with the Illinois correction.
	side := 0
	for range 60 {
		if hi-lo <= 1e-10*hi {
			break
		}
		mid := (lo*fhi - hi*flo) / (fhi - flo)
		if !(mid > lo && mid < hi) {
			mid = (lo + hi) / 2
		}
		fm := f(mid)
		if math.Abs(fm) <= 1e-9*(1+x0+h*t.rate) {
			lo, hi = mid, mid
			break
		}
		if fm < 0 {
			lo, flo = mid, fm
			if side < 0 {
				fhi /= 2
			}
			side = -1
		} else {
			hi, fhi = mid, fm
			if side > 0 {
				flo /= 2
			}
			side = 1
		}
	}
	y = (lo + hi) / 2
	return y, max(0, x0+h*(t.rate-top*y/(1+y)))
}

// finish fills in the times that go with a throughput.
func (t *station) finish(out solution, y, x, v0, top float64, busy []float64) solution {
	number, own, share, th, queue, wait := t.inside(y, busy)
	out.x = x
	out.served = top * y / (1 + y)
	out.cores = min(out.served*t.cpu, t.cap())
	alone := t.alone()
	out.share, out.periods = max(share, 1e-9), th.Periods
	out.slowdown, out.spread = 1, 1
	if t.workers > 0 {
		// The queue holds what is inside beyond the busy workers, however long an endless one would be.
		busyWorkers := min(number-queue, x)
		queue, number = x-busyWorkers, x
	}
	if out.served > 1e-12 {
		out.slowdown = max(1, own/(out.served*alone))
		out.extra = th.Delay + queue/out.served
	} else {
		out.extra = th.Delay
	}
	out.extraP = min(1, max(wait, throttledShare(th)))
	out.variance = x * (x + 1)
	if out.steady && x < 0.95*float64(t.places) || out.steady && t.workers == 0 && t.patience <= 0 {
		return out
	}
	// Far from equilibrium the number inside follows the fluid and hardly varies; x, not the stationary number, decides.
	out.variance = min(out.variance, v0+out.h*(t.rate+out.served)+x)
	out.spread = min(1, math.Sqrt(out.variance/(x*x+x+1e-12)))
	if number > x+1e-9 && number > 0 {
		f := x / number
		out.slowdown = max(1, out.slowdown*f)
		out.extra *= f
	}
	return out
}

// throttledShare is the share of requests that a stop delays: at most twice the stopped periods' share.
func throttledShare(t Throttling) float64 {
	if t.Delay <= 0 {
		return 0
	}
	return min(1, max(0.02, 1.5*t.Periods))
}

// residence is the time of a route's request on the station: mean and variance. cpu is the route's mean CPU time.
func (o *solution) residence(cpu, scv, cores float64) moments {
	z := cpu / min(1, cores)
	wait := o.slowdown - 1
	r2 := o.spread * o.spread
	second := z * z * (1 + scv) * (1 + 2*wait + wait*wait*(1+r2*(2/o.share-1)))
	m := moments{mean: z * o.slowdown}
	m.variance = max(0, second-m.mean*m.mean)
	if o.extra > 0 {
		m.mean += o.extra
		m.variance += o.extra * o.extra * r2 * (2/max(o.extraP, 1e-3) - 1)
	}
	return m
}
