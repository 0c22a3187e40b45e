package virtual

import (
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
)

// The crash back-off: the first restart is at once, then 10 s doubling to 300 s (kubelet's defaults); it is forgotten
// when a container ends more than twice the cap after the delay was last raised.
const (
	backoffFirst = 10 * time.Second
	backoffMax   = 300 * time.Second
)

func (d *decider) backoffCap() time.Duration {
	if m := d.in.Node.BackoffMax; m > 0 {
		return m
	}
	return backoffMax
}

// backoff is the delay between the container's end and its next start.
func (d *decider) backoff(c *Container) time.Duration {
	if c.Backoff == 0 || c.Exited.At.Sub(c.BackoffRaised) > 2*d.backoffCap() {
		return 0
	}
	return c.Backoff
}

// raiseBackoff notes a restart: the next one waits twice as long.
func (d *decider) raiseBackoff(c *Container, t time.Time) {
	if c.Last.At.IsZero() {
		return
	}
	limit := d.backoffCap()
	switch {
	case c.Backoff == 0 || c.Last.At.Sub(c.BackoffRaised) > 2*limit:
		c.Backoff = min(backoffFirst, limit)
	default:
		c.Backoff = min(2*c.Backoff, limit)
	}
	c.BackoffRaised = t
}

// reconcile begins what may begin now, in the order a kubelet does: init containers one by one, sidecars as soon as
// they are started, app containers in spec order.
func (d *decider) reconcile(t time.Time) {
	s := d.s
	if !s.Ended.IsZero() {
		return
	}
	if s.Stop != nil {
		d.stopping(t)
		return
	}
	if !s.SandboxUp {
		return
	}
	d.pulled(t)
	if !s.Initialized && !d.initialize(t) {
		return
	}
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Kind == KindSidecar && c.Run == RunExited {
			d.restart(c, t)
		}
	}
	blocked := false // an app container still on its first start holds back the next ones
	open := false    // an app container that runs or will run again
	for i := range s.Containers {
		c := &s.Containers[i]
		switch {
		case c.Kind == KindEphemeral && c.Run == RunIdle:
			d.begin(c, t)
		case c.Kind != KindApp:
		case c.Run == RunIdle:
			open = true
			if !blocked {
				d.begin(c, t)
				blocked = c.Run == RunStarting || c.Run == RunPulling
			}
		case c.Run == RunExited:
			if d.shouldRestart(c) {
				open = true
				d.restart(c, t)
			}
		default:
			open = true
			firstStart := (c.Run == RunStarting || c.Run == RunPulling) && c.Exited.At.IsZero()
			blocked = blocked || firstStart || !c.HookDone.IsZero()
		}
	}
	if !open {
		d.complete(t)
	}
}

// pulled lets containers go on whose image has arrived.
func (d *decider) pulled(t time.Time) {
	for i := range d.s.Containers {
		if c := &d.s.Containers[i]; c.Run == RunPulling {
			d.begin(c, t)
		}
	}
}

// initialize drives the init containers; it reports whether all have done their part.
func (d *decider) initialize(t time.Time) bool {
	s := d.s
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Kind != KindInit && c.Kind != KindSidecar {
			break
		}
		if c.Run == RunIdle {
			d.begin(c, t)
		}
		if c.Kind == KindInit && c.Run == RunExited && c.Exited.Code == 0 {
			continue
		}
		if c.Kind == KindSidecar && c.started() && c.HookDone.IsZero() {
			continue
		}
		if c.Run == RunExited {
			if !d.shouldRestart(c) {
				d.complete(t)
				return false
			}
			d.restart(c, t)
			if c.Kind == KindSidecar && c.Restarts > 0 {
				continue // it was started before; the ones behind it go on
			}
		}
		return false
	}
	s.Initialized = true
	d.plan.Changed = true
	return true
}

// complete ends a pod whose app containers are all done: sidecars are stopped first.
func (d *decider) complete(t time.Time) {
	if d.s.running() == 0 {
		d.end(t)
		return
	}
	d.stop(t, podGrace(d.pod), false)
	d.s.Stop.Natural = true
	d.stopping(t)
}

// end makes the pod final.
func (d *decider) end(t time.Time) {
	d.s.Ended = t
	d.plan.Changed, d.plan.Freed = true, true
}

func podGrace(pod *v1.Pod) int64 {
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		return *g
	}
	return v1.DefaultTerminationGracePeriodSeconds
}

// startUnderWay reports whether a kubelet would be in the middle of starting the pod's containers, whose outcome it
// reports once.
func (d *decider) startUnderWay() bool {
	s := d.s
	if s.Stop != nil || !s.Ended.IsZero() || !s.SandboxUp || !s.Initialized {
		return false
	}
	begun := false
	under := false
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Kind != KindApp {
			continue
		}
		switch {
		case c.Run == RunRunning && c.Restarts == 0:
			begun = true
			under = under || !c.HookDone.IsZero() && c.Asked == NoHook // a request may need what the status tells
		case c.Run == RunStarting && c.Exited.At.IsZero():
			under = true
		case c.Run == RunIdle:
			under = true
		default:
			return false
		}
	}
	return begun && under
}

func fmtInt(n int32) string { return strconv.Itoa(int(n)) }
