package metrics

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// DefaultResolution is the time between two readings of a node.
	DefaultResolution = 15 * time.Second
	// LeastResolution is what kubelets themselves take between two readings.
	LeastResolution = 10 * time.Second
	// freshAge is how old a container must be for its only reading to count: its start then stands for the earlier one.
	freshAge = 10 * time.Second
	// silentResolutions is for how many resolutions a node that does not answer keeps its last readings.
	silentResolutions = 2
)

// Point is one reading of the counters of a container or a node.
type Point struct {
	At      time.Time // of the reading
	Started time.Time // of what is counted; zero when unknown
	CPU     uint64    // nanoseconds of CPU used since Started
	Memory  uint64    // bytes of the working set
}

// whole reports whether the reading can stand for use: a zero counter means that the runtime does not know yet.
func (p Point) whole() bool { return !p.At.IsZero() && p.CPU > 0 && p.Memory > 0 }

// Reading is what one node answered.
type Reading struct {
	Node Point
	Pods map[types.NamespacedName]map[string]Point // by container
}

// pair are the two readings between which a rate is taken; a zero earlier one means that there is none yet.
type pair struct{ earlier, last Point }

// nodeState is what is known of one node.
type nodeState struct {
	answered time.Time
	node     pair
	pods     map[types.NamespacedName]map[string]pair
}

// State is everything read so far. It is never changed, only replaced.
type State struct{ nodes map[string]nodeState }

// Advance takes up a round of readings: an entry for every node there is, nil for one that did not answer. Nodes that are
// not in the round are forgotten, and so are the pods a node no longer names.
func (s State) Advance(round map[string]*Reading, now time.Time, resolution time.Duration) State {
	next := State{nodes: make(map[string]nodeState, len(round))}
	for name, r := range round {
		old, known := s.nodes[name]
		switch {
		case r != nil:
			next.nodes[name] = old.take(r, now, resolution)
		case known && now.Sub(old.answered) <= silentResolutions*resolution:
			next.nodes[name] = old
		}
	}
	return next
}

func (n nodeState) take(r *Reading, now time.Time, resolution time.Duration) nodeState {
	out := nodeState{answered: now, node: n.node.take(r.Node, resolution), pods: make(map[types.NamespacedName]map[string]pair, len(r.Pods))}
	for key, containers := range r.Pods {
		if !allWhole(containers) {
			continue
		}
		pairs := make(map[string]pair, len(containers))
		for name, p := range containers {
			pairs[name] = n.pods[key][name].take(p, resolution)
		}
		out.pods[key] = pairs
	}
	return out
}

func allWhole(containers map[string]Point) bool {
	for _, p := range containers {
		if !p.whole() {
			return false
		}
	}
	return len(containers) > 0
}

// take pairs a new reading with the one before. A reading that is not newer changes nothing; one of a younger container
// than the stored one begins anew. Of something younger than fresh the start stands for the first reading.
func (p pair) take(r Point, fresh time.Duration) pair {
	if !r.At.After(p.last.At) {
		return p
	}
	age := r.At.Sub(r.Started)
	if !r.Started.IsZero() && age < fresh && age >= freshAge {
		return pair{earlier: Point{At: r.Started, Started: r.Started}, last: r}
	}
	if p.last.At.IsZero() || r.Started.After(p.last.At) {
		return pair{last: r}
	}
	return pair{earlier: p.last, last: r}
}

// Usage is what was used between two readings.
type Usage struct {
	CPU    uint64 // nanocores, the mean over Window
	Memory uint64 // bytes at At
	At     time.Time
	Window time.Duration
}

// rate is what was used between the two readings; false when they do not belong together: there is only one, or the
// counter or the start went backwards.
func (p pair) rate() (Usage, bool) {
	window := p.last.At.Sub(p.earlier.At)
	if p.earlier.At.IsZero() || window <= 0 || p.last.CPU < p.earlier.CPU || p.last.Started.Before(p.earlier.Started) || !p.last.whole() {
		return Usage{}, false
	}
	used := float64(p.last.CPU-p.earlier.CPU) / window.Seconds()
	return Usage{CPU: uint64(used), Memory: p.last.Memory, At: p.last.At, Window: window}, true
}

// PodUsage is what the containers of one pod used.
type PodUsage struct {
	Containers map[string]Usage
	At         time.Time     // the newest instant that all containers have in common
	Window     time.Duration // the interval before it
}

// Snapshot is the use of everything at one time. It is never changed.
type Snapshot struct {
	nodes map[string]Usage
	pods  map[types.NamespacedName]PodUsage
}

// Snapshot turns the readings into rates. A pod appears only when all containers its node named have a rate.
func (s State) Snapshot() *Snapshot {
	out := &Snapshot{nodes: make(map[string]Usage, len(s.nodes)), pods: map[types.NamespacedName]PodUsage{}}
	for name, n := range s.nodes {
		if u, ok := n.node.rate(); ok {
			out.nodes[name] = u
		}
		for key, pairs := range n.pods {
			if u, ok := podUsage(pairs); ok {
				out.pods[key] = u
			}
		}
	}
	return out
}

func podUsage(pairs map[string]pair) (PodUsage, bool) {
	out := PodUsage{Containers: make(map[string]Usage, len(pairs))}
	for name, p := range pairs {
		u, ok := p.rate()
		if !ok {
			return PodUsage{}, false
		}
		out.Containers[name] = u
		if out.At.IsZero() || u.At.Before(out.At) {
			out.At, out.Window = u.At, u.Window
		}
	}
	return out, len(out.Containers) > 0
}

// Node returns the use of a node.
func (s *Snapshot) Node(name string) (Usage, bool) { u, ok := s.nodes[name]; return u, ok }

// Pod returns the use of a pod.
func (s *Snapshot) Pod(key types.NamespacedName) (PodUsage, bool) { u, ok := s.pods[key]; return u, ok }

// Sizes counts the nodes and containers of the snapshot.
func (s *Snapshot) Sizes() (nodes, containers int) {
	for _, p := range s.pods {
		containers += len(p.Containers)
	}
	return len(s.nodes), containers
}
