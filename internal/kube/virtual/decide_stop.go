package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// minStopGrace is what is left to a container after its preStop hook has used up the grace period (kubelet's value).
const minStopGrace = 2 * time.Second

// stop begins, or shortens, the end of the whole pod. A longer grace than the one in force is ignored.
func (d *decider) stop(t time.Time, graceSeconds int64, deleted bool) {
	s := d.s
	deadline := t.Add(time.Duration(graceSeconds) * time.Second)
	if s.Stop == nil {
		s.Stop = &Stop{At: t, Deadline: deadline, Grace: graceSeconds, Deleted: deleted}
		d.plan.Changed = true
		return
	}
	s.Stop.Deleted = s.Stop.Deleted || deleted
	if graceSeconds >= s.Stop.Grace {
		return
	}
	s.Stop.Grace, s.Stop.Deadline = graceSeconds, deadline
	d.plan.Changed = true
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Run == RunRunning && c.Killing && c.End.At.After(deadline) {
			c.End = killed(deadline)
		}
	}
}

// stopping tells containers to go: app and init containers at once, sidecars in reverse order after them.
func (d *decider) stopping(t time.Time) {
	s := d.s
	if !s.Ended.IsZero() {
		return
	}
	running, others := 0, 0
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Run != RunRunning {
			continue
		}
		running++
		if c.Kind == KindSidecar {
			continue
		}
		others++
		d.terminate(c, t, s.Stop.Deadline, "Stopping container "+c.spec(d.pod).Name)
	}
	if running == 0 {
		d.lose()
		d.end(t)
		return
	}
	if others > 0 {
		return
	}
	for i := len(s.Containers) - 1; i >= 0; i-- {
		if c := &s.Containers[i]; c.Kind == KindSidecar && c.Run == RunRunning {
			d.terminate(c, t, s.Stop.Deadline, "Stopping container "+c.spec(d.pod).Name)
			return
		}
	}
}

// terminate sends one container through preStop and SIGTERM; SIGKILL follows at the deadline.
func (d *decider) terminate(c *Container, t, deadline time.Time, message string) {
	if c.Killing {
		return
	}
	c.Killing = true
	d.plan.Changed = true
	c.Startup, c.Liveness = Flip{}, Flip{}
	d.event(t, c, false, events.KillingContainer, message)
	term := t
	c.Asked, c.HookDone, c.StopBy = NoHook, time.Time{}, deadline
	if l := c.spec(d.pod).Lifecycle; l != nil && l.PreStop != nil && deadline.After(t) {
		if d.request(c, PreStop, l.PreStop) {
			c.Asked, term = PreStop, deadline
		}
	}
	if hook := PreStopTime(c.spec(d.pod)); hook > 0 && deadline.After(t) {
		term = t.Add(hook)
		if term.After(deadline) {
			term = deadline
			d.event(deadline, c, true, events.FailedPreStopHook, "PreStopHook failed")
		}
	}
	d.signal(c, t, term, deadline)
}

// signal sends SIGTERM at term, to a container that has been told at t to stop by the deadline.
func (d *decider) signal(c *Container, t, term, deadline time.Time) {
	kill := deadline
	if least := term.Add(minStopGrace); deadline.After(t) && kill.Before(least) {
		kill = least
	}
	exit := Exit{At: term.Add(d.stopTime(c)), Code: c.Model.TermCode, Reason: exitReason(c.Model.TermCode)}
	if c.Model.IgnoreTerm || exit.At.After(kill) {
		exit = killed(kill)
	}
	if c.End.At.IsZero() || exit.At.Before(c.End.At) {
		c.End = exit
	}
}

func killed(at time.Time) Exit { return Exit{At: at, Code: exitKilled, Reason: reasonError} }

func (d *decider) stopTime(c *Container) time.Duration {
	switch {
	case c.Model.Stop > 0:
		return c.Model.Stop
	case c.Model.Stop < 0:
		return 0
	default:
		return d.in.Timing.Stop
	}
}

// PreStopTime is how long a preStop hook takes: a sleep takes what it says, commands and requests no time.
func PreStopTime(c *v1.Container) time.Duration {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return 0
	}
	return hookTime(c.Lifecycle.PreStop)
}

func hookTime(h *v1.LifecycleHandler) time.Duration {
	if h.Sleep != nil {
		return time.Duration(h.Sleep.Seconds) * time.Second
	}
	if h.Exec != nil {
		return sleepOf(h.Exec.Command)
	}
	return 0
}

// lose marks containers that never ran, of a pod that had begun, as the kubelet does when a pod ends early.
func (d *decider) lose() {
	s := d.s
	if !s.Initialized && hasInit(d.pod) {
		return // app containers of a pod that never initialised stay waiting
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Kind != KindApp || c.Run == RunExited {
			continue
		}
		if c.Run == RunWaiting && !c.Exited.At.IsZero() || c.Run == RunStarting && !c.Exited.At.IsZero() {
			c.Run = RunExited // it had ended before; the next instance never came
			c.Wait, c.WaitMessage, c.ShowWait = "", "", time.Time{}
			continue
		}
		c.Run = RunExited
		c.Exited = Exit{At: s.Stop.At, Code: exitKilled, Reason: reasonStatusUnknown,
			Message: "The container could not be located when the pod was terminated"}
	}
}

func hasInit(pod *v1.Pod) bool { return len(pod.Spec.InitContainers) > 0 }

// hookAnswerMax is how long a container waits for the answer to the request of its postStart.
const hookAnswerMax = time.Minute

// postStart runs the hook after a start. Sleeps take what they say; commands succeed at once, and so do requests that nobody
// sends.
func (d *decider) postStart(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	if spec.Lifecycle == nil || spec.Lifecycle.PostStart == nil {
		return
	}
	if d.request(c, PostStart, spec.Lifecycle.PostStart) {
		c.Asked, c.HookDone = PostStart, t.Add(hookAnswerMax)
	}
	if took := hookTime(spec.Lifecycle.PostStart); took > 0 {
		c.HookDone = t.Add(took)
	}
}

// request has the HTTP request of a hook sent, if it is one; it reports whether an answer will come.
func (d *decider) request(c *Container, kind HookKind, h *v1.LifecycleHandler) bool {
	if h.HTTPGet == nil || !d.in.Hooks {
		return false
	}
	d.plan.Hooks = append(d.plan.Hooks, Hook{Kind: kind, Pod: d.pod, Container: c.spec(d.pod), Get: h.HTTPGet, IP: d.s.IP})
	return true
}

// answered goes on with a container whose hook's request has been answered, or has failed.
func (d *decider) answered(c *Container, kind HookKind, t time.Time, err error) {
	if c.Run != RunRunning || c.Asked != kind {
		return // the answer comes too late
	}
	c.Asked = NoHook
	switch kind {
	case PostStart:
		if c.HookDone = t; err == nil {
			return
		}
		c.HookDone = time.Time{}
		d.event(t, c, true, events.FailedPostStartHook, "PostStartHook failed")
		c.Unhooked = true
		d.terminate(c, t, t.Add(time.Duration(podGrace(d.pod))*time.Second), "FailedPostStartHook")
	case PreStop:
		if err != nil {
			d.event(t, c, true, events.FailedPreStopHook, "PreStopHook failed")
		}
		if d.s.Stop != nil && d.s.Stop.Deadline.Before(c.StopBy) {
			c.StopBy = d.s.Stop.Deadline
		}
		c.End = c.naturalEnd()
		d.limitMemory(c, t)
		d.signal(c, t, t, c.StopBy)
	}
}
