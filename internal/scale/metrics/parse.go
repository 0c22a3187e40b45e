package metrics

import (
	"fmt"
	"io"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"
)

// The series of a kubelet's /metrics/resource that are read (KEP-727).
const (
	seriesNodeCPU         = "node_cpu_usage_seconds_total"
	seriesNodeMemory      = "node_memory_working_set_bytes"
	seriesContainerCPU    = "container_cpu_usage_seconds_total"
	seriesContainerMemory = "container_memory_working_set_bytes"
	seriesContainerStart  = "container_start_time_seconds"
)

// parse reads a kubelet's answer. Samples without a timestamp were taken now.
func parse(body io.Reader, now time.Time) (*Reading, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, fmt.Errorf("reading the metrics: %w", err)
	}
	r := &Reading{Pods: map[types.NamespacedName]map[string]Point{}}
	for _, m := range families[seriesNodeCPU].GetMetric() {
		r.Node.CPU, r.Node.At = nanoseconds(value(m)), at(m, now)
	}
	for _, m := range families[seriesNodeMemory].GetMetric() {
		r.Node.Memory = positive(value(m))
	}
	each(families[seriesContainerCPU], r, func(p *Point, m *dto.Metric) { p.CPU, p.At = nanoseconds(value(m)), at(m, now) })
	each(families[seriesContainerMemory], r, func(p *Point, m *dto.Metric) { p.Memory = positive(value(m)) })
	each(families[seriesContainerStart], r, func(p *Point, m *dto.Metric) {
		p.Started = time.UnixMicro(int64(value(m) * 1e6))
	})
	return r, nil
}

// each updates the point of every container a family has a sample for.
func each(f *dto.MetricFamily, r *Reading, set func(*Point, *dto.Metric)) {
	for _, m := range f.GetMetric() {
		var key types.NamespacedName
		var container string
		for _, l := range m.GetLabel() {
			switch l.GetName() {
			case "namespace":
				key.Namespace = l.GetValue()
			case "pod":
				key.Name = l.GetValue()
			case "container":
				container = l.GetValue()
			}
		}
		if key.Name == "" || container == "" {
			continue
		}
		if r.Pods[key] == nil {
			r.Pods[key] = map[string]Point{}
		}
		p := r.Pods[key][container]
		set(&p, m)
		r.Pods[key][container] = p
	}
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return m.GetUntyped().GetValue()
}

func at(m *dto.Metric, now time.Time) time.Time {
	if m.TimestampMs == nil {
		return now
	}
	return time.UnixMilli(m.GetTimestampMs())
}

func nanoseconds(seconds float64) uint64 { return positive(seconds * 1e9) }

// positive drops what no counter can be: negative values and NaN.
func positive(v float64) uint64 {
	if v > 0 {
		return uint64(v)
	}
	return 0
}
