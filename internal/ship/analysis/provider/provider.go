// Package provider measures metrics: it asks Prometheus, web servers, vendors' APIs and this process's own evidence for
// values. In: a metric with its arguments in place. Out: a value for the metric's conditions. Field names and defaults are
// those of Argo Rollouts; the vendors' APIs are spoken as their documentation has them, without their SDKs. Whoever makes
// the providers hands in the dialer, so that the names of pods and Services mean the same as everywhere in the process.
package provider

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/analysis/sigv4"
)

// PrometheusAddressVariable names the environment variable with the address of Prometheus for metrics that give none.
const PrometheusAddressVariable = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"

// Config is what providers need.
type Config struct {
	// Dial connects; nil = as the operating system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy for a request; nil = none. Outside of rehearsals http.ProxyFromEnvironment is meant.
	Proxy func(*http.Request) (*url.URL, error)
	// Getenv reads the environment; nil = os.Getenv.
	Getenv func(string) string
	// PrometheusAddress of a store in this process, for metrics that give none where the environment gives none either.
	PrometheusAddress string
	// Secret reads a Secret. Vendors' keys are in Secrets of Namespace, that of the controller.
	Secret    analysis.SecretReader
	Namespace string
	// Evidence of this process; nil = none, and what asks for it measures an Error.
	Evidence analysis.Evidence
	// Revisions finds the Rollout that a run belongs to: RevisionsOf makes it.
	Revisions func(ctx context.Context, run *argo.AnalysisRun) (Revisions, error)
}

// Revisions of the Rollout that a run judges.
type Revisions struct {
	Rollout        string
	Stable, Latest string // pod-template hashes
}

// All makes the providers, by analysis.Kind; those of evidence by the name of their plugin.
func All(c Config) map[string]analysis.Provider {
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	web := newClients(c)
	aws := &sigv4.Source{Getenv: c.Getenv, Do: web.secure.Do}
	return map[string]analysis.Provider{
		analysis.Prometheus:      prometheus{web, aws, c.Getenv(PrometheusAddressVariable), c.PrometheusAddress},
		analysis.Web:             webMetric{web},
		analysis.Datadog:         datadog{web, c},
		analysis.NewRelic:        newRelic{web, c},
		analysis.CloudWatch:      cloudWatch{web, aws},
		analysis.Graphite:        graphite{web},
		analysis.GatewayEvidence: evidence{c, analysis.GatewayEvidence},
		analysis.KubeEvidence:    evidence{c, analysis.KubeEvidence},
	}
}
