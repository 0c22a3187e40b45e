package kubelet

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// exposition writes metrics in Prometheus' text format, family by family.
type exposition struct {
	buf   bytes.Buffer
	stamp string // " <milliseconds>" behind each sample, or ""
}

// family begins a metric of a kind: counter or gauge.
func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(&e.buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value; labels are pairs of name and value, in alphabetical order of names.
func (e *exposition) sample(name string, value float64, labels ...string) {
	e.buf.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		e.buf.WriteByte(",{"[b2i(i == 0)])
		e.buf.WriteString(labels[i])
		e.buf.WriteString(`="`)
		_, _ = labelEscape.WriteString(&e.buf, labels[i+1])
		e.buf.WriteByte('"')
	}
	if len(labels) > 0 {
		e.buf.WriteByte('}')
	}
	e.buf.WriteByte(' ')
	e.buf.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	e.buf.WriteString(e.stamp)
	e.buf.WriteByte('\n')
}

var labelEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (e *exposition) answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(e.buf.Bytes())
}

func seconds(nanoseconds uint64) float64 { return float64(nanoseconds) / 1e9 }

// instant is a time in seconds since the epoch.
func instant(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// forContainers writes one family with a sample a container.
func (e *exposition) forContainers(n *virtual.NodeStats, name, kind, help string,
	value func(*virtual.PodStats, *virtual.ContainerStats) (float64, bool), labels func(*virtual.PodStats, *virtual.ContainerStats) []string) {
	e.family(name, kind, help)
	for i := range n.Pods {
		p := &n.Pods[i]
		for j := range p.Containers {
			if v, ok := value(p, &p.Containers[j]); ok {
				e.sample(name, v, labels(p, &p.Containers[j])...)
			}
		}
	}
}

func (s *Server) stats(w http.ResponseWriter, node *corev1.Node) (virtual.NodeStats, *exposition, bool) {
	now := time.Now()
	n, err := s.opts.Stats(node.Name, now)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return n, nil, false
	}
	return n, &exposition{stamp: " " + strconv.FormatInt(now.UnixMilli(), 10)}, true
}

// metricsResource answers /metrics/resource: what metrics-server reads.
func (s *Server) metricsResource(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	n, e, ok := s.stats(w, node)
	if !ok {
		return
	}
	labels := func(p *virtual.PodStats, c *virtual.ContainerStats) []string {
		return []string{"container", c.Name, "namespace", p.Namespace, "pod", p.Name}
	}
	e.forContainers(&n, "container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
		func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
			return seconds(c.CPUNanoseconds), true
		}, labels)
	e.forContainers(&n, "container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes",
		func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
			return float64(c.WorkingSetBytes), true
		}, labels)
	e.forContainers(&n, "container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch in seconds",
		func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) { return instant(c.Started), true }, labels)
	e.family("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds")
	e.sample("node_cpu_usage_seconds_total", seconds(n.CPUNanoseconds))
	e.family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes")
	e.sample("node_memory_working_set_bytes", float64(n.WorkingSetBytes))
	for _, total := range []struct {
		name, kind, help string
		value            func(*virtual.ContainerStats) float64
	}{
		{"pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
			func(c *virtual.ContainerStats) float64 { return seconds(c.CPUNanoseconds) }},
		{"pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes",
			func(c *virtual.ContainerStats) float64 { return float64(c.WorkingSetBytes) }},
	} {
		e.family(total.name, total.kind, total.help)
		for i := range n.Pods {
			sum := 0.0
			for j := range n.Pods[i].Containers {
				sum += total.value(&n.Pods[i].Containers[j])
			}
			e.sample(total.name, sum, "namespace", n.Pods[i].Namespace, "pod", n.Pods[i].Name)
		}
	}
	e.stamp = ""
	e.family("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise")
	e.sample("resource_scrape_error", 0)
	e.answer(w)
}

// cfsPeriod is the scheduling period against which CPU limits are enforced.
const cfsPeriod = 100 * time.Millisecond

// metricsCadvisor answers /metrics/cadvisor with what a model knows: CPU, memory and limits. Nothing is throttled by
// the model itself, and nothing goes through a network interface.
func (s *Server) metricsCadvisor(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	n, e, ok := s.stats(w, node)
	if !ok {
		return
	}
	type value = func(*virtual.PodStats, *virtual.ContainerStats) (float64, bool)
	labels := func(p *virtual.PodStats, c *virtual.ContainerStats) []string { return cadvisorLabels(p, c) }
	limit := func(resource corev1.ResourceName, scale float64) value {
		return func(p *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
			q, has := limitOf(p, c.Name, resource)
			return q * scale, has
		}
	}
	memory := func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
		return float64(c.WorkingSetBytes), true
	}
	periods := func(p *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
		_, limited := limitOf(p, c.Name, corev1.ResourceCPU)
		return float64(n.At.Sub(c.Started) / cfsPeriod), limited
	}
	none := func(p *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
		_, limited := limitOf(p, c.Name, corev1.ResourceCPU)
		return 0, limited
	}
	for _, f := range []struct {
		name, kind, help string
		value            value
	}{
		{"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.",
			func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) {
				return seconds(c.CPUNanoseconds), true
			}},
		{"container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", periods},
		{"container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", none},
		{"container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.", none},
		{"container_memory_working_set_bytes", "gauge", "Current working set in bytes.", memory},
		{"container_memory_rss", "gauge", "Size of RSS in bytes.", memory},
		{"container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed", memory},
		{"container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", limit(corev1.ResourceMemory, 1)},
		{"container_spec_cpu_quota", "gauge", "CPU quota of the container.", limit(corev1.ResourceCPU, float64(cfsPeriod/time.Microsecond))},
		{"container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.",
			func(_ *virtual.PodStats, c *virtual.ContainerStats) (float64, bool) { return instant(c.Started), true }},
	} {
		e.forContainers(&n, f.name, f.kind, f.help, f.value, labels)
	}
	for _, name := range []string{"container_network_receive_bytes_total", "container_network_transmit_bytes_total"} {
		e.family(name, "counter", "Cumulative count of bytes over the pod's network interface.")
		for i := range n.Pods {
			e.sample(name, 0, "interface", "eth0", "namespace", n.Pods[i].Namespace, "pod", n.Pods[i].Name)
		}
	}
	e.stamp = ""
	e.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.")
	e.sample("machine_cpu_cores", node.Status.Capacity.Cpu().AsApproximateFloat64())
	e.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.")
	e.sample("machine_memory_bytes", node.Status.Capacity.Memory().AsApproximateFloat64())
	e.answer(w)
}

func cadvisorLabels(p *virtual.PodStats, c *virtual.ContainerStats) []string {
	id, image := "", ""
	if p.Pod != nil {
		if status := containerStatus(p.Pod, c.Name); status != nil {
			_, id, _ = strings.Cut(status.ContainerID, "://")
		}
		if spec := containerSpec(p.Pod, c.Name); spec != nil {
			image = spec.Image
		}
	}
	return []string{"container", c.Name, "id", id, "image", image, "name", id, "namespace", p.Namespace, "pod", p.Name}
}

func limitOf(p *virtual.PodStats, container string, resource corev1.ResourceName) (float64, bool) {
	if p.Pod == nil {
		return 0, false
	}
	spec := containerSpec(p.Pod, container)
	if spec == nil {
		return 0, false
	}
	q, ok := spec.Resources.Limits[resource]
	return q.AsApproximateFloat64(), ok
}

// metrics answers /metrics with the kubelet's own figures.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	pods := 0
	states := map[string]int{"created": 0, "exited": 0, "running": 0}
	for _, p := range s.opts.Pods(node.Name) {
		runs := false
		for i := range p.Status.ContainerStatuses {
			switch st := &p.Status.ContainerStatuses[i].State; {
			case st.Running != nil:
				states["running"]++
				runs = true
			case st.Terminated != nil:
				states["exited"]++
			}
		}
		pods += b2i(runs)
	}
	e := &exposition{}
	e.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.")
	e.sample("kubelet_node_name", 1, "node", node.Name)
	e.family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox")
	e.sample("kubelet_running_pods", float64(pods))
	e.family("kubelet_running_containers", "gauge", "[BETA] Number of containers currently running")
	for _, state := range []string{"created", "exited", "running"} {
		e.sample("kubelet_running_containers", float64(states[state]), "container_state", state)
	}
	e.answer(w)
}

// metricsProbes answers /metrics/probes. Probes of models are computed, not carried out: there is nothing to count.
func (s *Server) metricsProbes(w http.ResponseWriter, _ *http.Request, _ *corev1.Node) {
	e := &exposition{}
	e.family("prober_probe_total", "counter", "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.")
	e.answer(w)
}
