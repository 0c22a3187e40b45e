package plugin

import (
	"context"
	"errors"
	"fmt"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
)

// Metrics are the metric provider plugins of a Host. A measurement begins with Run; while it has no FinishedAt, Resume asks for
// it again. An error is a fault of the plugin's process or configuration; what the plugin itself could not do is in the
// measurement, with phase Error.
type Metrics struct{ host *Host }

// Metrics of the host.
func (h *Host) Metrics() Metrics { return Metrics{h} }

func (m Metrics) call(ctx context.Context, name string, f func(types.RpcMetricProvider)) error {
	p, err := m.host.process(MetricProvider, name)
	if err != nil {
		return err
	}
	return p.call(ctx, func(impl any) { f(impl.(types.RpcMetricProvider)) })
}

// Run begins a measurement.
func (m Metrics) Run(ctx context.Context, plugin string, run *argo.AnalysisRun, metric argo.Metric) (out argo.Measurement, err error) {
	err = m.call(ctx, plugin, func(p types.RpcMetricProvider) { out = p.Run(run, metric) })
	return out, err
}

// Resume looks after a measurement that has begun.
func (m Metrics) Resume(ctx context.Context, plugin string, run *argo.AnalysisRun, metric argo.Metric, begun argo.Measurement) (out argo.Measurement, err error) {
	err = m.call(ctx, plugin, func(p types.RpcMetricProvider) { out = p.Resume(run, metric, begun) })
	return out, err
}

// Terminate ends a measurement before it is finished.
func (m Metrics) Terminate(ctx context.Context, plugin string, run *argo.AnalysisRun, metric argo.Metric, begun argo.Measurement) (out argo.Measurement, err error) {
	err = m.call(ctx, plugin, func(p types.RpcMetricProvider) { out = p.Terminate(run, metric, begun) })
	return out, err
}

// GarbageCollect lets the plugin forget all but the last limit measurements.
func (m Metrics) GarbageCollect(ctx context.Context, plugin string, run *argo.AnalysisRun, metric argo.Metric, limit int) error {
	var failed types.RpcError
	err := m.call(ctx, plugin, func(p types.RpcMetricProvider) { failed = p.GarbageCollect(run, metric, limit) })
	return join(err, plugin, "GarbageCollect", failed)
}

// Metadata is what the plugin wants shown with the metric.
func (m Metrics) Metadata(ctx context.Context, plugin string, metric argo.Metric) (out map[string]string, err error) {
	err = m.call(ctx, plugin, func(p types.RpcMetricProvider) { out = p.GetMetadata(metric) })
	return out, err
}

// join makes one error of a fault of the process and of what the plugin answered.
func join(err error, plugin, method string, failed types.RpcError) error {
	if failed.HasError() {
		return errors.Join(err, fmt.Errorf("plugin %s: %s: %w", plugin, method, failed))
	}
	return err
}
