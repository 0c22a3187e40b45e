package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// Kinds of providers, by the names that the peer's metrics give them.
const (
	Prometheus = "Prometheus"
	Web        = "Web"
	Job        = "Job"
	Datadog    = "Datadog"
	NewRelic   = "NewRelic"
	CloudWatch = "CloudWatch"
	Graphite   = "Graphite"
	Plugin     = "RPCPlugin"
	Unknown    = "Unknown Provider"
)

// Plugins that Fairway answers itself, from Evidence.
const (
	GatewayEvidence = "fairway/gateway"
	KubeEvidence    = "fairway/kube"
)

// refused are the peer's providers that Fairway does not have, by the name of their field.
var refused = map[string]string{"kayenta": "Kayenta", "wavefront": "Wavefront", "influxdb": "Influxdb", "skywalking": "skywalking"}

// fields lists the providers that a metric configures, by the name of their field, plugins one by one as "plugin[NAME]".
func fields(p *argo.MetricProvider) []string {
	var out []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"prometheus", p.Prometheus != nil}, {"job", p.Job != nil}, {"kayenta", p.Kayenta != nil}, {"web", p.Web != nil},
		{"datadog", p.Datadog != nil}, {"wavefront", p.Wavefront != nil}, {"newRelic", p.NewRelic != nil},
		{"graphite", p.Graphite != nil}, {"cloudWatch", p.CloudWatch != nil}, {"influxdb", p.Influxdb != nil}, {"skywalking", p.SkyWalking != nil},
	} {
		if f.set {
			out = append(out, f.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Plugin)) {
		out = append(out, "plugin["+name+"]")
	}
	return out
}

// Kind names the provider of a metric as the peer's metrics do.
func Kind(m *argo.Metric) string {
	first := fields(&m.Provider)
	if len(first) == 0 {
		return Unknown
	}
	known := map[string]string{"prometheus": Prometheus, "job": Job, "web": Web, "datadog": Datadog, "newRelic": NewRelic,
		"graphite": Graphite, "cloudWatch": CloudWatch}
	if k := known[first[0]]; k != "" {
		return k
	}
	if k := refused[first[0]]; k != "" {
		return k
	}
	return Plugin
}

// Supported returns an error that names the provider when Fairway cannot measure the metric because it does not have it.
// Whether an external plugin is configured is not known here.
func Supported(m *argo.Metric) error {
	for _, f := range fields(&m.Provider) {
		if refused[f] != "" {
			return fmt.Errorf("metric %q: Fairway does not have the provider %s; use prometheus, web, job, datadog, newRelic, cloudWatch, graphite or a plugin", m.Name, f)
		}
		if name := pluginName(f); strings.HasPrefix(name, "fairway/") && name != GatewayEvidence && name != KubeEvidence {
			return fmt.Errorf("metric %q: there is no plugin %q; Fairway's own are %s and %s", m.Name, name, GatewayEvidence, KubeEvidence)
		}
	}
	return nil
}

func pluginName(field string) string {
	name, ok := strings.CutPrefix(field, "plugin[")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(name, "]")
}
