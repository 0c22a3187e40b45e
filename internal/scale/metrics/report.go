package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// The names are metrics-server's, so that its dashboards work.
var (
	requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "metrics_server_kubelet_request_duration_seconds",
		Help: "Duration of requests to kubelets.", Buckets: prometheus.DefBuckets}, []string{"node"})
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "metrics_server_kubelet_request_total",
		Help: "Requests to kubelets, by success."}, []string{"success"})
	tickSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "metrics_server_manager_tick_duration_seconds",
		Help: "Duration of a round of readings of all nodes.", Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 30}})
	freshness = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "metrics_server_api_metric_freshness_seconds",
		Help: "Age of the values when they are served.", Buckets: prometheus.ExponentialBuckets(1, 1.364, 20)})
	storagePoints = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "metrics_server_storage_points",
		Help: "Values held, by type."}, []string{"type"})
)

// Register makes the metrics of this package known. Registering twice does nothing.
func Register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{requestSeconds, requests, tickSeconds, freshness, storagePoints} {
		var twice prometheus.AlreadyRegisteredError
		if err := r.Register(c); err != nil && !errors.As(err, &twice) {
			return err
		}
	}
	return nil
}

func points(s *Snapshot) {
	nodes, containers := s.Sizes()
	storagePoints.WithLabelValues("node").Set(float64(nodes))
	storagePoints.WithLabelValues("container").Set(float64(containers))
}
