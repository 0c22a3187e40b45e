package metrics

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// Source gives the use of pods and nodes as of now.
type Source interface {
	Snapshot(now time.Time) *Snapshot
}

// VirtualNodes are nodes whose counters can be computed for any instant.
type VirtualNodes interface {
	Nodes() []string
	NodeStats(node string, at time.Time) (virtual.NodeStats, error)
}

// Virtual reads virtual nodes when somebody asks; nothing runs in between. Readings lie on a grid of the resolution, as
// those of a scraper would, so that all readers of one interval see the same values.
type Virtual struct {
	nodes      VirtualNodes
	resolution time.Duration

	mu     sync.Mutex
	at     time.Time
	latest *Snapshot
}

// NewVirtual returns a source over the nodes; resolution 0 is DefaultResolution.
func NewVirtual(nodes VirtualNodes, resolution time.Duration) *Virtual {
	if resolution <= 0 {
		resolution = DefaultResolution
	}
	return &Virtual{nodes: nodes, resolution: resolution}
}

// Snapshot implements Source.
func (v *Virtual) Snapshot(now time.Time) *Snapshot {
	at := now.Truncate(v.resolution)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.latest != nil && v.at.Equal(at) {
		return v.latest
	}
	earlier := v.round(at.Add(-v.resolution))
	s := State{}.Advance(earlier, at.Add(-v.resolution), v.resolution).Advance(v.round(at), at, v.resolution)
	v.at, v.latest = at, s.Snapshot()
	return v.latest
}

func (v *Virtual) round(at time.Time) map[string]*Reading {
	names := v.nodes.Nodes()
	out := make(map[string]*Reading, len(names))
	for _, name := range names {
		out[name] = nil
		if st, err := v.nodes.NodeStats(name, at); err == nil && !at.Before(st.Started) {
			out[name] = reading(&st)
		}
	}
	return out
}

func reading(st *virtual.NodeStats) *Reading {
	r := &Reading{Node: Point{At: st.At, Started: st.Started, CPU: st.CPUNanoseconds, Memory: st.WorkingSetBytes},
		Pods: make(map[types.NamespacedName]map[string]Point, len(st.Pods))}
	for i := range st.Pods {
		p := &st.Pods[i]
		containers := make(map[string]Point, len(p.Containers))
		for _, c := range p.Containers {
			// A container that has used no time yet counts a nanosecond: a real counter is never zero once it runs.
			containers[c.Name] = Point{At: st.At, Started: c.Started, CPU: max(c.CPUNanoseconds, 1), Memory: max(c.WorkingSetBytes, 1)}
		}
		r.Pods[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = containers
	}
	return r
}
