package rollout

import (
	"sync"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Names, labels and buckets of the metrics are those of Argo Rollouts; those that begin with fairway_ are our own.
var (
	reconcileBounds = [...]float64{0.01, 0.15, .25, .5, 1}                                                                       // seconds
	updateBounds    = []float64{10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600, 72 * 3600} // seconds

	infoDesc        = metricDesc("rollout_info", "Information about rollout.", "strategy", "traffic_router", "phase")
	availableDesc   = metricDesc("rollout_info_replicas_available", "The number of available replicas per rollout.")
	unavailableDesc = metricDesc("rollout_info_replicas_unavailable", "The number of unavailable replicas per rollout.")
	desiredDesc     = metricDesc("rollout_info_replicas_desired", "The number of desired replicas per rollout.")
	updatedDesc     = metricDesc("rollout_info_replicas_updated", "The number of updated replicas per rollout.")
	phaseDesc       = metricDesc("rollout_phase", "Information on the state of the rollout (DEPRECATED - use rollout_info)", "strategy", "phase")
	reconcileDesc   = metricDesc("rollout_reconcile", "Rollout reconciliation performance.")
	failuresDesc    = metricDesc("rollout_reconcile_error", "Error occurring during the rollout")
	eventsDesc      = metricDesc("rollout_events_total", "Count of rollout events", "type", "reason")
)

// Phases of the metrics, as Argo Rollouts names them there.
const (
	metricCompleted   = "Completed"
	metricProgressing = "Progressing"
	metricPaused      = "Paused"
	metricTimeout     = "Timeout"
	metricError       = "Error"
	metricAbort       = "Abort"
	metricInvalid     = "InvalidSpec"
)

func metricDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"namespace", "name"}, labels...), nil)
}

// metrics about Rollouts. What is about one goes when it goes, so that their number is bounded by that of Rollouts.
type metrics struct {
	stores *stores
	events *Events

	writes                  *prometheus.CounterVec
	dropped                 prometheus.CounterFunc
	total, progress, manual *prometheus.HistogramVec

	mu sync.Mutex
	of map[types.NamespacedName]*tally
}

// tally of one Rollout.
type tally struct {
	seconds  float64
	count    uint64
	below    [len(reconcileBounds)]uint64 // by upper bound, not cumulated
	failures uint64
	events   map[[2]string]uint64 // by type and reason
}

func newMetrics(s *stores, e *Events) *metrics {
	update := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: updateBounds}, []string{"namespace", "name", "status"})
	}
	return &metrics{stores: s, events: e, of: map[types.NamespacedName]*tally{},
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_rollout_writes_total",
			Help: "Writes to the API server on behalf of Rollouts, Events apart."}, []string{"kind", "verb"}),
		dropped: prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "fairway_rollout_events_dropped_total",
			Help: "Events that were not written because too many waited."}, func() float64 { return float64(e.Dropped()) }),
		total:    update("rollout_duration_seconds", "How long updates of a rollout took, from the change of the spec to the end."),
		progress: update("rollout_progression_duration_seconds", "How long updates of a rollout took, without the time they waited for people."),
		manual:   update("rollout_manual_pause_duration_seconds", "How long updates of a rollout waited for people."),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m, m.writes, m.dropped, m.total, m.progress, m.manual}
}

// tally of a Rollout; m.mu is held.
func (m *metrics) tally(name types.NamespacedName) *tally {
	t := m.of[name]
	if t == nil {
		t = &tally{}
		m.of[name] = t
	}
	return t
}

// reconciled notes how long one look at a Rollout took.
func (m *metrics) reconciled(name types.NamespacedName, took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tally(name)
	t.count++
	t.seconds += took.Seconds()
	for i, bound := range reconcileBounds {
		if took.Seconds() <= bound {
			t.below[i]++
			break
		}
	}
	if err != nil {
		t.failures++
	}
}

func (m *metrics) told(ro *rollouts.Rollout, kind, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tally(types.NamespacedName{Namespace: ro.Namespace, Name: ro.Name})
	if t.events == nil {
		t.events = map[[2]string]uint64{}
	}
	t.events[[2]string{kind, reason}]++
}

func (m *metrics) wrote(kind, verb string) { m.writes.WithLabelValues(kind, verb).Inc() }

func (m *metrics) finished(ro *rollouts.Rollout, f Finished) {
	m.total.WithLabelValues(ro.Namespace, ro.Name, f.Status).Observe(f.Total.Seconds())
	m.progress.WithLabelValues(ro.Namespace, ro.Name, f.Status).Observe(f.Active.Seconds())
	m.manual.WithLabelValues(ro.Namespace, ro.Name, f.Status).Observe(f.Paused.Seconds())
}

// forget a Rollout that is gone.
func (m *metrics) forget(name types.NamespacedName) {
	m.mu.Lock()
	delete(m.of, name)
	m.mu.Unlock()
	of := prometheus.Labels{"namespace": name.Namespace, "name": name.Name}
	for _, h := range []*prometheus.HistogramVec{m.total, m.progress, m.manual} {
		h.DeletePartialMatch(of)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, availableDesc, unavailableDesc, desiredDesc, updatedDesc, phaseDesc, reconcileDesc, failuresDesc, eventsDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	if ix := m.stores.have(Kind); ix != nil {
		for _, obj := range ix.List() {
			if ro, ok := obj.(*rollouts.Rollout); ok {
				collect(out, ro)
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, t := range m.of {
		buckets, sum := map[float64]uint64{}, uint64(0)
		for i, bound := range reconcileBounds {
			sum += t.below[i]
			buckets[bound] = sum
		}
		out <- prometheus.MustNewConstHistogram(reconcileDesc, t.count, t.seconds, buckets, name.Namespace, name.Name)
		if t.failures > 0 {
			out <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(t.failures), name.Namespace, name.Name)
		}
		for e, n := range t.events {
			out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(n), name.Namespace, name.Name, e[0], e[1])
		}
	}
}

func collect(out chan<- prometheus.Metric, ro *rollouts.Rollout) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{ro.Namespace, ro.Name}, labels...)...)
	}
	strategy, router := strategyLabels(ro)
	phase := metricPhase(&ro.Status.RolloutStatus)
	gauge(infoDesc, 1, strategy, router, phase)
	gauge(availableDesc, float64(ro.Status.AvailableReplicas))
	gauge(unavailableDesc, float64(ro.Status.Replicas-ro.Status.AvailableReplicas))
	gauge(desiredDesc, float64(replicasOf(ro)))
	gauge(updatedDesc, float64(ro.Status.UpdatedReplicas))
	for _, p := range []string{metricCompleted, metricProgressing, metricPaused, metricTimeout, metricError, metricAbort} {
		v := 0.0
		if p == phase {
			v = 1
		}
		gauge(phaseDesc, v, strategy, p)
	}
}

// strategyLabels are the strategy, and the last of the routers that Argo Rollouts knows by name.
func strategyLabels(ro *rollouts.Rollout) (strategy, router string) {
	switch st := ro.Spec.Strategy; {
	case st.BlueGreen != nil:
		return "blueGreen", ""
	case st.Canary == nil:
		return "none", ""
	}
	t := ro.Spec.Strategy.Canary.TrafficRouting
	switch {
	case t == nil:
	case t.SMI != nil:
		router = "SMI"
	case t.Nginx != nil:
		router = "Nginx"
	case t.Istio != nil:
		router = "Istio"
	case t.Ambassador != nil:
		router = "Ambassador"
	case t.ALB != nil:
		router = "ALB"
	}
	return "canary", router
}

// metricPhase is the phase that the metrics name, which is another than that of the status.
func metricPhase(st *argo.RolloutStatus) string {
	phase := metricProgressing
	if c := conditionOf(st, argo.RolloutProgressing); c != nil {
		switch c.Reason {
		case reasonSetAvailable:
			phase = metricCompleted
		case reasonPaused:
			phase = metricPaused
		case "ReplicaSetCreateError":
			phase = metricError
		case reasonTimedOut:
			phase = metricTimeout
		case reasonAborted:
			phase = metricAbort
		}
	}
	if conditionOf(st, argo.InvalidSpec) != nil {
		phase = metricInvalid
	}
	return phase
}
