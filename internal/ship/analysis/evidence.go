package analysis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// EvidenceWindow is the time before a measurement that a metric of evidence without a window is about.
const EvidenceWindow = time.Minute

// PodHistory is how long ago what happened to pods is still known: the longest window of KubeEvidence.
const PodHistory = time.Hour

// Metrics of KubeEvidence: counts of what happened to the pods of a revision, and seconds.
const (
	Restarts       = "restarts"        // of containers
	OOMKills       = "oom-kills"       // of containers, for want of memory
	ReadinessFlaps = "readiness-flaps" // of pods that were Ready, ran on and were not deleted
	PodStartP95    = "pod-start-p95"   // seconds from scheduled to Ready
)

// evidenceMetrics by plugin.
var evidenceMetrics = map[string][]string{
	GatewayEvidence: {"success-rate", "latency-p50", "latency-p95", "latency-p99", "rps"},
	KubeEvidence:    {Restarts, OOMKills, ReadinessFlaps, PodStartP95},
}

// EvidenceMetric is the configuration of the plugins GatewayEvidence and KubeEvidence.
type EvidenceMetric struct {
	Metric string `json:"metric"`
	// Hash is Latest (default), Stable, or a pod-template hash.
	Hash string `json:"hash"`
	// Window before the measurement; EvidenceWindow by default.
	Window argo.DurationString `json:"window"`
	// Route, Kind/namespace/name, that requests came by; "" = all. Of GatewayEvidence alone.
	Route string `json:"route"`
	// Compare with another revision. Of GatewayEvidence alone.
	Compare *Comparison `json:"compare"`
}

// Comparison of two revisions.
type Comparison struct {
	// Against is Stable (default), Latest, or a pod-template hash.
	Against string `json:"against"`
	// MaxDelta, in the metric's unit, or MaxRatio by which a revision may be worse; MaxRatio 0 = MaxDelta counts.
	MaxDelta float64 `json:"maxDelta"`
	MaxRatio float64 `json:"maxRatio"`
	// MinSamples on either side (default 100) for any verdict, and the Confidence of one (default 0.95).
	MinSamples *uint64  `json:"minSamples"`
	Confidence *float64 `json:"confidence"`
}

// ReadEvidence reads the configuration of one of Fairway's own plugins. A field that does not exist, and a value that
// makes no sense, is an error. Values that contain arguments still ({{…}}) are not looked at.
func ReadEvidence(source string, raw json.RawMessage) (*EvidenceMetric, error) {
	m := &EvidenceMetric{}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(m)
	if err == io.EOF {
		err = errors.New("it is empty: give a metric, one of " + strings.Join(evidenceMetrics[source], ", "))
	}
	if err == nil {
		err = m.check(source)
	}
	if err != nil {
		return nil, fmt.Errorf("plugin[%s]: %w", source, err)
	}
	return m, nil
}

// Span is the Window as a time.
func (m *EvidenceMetric) Span() (time.Duration, error) {
	if m.Window == "" {
		return EvidenceWindow, nil
	}
	d, err := m.Window.Duration()
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("window %q is not a positive duration such as 1m", m.Window)
	}
	return d, nil
}

func (m *EvidenceMetric) check(source string) error {
	if !argued(m.Metric) && !slices.Contains(evidenceMetrics[source], m.Metric) {
		return fmt.Errorf("metric is %q; there are %s", m.Metric, strings.Join(evidenceMetrics[source], ", "))
	}
	if !argued(string(m.Window)) {
		window, err := m.Span()
		if err != nil {
			return err
		}
		if source == KubeEvidence && window > PodHistory {
			return fmt.Errorf("window %q is longer than %s, and what was before that is not known", m.Window, PodHistory)
		}
	}
	switch c := m.Compare; {
	case source == KubeEvidence && m.Route != "":
		return errors.New("route is of requests, not of pods; leave it out")
	case c == nil:
		return nil
	case source == KubeEvidence:
		return errors.New("compare needs shares of requests, which fairway/gateway knows; leave it out and give a successCondition such as result == 0")
	case !argued(m.Metric) && m.Metric != "success-rate" && !strings.HasPrefix(m.Metric, "latency-"):
		return fmt.Errorf("compare needs shares of requests; %s is none, success-rate and latency-p50, -p95 and -p99 are", m.Metric)
	case c.MaxDelta < 0 || c.MaxRatio < 0 || c.MaxDelta > 0 && c.MaxRatio > 0:
		return errors.New("compare takes either maxDelta or maxRatio, not negative")
	case c.Confidence != nil && (*c.Confidence <= 0.5 || *c.Confidence >= 1):
		return errors.New("compare.confidence must be between 0.5 and 1, as in 0.95")
	}
	return nil
}

// argued reports whether a text has arguments in it that have no value yet.
func argued(text string) bool { return strings.Contains(text, open) }

// checkEvidence checks the configuration of a plugin that is Fairway's own.
func checkEvidence(p *argo.MetricProvider) error {
	for source := range evidenceMetrics {
		if raw, ok := p.Plugin[source]; ok {
			_, err := ReadEvidence(source, raw)
			return err
		}
	}
	return nil
}
