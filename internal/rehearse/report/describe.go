package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// extreme returns the largest known value and its moment.
func (s Series) extreme(values Values) (float64, time.Time, bool) {
	best, at := math.Inf(-1), -1
	for i, x := range values {
		if x > best {
			best, at = x, i
		}
	}
	if at < 0 {
		return 0, time.Time{}, false
	}
	return best, s.Start.Add(time.Duration((float64(at) + 1) * s.StepSecond * float64(time.Second))), true
}

func (r *Report) describeDemand(service string) string {
	demand, capacity := r.Series.values(record.MetricCPUDemand, "service", service), r.Series.values(record.MetricCPUCapacity, "service", service)
	peak, at, ok := r.Series.extreme(demand)
	if !ok {
		return "Requests a second over the run"
	}
	short := 0
	for i := range demand {
		if i < len(capacity) && demand[i] > capacity[i] {
			short++
		}
	}
	text := fmt.Sprintf("%s: demand peaks at %s cores at %s; ", service, grouped(peak, 1), r.clock(at))
	if short == 0 {
		return text + "ready capacity was always enough"
	}
	return text + "more than its ready capacity for " + seconds(float64(short)*r.Series.StepSecond)
}

func (r *Report) describeLatency(load string) string {
	peak, at, ok := r.Series.extreme(r.Series.values(record.MetricLatencyP95, "load", load))
	if !ok {
		return "Latency and share of failed requests over the run"
	}
	text := fmt.Sprintf("%s: p95 at most %s at %s", load, seconds(significant(peak, 3)), r.clock(at))
	if worst, when, ok := r.Series.extreme(r.Series.values(record.MetricErrors, "load", load)); ok && worst > 0 {
		return text + fmt.Sprintf(", failures at most %s at %s", percent(significant(worst, 3)), r.clock(when))
	}
	return text + ", no failures"
}

func (r *Report) describeReplicas() string {
	total := Values{}
	for _, c := range r.Series.Columns {
		if c.Metric == record.MetricReady {
			for i, x := range c.Values {
				if i >= len(total) {
					total = append(total, 0)
				}
				if !math.IsNaN(x) {
					total[i] += x
				}
			}
		}
	}
	if len(total) == 0 {
		return "Ready replicas by workload"
	}
	peak, at, _ := r.Series.extreme(total)
	return fmt.Sprintf("Between %s and %s pods are ready, most at %s", grouped(slices.Min(total), 0), grouped(peak, 0), r.clock(at))
}

func (r *Report) describeUpdates() string {
	var list []string
	for _, c := range r.Series.Columns {
		if c.Metric != record.MetricNewWeight || len(c.Values) == 0 {
			continue
		}
		workload := c.Labels["workload"]
		updates, aborted := 0, 0
		for _, u := range r.Updates {
			if u.Workload == workload {
				updates++
				if u.Outcome == record.UpdateAborted {
					aborted++
				}
			}
		}
		text := fmt.Sprintf("%s: %s", shortName(workload), plural(updates, "update"))
		if aborted > 0 {
			text += fmt.Sprintf(", %d aborted", aborted)
		}
		if end := c.Values[len(c.Values)-1]; !math.IsNaN(end) {
			text += fmt.Sprintf(", %s of the traffic at the end", percent(significant(end, 3)))
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func (r *Report) describeNodes() string {
	text := fmt.Sprintf("%s node hours", grouped(r.Cost.NodeHours, 1))
	if peak, at, ok := r.Series.extreme(r.Series.values(record.MetricPodsPending, "", "")); ok && peak > 0 {
		text += fmt.Sprintf(", up to %s pods pending at %s", grouped(peak, 0), r.clock(at))
	}
	return text + ", " + formatValue(r.Cost.Total, r.Cost.Currency) + " in all"
}
