package virtual

import (
	"fmt"
	"time"
)

// AddNodes raises a group's size by count; the new instances join after the group's join time.
func (e *Engine) AddNodes(group string, count int) error {
	return e.resizeGroup(group, func(have int) int { return have + count })
}

// ScaleGroup sets a group's size. Beyond it, the youngest instances are ended without notice to their pods, as a
// cloud's instance group does: drain nodes first, and use RemoveNode, to be gentle.
func (e *Engine) ScaleGroup(group string, size int) error {
	return e.resizeGroup(group, func(int) int { return size })
}

func (e *Engine) resizeGroup(name string, size func(have int) int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.group(name)
	if g == nil {
		return fmt.Errorf("virtual: no node group %q; there are %v", name, e.groupNames())
	}
	want := size(g.want)
	if want < 0 || len(e.byNode)+want-len(g.nodes) > maxNodeIndex {
		return fmt.Errorf("virtual: node group %q cannot have size %d: at least 0, and %d nodes in all", name, want, maxNodeIndex)
	}
	g.want = want
	if e.started {
		e.fill(g, time.Now(), false)
	}
	return nil
}

func (e *Engine) groupNames() []string {
	out := make([]string, len(e.groups))
	for i, g := range e.groups {
		out[i] = g.spec.Name
	}
	return out
}

// AddGroup adds a node group to a running engine.
func (e *Engine) AddGroup(spec NodeGroup) error {
	spec, err := spec.withDefaults()
	if err != nil {
		return err
	}
	features, err := declaredFeatures(e.opts.KubeletVersion)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.group(spec.Name) != nil {
		return fmt.Errorf("virtual: node group %q exists already", spec.Name)
	}
	g := &groupRecord{spec: spec, want: spec.Size, features: features}
	e.groups = append(e.groups, g)
	if e.started {
		e.fill(g, time.Now(), true)
	}
	return nil
}

// RemoveNode ends a node's instance, deletes its Node object and lowers its group's size by one.
func (e *Engine) RemoveNode(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.byNode[name]
	if n == nil {
		return fmt.Errorf("virtual: no node %q", name)
	}
	if n.group != nil {
		n.group.want--
	}
	e.terminateInstance(n, time.Now())
	return nil
}

// terminateInstance ends a machine on request: its Node is deleted, its pods are left to the pod garbage collector.
func (e *Engine) terminateInstance(n *nodeRecord, now time.Time) {
	n.instance, n.silent = false, true
	e.stopBeats(n)
	if n.group != nil {
		e.leaveGroup(n)
	}
	for _, r := range n.sortedRecords() {
		e.timers.disarm(&r.timer)
	}
	if n.obj == nil && !n.busy {
		e.dropNode(n)
		return
	}
	n.creating, n.delete = false, true
	e.enqueueNode(n)
}
