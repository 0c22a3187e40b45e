package play

import (
	"slices"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/load"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
)

// meanStep is how finely a load's mean is taken.
const meanStep = 15 * time.Minute

// meanRates are the mean rates of the scenario's loads (of closed loops: the numbers of users), from which costs that
// nobody gave are derived.
func (r *run) meanRates(profiles []*load.Profile) []float64 {
	out := make([]float64, len(profiles))
	for i, p := range profiles {
		n := 0
		for t := r.start; t.Before(r.end); t = t.Add(meanStep) {
			out[i] += load.Rate(p, t) + load.Users(p, t)
			n++
		}
		if n > 0 {
			out[i] /= float64(n)
		}
	}
	return out
}

// mixes are the scenario's loads, with the mean mix of those whose routes go by curves of their own.
func (r *run) mixes(profiles []*load.Profile) []v1alpha1.Load {
	loads := slices.Clone(r.doc.Scenario.Spec.Load)
	for i, p := range profiles {
		if !p.MixMoves() {
			continue
		}
		sums := make([]float64, len(p.Routes()))
		var rates []float64
		for t := r.start; t.Before(r.end); t = t.Add(meanStep) {
			rates = load.Rates(p, t, rates[:0])
			for k, v := range rates {
				sums[k] += v
			}
		}
		loads[i].Mix = map[string]float64{}
		for k, route := range p.Routes() {
			loads[i].Mix[route] = max(sums[k], leastWeight)
		}
	}
	return loads
}

// leastWeight keeps a route in a mix that is not asked for in the mean.
const leastWeight = 1e-9

// topology is the cluster as the flow model sees it, with what the run asks of it.
type topology struct{ *model.Topology }

// serviceName is the service a workload serves; empty for workloads no Service selects.
func (t topology) serviceName(workload string) string {
	for i := range t.Entries {
		if len(t.Entries[i].Services) > 0 && slices.Contains(t.Entries[i].Workloads, workload) {
			return t.Entries[i].Name
		}
	}
	return ""
}
