package gateway

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/proxy"
)

// durationBuckets of requests, in seconds: 1 ms to 30 s.
var durationBuckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// counters hear of each request: they are its metrics, and the evidence of its revision.
type counters struct {
	evidence *evidence.Store

	requests           *prometheus.CounterVec
	duration, upstream *prometheus.HistogramVec
	retries, mirrors   *prometheus.CounterVec
	probes             *prometheus.CounterVec
	unhealthy          *prometheus.GaugeVec
	configVersion      prometheus.Gauge
	staleRoutes        prometheus.Gauge
	apply              prometheus.Histogram

	quick   atomic.Pointer[sync.Map] // quickKey → *series, of the Config in force
	current uint64                   // its version

	mu     sync.Mutex
	series map[labels]*series
}

// labels of a series; no host, path or pod is among them.
type labels struct{ gateway, namespace, route, backend, revision, class, protocol string }

func (l labels) values() []string {
	return []string{l.gateway, l.namespace, l.route, l.backend, l.revision, l.class, l.protocol}
}

// quickKey finds the series of a request without making strings.
type quickKey struct {
	gateway  config.Name
	rule     *config.Rule
	backend  *config.Backend
	revision string
	class    int
	protocol string
}

type series struct {
	labels   labels
	key      evidence.Key
	requests prometheus.Counter
	duration prometheus.Observer
	upstream prometheus.Observer
	evidence atomic.Pointer[evidence.Series]
	used     atomic.Int64 // Unix seconds
}

var requestLabels = []string{"gateway", "route_ns", "route", "backend", "revision", "code_class", "proto"}

func newCounters(e *evidence.Store) *counters {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: durationBuckets}, labels)
	}
	c := &counters{
		evidence: e, series: map[labels]*series{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_gateway_requests_total",
			Help: "Requests that ended. revision is the hash of the pod template; code_class 2xx … 5xx, or client for clients that had gone."}, requestLabels),
		duration:      histogram("fairway_gateway_request_duration_seconds", "From the head of a request to the end of its response.", requestLabels...),
		upstream:      histogram("fairway_gateway_upstream_duration_seconds", "From sending a try to the head of its response.", requestLabels...),
		retries:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_gateway_retries_total", Help: "Tries that were followed by another, by why."}, []string{"reason"}),
		mirrors:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_gateway_mirror_requests_total", Help: "Mirrored requests, whose answers nobody sees."}, []string{"backend", "code_class"}),
		probes:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairway_gateway_health_probes_total", Help: "Probes of endpoints, by whether the answer was good or bad."}, []string{"backend", "port", "result"}),
		unhealthy:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairway_gateway_unhealthy_endpoints", Help: "Endpoints that get no requests because their probes fail, as long as enough others are healthy."}, []string{"backend", "port"}),
		configVersion: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_gateway_config_version", Help: "Of what is served; it grows with each change."}),
		staleRoutes:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairway_gateway_stale_routes", Help: "Routes served in their last good version because the present one is not valid."}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "fairway_gateway_config_apply_seconds", Help: "Time to put a compiled configuration in force.",
			Buckets: []float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1}}),
	}
	c.quick.Store(&sync.Map{})
	return c
}

// NewObserver is what the capability counts requests with, metrics and evidence, for measuring what that costs.
func NewObserver(e *evidence.Store) proxy.Observer { return newCounters(e) }

// Collectors of the metrics.
func (c *counters) collectors() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.duration, c.upstream, c.retries, c.mirrors, c.probes, c.unhealthy, c.configVersion, c.staleRoutes, c.apply}
}

// version of the Config in force. Rules and backends of another one are others. Only the loop calls it.
func (c *counters) version(v uint64, stale int) {
	c.staleRoutes.Set(float64(stale))
	if v == c.current {
		return
	}
	c.current = v
	c.configVersion.Set(float64(v))
	c.quick.Store(&sync.Map{})
}

func (c *counters) applied(took time.Duration) { c.apply.Observe(took.Seconds()) }

// Observe implements proxy.Observer.
func (c *counters) Observe(r *proxy.Record) {
	class := r.Status / 100
	if r.Reason == proxy.ClientGone {
		class = 0
	}
	switch {
	case r.Mirror:
		backend := ""
		if r.Backend != nil {
			backend = r.Backend.Key.Name.String()
		}
		c.mirrors.WithLabelValues(backend, classes[class%len(classes)]).Inc()
		return
	case r.Retried:
		c.retries.WithLabelValues(string(r.Reason)).Inc()
		return
	}
	k := quickKey{gateway: r.Gateway, rule: r.Rule, backend: r.Backend, class: class, protocol: r.Protocol}
	if r.Endpoint != nil {
		k.revision = r.Endpoint.Revision
	}
	var s *series
	if found, ok := c.quick.Load().Load(k); ok {
		s = found.(*series)
	} else {
		s = c.find(k)
	}
	now := r.Began.Add(r.Latency)
	s.used.Store(now.Unix())
	s.requests.Inc()
	s.duration.Observe(r.Latency.Seconds())
	if r.Endpoint != nil {
		s.upstream.Observe(r.Upstream.Seconds())
	}
	if k.revision == "" || r.Reason == proxy.ClientGone {
		return
	}
	one := s.evidence.Load()
	for range 2 { // it may have been forgotten meanwhile
		if one != nil && one.Add(r.Latency, r.Status >= 500, now) {
			return
		}
		one = c.evidence.Series(s.key)
		s.evidence.Store(one)
	}
}

// Probed implements proxy.ProbeObserver.
func (c *counters) Probed(backend config.BackendKey, good bool, unhealthy int) {
	name, port := probeLabels(backend)
	result := "bad"
	if good {
		result = "good"
	}
	c.probes.WithLabelValues(name, port, result).Inc()
	c.unhealthy.WithLabelValues(name, port).Set(float64(unhealthy))
}

// NotProbed implements proxy.ProbeObserver.
func (c *counters) NotProbed(backend config.BackendKey) {
	name, port := probeLabels(backend)
	for _, result := range []string{"good", "bad"} {
		c.probes.DeleteLabelValues(name, port, result)
	}
	c.unhealthy.DeleteLabelValues(name, port)
}

// probeLabels tell subsets of a Service apart.
func probeLabels(k config.BackendKey) (name, port string) {
	name = k.Name.String()
	if k.Subset != "" {
		name += "/" + k.Subset
	}
	return name, strconv.Itoa(int(k.Port))
}

// classes of answers by their first digit; requests whose client had gone have 0.
var classes = [...]string{"client", "1xx", "2xx", "3xx", "4xx", "5xx"}

// find makes the series of a request that is the first of its kind since the Config came in force.
func (c *counters) find(k quickKey) *series {
	l := labels{gateway: k.gateway.String(), revision: k.revision, class: classes[k.class%len(classes)], protocol: k.protocol}
	key := evidence.Key{Revision: k.revision}
	if k.rule != nil {
		l.namespace, l.route = k.rule.Key.Name.Namespace, k.rule.Key.Kind+"/"+k.rule.Key.Name.Name
		key.Route = k.rule.Key.Kind + "/" + k.rule.Key.Name.String()
	}
	if k.backend != nil {
		l.backend = k.backend.Key.Name.String()
		key.Namespace = k.backend.Key.Name.Namespace
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.series[l]
	if s == nil {
		v := l.values()
		s = &series{labels: l, key: key, requests: c.requests.WithLabelValues(v...), duration: c.duration.WithLabelValues(v...), upstream: c.upstream.WithLabelValues(v...)}
		c.series[l] = s
	}
	c.quick.Load().Store(k, s)
	return s
}

// forget the series of revisions that had no request for as long as evidence is kept.
func (c *counters) forget(now time.Time) {
	oldest := now.Add(-evidence.Depth).Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.series)
	for l, s := range c.series {
		if l.revision == "" || s.used.Load() >= oldest {
			continue
		}
		v := l.values()
		c.requests.DeleteLabelValues(v...)
		c.duration.DeleteLabelValues(v...)
		c.upstream.DeleteLabelValues(v...)
		delete(c.series, l)
	}
	if len(c.series) < before {
		c.quick.Store(&sync.Map{})
	}
}
