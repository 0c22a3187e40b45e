package virtual

import "github.com/prometheus/client_golang/prometheus"

var (
	nodesDesc  = prometheus.NewDesc("fairway_virtual_nodes", "Nodes the engine drives.", []string{"state"}, nil)
	podsDesc   = prometheus.NewDesc("fairway_virtual_pods", "Pods on nodes the engine drives.", nil, nil)
	runDesc    = prometheus.NewDesc("fairway_virtual_containers", "Containers that run.", nil, nil)
	writesDesc = prometheus.NewDesc("fairway_virtual_writes_total", "Requests made to the API server.", []string{"kind"}, nil)
	mergedDesc = prometheus.NewDesc("fairway_virtual_merged_writes_total", "States left to the next write.", nil, nil)
	clashDesc  = prometheus.NewDesc("fairway_virtual_conflicts_total", "Writes refused because the object had changed.", nil, nil)
	timersDesc = prometheus.NewDesc("fairway_virtual_timers", "Wake-ups armed.", nil, nil)
	lateDesc   = prometheus.NewDesc("fairway_virtual_late_seconds", "How late the latest batch of wake-ups was.", nil, nil)
)

// Describe implements prometheus.Collector.
func (e *Engine) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodesDesc, podsDesc, runDesc, writesDesc, mergedDesc, clashDesc, timersDesc, lateDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (e *Engine) Collect(ch chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	silent, containers := 0, 0
	for _, n := range e.byNode {
		if n.silent {
			silent++
		}
	}
	for _, r := range e.records {
		if r.state != nil {
			containers += r.state.running()
		}
	}
	gauge(nodesDesc, float64(len(e.byNode)-silent), "live")
	gauge(nodesDesc, float64(silent), "silent")
	gauge(podsDesc, float64(len(e.records)))
	gauge(runDesc, float64(containers))
	c := &e.counters
	counter(writesDesc, c.StatusWrites, "status")
	counter(writesDesc, c.Deletes, "delete")
	counter(writesDesc, c.NodeWrites, "node")
	counter(writesDesc, c.LeaseWrites, "lease")
	counter(writesDesc, c.Events, "event")
	counter(mergedDesc, c.Merged)
	counter(clashDesc, c.Conflicts)
	gauge(timersDesc, float64(len(e.timers.heap)))
	gauge(lateDesc, e.late.Seconds())
}
