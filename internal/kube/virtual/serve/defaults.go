package serve

import (
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Defaults of the fields of a service model that say something of requests: one table for containers that answer and for the
// flow model of rehearsals.
const (
	DefaultQueueMax = 1000 // requests waiting, in front of a concurrency
	DefaultCPUScv   = 1.0  // of the CPU time of a request: as of an exponential distribution
	// A request without a latency takes its CPU time and DefaultLatencyBeyondCPU in the median; a latency without a 99th
	// percentile has DefaultLatencyTail times its median there.
	DefaultLatencyBeyondCPU = 5 * time.Millisecond
	DefaultLatencyTail      = 4
)

// LatencyOf is a request's own latency at low load, CPU time included, by its model and its CPU time.
func LatencyOf(r *v1alpha1.RouteModel, cpu time.Duration) v1alpha1.Quantiles {
	q := v1alpha1.Quantiles{P50: v1alpha1.DurationOf(cpu + DefaultLatencyBeyondCPU)}
	if r.Latency != nil {
		q = *r.Latency
	}
	if q.P99.Duration == 0 {
		q.P99.Duration = DefaultLatencyTail * q.P50.Duration
	}
	return q
}

// CPUScvOf is the squared coefficient of variation of a request's CPU time.
func CPUScvOf(r *v1alpha1.RouteModel) float64 {
	if r.CPUScv == nil {
		return DefaultCPUScv
	}
	return *r.CPUScv
}

// QueueMaxOf is how many requests wait for a worker at most.
func QueueMaxOf(m *v1alpha1.ServiceModel) int {
	if m.Queue == nil || m.Queue.Max == nil {
		return DefaultQueueMax
	}
	return int(*m.Queue.Max)
}
