package virtual

import (
	"context"
	"time"
)

// calmAfter is how long all nodes must have been Ready, or gone, before heartbeats stop again.
const calmAfter = 60 * time.Second

// watchfulState says whether the node-lifecycle controller runs with its default timings on our behalf, because a fault
// touches nodes: then all living nodes renew leases.
type watchfulState struct {
	on    bool
	asked bool // what the control plane was told
	calm  time.Time
	timer timer
	busy  bool
}

// watch turns watchful mode on or off. Engines whose nodes renew leases always need neither.
func (e *Engine) watch(on bool, now time.Time) {
	w := &e.watchful
	w.calm = time.Time{}
	e.timers.disarm(&w.timer)
	if e.opts.Watchful == nil || e.leases || w.on == on {
		return
	}
	w.on = on
	for _, n := range e.sortedNodes() {
		if on && n.obj != nil {
			e.renew(n, now)
		} else if !on {
			e.stopBeats(n)
		}
	}
	e.tellWatchful()
}

func (e *Engine) tellWatchful() {
	if w := &e.watchful; !w.busy && w.on != w.asked {
		w.busy = true
		e.queue.put(watchfulJob{})
	}
}

// watchfulJob tells the control plane outside the engine's lock.
type watchfulJob struct{}

func (watchfulJob) run(_ context.Context, e *Engine) {
	e.mu.Lock()
	on := e.watchful.on
	e.mu.Unlock()
	e.opts.Watchful(on)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchful.busy, e.watchful.asked = false, on
	e.tellWatchful()
}

// checkCalm arms the end of watchful mode when every node is Ready or gone, and puts it off when one is not.
func (e *Engine) checkCalm(now time.Time) {
	w := &e.watchful
	if !w.on || e.leases {
		return
	}
	for _, n := range e.byNode {
		if n.elsewhere {
			continue
		}
		if n.silent || n.obj != nil && !apiReady(n.obj) || !n.health.Ready && n.obj != nil {
			w.calm = time.Time{}
			e.timers.disarm(&w.timer)
			return
		}
	}
	if !w.calm.IsZero() {
		return
	}
	w.calm = now
	w.timer.kind = timerNode
	w.timer.fire = func(now time.Time) { e.watch(false, now) }
	e.timers.arm(&w.timer, e.grain(now.Add(calmAfter)))
	e.poke()
}
