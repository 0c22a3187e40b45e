package balance

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	// ewmaDecay is how long it takes until an old latency counts for 1/e; latencyFloor is the least that is told apart.
	ewmaDecay    = 10 * time.Second
	latencyFloor = time.Millisecond
	// An endpoint that failed looks failurePenalty times as slow for failureMemory.
	failurePenalty = 5
	failureMemory  = 5 * time.Second
	// slowStartLeast is the part of its share with which a new endpoint begins.
	slowStartLeast = 0.1
)

// Endpoint is an endpoint with what is known of it. What is known outlives changes of the set it is in.
type Endpoint struct {
	config.Endpoint
	*state
}

// state is what is known of an endpoint.
type state struct {
	since int64 // when it came
	// inFlight are the requests it has now.
	inFlight atomic.Int64
	// latency is the moving average in nanoseconds (the bits of a float64), of the time measured.
	latency, measured atomic.Uint64
	failed            atomic.Int64 // when it failed last; 0 = never
	suspended         atomic.Int64 // no requests until then: it refused a connection
	unhealthy         atomic.Bool  // its probes fail
	outlier           record
}

// NewEndpoint returns an endpoint that came now.
func NewEndpoint(e config.Endpoint, now int64) *Endpoint {
	return &Endpoint{Endpoint: e, state: &state{since: now}}
}

// Begin counts a request that is sent there; each needs one End.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End counts the end of a request.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// InFlight are the requests it has now.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Measured takes in the latency of an answer (up to its head), and whether it was a failure.
func (e *Endpoint) Measured(latency time.Duration, failure bool, now int64) {
	if failure {
		e.failed.Store(max(now, 1))
	}
	// Two answers at once may overwrite each other's part: an average does not care.
	old := math.Float64frombits(e.latency.Load())
	next := float64(latency)
	if old > 0 {
		weight := math.Exp(-float64(now-int64(e.measured.Load())) / float64(ewmaDecay))
		// Answers that come close together would otherwise count for nothing.
		weight = min(weight, 0.9)
		next = old*weight + next*(1-weight)
	}
	e.latency.Store(math.Float64bits(next))
	e.measured.Store(uint64(now))
}

// Latency is the moving average of the answers; 0 = there were none.
func (e *Endpoint) Latency() time.Duration {
	return time.Duration(math.Float64frombits(e.latency.Load()))
}

// Healthy is what its probes say; without any it is true.
func (e *Endpoint) Healthy() bool { return !e.unhealthy.Load() }

// available reports whether it is to get requests now.
func (e *Endpoint) available(now int64) bool {
	return e.suspended.Load() <= now && e.outlier.until.Load() <= now && !e.unhealthy.Load()
}

// weight is its part of a whole share: less while it is new.
func (e *Endpoint) weight(slowStart time.Duration, now int64) float64 {
	age := now - e.since
	if slowStart <= 0 || age >= int64(slowStart) {
		return 1
	}
	return slowStartLeast + (1-slowStartLeast)*float64(max(age, 0))/float64(slowStart)
}

// score of the power of two choices: (requests in flight + 1) × latency ÷ weight; the lower is chosen.
func (e *Endpoint) score(slowStart time.Duration, now int64) float64 {
	latency := max(math.Float64frombits(e.latency.Load()), float64(latencyFloor))
	if failed := e.failed.Load(); failed != 0 && now-failed < int64(failureMemory) {
		latency *= failurePenalty
	}
	return float64(e.inFlight.Load()+1) * latency / e.weight(slowStart, now)
}
