package evidence

import (
	"fmt"
	"math"
	"time"
)

// Metrics that questions can be about.
const (
	SuccessRate = "success-rate" // share of requests, 0…1
	LatencyP50  = "latency-p50"  // seconds
	LatencyP95  = "latency-p95"
	LatencyP99  = "latency-p99"
	RPS         = "rps" // requests a second
)

// percentiles of the metrics that are latencies.
var percentiles = map[string]float64{LatencyP50: 0.50, LatencyP95: 0.95, LatencyP99: 0.99}

// Question about the requests to one revision, or about those to two that are compared.
type Question struct {
	// Metric is one of the above.
	Metric string
	// Namespace of the pods and Revision, the hash of their template. Against is the other revision; "" = no comparison.
	Namespace, Revision, Against string
	// Route that the requests came by, kind/namespace/name; "" = all.
	Route string
	// Window before now; at most Depth is looked at.
	Window time.Duration
	// MaxDelta (of the metric's unit) and MaxRatio are the margin of a comparison of latencies: a request counts as bad when it
	// is slower than the percentile of Against plus MaxDelta, or times MaxRatio when that is not 0.
	MaxDelta, MaxRatio float64
}

// Answer to a Question.
type Answer struct {
	// Value of the metric, and that of Against. They are NaN when there was no request to tell a share or a latency by.
	Value, AgainstValue float64
	// Requests that were counted, rounded, and those of them that failed or, of a latency, were slower than the bound.
	Count, AgainstCount, Bad, AgainstBad uint64
}

// Measure answers a question by the requests that ended in the window before now. The error is of a metric that does not exist.
func (s *Store) Measure(q Question, now time.Time) (Answer, error) {
	p, latency := percentiles[q.Metric]
	if !latency && q.Metric != SuccessRate && q.Metric != RPS {
		return Answer{}, fmt.Errorf("the gateway knows no metric %q; there are %s, %s, %s, %s and %s", q.Metric, SuccessRate, LatencyP50, LatencyP95, LatencyP99, RPS)
	}
	if s.Due != nil {
		s.Due()
	}
	window := func(revision string) *Window {
		return s.Window(Key{Namespace: q.Namespace, Revision: revision, Route: q.Route}, q.Window, now)
	}
	w := window(q.Revision)
	a := Answer{Value: w.value(q.Metric), Count: count(w.Requests)}
	if q.Against == "" {
		if !latency {
			a.Bad = count(w.Errors)
		}
		return a, nil
	}
	o := window(q.Against)
	a.AgainstValue, a.AgainstCount = o.value(q.Metric), count(o.Requests)
	if !latency {
		a.Bad, a.AgainstBad = count(w.Errors), count(o.Errors)
		return a, nil
	}
	bound, ok := o.Latency(p)
	if !ok {
		return a, nil
	}
	if q.MaxRatio != 0 {
		bound *= q.MaxRatio
	} else {
		bound += q.MaxDelta
	}
	a.Bad, a.AgainstBad = min(a.Count, count(w.Slower(bound))), min(a.AgainstCount, count(o.Slower(bound)))
	return a, nil
}

// value of a metric in the window.
func (w *Window) value(metric string) float64 {
	if metric == RPS {
		return w.Rate()
	}
	v, ok := w.SuccessRate()
	if p, latency := percentiles[metric]; latency {
		v, ok = w.Latency(p)
	}
	if !ok {
		return math.NaN()
	}
	return v
}

func count(requests float64) uint64 { return uint64(math.Round(max(0, requests))) }
