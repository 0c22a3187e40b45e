package cost

import (
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Hourly is what a run cost an hour in each of the steps that end at times: the mean over the step of the nodes that were
// charged in it, at what Charge takes for them, and of the control plane and load balancer.
func Hourly(run *record.Run, p Prices, times []time.Time, step time.Duration) []float64 {
	from, to := window(run)
	nodes := price(run, &p, from, to, map[string]bool{})
	commit(nodes, &p, from, to)
	out := make([]float64, len(times))
	for i, end := range times {
		begin := end.Add(-step)
		for _, n := range nodes {
			if overlap := earlier(n.to, end).Sub(later(n.from, begin)); overlap > 0 && n.hours > 0 {
				out[i] += n.cost / n.hours * overlap.Hours() / step.Hours()
			}
		}
		out[i] += p.ControlPlane + p.LoadBalancer
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
