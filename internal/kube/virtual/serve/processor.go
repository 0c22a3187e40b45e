package serve

import (
	"container/heap"
	"math"
	"sort"
	"sync"
	"time"
)

// processor shares its cores equally among the requests that are worked on, as a scheduler does: each has one core, or its
// part when there are more requests than cores (processor sharing). The zero value has no bound.
type processor struct {
	mu    sync.Mutex
	cores float64 // 0 = as many as there are requests
	// served is the CPU time that each request there was all along would have had until at.
	served float64
	at     time.Time
	queue  jobs // by the value of served at which they are done
	timer  *time.Timer
	used   float64 // seconds, of all requests
	past   []reading
}

// reading is what was used until an instant.
type reading struct {
	at   time.Time
	used float64
}

// Readings are kept for pastDepth, one each pastStep while there are requests: kubelets' counters are read as they were at
// their last two samples, up to a minute ago.
const (
	pastDepth = 3 * time.Minute
	pastStep  = time.Second
)

// job is one request's work.
type job struct {
	until float64
	done  chan struct{}
}

// setCores changes the number of cores from now on.
func (p *processor) setCores(cores float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cores == cores {
		return
	}
	p.advance(time.Now())
	p.cores = cores
	p.wake()
}

// work returns a channel that is closed when so many seconds of CPU time have been given.
func (p *processor) work(seconds float64) <-chan struct{} {
	done := make(chan struct{})
	if !(seconds > 0) {
		close(done)
		return done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(time.Now())
	heap.Push(&p.queue, &job{until: p.served + seconds, done: done})
	p.wake()
	return done
}

// usedUntil is the CPU time used until then, in seconds. What lies further back than pastDepth is as of then.
func (p *processor) usedUntil(at time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(time.Now())
	p.wake()
	if !at.Before(p.at) {
		return p.used
	}
	i := sort.Search(len(p.past), func(i int) bool { return p.past[i].at.After(at) })
	if i == 0 {
		if len(p.past) == 0 {
			return 0
		}
		return p.past[0].used
	}
	before, after := p.past[i-1], reading{p.at, p.used}
	if i < len(p.past) {
		after = p.past[i]
	}
	if part := after.at.Sub(before.at); part > 0 {
		return before.used + (after.used-before.used)*at.Sub(before.at).Seconds()/part.Seconds()
	}
	return before.used
}

// remember the use until p.at, before it changes.
func (p *processor) remember(now time.Time) {
	n := len(p.past)
	if n > 0 && p.at.Sub(p.past[n-1].at) < pastStep && now.Sub(p.at) < pastStep {
		return
	}
	if n > 0 && now.Sub(p.past[0].at) > pastDepth {
		drop := sort.Search(n, func(i int) bool { return now.Sub(p.past[i].at) <= pastDepth })
		p.past = append(p.past[:0], p.past[min(drop, n-1):]...) // the last of those too old says how it began
	}
	p.past = append(p.past, reading{p.at, p.used})
}

// rate is the part of a core that each request has.
func (p *processor) rate() float64 {
	if p.cores <= 0 {
		return 1
	}
	return min(1, p.cores/float64(len(p.queue)))
}

// advance gives out the CPU time since the last call, request by request as they end.
func (p *processor) advance(now time.Time) {
	if !now.After(p.at) {
		return
	}
	p.remember(now)
	left := now.Sub(p.at).Seconds()
	p.at = now
	for len(p.queue) > 0 && left > 0 {
		rate, n := p.rate(), float64(len(p.queue))
		step := min(left, max(0, p.queue[0].until-p.served)/rate)
		left -= step
		p.served += step * rate
		p.used += step * rate * n
		p.finish()
	}
}

// nanosecond in seconds: what is closer to its end than that has reached it.
const nanosecond = 1e-9

func (p *processor) finish() {
	for len(p.queue) > 0 && p.queue[0].until <= p.served+nanosecond {
		close(heap.Pop(&p.queue).(*job).done)
	}
	if len(p.queue) == 0 {
		p.served = 0 // nothing depends on it, and it stays small
	}
}

// wake sets the timer to the end of the next request.
func (p *processor) wake() {
	if len(p.queue) == 0 {
		return
	}
	wait := time.Duration(math.Ceil((p.queue[0].until - p.served) / p.rate() * float64(time.Second)))
	if p.timer == nil {
		p.timer = time.AfterFunc(wait, p.tick)
		return
	}
	p.timer.Reset(wait)
}

func (p *processor) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(time.Now())
	p.wake()
}

// stop ends the timer; requests that are still worked on are let go.
func (p *processor) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, j := range p.queue {
		close(j.done)
	}
	p.queue = nil
}

type jobs []*job

func (q jobs) Len() int           { return len(q) }
func (q jobs) Less(i, j int) bool { return q[i].until < q[j].until }
func (q jobs) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *jobs) Push(x any)        { *q = append(*q, x.(*job)) }
func (q *jobs) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
