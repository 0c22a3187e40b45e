package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// NodeStats is what one node used until an instant: what a kubelet's /metrics/resource says.
type NodeStats struct {
	Node               string
	At                 time.Time
	Started            time.Time
	CPUNanoseconds     uint64 // cumulative
	WorkingSetBytes    uint64
	Pods               []PodStats // by namespace and name
	AllocatableCPUCore float64
}

// PodStats is what one pod used.
type PodStats struct {
	Namespace, Name string
	Pod             *v1.Pod
	Containers      []ContainerStats // in spec order, sidecars first; init containers that are done are left out
}

// ContainerStats is what one container instance used since it started.
type ContainerStats struct {
	Name            string
	Started         time.Time
	Restart         int32
	CPUNanoseconds  uint64
	WorkingSetBytes uint64
}

// systemCPUMilli and systemMemoryBytes are what a node itself uses beside its pods (assumption: kubelet and runtime).
const (
	systemCPUMilli    = 20
	systemMemoryBytes = 150 << 20
)

// NodeStats evaluates the use of a node at an instant. It fails for nodes that are unknown or do not answer.
func (e *Engine) NodeStats(node string, at time.Time) (NodeStats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[node]
	if n == nil {
		return NodeStats{}, fmt.Errorf("virtual: no node %q", node)
	}
	if n.silent || n.obj == nil {
		return NodeStats{}, fmt.Errorf("virtual: node %q does not answer", node)
	}
	st := NodeStats{Node: node, At: at, Started: n.obj.CreationTimestamp.Time, WorkingSetBytes: systemMemoryBytes}
	age := max(at.Sub(st.Started), 0)
	st.CPUNanoseconds = uint64(age.Seconds()*systemCPUMilli*1e6) + n.pastCPU
	for _, r := range n.sortedRecords() {
		p := e.podStats(r, at)
		for i := range p.Containers {
			st.CPUNanoseconds += p.Containers[i].CPUNanoseconds
			st.WorkingSetBytes += p.Containers[i].WorkingSetBytes
		}
		if len(p.Containers) > 0 {
			st.Pods = append(st.Pods, p)
		}
	}
	if n.group != nil && !n.evictArmed() {
		capacity, hard := n.group.spec.Capacity[v1.ResourceMemory], n.group.spec.evictionHard()[v1.ResourceMemory]
		if capacity.Value()-int64(st.WorkingSetBytes) < nearFactor*hard.Value() {
			e.pressure(n, time.Now())
		}
	}
	return st, nil
}

func (n *nodeRecord) evictArmed() bool { return n.evict.index != 0 }

func (e *Engine) podStats(r *podRecord, at time.Time) PodStats {
	p := PodStats{Namespace: r.key.Namespace, Name: r.key.Name, Pod: r.obj}
	if r.state == nil {
		return p
	}
	for i := range r.state.Containers {
		c := &r.state.Containers[i]
		if c.Run != RunRunning || c.Started.After(at) {
			continue
		}
		u := e.usage(r, c, at)
		p.Containers = append(p.Containers, ContainerStats{Name: c.spec(r.obj).Name, Started: c.Started, Restart: c.Restarts,
			CPUNanoseconds: uint64(max(u.CPUSeconds, 0) * 1e9), WorkingSetBytes: uint64(max(u.MemoryBytes, 0))})
	}
	return p
}

// countPast keeps what an ended instance used in its node's cumulative counter, which must never fall.
func (e *Engine) countPast(n *nodeRecord, x *ExitedInstance) {
	if used := e.opts.Usage.Usage(x.Instance, x.At).CPUSeconds; used > 0 {
		n.pastCPU += uint64(used * 1e9)
	}
}

// usage asks the source, and caps the working set at the limit: beyond it the container is killed.
func (e *Engine) usage(r *podRecord, c *Container, at time.Time) Usage {
	u := e.opts.Usage.Usage(Instance{Pod: r.obj, Container: c.spec(r.obj).Name, Restart: c.Restarts, Started: c.Started, Model: &c.Model}, at)
	in := Inputs{Pod: r.obj}
	d := decider{s: r.state, in: &in, pod: r.obj}
	if limit := d.memoryLimit(c); limit > 0 {
		u.MemoryBytes = min(u.MemoryBytes, limit)
	}
	return u
}

// Nodes returns the names of the nodes the engine drives and that have joined, sorted.
func (e *Engine) Nodes() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]string, 0, len(e.byNode))
	for _, n := range e.sortedNodes() {
		if n.obj != nil {
			out = append(out, n.name)
		}
	}
	return out
}

// Recheck makes the engine ask the UsageSource again when a pod's containers cross their memory limits.
func (e *Engine) Recheck(namespace, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record(namespace, name)
	if r == nil || r.state == nil || r.node == nil || r.node.silent {
		return
	}
	now := time.Now()
	in := e.inputs(r)
	d := decider{s: r.state, in: &in, pod: r.obj}
	for i := range r.state.Containers {
		c := &r.state.Containers[i]
		if c.Run != RunRunning || c.Killing || c.ending(now) {
			continue
		}
		if c.End.Reason == reasonOOMKilled {
			c.End = c.naturalEnd()
		}
		d.limitMemory(c, now)
	}
	e.touch(r)
}
