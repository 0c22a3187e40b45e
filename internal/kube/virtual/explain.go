package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Explanation is what the engine knows about one pod, for people who ask why.
type Explanation struct {
	Pod, Node  string
	Identity   string // what random draws are keyed by
	Phase      v1.PodPhase
	Waiting    string // the one thing the pod waits for, empty when nothing
	Next       time.Time
	Containers []ContainerExplanation
}

// ContainerExplanation is one container's part of an Explanation.
type ContainerExplanation struct {
	Name     string
	Rule     string // which rule chose what it does
	State    string
	Restarts int32
	Ends     time.Time // when the running instance will end as far as is known; zero = not by itself
}

// Explain tells why a pod is as it is.
func (e *Engine) Explain(namespace, name string) (Explanation, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record(namespace, name)
	if r == nil {
		return Explanation{}, fmt.Errorf("virtual: pod %s/%s is not bound to a node", namespace, name)
	}
	x := Explanation{Pod: namespace + "/" + name, Node: r.obj.Spec.NodeName, Phase: r.obj.Status.Phase}
	if r.node == nil || r.state == nil {
		x.Waiting = fmt.Sprintf("node %s is not one that Fairway drives", r.obj.Spec.NodeName)
		return x, nil
	}
	x.Identity = r.state.Identity
	if r.timer.index != 0 {
		x.Next = r.timer.at
	}
	switch {
	case r.node.silent:
		x.Waiting = "node " + r.node.name + " is silent: nothing is decided or written for its pods"
	case !r.state.SandboxUp && r.state.Ended.IsZero():
		x.Waiting = "volumes and network"
		if missing := (around{e, r}).missing(r.obj); missing != "" {
			x.Waiting = missing
		}
	}
	for i := range r.state.Containers {
		c := &r.state.Containers[i]
		x.Containers = append(x.Containers, ContainerExplanation{Name: c.spec(r.obj).Name, Rule: c.Model.Why, State: c.describe(),
			Restarts: c.Restarts, Ends: c.End.At})
		if x.Waiting == "" && c.Wait != "" && c.Run != RunRunning {
			x.Waiting = "container " + c.spec(r.obj).Name + ": " + c.Wait + " " + c.WaitMessage
		}
	}
	return x, nil
}

func (c *Container) describe() string {
	switch c.Run {
	case RunIdle:
		return "not begun"
	case RunPulling:
		return "waits for its image"
	case RunStarting:
		return "starting"
	case RunWaiting:
		return c.Wait
	case RunRunning:
		switch {
		case c.Killing:
			return "stopping"
		case !c.StartupDone:
			return "running, startup probe has not passed"
		case !c.Ready:
			return "running, not ready"
		}
		return "running"
	default:
		return fmt.Sprintf("ended with exit code %d (%s)", c.Exited.Code, c.Exited.Reason)
	}
}

// InstanceInfo is one machine of a node group.
type InstanceInfo struct {
	Node, Group, Zone, Type, CapacityType string
	PricePerHour                          float64 // US dollars
	Launched                              time.Time
	Registered                            bool // its Node object exists
	Silent                                bool
}

// Instances returns the machines that run now, sorted by node name: what the cloud bills.
func (e *Engine) Instances() []InstanceInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []InstanceInfo
	for _, n := range e.sortedNodes() {
		if !n.instance || n.group == nil {
			continue
		}
		g := &n.group.spec
		out = append(out, InstanceInfo{Node: n.name, Group: g.Name, Zone: n.zone, Type: g.InstanceType, CapacityType: g.CapacityType,
			PricePerHour: g.PricePerHour, Launched: n.launched, Registered: n.obj != nil, Silent: n.silent})
	}
	return out
}

// NodeDark reports whether a node's programs have stopped with it: nothing on it answers. A node whose kubelet alone is
// silent is not dark.
func (e *Engine) NodeDark(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[name]
	return n != nil && n.dark
}

// PodNet returns the address and node of a running pod, and whether its programs serve now.
func (e *Engine) PodNet(namespace, name string) (ip, node string, serving bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record(namespace, name)
	if r == nil || r.state == nil || r.node == nil {
		return "", "", false
	}
	return r.state.IP, r.node.name, !r.node.dark && r.state.running() > 0
}
