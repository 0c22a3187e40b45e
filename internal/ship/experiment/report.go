package experiment

import (
	"context"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// tell writes Events about an Experiment, and those that concern its Rollout about that too.
func (c *Controller) tell(ctx context.Context, ex *argo.Experiment, events []Event) {
	for _, e := range events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
			c.Log.Warn(e.Message, "namespace", ex.Namespace, "experiment", ex.Name)
		}
		c.Recorder.Event(ex, kind, e.Reason, e.Message)
		if e.Rollout {
			if ro := c.rolloutOf(ctx, ex); ro != nil {
				c.Recorder.Event(ro, kind, e.Reason, e.Message)
			}
		}
	}
}

// rolloutOf is the Rollout that owns an Experiment; nil when none does.
func (c *Controller) rolloutOf(ctx context.Context, ex *argo.Experiment) *rollouts.Rollout {
	owner := metav1.GetControllerOf(ex)
	if owner == nil || owner.Kind != "Rollout" {
		return nil
	}
	ro := &rollouts.Rollout{}
	if err := c.Client.Get(ctx, types.NamespacedName{Namespace: ex.Namespace, Name: owner.Name}, ro); err != nil || ro.UID != owner.UID {
		return nil
	}
	return ro
}

// scrapeWithin bounds the reading of the cache for a scrape.
const scrapeWithin = 10 * time.Second

var (
	named           = []string{"namespace", "name"}
	experimentInfo  = prometheus.NewDesc("experiment_info", "Information about Experiment.", []string{"namespace", "name", "phase"}, nil)
	experimentPhase = prometheus.NewDesc("experiment_phase", "Information on the state of the experiment (DEPRECATED - use experiment_info)", []string{"namespace", "name", "phase"}, nil)
	phases          = []argo.AnalysisPhase{argo.AnalysisPhasePending, argo.AnalysisPhaseError, argo.AnalysisPhaseFailed, argo.AnalysisPhaseSuccessful,
		argo.AnalysisPhaseRunning, argo.AnalysisPhaseInconclusive}
)

// experimentMetrics reads the cache when it is scraped.
type experimentMetrics struct {
	cache  client.Reader
	took   *prometheus.HistogramVec
	failed *prometheus.CounterVec
}

func newExperimentMetrics(cache client.Reader) *experimentMetrics {
	return &experimentMetrics{cache,
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "experiment_reconcile", Help: "Experiments reconciliation performance.",
			Buckets: []float64{0.01, 0.15, .25, .5, 1}}, named),
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "experiment_reconcile_error", Help: "Error occurring during the experiment"}, named)}
}

// Collectors are the metrics of the controller, with the names and labels of the peer's. They are there after SetUp.
func (c *Controller) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics, c.metrics.took, c.metrics.failed}
}

func (m *experimentMetrics) looked(ex types.NamespacedName, took time.Duration, err error) {
	m.took.WithLabelValues(ex.Namespace, ex.Name).Observe(took.Seconds())
	if err != nil {
		m.failed.WithLabelValues(ex.Namespace, ex.Name).Inc()
	}
}

func (m *experimentMetrics) forget(ex types.NamespacedName) {
	m.took.DeleteLabelValues(ex.Namespace, ex.Name)
	m.failed.DeleteLabelValues(ex.Namespace, ex.Name)
}

// Describe implements prometheus.Collector.
func (m *experimentMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- experimentInfo
	out <- experimentPhase
}

// Collect implements prometheus.Collector. What cannot be read is left out of this scrape.
func (m *experimentMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	var all argo.ExperimentList
	if m.cache.List(ctx, &all) != nil {
		return
	}
	for i := range all.Items {
		ex := &all.Items[i]
		out <- prometheus.MustNewConstMetric(experimentInfo, prometheus.GaugeValue, 1, ex.Namespace, ex.Name, string(ex.Status.Phase))
		for _, p := range phases {
			v := 0.0
			if ex.Status.Phase == p || ex.Status.Phase == "" && p == argo.AnalysisPhasePending {
				v = 1
			}
			out <- prometheus.MustNewConstMetric(experimentPhase, prometheus.GaugeValue, v, ex.Namespace, ex.Name, string(p))
		}
	}
}
