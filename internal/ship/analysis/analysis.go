// Package analysis judges metrics: it merges AnalysisTemplates into runs, measures what they ask for, and says how each
// metric and the run stand. In: templates, arguments, and an AnalysisRun as it is. Out: an AnalysisRun as it should be next,
// and when to look again.
package analysis

import (
	"context"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// Templates are the templates that can be referred to, by name.
type Templates struct {
	Namespaced map[string]*argo.AnalysisTemplate
	Cluster    map[string]*argo.ClusterAnalysisTemplate
}

// Evidence answers questions about revisions from what this process has seen itself (a gateway's counters, the kubelets'
// reports), without a metrics server. A provider that needs it measures an Error when there is none.
type Evidence interface {
	// Measure answers one question about the pods with a pod-template hash over the last window.
	Measure(ctx context.Context, q Question) (Answer, error)
}

// Question of a provider for Evidence.
type Question struct {
	Source    string // "fairway/gateway" or "fairway/kube"
	Namespace string
	Rollout   string
	Metric    string // success-rate, latency-p50, latency-p95, latency-p99, rps; restarts, oom-kills, readiness-flaps, pod-start-p95
	Hash      string // of the revision that is asked about
	Against   string // of the revision it is compared with; "" = no comparison
	Route     string
	Window    time.Duration
	// MaxDelta and MaxRatio are the margin of a comparison; of a latency's, the bound that Bad and AgainstBad count the
	// slower ones of is the value of Against plus MaxDelta seconds, or times MaxRatio when that is not 0.
	MaxDelta, MaxRatio float64
}

// Answer to a Question. Counts are requests, or pods.
type Answer struct {
	Value, AgainstValue float64
	Count, AgainstCount uint64
	// Bad and AgainstBad of the counts were errors, or slower than the bound a comparison asks about.
	Bad, AgainstBad uint64
	// Message says what there is to know of Value, as that only a part of the window was seen; "" = nothing.
	Message string
}
