package play

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// specView is the scenario in the run's own terms.
type specView struct {
	start                             time.Time
	duration, settle, sample, hpaSync time.Duration
	scrape                            time.Duration // between two reads of the counters by the metrics API
	nodes                             int           // at the start
}

func viewOf(s *v1alpha1.Scenario) (specView, error) {
	start, err := scenario.StartTime(&s.Spec)
	if err != nil {
		return specView{}, err
	}
	v := specView{start: start, duration: s.Spec.Duration.Duration, sample: s.Spec.Sample.Duration, hpaSync: s.Spec.Controllers.Kubernetes.HPASync.Duration, scrape: s.Spec.Controllers.Kubernetes.MetricsResolution.Duration}
	if v.scrape <= 0 {
		v.scrape = scrapeEvery
	}
	if s.Spec.Settle != nil {
		v.settle = s.Spec.Settle.Duration
	}
	for _, p := range s.Spec.Cluster.Pools {
		v.nodes += int(*p.Size)
	}
	return v, nil
}

// setUpTime is what the run has before settling begins, for the nodes to join.
const setUpTime = 5 * time.Minute

// ClockStart is the instant at which the virtual clock of a run must start: before the measured time by the settling time
// and what setting up takes.
func ClockStart(s *v1alpha1.Scenario) (time.Time, error) {
	v, err := viewOf(s)
	if err != nil {
		return time.Time{}, err
	}
	return v.start.Add(-v.settle - setUpTime).Truncate(time.Second), nil
}

// Played is the measured time of a run, from the end of settling.
func Played(s *v1alpha1.Scenario) (from, to time.Time, err error) {
	v, err := viewOf(s)
	return v.start.UTC(), v.start.Add(v.duration).UTC(), err
}

// typed decodes the manifests into Go types where this program knows them.
func typed(objects []Object) ([]runtime.Object, error) {
	out := make([]runtime.Object, 0, len(objects))
	for _, o := range objects {
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(o.Object, nil, nil)
		if err != nil {
			u := &unstructured.Unstructured{}
			if uerr := u.UnmarshalJSON(o.Object); uerr != nil {
				return nil, fmt.Errorf("%s:%d: %w", o.File, o.Line, err)
			}
			obj = u
		}
		out = append(out, obj)
	}
	return out, nil
}

// nodeGroups are the pools as the engine knows them.
func (r *run) nodeGroups() ([]virtual.NodeGroup, error) {
	var out []virtual.NodeGroup
	for _, p := range r.doc.Scenario.Spec.Cluster.Pools {
		g := virtual.NodeGroup{Name: p.Name, Size: int(*p.Size), InstanceType: p.Type, Zones: p.Zones, Labels: p.Labels}
		if p.CapacityType == "spot" {
			g.CapacityType = "spot"
		}
		if p.Price != nil {
			g.PricePerHour = *p.Price
		}
		if p.Join != nil {
			g.Join = spread(p.Join)
		}
		if p.MaxPods != nil {
			g.MaxPods = int64(*p.MaxPods)
		}
		if p.CPU != nil || p.Memory != nil || len(p.Extended) > 0 {
			g.Capacity = corev1.ResourceList{}
		}
		if p.CPU != nil {
			g.Capacity[corev1.ResourceCPU] = *p.CPU
		}
		if p.Memory != nil {
			g.Capacity[corev1.ResourceMemory] = *p.Memory
		}
		for k, q := range p.Extended {
			g.Capacity[corev1.ResourceName(k)] = q
		}
		if len(p.Reserved) > 0 {
			g.KubeReserved = corev1.ResourceList{}
			for k, q := range p.Reserved {
				g.KubeReserved[corev1.ResourceName(k)] = q
			}
		}
		for _, t := range p.Taints {
			g.Taints = append(g.Taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
		}
		out = append(out, g)
	}
	return out, nil
}

func spread(q *v1alpha1.Quantiles) virtual.Spread {
	return virtual.Spread{P50: q.P50.Duration, P99: q.P99.Duration}
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a value of ours that cannot be JSON is a bug
	}
	return b
}
