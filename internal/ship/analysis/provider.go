package analysis

import (
	"context"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// Provider asks one kind of outside world for a value. It must end when ctx does.
type Provider interface {
	Measure(ctx context.Context, r Request) (Reading, error)
}

// Request for a measurement.
type Request struct {
	Run    *argo.AnalysisRun // not to be changed
	Metric *argo.Metric      // with all arguments in place, those of Secrets too
}

// Reading is what a Provider found.
type Reading struct {
	// Result is what the conditions of the metric are held against.
	Result any
	// Value is Result as people read it.
	Value string
	// Metadata of the measurement, such as warnings.
	Metadata map[string]string
	// Phase is set by providers that judge themselves; the conditions are not evaluated then. Message says why.
	Phase   argo.AnalysisPhase
	Message string
}

// External are metric providers that run as programs of their own. A plugin's measurement may take long: Run begins one,
// and Resume looks after it until its FinishedAt is set, at its ResumeAt.
type External interface {
	Run(ctx context.Context, plugin string, run *argo.AnalysisRun, m argo.Metric) (argo.Measurement, error)
	Resume(ctx context.Context, plugin string, run *argo.AnalysisRun, m argo.Metric, begun argo.Measurement) (argo.Measurement, error)
	Terminate(ctx context.Context, plugin string, run *argo.AnalysisRun, m argo.Metric, begun argo.Measurement) (argo.Measurement, error)
	// GarbageCollect lets the plugin forget all but the last limit measurements.
	GarbageCollect(ctx context.Context, plugin string, run *argo.AnalysisRun, m argo.Metric, limit int) error
	// Metadata is what the plugin wants shown with the metric.
	Metadata(ctx context.Context, plugin string, m argo.Metric) (map[string]string, error)
}

// aboutMetric is what is shown with a metric: the query as it was asked.
func aboutMetric(m *argo.Metric) map[string]string {
	switch p := m.Provider; {
	case p.Prometheus != nil && p.Prometheus.Query != "":
		return map[string]string{"ResolvedPrometheusQuery": p.Prometheus.Query}
	case p.NewRelic != nil && p.NewRelic.Query != "":
		return map[string]string{"ResolvedNewRelicQuery": p.NewRelic.Query}
	}
	return nil
}
