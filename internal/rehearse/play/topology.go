package play

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

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

// topology is the cluster as the flow model sees it, with what the run asks of it.
type topology struct{ *model.Topology }

// life is how a pod's containers start, stop and crash.
func (t topology) life(pod *corev1.Pod, workload string) (ready *v1alpha1.Quantiles, stop *v1alpha1.Duration, crash *v1alpha1.Crash) {
	m := &t.Entries[t.ServiceOf(pod, workload)].Model
	return m.Ready, m.Stop, m.Crash
}

// serviceName is the service a workload serves; empty for workloads no Service selects.
func (t topology) serviceName(workload string) string {
	for i := range t.Entries {
		if len(t.Entries[i].Services) > 0 && slices.Contains(t.Entries[i].Workloads, workload) {
			return t.Entries[i].Name
		}
	}
	return ""
}
