package analysis

import (
	"context"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tell writes Events about a run, and what went bad into the log.
func (c *Controller) tell(run *argo.AnalysisRun, events []Event) {
	for _, e := range events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
			c.Log.Warn(e.Message, "namespace", run.Namespace, "analysisrun", run.Name, "message", run.Status.Message)
		}
		c.Recorder.Event(run, kind, e.Reason, e.Message)
	}
}

// Collectors are the metrics of the controller, with the names and labels of the peer's. They are there after SetUp.
func (c *Controller) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics, c.metrics.took, c.metrics.failed}
}

// scrapeWithin bounds the reading of the cache for a scrape.
const scrapeWithin = 10 * time.Second

var (
	named = []string{"namespace", "name"}

	runInfo      = desc("analysis_run_info", "Information about analysis run.", "phase")
	runPhase     = desc("analysis_run_phase", "Information on the state of the Analysis Run (DEPRECATED - use analysis_run_info)", "phase")
	metricType   = desc("analysis_run_metric_type", "Information on the type of a specific metric in the Analysis Runs", "metric", "type")
	metricPhase  = desc("analysis_run_metric_phase", "Information on the duration of a specific metric in the Analysis Run", "metric", "type", "dry_run", "phase")
	templateInfo = desc("analysis_template_info", "Information about analysis templates.")
	templateType = desc("analysis_template_metric_info", "Information on metrics in analysis templates.", "type", "metric")

	phases = []argo.AnalysisPhase{argo.AnalysisPhasePending, argo.AnalysisPhaseError, argo.AnalysisPhaseFailed, argo.AnalysisPhaseSuccessful,
		argo.AnalysisPhaseRunning, argo.AnalysisPhaseInconclusive}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append(append([]string{}, named...), labels...), nil)
}

// runMetrics reads the cache when it is scraped, so that it holds nothing itself.
type runMetrics struct {
	cache  client.Reader
	took   *prometheus.HistogramVec
	failed *prometheus.CounterVec
}

func newRunMetrics(cache client.Reader) *runMetrics {
	return &runMetrics{cache,
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "analysis_run_reconcile", Help: "Analysis Run reconciliation performance.",
			Buckets: []float64{0.01, 0.15, .25, .5, 1}}, named),
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "analysis_run_reconcile_error", Help: "Error occurring during the analysis run"}, named)}
}

func (m *runMetrics) looked(run types.NamespacedName, took time.Duration, err error) {
	m.took.WithLabelValues(run.Namespace, run.Name).Observe(took.Seconds())
	if err != nil {
		m.failed.WithLabelValues(run.Namespace, run.Name).Inc()
	}
}

func (m *runMetrics) forget(run types.NamespacedName) {
	m.took.DeleteLabelValues(run.Namespace, run.Name)
	m.failed.DeleteLabelValues(run.Namespace, run.Name)
}

// Describe implements prometheus.Collector.
func (m *runMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runInfo, runPhase, metricType, metricPhase, templateInfo, templateType} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out of this scrape.
func (m *runMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	var runs argo.AnalysisRunList
	if m.cache.List(ctx, &runs) == nil {
		for i := range runs.Items {
			collectRun(out, &runs.Items[i])
		}
	}
	var templates argo.AnalysisTemplateList
	if m.cache.List(ctx, &templates) == nil {
		for i := range templates.Items {
			t := &templates.Items[i]
			collectTemplate(out, t.Namespace, t.Name, &t.Spec)
		}
	}
	var cluster argo.ClusterAnalysisTemplateList
	if m.cache.List(ctx, &cluster) == nil {
		for i := range cluster.Items {
			collectTemplate(out, "", cluster.Items[i].Name, &cluster.Items[i].Spec)
		}
	}
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, on bool, labels ...string) {
	v := 0.0
	if on {
		v = 1
	}
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func collectRun(out chan<- prometheus.Metric, run *argo.AnalysisRun) {
	gauge(out, runInfo, true, run.Namespace, run.Name, string(run.Status.Phase))
	for _, p := range phases {
		gauge(out, runPhase, is(run.Status.Phase, p), run.Namespace, run.Name, string(p))
	}
	names := metricNamesOf(run)
	r, err := newRules(run.Spec, names)
	if err != nil {
		r = rules{} // such a run measures nothing
	}
	seen := map[string]bool{}
	for i := range run.Spec.Metrics {
		if seen[names[i]] { // such a run is an Error, but no reason to fail the scrape
			continue
		}
		seen[names[i]] = true
		kind, phase := Kind(&run.Spec.Metrics[i]), argo.AnalysisPhase("")
		if result := resultOf(&run.Status, names[i]); result != nil {
			phase = result.Phase
		}
		gauge(out, metricType, true, run.Namespace, run.Name, names[i], kind)
		for _, p := range phases {
			gauge(out, metricPhase, is(phase, p), run.Namespace, run.Name, names[i], kind, strconv.FormatBool(r.dry[names[i]]), string(p))
		}
	}
}

// is says whether a phase is p; none yet is Pending.
func is(phase, p argo.AnalysisPhase) bool {
	return phase == p || phase == "" && p == argo.AnalysisPhasePending
}

// metricNamesOf are the names of a run's metrics with their arguments in place.
func metricNamesOf(run *argo.AnalysisRun) []string {
	v := placeholders(run.Spec.Args)
	names := make([]string, len(run.Spec.Metrics))
	for i := range run.Spec.Metrics {
		name, err := substitute(run.Spec.Metrics[i].Name, v, plain)
		if err != nil {
			name = run.Spec.Metrics[i].Name
		}
		names[i] = name
	}
	return names
}

func collectTemplate(out chan<- prometheus.Metric, namespace, name string, spec *argo.AnalysisTemplateSpec) {
	gauge(out, templateInfo, true, namespace, name)
	seen := map[[2]string]bool{}
	for i := range spec.Metrics {
		key := [2]string{Kind(&spec.Metrics[i]), spec.Metrics[i].Name}
		if !seen[key] { // a template with two metrics of one name is wrong, but no reason to fail the scrape
			gauge(out, templateType, true, namespace, name, key[0], key[1])
		}
		seen[key] = true
	}
}
