package virtual

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// CrashMode says what happens to a node.
type CrashMode string

const (
	// CrashStop loses the instance: programs stop, the cloud model deletes the Node once it is not Ready, and the group
	// launches another instance.
	CrashStop CrashMode = "stop"
	// CrashReboot silences the node for a while; it returns with a new boot ID and all containers restarted.
	CrashReboot CrashMode = "reboot"
	// CrashHang silences the node until it is healed; its programs stop serving.
	CrashHang CrashMode = "hang"
	// CrashKubelet silences the kubelet alone: programs serve on, nothing starts.
	CrashKubelet CrashMode = "kubelet"
)

const (
	// defaultReboot is how long a rebooting node is silent.
	defaultReboot = 60 * time.Second
	// cloudCheck is how often the cloud's node controller looks for nodes whose instance is gone.
	cloudCheck = 5 * time.Second
	// exitUnknown is what a runtime reports for containers it lost in a reboot.
	exitUnknown     = 255
	reasonUnknown   = "Unknown"
	reasonShutdown  = "Terminated"
	messageShutdown = "Pod was terminated in response to imminent node shutdown."
)

// CrashNode makes a node fail. back is when a rebooted or hanging node returns (0: 60 s for a reboot, never for a hang),
// or when the instance that replaces a lost one joins (0: the group's join time).
func (e *Engine) CrashNode(name string, mode CrashMode, back time.Duration) error {
	return e.onNode(name, func(n *nodeRecord, now time.Time) error {
		e.nodeEvent(n, now, v1.EventTypeWarning, "NodeCrash", fmt.Sprintf("Simulated %s of node %s", mode, n.name))
		switch mode {
		case CrashStop:
			e.loseInstance(n, now, back)
		case CrashReboot:
			if back <= 0 {
				back = defaultReboot
			}
			e.silence(n, now, true)
			n.backAt(e, now.Add(back), func(now time.Time) { e.reboot(n, now) })
		case CrashHang, CrashKubelet:
			e.silence(n, now, mode == CrashHang)
			if back > 0 {
				n.backAt(e, now.Add(back), func(now time.Time) { e.revive(n, now) })
			}
		default:
			return fmt.Errorf("virtual: crash mode %q is not known; use stop, reboot, hang or kubelet", mode)
		}
		return nil
	})
}

// NotReady makes a node report Ready False with the message; its pods keep running. Heal ends it.
func (e *Engine) NotReady(name, message string) error {
	return e.onNode(name, func(n *nodeRecord, now time.Time) error {
		n.health.Ready, n.health.Message = false, message
		e.watch(true, now)
		e.nodeChanged(n)
		e.nodeEvent(n, now, v1.EventTypeNormal, "NodeNotReady", "Node "+n.name+" status is now: NodeNotReady")
		return nil
	})
}

// Heal ends a hang, a kubelet outage or NotReady of a node.
func (e *Engine) Heal(name string) error {
	return e.onNode(name, func(n *nodeRecord, now time.Time) error {
		e.revive(n, now)
		return nil
	})
}

// ZoneOutage takes a zone away: with power, its instances are lost; without (a network partition), they hang. Either
// way nothing launches there until HealZone.
func (e *Engine) ZoneOutage(zone string, power bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.zonesOut[zone] = true
	hit := 0
	for _, n := range e.sortedNodes() {
		if n.zone != zone || !n.instance {
			continue
		}
		hit++
		e.nodeEvent(n, now, v1.EventTypeWarning, "ZoneOutage", "Simulated outage of zone "+zone)
		if power || n.obj == nil { // what is still joining is given up either way
			e.loseInstance(n, now, 0)
		} else {
			e.silence(n, now, true)
		}
	}
	if hit == 0 {
		return fmt.Errorf("virtual: no node runs in zone %q; zones are %v", zone, e.zones())
	}
	return nil
}

// HealZone ends an outage: hanging nodes return, and groups launch what they lack.
func (e *Engine) HealZone(zone string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.zonesOut[zone] {
		return fmt.Errorf("virtual: zone %q is not out", zone)
	}
	now := time.Now()
	delete(e.zonesOut, zone)
	for _, n := range e.sortedNodes() {
		if n.zone == zone && n.instance && n.silent {
			e.revive(n, now)
		}
	}
	for _, g := range e.groups {
		e.fill(g, now, false)
	}
	return nil
}

// NoCapacity makes launches of a group in a zone (empty = everywhere) fail until it is called with off.
func (e *Engine) NoCapacity(group, zone string, off bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.group(group)
	if g == nil {
		return fmt.Errorf("virtual: no node group %q; there are %v", group, e.groupNames())
	}
	if g.dry == nil {
		g.dry = map[string]bool{}
	}
	g.dry[zone] = !off
	if off {
		e.fill(g, time.Now(), false)
	}
	return nil
}

// SpotReclaim announces the end of an instance and takes it away after the notice. With the group's
// ShutdownGracePeriod, the node shuts down gracefully just before.
func (e *Engine) SpotReclaim(name string, notice time.Duration) error {
	return e.onNode(name, func(n *nodeRecord, now time.Time) error {
		e.nodeEvent(n, now, v1.EventTypeWarning, "SpotInterruption", fmt.Sprintf("Instance of node %s will be reclaimed in %v", n.name, notice))
		end := now.Add(notice)
		var grace time.Duration
		if n.group != nil {
			grace = min(n.group.spec.ShutdownGracePeriod, notice)
		}
		if grace <= 0 {
			n.at(e, end, func(now time.Time) { e.loseInstance(n, now, 0) })
			return nil
		}
		n.at(e, end.Add(-grace), func(now time.Time) {
			e.shutdown(n, now, grace)
			n.at(e, end, func(now time.Time) { e.loseInstance(n, now, 0) })
		})
		return nil
	})
}

// KillContainer ends containers of a pod now, as a crash (or, with oom, for want of memory) would; an empty container
// means all.
func (e *Engine) KillContainer(namespace, pod, container string, exitCode int32, oom bool) error {
	return e.onPod(namespace, pod, func(d *decider, now time.Time) error {
		hit := false
		for i := range d.s.Containers {
			c := &d.s.Containers[i]
			if c.Run != RunRunning || container != "" && c.spec(d.pod).Name != container {
				continue
			}
			hit = true
			c.End = Exit{At: now, Code: exitCode, Reason: exitReason(exitCode)}
			if oom {
				c.End = Exit{At: now, Code: exitKilled, Reason: reasonOOMKilled}
			}
		}
		if !hit {
			return fmt.Errorf("virtual: pod %s/%s has no running container %q", namespace, pod, container)
		}
		return nil
	})
}

// SetUnready makes the probes of a pod's containers fail, or ends that; an empty container means all. Containers
// without probes are not affected, as on a real node.
func (e *Engine) SetUnready(namespace, pod, container string, unready bool) error {
	return e.onPod(namespace, pod, func(d *decider, now time.Time) error {
		for i := range d.s.Containers {
			c := &d.s.Containers[i]
			if container != "" && c.spec(d.pod).Name != container {
				continue
			}
			c.Unready, c.UnreadyFrom = unready, now
			d.rearm(c, now)
		}
		return nil
	})
}

// Alive tells whether a node of this name has an instance.
func (e *Engine) Alive(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[name]
	return n != nil && n.instance
}

// onNode runs f on a node that exists, with the lock held.
func (e *Engine) onNode(name string, f func(n *nodeRecord, now time.Time) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[name]
	if n == nil || !n.instance {
		return fmt.Errorf("virtual: no running node %q", name)
	}
	return f(n, time.Now())
}

func (e *Engine) onPod(namespace, name string, f func(d *decider, now time.Time) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record(namespace, name)
	if r == nil || r.state == nil || r.node == nil {
		return fmt.Errorf("virtual: no pod %s/%s on a node of ours", namespace, name)
	}
	in := e.inputs(r)
	err := f(&decider{s: r.state, in: &in, pod: r.obj}, time.Now())
	e.touch(r)
	return err
}

// silence stops everything the node's kubelet does.
func (e *Engine) silence(n *nodeRecord, now time.Time, dark bool) {
	n.silent, n.dark, n.recovering = true, dark, false
	e.stopBeats(n)
	n.dirty = false
	e.watch(true, now)
	for _, r := range n.pods {
		e.timers.disarm(&r.timer)
		r.write, r.remove = false, false
	}
}

// revive lets a silent or unready node return: it reports Ready first, then its pods' true states.
func (e *Engine) revive(n *nodeRecord, now time.Time) {
	n.health = nodeHealth{Ready: true}
	n.back = nil
	e.timers.disarm(&n.returns)
	n.recovering = n.silent
	e.nodeChanged(n)
	e.nodeEvent(n, now, v1.EventTypeNormal, "NodeReady", "Node "+n.name+" status is now: NodeReady")
}

// recovered follows the write of a returning node's status.
func (e *Engine) recovered(n *nodeRecord, now time.Time) {
	n.recovering, n.silent, n.dark = false, false, false
	e.renew(n, now)
	for _, r := range n.sortedRecords() {
		e.touch(r)
	}
	e.checkCalm(now)
}

// reboot brings a node back with all its containers lost.
func (e *Engine) reboot(n *nodeRecord, now time.Time) {
	n.boot++
	e.nodeEvent(n, now, v1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", n.name, systemInfo(n.name, n.arch(), n.boot, e.opts.Seed, "").BootID))
	for _, r := range n.sortedRecords() {
		in := e.inputs(r)
		d := decider{s: r.state, in: &in, pod: r.obj}
		old := r.state.IP
		if d.rebooted(now) && old != "" && !r.obj.Spec.HostNetwork {
			n.ips.free(old, now)
		}
		for i := range d.plan.Events {
			e.podEvent(r, &d.plan.Events[i])
		}
	}
	e.revive(n, now)
}

// rebooted ends all containers as a runtime reports after its machine was restarted; it reports whether the pod needs a
// new sandbox.
func (d *decider) rebooted(t time.Time) bool {
	s := d.s
	if !s.Ended.IsZero() || s.Admitted.IsZero() {
		return false
	}
	again := false
	for i := range s.Containers {
		c := &s.Containers[i]
		switch {
		case c.Run == RunRunning:
			c.End = Exit{At: t, Code: exitUnknown, Reason: reasonUnknown}
			d.exit(c)
			again = again || d.shouldRestart(c)
		case c.Run != RunExited:
			again = true
		}
	}
	if !again || s.Stop != nil {
		return false
	}
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Kind == KindInit || c.Kind == KindSidecar {
			c.Run, c.Wait, c.WaitMessage = RunIdle, "", ""
		}
	}
	d.event(t, nil, false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	s.SandboxUp, s.Initialized, s.IP = false, false, ""
	s.SandboxAt = t.Add(d.in.Timing.Sandbox)
	return true
}

// loseInstance is the sudden end of a machine. Its Node stays until it is seen not Ready; its group launches another.
func (e *Engine) loseInstance(n *nodeRecord, now time.Time, back time.Duration) {
	if !n.instance {
		return
	}
	e.silence(n, now, true)
	n.instance = false
	g := n.group
	if g == nil {
		return
	}
	e.leaveGroup(n)
	if n.obj == nil && !n.busy {
		e.dropNode(n)
	}
	g.back = back
	e.fill(g, now, false)
	g.back = 0
}

// checkInstance has the Node of a lost instance deleted, at the cloud controller's next look, once it is not Ready.
func (e *Engine) checkInstance(n *nodeRecord, now time.Time) {
	if n.instance || n.obj == nil || n.due != nil || n.delete || apiReady(n.obj) {
		return
	}
	n.at(e, now.Truncate(cloudCheck).Add(cloudCheck), func(now time.Time) {
		e.nodeEvent(n, now, v1.EventTypeNormal, "DeletingNode", fmt.Sprintf("Deleting node %s because it does not exist in the cloud provider", n.name))
		n.delete = true
		e.enqueueNode(n)
	})
}

func apiReady(obj *v1.Node) bool {
	for i := range obj.Status.Conditions {
		if c := &obj.Status.Conditions[i]; c.Type == v1.NodeReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// shutdown is a graceful node shutdown: pods are stopped within the grace and fail, new ones are refused.
func (e *Engine) shutdown(n *nodeRecord, now time.Time, grace time.Duration) {
	n.shuttingDown = true
	n.health.Ready, n.health.Message = false, "node is shutting down"
	e.watch(true, now)
	e.nodeChanged(n)
	e.nodeEvent(n, now, v1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown event")
	for _, r := range n.sortedRecords() {
		e.failPod(r, now, reasonShutdown, messageShutdown, messageShutdown, int64(grace/time.Second))
	}
}

// failPod has the node end a pod for a reason of its own. disruption, when not empty, is said in DisruptionTarget.
func (e *Engine) failPod(r *podRecord, now time.Time, reason, message, disruption string, grace int64) {
	s := r.state
	if s == nil || !s.Ended.IsZero() || terminalPhase(r.obj.Status.Phase) {
		return
	}
	s.Reason, s.Message, s.Disruption = reason, message, disruption
	in := e.inputs(r)
	d := decider{s: s, in: &in, pod: r.obj}
	d.stop(now, min(grace, podGrace(r.obj)), false)
	e.touch(r)
}

func (e *Engine) leaveGroup(n *nodeRecord) {
	g := n.group
	for i, x := range g.nodes {
		if x == n {
			g.nodes = append(g.nodes[:i:i], g.nodes[i+1:]...)
			return
		}
	}
}

func (e *Engine) zones() []string {
	var out []string
	for _, g := range e.groups {
		for _, z := range g.spec.Zones {
			if !slices.Contains(out, z) {
				out = append(out, z)
			}
		}
	}
	return out
}
