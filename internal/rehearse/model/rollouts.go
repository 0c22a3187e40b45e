package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/fairway-dev/fairway/api/rollouts"
	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
)

// Unknown is something a Rollout or its analysis asks for that a rehearsal does not play.
type Unknown struct {
	Object string // "Rollout shop/web"
	What   string // what it asks for: "sends its weights to a traffic router (istio)"
	Why    string // what happens instead
	// Fails says that it makes the run differ from what the manifests mean, so that a user must hear of it before.
	Fails bool
	// Routed says that it is played for the requests that come through a gateway, and for no others.
	Routed bool
}

// Unplayed lists what of a Rollout, a template, an AnalysisRun, an Experiment or a BackendPolicy is not played, in the order it
// stands there. Objects of other kinds have nothing to say.
func Unplayed(o runtime.Object) []Unknown {
	switch o := typed(o).(type) {
	case *rollouts.Rollout:
		return unplayedRollout(o)
	case *argo.AnalysisTemplate:
		return unplayedMetrics("AnalysisTemplate", o.ObjectMeta, o.Spec.Metrics)
	case *argo.ClusterAnalysisTemplate:
		return unplayedMetrics("ClusterAnalysisTemplate", o.ObjectMeta, o.Spec.Metrics)
	case *argo.AnalysisRun:
		return unplayedMetrics("AnalysisRun", o.ObjectMeta, o.Spec.Metrics)
	case *unstructured.Unstructured:
		return unplayedProbes(o)
	}
	return nil
}

// unplayedProbes of the endpoints of a Service by the gateway.
func unplayedProbes(o *unstructured.Unstructured) []Unknown {
	if o.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: fairway.Group, Kind: "BackendPolicy"}) {
		return nil
	}
	if _, found, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "healthCheck", "active"); !found {
		return nil
	}
	return []Unknown{{Object: "BackendPolicy " + cmp.Or(o.GetNamespace(), metav1.NamespaceDefault) + "/" + o.GetName(), What: "has endpoints probed (healthCheck.active)",
		Why: "what pods answer to probes of the gateway is not modelled: requests go to all ready pods that are not ejected"}}
}

// Misread says why an object of the group of Rollouts cannot be read; "" = it can, or is of another group.
func Misread(o *unstructured.Unstructured) string {
	if !IsRollouts(o) {
		return ""
	}
	t, err := kinds().New(o.GroupVersionKind())
	if err != nil {
		return "" // another project's kind in the same group
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	if err := json.Unmarshal(data, t); err != nil {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	return ""
}

// IsRollouts tells whether an object is of the group whose controller plays updates by steps.
func IsRollouts(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == rollouts.GroupVersion.Group
}

func unplayedRollout(o *rollouts.Rollout) []Unknown {
	c := o.Spec.Strategy.Canary
	if c == nil {
		return nil
	}
	name := "Rollout " + namespaceOf(o.ObjectMeta) + "/" + o.Name
	var list []Unknown
	if c.TrafficRouting != nil {
		all := routersOf(c.TrafficRouting)
		u := Unknown{Object: name, What: fmt.Sprintf("sends its weights to a traffic router (%s)", strings.Join(all, ", ")),
			Why: "they are written and shown, but requests to a Service go to all its ready pods alike, of every revision; aim a load at the HTTPRoute or a host name to have them followed", Routed: true}
		if !slices.ContainsFunc(all, steered) {
			u.Routed, u.Why = false, "they are written and shown, but no gateway of a rehearsal reads them: requests go to all ready pods alike, of every revision"
		}
		list = append(list, u)
	}
	for i := range c.Steps {
		if p := c.Steps[i].Plugin; p != nil {
			list = append(list, Unknown{Object: name, What: fmt.Sprintf("has a step by the plugin %s (%d)", p.Name, i+1), Why: "a plugin is a program of its own, and none runs in a rehearsal: the step fails", Fails: true})
		}
	}
	return list
}

// routersOf names the traffic routers that are configured, sorted.
func routersOf(t *argo.RolloutTrafficRouting) []string {
	var list []string
	for _, r := range []struct {
		name string
		set  bool
	}{{"alb", t.ALB != nil}, {"ambassador", t.Ambassador != nil}, {"apisix", t.Apisix != nil}, {"istio", t.Istio != nil}, {"nginx", t.Nginx != nil}, {"smi", t.SMI != nil}, {"traefik", t.Traefik != nil}} {
		if r.set {
			list = append(list, r.name)
		}
	}
	for p := range t.Plugins {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

func unplayedMetrics(kind string, m metav1.ObjectMeta, metrics []argo.Metric) []Unknown {
	name := kind + " " + m.Name
	if kind != "ClusterAnalysisTemplate" {
		name = kind + " " + namespaceOf(m) + "/" + m.Name
	}
	var list []Unknown
	for i := range metrics {
		asks := asksOutside(&metrics[i].Provider)
		if asks == "" {
			continue
		}
		list = append(list, Unknown{Object: name, What: fmt.Sprintf("asks %s for its metric %q", asks, metrics[i].Name),
			Why: "nothing answers it in a rehearsal, so every measurement is an error, as with the metrics away; use a job, or drop the template", Fails: true})
	}
	return list
}

// evidence are the plugins that ask what this process has seen itself: the requests of a gateway, the lives of pods.
var evidence = []string{"fairway/gateway", "fairway/kube"}

// asksOutside is what a metric asks that is not there in a rehearsal; "" for jobs, web pages of the cluster and pages
// whose place an argument tells.
func asksOutside(p *argo.MetricProvider) string {
	switch {
	case p.Prometheus != nil:
		return "Prometheus" + at(p.Prometheus.Address)
	case p.Datadog != nil:
		return "Datadog"
	case p.NewRelic != nil:
		return "New Relic"
	case p.Wavefront != nil:
		return "Wavefront"
	case p.CloudWatch != nil:
		return "CloudWatch"
	case p.Graphite != nil:
		return "Graphite" + at(p.Graphite.Address)
	case p.Influxdb != nil:
		return "InfluxDB"
	case p.SkyWalking != nil:
		return "SkyWalking"
	case p.Kayenta != nil:
		return "Kayenta"
	case p.Web != nil:
		if outside(p.Web.URL) {
			return "the web page " + p.Web.URL
		}
	case len(p.Plugin) > 0:
		var names []string
		for n := range p.Plugin {
			if !slices.Contains(evidence, n) {
				names = append(names, n)
			}
		}
		if len(names) == 0 {
			return ""
		}
		slices.Sort(names)
		return "the plugin " + strings.Join(names, ", ")
	}
	return ""
}

func at(address string) string {
	if address == "" {
		return ""
	}
	return " at " + address
}

// outside tells whether a URL plainly leaves the cluster: its host is neither an argument nor the name of a Service.
func outside(text string) bool {
	if strings.Contains(text, "{{") {
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	host := cmp.Or(u.Hostname(), text)
	if ip := net.ParseIP(host); ip != nil {
		return !ip.IsPrivate()
	}
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	return len(parts) > 2 && parts[2] != "svc"
}
