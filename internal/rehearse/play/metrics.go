package play

import (
	"context"
	"fmt"
	"math"
	"time"

	autoscaling "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	hpametrics "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
)

// podMetrics is what the autoscaler sees: the rates between the two last scrapes of each pod's counters, as a metrics server
// would answer. A pod without two scrapes, or whose node does not answer, has no metric.
type podMetrics struct {
	r     *run
	pods  corelisters.PodLister
	reads int64
}

// GetResourceMetric implements the HPA controller's metrics client.
func (m *podMetrics) GetResourceMetric(_ context.Context, resource corev1.ResourceName, ns string, sel labels.Selector, container string) (hpametrics.PodMetricsInfo, time.Time, error) {
	pods, err := m.pods.Pods(ns).List(sel)
	if err != nil {
		return nil, time.Time{}, err
	}
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.reads++
	info := make(hpametrics.PodMetricsInfo, len(pods))
	newest := time.Time{}
	for _, o := range pods {
		p := m.r.cluster.pods[o.UID]
		if p == nil || !p.demand.known || p.demand.before.at.IsZero() {
			continue
		}
		d := &p.demand
		v := hpametrics.PodMetric{Timestamp: d.last.at, Window: d.last.at.Sub(d.before.at)}
		switch resource {
		case corev1.ResourceCPU:
			v.Value = d.cpuMillis()
		case corev1.ResourceMemory:
			v.Value = int64(m.r.demand.system.MemoryBytes(d.id, d.last.at)) * 1000
		default:
			return nil, time.Time{}, fmt.Errorf("the resource %q is not measured", resource)
		}
		info[o.Name] = v
		if newest.IsZero() || v.Timestamp.After(newest) {
			newest = v.Timestamp
		}
	}
	if len(info) == 0 {
		return nil, time.Time{}, fmt.Errorf("no metrics returned from resource metrics API")
	}
	return info, newest, nil
}

// cpuMillis is the CPU rate between the two last scrapes in thousandths of a core: truncated to nanocores, as the metrics API
// gives it, and rounded up as a quantity is when it is read in thousandths.
func (d *demandPod) cpuMillis() int64 {
	nano := math.Round((d.last.cpu - d.before.cpu) / d.last.at.Sub(d.before.at).Seconds() * 1e9)
	return int64(math.Ceil(nano / 1e6))
}

// Fingerprint implements controlplane.Fingerprinter.
func (m *podMetrics) Fingerprint(pods []*corev1.Pod, memory bool) (uint64, bool) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	sum := uint64(len(pods))
	for _, o := range pods {
		p := m.r.cluster.pods[o.UID]
		if p == nil || !p.demand.known || p.demand.before.at.IsZero() {
			return 0, false
		}
		z := uint64(p.demand.cpuMillis()) * 0x9e3779b97f4a7c15
		if memory {
			z += uint64(m.r.demand.system.MemoryBytes(p.demand.id, p.demand.last.at))
		}
		z ^= uint64(p.demand.id) * 0xd1342543de82ef95
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		sum += z ^ z>>27
	}
	return sum, true
}

// errNoMetric is the answer for metrics that no part of this run provides.
func errNoMetric(what string) error {
	return fmt.Errorf("the metric %q is not provided in this rehearsal: only cpu and memory are", what)
}

// GetRawMetric implements the metrics client.
func (m *podMetrics) GetRawMetric(name, _ string, _, _ labels.Selector) (hpametrics.PodMetricsInfo, time.Time, error) {
	return nil, time.Time{}, errNoMetric(name)
}

// GetObjectMetric implements the metrics client.
func (m *podMetrics) GetObjectMetric(name, _ string, _ *autoscaling.CrossVersionObjectReference, _ labels.Selector) (int64, time.Time, error) {
	return 0, time.Time{}, errNoMetric(name)
}

// GetExternalMetric implements the metrics client.
func (m *podMetrics) GetExternalMetric(name, _ string, _ labels.Selector) ([]int64, time.Time, error) {
	return nil, time.Time{}, errNoMetric(name)
}
