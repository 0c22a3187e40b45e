package model

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
)

// described is the model of pods of a template, all but what entries narrowed by image say: that of their Program, then the
// entries, then the annotations of the component's own template.
func (t *Topology) described(c *component, template *corev1.PodTemplateSpec) v1alpha1.ServiceModel {
	m := v1alpha1.ServiceModel{}
	if t.programs != nil {
		if p := t.programs(c.namespace, template, server(template)); p != nil {
			m = *p.DeepCopy()
		}
	}
	t.say(c, &m)
	return m
}

// say lays what entries and annotations say of a component over a model.
func (t *Topology) say(c *component, m *v1alpha1.ServiceModel) {
	for _, e := range t.entries() {
		if e.Image == "" && t.matches(&e.Match, c) {
			merge(m, &e.ServiceModel)
		}
	}
	annotations := c.primary().template.Annotations
	for _, k := range sortedKeys(annotations) {
		if strings.HasPrefix(k, v1alpha1.SimPrefix) {
			t.annotate(c, m, strings.TrimPrefix(k, v1alpha1.SimPrefix), annotations[k])
		}
	}
}

// RevisionOf describes what is different at a pod's revision: what its Program says that is not that of the component's
// template, and what the entries narrowed by image say.
func (t *Topology) RevisionOf(service int, pod *corev1.Pod) flow.Revision {
	r := flow.Revision{CPUFactor: 1, LatencyFactor: 1}
	if service >= len(t.components) {
		return r
	}
	c := t.components[service]
	t.compare(service, pod, &r)
	cpu, latency := 1.0, 1.0
	for _, e := range t.entries() {
		if e.Image == "" || !t.matches(&e.Match, c) || !runs(&pod.Spec, e.Image) {
			continue
		}
		if e.CPUFactor != nil {
			cpu = *e.CPUFactor
		}
		if e.LatencyFactor != nil {
			latency = *e.LatencyFactor
		}
		if e.Errors != nil {
			r.Errors = float64(*e.Errors)
		}
		if e.CPU != nil && service < len(t.costs) && t.costs[service] > 0 {
			cpu, r.CPUFactor = float64(e.CPU.Duration)/float64(t.costs[service]), 1
		}
	}
	r.CPUFactor *= cpu
	r.LatencyFactor *= latency
	return r
}

func runs(spec *corev1.PodSpec, image string) bool {
	return slices.ContainsFunc(spec.Containers, func(c corev1.Container) bool { return globImage(image, c.Image) })
}

// templateOf is the template that a pod is as if made from.
func templateOf(pod *corev1.Pod) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec}
}

// compare sets in what a pod's Program makes its requests differ from those of the component's template.
func (t *Topology) compare(service int, pod *corev1.Pod, r *flow.Revision) {
	c := t.components[service]
	if t.programs == nil || !c.reached {
		return
	}
	own := t.described(c, templateOf(pod))
	differs := false
	errors := make([]float64, len(c.routes))
	for k, name := range c.routes {
		was, is := t.request(service, &c.model, name), t.request(service, &own, name)
		errors[k] = is.Errors
		differs = differs || was.Errors != is.Errors
		if k == 0 {
			r.CPUFactor = ratio(is.CPU.Seconds(), was.CPU.Seconds())
			r.LatencyFactor = ratio(beyondCPU(&is), beyondCPU(&was))
		}
	}
	if differs {
		r.RouteErrors = errors
	}
}

// ratio of a cost to what it was; 1 where there was none.
func ratio(is, was float64) float64 {
	if is == was || is <= 0 || was <= 0 {
		return 1
	}
	return is / was
}

// p99Score is the 99th percentile of the standard normal distribution.
const p99Score = 2.3263478740408408

// beyondCPU is the mean of a route's own latency beyond its CPU time, in seconds: that of the log-normal distribution with
// those percentiles.
func beyondCPU(r *flow.Route) float64 {
	if r.LatencyP50 <= 0 {
		return 0
	}
	sigma := math.Log(float64(max(r.LatencyP99, r.LatencyP50))/float64(r.LatencyP50)) / p99Score
	return max(0, r.LatencyP50.Seconds()*math.Exp(sigma*sigma/2)-r.CPU.Seconds())
}

// Unmodelled tells whether a pod's Program differs from that of the component's template in more than is modelled of one
// revision: beyond errors, and CPU time and latency by the same factor for all routes.
func (t *Topology) Unmodelled(service int, pod *corev1.Pod) bool {
	if t.programs == nil || service >= len(t.components) || !t.components[service].reached {
		return false
	}
	c := t.components[service]
	was, is := c.model, t.described(c, templateOf(pod))
	x, y := t.request(service, &is, anyRoute), t.request(service, &was, anyRoute)
	cpu, latency := ratio(x.CPU.Seconds(), y.CPU.Seconds()), ratio(beyondCPU(&x), beyondCPU(&y))
	for _, name := range c.routes {
		x, y = t.request(service, &is, name), t.request(service, &was, name)
		if !near(x.CPU.Seconds(), y.CPU.Seconds()*cpu) || !near(beyondCPU(&x), beyondCPU(&y)*latency) || !near(x.CPUScv, y.CPUScv) {
			return true
		}
	}
	return !reflect.DeepEqual(perPod(was), perPod(is))
}

func near(a, b float64) bool {
	return math.Abs(a-b) <= 1e-6*max(math.Abs(a), math.Abs(b), time.Microsecond.Seconds())
}

// perPod is a model without what is modelled of one revision or of one container.
func perPod(m v1alpha1.ServiceModel) v1alpha1.ServiceModel {
	m.RouteModel = v1alpha1.RouteModel{Calls: m.Calls}
	m.CPUFactor, m.LatencyFactor, m.Ready, m.Stop, m.Crash = nil, nil, nil, nil, nil
	routes := map[string]v1alpha1.RouteModel{}
	for name, r := range m.Routes {
		if r.Calls != nil {
			routes[name] = v1alpha1.RouteModel{Calls: r.Calls}
		}
	}
	m.Routes = routes
	return m
}
