package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	kubeqos "k8s.io/kubernetes/pkg/kubelet/qos"
)

// A node's memory is looked at when a container starts on it, when somebody reads its statistics, when its UsageSource
// says so (CheckPressure), and every ten seconds while little is free. An idle cluster sets no timer.

// CheckPressure makes the engine look at a node's memory and disk now: for UsageSources whose values jump.
func (e *Engine) CheckPressure(node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.byNode[node]; n != nil && !n.silent && n.obj != nil {
		e.pressure(n, time.Now())
	}
}

// pressure is one pass of the node's eviction manager. The caller holds mu.
func (e *Engine) pressure(n *nodeRecord, now time.Time) {
	if n.silent || n.obj == nil || n.group == nil {
		return
	}
	memory := e.memoryUse(n, now)
	capacity := n.group.spec.Capacity[v1.ResourceMemory]
	thresholds := n.group.spec.evictionHard()
	threshold := thresholds[v1.ResourceMemory]
	used := int64(systemMemoryBytes)
	for _, p := range memory {
		used += p.Use
	}
	available := capacity.Value() - used
	if available <= 0 {
		e.systemOOM(n, memory, capacity.Value(), now)
	}
	low := available < threshold.Value()
	if low && !n.memory.On {
		e.nodeEvent(n, now, v1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim memory")
	}
	changed := n.memory.observe(low, now)
	if changed {
		n.health.MemoryPressure = n.memory.On
		e.nodeChanged(n)
	}
	if low {
		if ranked := Rank(memory); len(ranked) > 0 {
			v := ranked[0]
			message := evictionMessage(v1.ResourceMemory, threshold.Value(), available, v)
			e.evict(v.Pod, now, message)
		}
	}
	e.evictOverDisk(n, now)
	switch {
	case low || n.memory.On || available < nearFactor*threshold.Value():
		e.timers.arm(&n.evict, e.grain(now.Add(evictionPeriod)))
		e.poke()
	default:
		e.timers.arm(&n.evict, e.grain(e.growthMeets(n, available-nearFactor*threshold.Value(), now)))
	}
}

// grew has the eviction manager look soon, if the memory of the node could have become short: a full look costs as much
// as the node has containers, so starts within one period share one.
func (e *Engine) grew(n *nodeRecord, now time.Time) {
	if n.group == nil || len(n.pods) == 0 {
		return
	}
	n.starts++
	if n.starts < n.lookAfter {
		return
	}
	n.starts = 0
	e.pressure(n, now)
	n.lookAfter = len(n.pods) / 4 // a quarter more containers before the next full look
}

// evict fails a pod for want of a resource.
func (e *Engine) evict(pod *v1.Pod, now time.Time, message string) {
	if r := e.record(pod.Namespace, pod.Name); r != nil && r.state != nil && r.state.Stop == nil {
		in := e.inputs(r)
		d := decider{s: r.state, in: &in, pod: r.obj}
		d.event(now, nil, true, reasonEvicted, message)
		for i := range d.plan.Events {
			e.podEvent(r, &d.plan.Events[i])
		}
		e.failPod(r, now, reasonEvicted, message, message, 1)
	}
}

// memoryUse returns the working sets of the node's running pods.
func (e *Engine) memoryUse(n *nodeRecord, now time.Time) []PodUse {
	var out []PodUse
	for _, r := range n.sortedRecords() {
		if r.state == nil || !r.state.Ended.IsZero() {
			continue
		}
		p := PodUse{Pod: r.obj}
		for i := range r.state.Containers {
			c := &r.state.Containers[i]
			if c.Run != RunRunning {
				continue
			}
			spec := c.spec(r.obj)
			q := spec.Resources.Requests[v1.ResourceMemory]
			u := ContainerUse{Name: spec.Name, Use: e.usage(r, c, now).MemoryBytes, Request: q.Value()}
			p.Use, p.Request = p.Use+u.Use, p.Request+u.Request
			p.Containers = append(p.Containers, u)
		}
		out = append(out, p)
	}
	return out
}

// systemOOM kills the container with the highest score, as the kernel does: what it uses, shifted by its pod's class.
func (e *Engine) systemOOM(n *nodeRecord, use []PodUse, capacity int64, now time.Time) {
	best, victim, name := -1.0, (*v1.Pod)(nil), ""
	for _, p := range use {
		for _, c := range p.Containers {
			spec := containerOf(p.Pod, c.Name)
			if spec == nil {
				continue
			}
			score := float64(kubeqos.GetContainerOOMScoreAdjust(p.Pod, spec, capacity)) + 1000*float64(c.Use)/float64(capacity)
			if score > best {
				best, victim, name = score, p.Pod, c.Name
			}
		}
	}
	if victim == nil {
		return
	}
	e.nodeEvent(n, now, v1.EventTypeWarning, "SystemOOM", fmt.Sprintf("System OOM encountered, victim process: %s, pod: %s/%s", name, victim.Namespace, victim.Name))
	r := e.record(victim.Namespace, victim.Name)
	for i := range r.state.Containers {
		if c := &r.state.Containers[i]; c.Run == RunRunning && c.spec(r.obj).Name == name {
			c.End = Exit{At: now, Code: exitKilled, Reason: reasonOOMKilled}
		}
	}
	e.touch(r)
}

func containerOf(pod *v1.Pod, name string) *v1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}

// evictOverDisk evicts pods whose containers use more local storage than their limit.
func (e *Engine) evictOverDisk(n *nodeRecord, now time.Time) {
	for _, r := range n.sortedRecords() {
		if r.state == nil || r.state.Stop != nil || !r.state.Ended.IsZero() {
			continue
		}
		for i := range r.state.Containers {
			c := &r.state.Containers[i]
			limit, ok := c.spec(r.obj).Resources.Limits[v1.ResourceEphemeralStorage]
			if !ok || c.Run != RunRunning {
				continue
			}
			if used := e.usage(r, c, now).DiskBytes; used > limit.Value() {
				message := fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.spec(r.obj).Name, limit.String())
				e.failPod(r, now, reasonEvicted, message, "", 1)
			}
		}
	}
}

// Grower is a UsageSource that knows how fast working sets grow; others are looked at when they are read.
type Grower interface {
	// Growth returns the growth of an instance's working set in bytes an hour.
	Growth(i Instance, at time.Time) float64
}

// growthMeets returns when the node's containers will together have grown by room bytes; zero when they do not grow.
func (e *Engine) growthMeets(n *nodeRecord, room int64, now time.Time) time.Time {
	g, ok := e.opts.Usage.(Grower)
	if !ok {
		return time.Time{}
	}
	var rate float64
	for _, r := range n.sortedRecords() { // in order: a sum of floats depends on it
		if r.state == nil {
			continue
		}
		for i := range r.state.Containers {
			if c := &r.state.Containers[i]; c.Run == RunRunning {
				rate += g.Growth(Instance{Pod: r.obj, Container: c.spec(r.obj).Name, Restart: c.Restarts, Started: c.Started, Model: &c.Model}, now)
			}
		}
	}
	if rate <= 0 {
		return time.Time{}
	}
	hours := float64(room) / rate
	const farHours = 24 * 365
	if hours > farHours {
		return time.Time{}
	}
	return now.Add(max(time.Duration(hours*float64(time.Hour)), time.Second))
}
