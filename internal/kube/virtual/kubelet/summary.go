package kubelet

import (
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// rateWindow is the time over which usageNanoCores is measured, as cAdvisor's housekeeping interval.
const rateWindow = 10 * time.Second

// summary answers /stats/summary. Rates come from evaluating the counters at two instants; nothing samples.
func (s *Server) summary(w http.ResponseWriter, _ *http.Request, node *corev1.Node) {
	now := time.Now()
	current, err := s.opts.Stats(node.Name, now)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	before, err := s.opts.Stats(node.Name, now.Add(-rateWindow))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, summarize(node, &current, &before))
}

// summarize builds a summary from the counters at two instants.
func summarize(node *corev1.Node, now, before *virtual.NodeStats) *stats.Summary {
	at := metav1.NewTime(now.At)
	available := uint64(max(node.Status.Capacity.Memory().Value()-int64(now.WorkingSetBytes), 0))
	out := &stats.Summary{Node: stats.NodeStats{
		NodeName:  node.Name,
		StartTime: metav1.NewTime(now.Started),
		CPU:       cpuStats(at, now.CPUNanoseconds, before.CPUNanoseconds, now.At.Sub(before.At)),
		Memory:    memoryStats(at, now.WorkingSetBytes),
	}, Pods: []stats.PodStats{}}
	out.Node.Memory.AvailableBytes = &available
	past := map[[3]string]*virtual.ContainerStats{}
	for i := range before.Pods {
		p := &before.Pods[i]
		for j := range p.Containers {
			past[[3]string{p.Namespace, p.Name, p.Containers[j].Name}] = &p.Containers[j]
		}
	}
	for i := range now.Pods {
		out.Pods = append(out.Pods, podStats(&now.Pods[i], past, at, now.At, before.At))
	}
	return out
}

func podStats(p *virtual.PodStats, past map[[3]string]*virtual.ContainerStats, stamp metav1.Time, now, before time.Time) stats.PodStats {
	out := stats.PodStats{PodRef: stats.PodReference{Namespace: p.Namespace, Name: p.Name}}
	if p.Pod != nil {
		out.PodRef.UID = string(p.Pod.UID)
		if p.Pod.Status.StartTime != nil {
			out.StartTime = *p.Pod.Status.StartTime
		}
	}
	var cpu, rate, memory uint64
	for i := range p.Containers {
		c := &p.Containers[i]
		earlier, over := uint64(0), now.Sub(c.Started)
		if old := past[[3]string{p.Namespace, p.Name, c.Name}]; old != nil && old.Restart == c.Restart {
			earlier, over = old.CPUNanoseconds, now.Sub(before)
		}
		use := cpuStats(stamp, c.CPUNanoseconds, earlier, over)
		out.Containers = append(out.Containers, stats.ContainerStats{
			Name: c.Name, StartTime: metav1.NewTime(c.Started), CPU: use, Memory: memoryStats(stamp, c.WorkingSetBytes)})
		cpu += c.CPUNanoseconds
		rate += *use.UsageNanoCores
		memory += c.WorkingSetBytes
	}
	out.CPU = &stats.CPUStats{Time: stamp, UsageCoreNanoSeconds: &cpu, UsageNanoCores: &rate}
	out.Memory = memoryStats(stamp, memory)
	return out
}

func cpuStats(at metav1.Time, now, before uint64, over time.Duration) *stats.CPUStats {
	rate := uint64(0)
	if now > before && over > 0 {
		rate = uint64(float64(now-before) / over.Seconds())
	}
	return &stats.CPUStats{Time: at, UsageCoreNanoSeconds: &now, UsageNanoCores: &rate}
}

func memoryStats(at metav1.Time, workingSet uint64) *stats.MemoryStats {
	return &stats.MemoryStats{Time: at, WorkingSetBytes: &workingSet, UsageBytes: &workingSet, RSSBytes: &workingSet}
}
