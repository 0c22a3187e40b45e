package flow

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulation plays single requests through a chain of services: Poisson arrivals, a pod drawn for each request, processor
// sharing of real-valued cores or workers with a queue, log-normal sizes and own latencies, one call to the next service.
type simulation struct {
	rng   *rand.Rand
	tiers []simTier
	now   float64
	later simEvents
	done  []float64
	full  int
}

type simTier struct {
	pods    []simPod
	cores   float64
	cpu     float64
	scv     float64
	own     moments
	workers int
	places  int
}

type simPod struct {
	clock float64 // work done for each request that was there all the time
	at    float64
	in    simEvents // by the clock at which they are done
	busy  int
	queue []*simRequest
}

type simRequest struct {
	begin float64
	at    []int // pod by tier
}

type simEvent struct {
	at   float64
	tier int
	r    *simRequest
}

type simEvents []simEvent

func (h simEvents) Len() int           { return len(h) }
func (h simEvents) Less(i, j int) bool { return h[i].at < h[j].at }
func (h simEvents) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simEvents) Push(x any)        { *h = append(*h, x.(simEvent)) }
func (h *simEvents) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (s *simulation) logNormal(m moments) float64 {
	if m.mean <= 0 {
		return 0
	}
	s2 := math.Log1p(m.scv())
	return m.mean * math.Exp(-s2/2+math.Sqrt(s2)*s.rng.NormFloat64())
}

// speed of each request on a pod.
func (t *simTier) speed(p *simPod) float64 {
	if n := float64(len(p.in)); n > 0 {
		return min(1, t.cores/n)
	}
	return 0
}

func (s *simulation) bring(t *simTier, p *simPod) {
	p.clock += (s.now - p.at) * t.speed(p)
	p.at = s.now
}

func (s *simulation) enter(tier int, r *simRequest) {
	t := &s.tiers[tier]
	i := s.rng.IntN(len(t.pods))
	r.at = append(r.at[:tier], i)
	p := &t.pods[i]
	if t.workers > 0 {
		if p.busy >= t.workers {
			if p.busy+len(p.queue) >= t.places {
				s.full++
				s.leave(tier, r, false)
				return
			}
			p.queue = append(p.queue, r)
			return
		}
		p.busy++
	}
	s.work(tier, p, r)
}

func (s *simulation) work(tier int, p *simPod, r *simRequest) {
	t := &s.tiers[tier]
	s.bring(t, p)
	heap.Push(&p.in, simEvent{at: p.clock + s.logNormal(moments{t.cpu, t.cpu * t.cpu * t.scv}), r: r})
}

// leave answers the tier above, or the user; a worker takes the next request.
func (s *simulation) leave(tier int, r *simRequest, good bool) {
	t := &s.tiers[tier]
	p := &t.pods[r.at[tier]]
	if t.workers > 0 && good {
		if len(p.queue) > 0 {
			next := p.queue[0]
			p.queue = p.queue[1:]
			s.work(tier, p, next)
		} else {
			p.busy--
		}
	}
	if tier > 0 {
		s.leave(tier-1, r, true)
	} else if good {
		s.done = append(s.done, s.now-r.begin)
	}
}

func (s *simulation) run(rate float64, n int) {
	arrival := s.rng.ExpFloat64() / rate
	for len(s.done)+s.full < n {
		at, tier, pod := arrival, -1, -1
		if len(s.later) > 0 && s.later[0].at < at {
			at, tier = s.later[0].at, -2
		}
		for i := range s.tiers {
			for k := range s.tiers[i].pods {
				p := &s.tiers[i].pods[k]
				if len(p.in) > 0 {
					if end := p.at + (p.in[0].at-p.clock)/s.tiers[i].speed(p); end < at {
						at, tier, pod = end, i, k
					}
				}
			}
		}
		s.now = max(s.now, at)
		switch {
		case tier == -1:
			arrival = s.now + s.rng.ExpFloat64()/rate
			s.enter(0, &simRequest{begin: s.now})
		case tier == -2:
			e := heap.Pop(&s.later).(simEvent)
			if e.tier+1 < len(s.tiers) {
				s.enter(e.tier+1, e.r)
			} else {
				s.leave(e.tier, e.r, true)
			}
		default:
			t := &s.tiers[tier]
			p := &t.pods[pod]
			s.bring(t, p)
			e := heap.Pop(&p.in).(simEvent)
			heap.Push(&s.later, simEvent{at: s.now + s.logNormal(t.own), tier: tier, r: e.r})
		}
	}
}

func TestFlowAgreesWithSingleRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		tiers   int
		pods    int
		cores   int
		rho     float64
		scv     float64
		p50     time.Duration
		workers int
	}{
		{"one core, half loaded", 1, 2, 1, .5, 1, 0, 0},
		{"one core, nine tenths", 1, 2, 1, .9, 1, 0, 0},
		{"two cores, seven tenths", 1, 3, 2, .7, 1, 0, 0},
		{"two cores, nine tenths, wide sizes", 1, 2, 2, .9, 4, 0, 0},
		{"four cores with own latency", 1, 2, 4, .8, 1, 25 * time.Millisecond, 0},
		{"a chain of three", 3, 2, 2, .7, 1, 15 * time.Millisecond, 0},
		{"a chain of three, nine tenths", 3, 2, 2, .9, 1, 15 * time.Millisecond, 0},
		{"eight workers that wait", 1, 2, 2, .6, 1, 30 * time.Millisecond, 8},
		{"six workers above a callee", 2, 2, 4, .25, 1, 20 * time.Millisecond, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conf := Config{Seed: 1, Start: begin}
			sim := &simulation{rng: rand.New(rand.NewPCG(1, 2))}
			rate := c.rho * float64(c.pods*c.cores) / .010
			for i := range c.tiers {
				r := Route{Name: "*", CPU: 10 * time.Millisecond, CPUScv: c.scv, LatencyP50: c.p50, LatencyP99: 4 * c.p50}
				if i+1 < c.tiers {
					r.Calls = []Call{{Service: i + 1, Count: 1}}
				}
				m := Model{Threads: c.cores, Routes: []Route{r}}
				if i == 0 && c.workers > 0 {
					m.Concurrency, m.QueueMax = c.workers, 1000
				}
				conf.Services = append(conf.Services, Service{Name: fmt.Sprint("t", i), Model: m})
			}
			conf.Loads = []Load{{Name: "u", RatePerSec: rate}}
			s, err := New(conf)
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.tiers {
				tier := simTier{cores: float64(c.cores), cpu: .010, scv: c.scv, own: s.services[i].routes[0].own, pods: make([]simPod, c.pods)}
				if i == 0 && c.workers > 0 {
					tier.workers, tier.places = c.workers, c.workers+1000
				}
				sim.tiers = append(sim.tiers, tier)
				for k := range c.pods {
					s.AddPod(Pod{Key: fmt.Sprint(i, "/", k), Service: i, Running: true, Serving: true, StartedAt: begin})
				}
			}
			sim.run(rate, 400_000)
			s.Advance(begin.Add(time.Hour))
			w := s.Sample()
			sum := 0.0
			for _, d := range sim.done[10_000:] {
				sum += d
			}
			mean := sum / float64(len(sim.done)-10_000)
			d := slices.Clone(sim.done[10_000:])
			slices.Sort(d)
			l := w.Loads[0].Latency
			q := func(p float64) float64 { return d[int(p*float64(len(d)))] }
			t.Logf("%s: mean %+.1f %%, p50 %+.1f %%, p95 %+.1f %%, p99 %+.1f %%", c.name, 100*(s.loads[0].time.mean/mean-1),
				100*(l.Quantile(.5)/q(.5)-1), 100*(l.Quantile(.95)/q(.95)-1), 100*(l.Quantile(.99)/q(.99)-1))
			near(t, "mean", s.loads[0].time.mean/mean, 1, .05)
			near(t, "p95", l.Quantile(.95)/q(.95), 1, .15)
		})
	}
}
