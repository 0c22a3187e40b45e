package flow

import (
	"math"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// account collects the latencies of one route. Requests whose latency is distributed almost like those before are only
// counted, and spread over the sketch when that changes or a sample is taken.
type account struct {
	sketch  *sketch.Sketch
	waiting float64 // requests not yet spread
	shape   shape
}

// sameShape is the relative difference up to which two distributions count as one; a bucket of the sketch is 3 % wide.
const sameShape = 0.01

// shape is the distribution of the latency of one route in one group: CPU size × (1 + wait), an added delay, and the rest.
type shape struct {
	size, sizeScv   float64
	wait, share     float64 // mean wait by multiples of the size, and the share of requests that wait
	spread          float64
	extra, extraP   float64
	rest, restScv   float64
	delay           float64
	shift, limit    float64
	stride          int
	mean, deviation float64
}

func (a *shape) like(b *shape) bool {
	return change(a.mean, b.mean) < sameShape && change(a.deviation, b.deviation) < 2*sameShape && a.limit == b.limit && a.stride == b.stride &&
		math.Abs(a.spread-b.spread) < sameShape
}

// add counts n requests of a shape.
func (a *account) add(s *shape, n float64) {
	if a.waiting > 0 && !a.shape.like(s) {
		a.flush()
	}
	if a.waiting == 0 {
		a.shape = *s
	}
	a.waiting += n
}

func (a *account) flush() {
	if a.waiting > 0 {
		a.shape.spreadOver(a.sketch, a.waiting)
		a.waiting = 0
	}
}

// swap returns the sketch with all requests in it, and goes on with an empty one.
func (a *account) swap(empty *sketch.Sketch) *sketch.Sketch {
	a.flush()
	full := a.sketch
	a.sketch = empty
	return full
}

// latencies counts n requests of a route by the latency of the groups (of one revision, or of all when rev < 0). Replies
// later than limit are left out, the others are so many more.
func (s *System) latencies(sv *service, r, rev int, delay, shift, limit, n float64, to *account) {
	sum := 0.0
	many := 0
	for i := range sv.groups {
		if g := &sv.groups[i]; rev < 0 || g.rev == rev {
			sum += g.share * float64(g.n) * (1 - g.now.reject)
			many++
		}
	}
	if sum <= 0 {
		return
	}
	rt := &sv.routes[r]
	for i := range sv.groups {
		g := &sv.groups[i]
		w := g.share * float64(g.n) * (1 - g.now.reject) / sum
		if (rev >= 0 && g.rev != rev) || w <= 0 {
			continue
		}
		o := &g.now
		rest := rt.own.scaled(g.latency).plus(rt.calls)
		sh := shape{size: rt.cpu * g.factor / min(1, g.cores), sizeScv: rt.scv, wait: o.slowdown - 1, share: o.share, spread: o.spread,
			extra: o.extra, extraP: max(o.extraP, 1e-3), rest: rest.mean, restScv: rest.scv(), delay: delay, shift: shift, limit: limit,
			stride: 1, mean: g.total[r].mean + delay + shift, deviation: math.Sqrt(g.total[r].variance)}
		switch {
		case many > 4:
			sh.stride = manyStride
		case rev >= 0:
			sh.stride = serviceStride
		}
		if many > 1 {
			sh.spreadOver(to.sketch, n*w)
		} else {
			to.add(&sh, n*w)
		}
	}
}

// spreadOver puts n requests on the lattice.
func (h *shape) spreadOver(to *sketch.Sketch, n float64) {
	size, rest := unitLogNormal(dimSize, h.sizeScv), unitLogNormal(dimRest, h.restScv)
	// Given its size z a request takes z with probability 1−share, else z plus an exponential time of mean z·wait/share;
	// far from equilibrium the spread of that shrinks to its mean.
	logShare, perWait := math.Log(h.share), h.wait/h.share*h.spread
	steadyWait := 1 + h.wait*(1-h.spread)
	logExtra, perExtra := 0.0, 0.0
	if h.extra > 0 {
		logExtra, perExtra = math.Log(h.extraP), h.extra/h.extraP*h.spread
	}
	base := h.delay + h.extra*(1-h.spread)
	var values [points]float64
	kept := 0
	waits, extras := &lattice.exponential[dimSharing], &lattice.exponential[dimExtra]
	sa, sb, ra, rb := size.a, size.b, rest.a, rest.b
	for i := 0; i < points; i += h.stride {
		y := steadyWait
		if w := waits[i] + logShare; w > 0 {
			y += perWait * w
		}
		t := h.size*(sa[i]+(sb[i]-sa[i])*size.f)*y + h.rest*(ra[i]+(rb[i]-ra[i])*rest.f) + base
		if perExtra > 0 {
			if w := extras[i] + logExtra; w > 0 {
				t += perExtra * w
			}
		}
		if t <= h.limit {
			values[kept] = t + h.shift
			kept++
		}
	}
	if kept == 0 {
		to.Add(h.limit+h.shift, n)
		return
	}
	to.AddAll(values[:kept], n/float64(kept))
}
