package virtual

import (
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// annotationPrefix marks pod annotations that say how a pod behaves; changes of them act on running containers.
const annotationPrefix = "fairway.dev/sim-"

// Rechoose asks the Behaviour again about a pod's running containers, when what it would answer has changed (a Program,
// an injected fault). Their start times stay: an end or a change of health that is overdue happens now.
func (e *Engine) Rechoose(namespace, name string) error {
	return e.onPod(namespace, name, func(d *decider, now time.Time) error {
		d.rechoose(now)
		return nil
	})
}

// RechooseAll is Rechoose for every pod, in name order.
func (e *Engine) RechooseAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for _, n := range e.sortedNodes() {
		for _, r := range n.sortedRecords() {
			e.rechoose(r, now)
		}
	}
}

func (e *Engine) rechoose(r *podRecord, now time.Time) {
	if r.state == nil || r.node == nil || !r.state.Ended.IsZero() {
		return
	}
	in := e.inputs(r)
	d := decider{s: r.state, in: &in, pod: r.obj}
	d.rechoose(now)
	e.touch(r)
}

func (d *decider) rechoose(now time.Time) {
	for i := range d.s.Containers {
		c := &d.s.Containers[i]
		if c.Run != RunRunning || c.Killing || c.ending(now) {
			continue
		}
		m := d.in.Behaviour.Choose(Choice{Pod: d.pod, Container: c.spec(d.pod), Init: c.Kind == KindInit, Restart: c.Restarts,
			Identity: d.s.Identity, Node: d.in.Node.Name, Seed: d.in.Seed})
		if m == c.Model {
			continue
		}
		m.StartError, m.ConfigError = "", "" // it runs already
		c.Model = m
		if c.End = c.naturalEnd(); !c.End.At.IsZero() {
			c.End.At = maxTime(c.End.At, now)
		}
		d.limitMemory(c, now)
		d.rearm(c, now)
	}
}

// behaviourChanged reports whether annotations that say how the pod behaves differ.
func behaviourChanged(old, next *v1.Pod) bool {
	return differs(old.Annotations, next.Annotations) || differs(next.Annotations, old.Annotations)
}

func differs(a, b map[string]string) bool {
	for k, v := range a {
		if strings.HasPrefix(k, annotationPrefix) {
			if other, ok := b[k]; !ok || other != v {
				return true
			}
		}
	}
	return false
}
