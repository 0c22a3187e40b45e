package virtual

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/kubelet/events"
	"k8s.io/kubernetes/pkg/kubelet/util/format"
)

// begin makes one attempt to start a container: image, configuration, then the start itself.
func (d *decider) begin(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	d.plan.Changed = true
	if !d.image(c, spec, t) {
		return
	}
	if why := d.in.Around.ConfigError(d.pod, spec); why != "" {
		c.Run, c.Wait, c.WaitMessage, c.Due = RunWaiting, reasonConfigError, why, t.Add(startRetry)
		d.event(t, c, true, events.FailedToCreateContainer, "Error: "+why)
		return
	}
	c.Run, c.Due = RunStarting, t.Add(d.in.Timing.Container)
}

// image reports whether the container's image is on the node; if not, it says what the container waits for.
func (d *decider) image(c *Container, spec *v1.Container, t time.Time) bool {
	if c.PullRetry.After(t) {
		c.Run, c.Due = RunWaiting, c.PullRetry
		if c.Wait == reasonImagePull {
			c.WaitMessage = fmt.Sprintf("Back-off pulling image %q: %s: %s", spec.Image, reasonImagePull, c.WaitMessage)
			c.Wait = reasonImageBackOff
			d.event(t, c, false, events.BackOffPullImage, fmt.Sprintf("Back-off pulling image %q", spec.Image))
			d.event(t, c, true, events.FailedToCreateContainer, "Error: "+reasonImageBackOff)
		}
		return false
	}
	img := d.in.Around.Image(d.pod, spec, t)
	for _, e := range img.Events {
		d.event(t, c, e.Warning, e.Reason, e.Message)
	}
	switch {
	case img.Present:
		c.PullBackoff, c.PullRetry = 0, time.Time{}
		return true
	case img.Pulling:
		c.Run = RunPulling // what it waited for before shows until it runs, as a kubelet's last error does
		return false
	}
	c.Run, c.Wait, c.WaitMessage, c.Due = RunWaiting, img.Reason, img.Message, t.Add(startRetry)
	if img.BackOff {
		c.PullBackoff = min(max(2*c.PullBackoff, pullBackoffFirst), backoffMax)
		c.PullRetry = t.Add(c.PullBackoff)
		c.Due = t.Add(pullErrorShown)
	} else {
		d.event(t, c, true, events.FailedToCreateContainer, "Error: "+img.Reason)
	}
	return false
}

const (
	// pullBackoffFirst doubles up to the crash back-off's cap; a success forgets it.
	pullBackoffFirst = 10 * time.Second
	// pullErrorShown is how long ErrImagePull shows before it becomes ImagePullBackOff.
	pullErrorShown = time.Second
)

// run starts the container at t.
func (d *decider) run(c *Container, t time.Time) {
	spec := c.spec(d.pod)
	restart := c.Restarts
	if !c.Exited.At.IsZero() {
		restart++
	}
	model := d.in.Behaviour.Choose(Choice{Pod: d.pod, Container: spec, Init: c.Kind == KindInit, Restart: restart,
		Identity: d.s.Identity, Node: d.in.Node.Name, Seed: d.in.Seed})
	if model.ConfigError != "" {
		c.Run, c.Wait, c.WaitMessage, c.Due = RunWaiting, reasonConfigError, model.ConfigError, t.Add(startRetry)
		d.event(t, c, true, events.FailedToCreateContainer, "Error: "+model.ConfigError)
		return
	}
	if !c.Exited.At.IsZero() {
		c.Last = c.Exited
		c.Exited = Exit{}
	}
	c.Restarts = restart
	c.Model = model
	c.ID = "containerd://" + hexID(d.in.Seed, 64, "container", string(d.pod.UID), spec.Name, string(rune('0'+restart%10)), fmtInt(restart))
	if c.ImageID == "" {
		c.ImageID = imageID(spec.Image)
	}
	c.Started, c.Run = t, RunRunning
	d.s.RestartingAll = false
	c.Wait, c.WaitMessage, c.Due, c.ShowWait = "", "", time.Time{}, time.Time{}
	c.Killing, c.ForceRestart, c.End = false, false, Exit{}
	c.Asked, c.Unhooked = NoHook, false
	d.raiseBackoff(c, t)
	d.event(t, c, false, events.CreatedContainer, "Container created")
	if model.StartError != "" {
		d.failStart(c, t)
		return
	}
	d.event(t, c, false, events.StartedContainer, "Container started")
	c.End = c.naturalEnd()
	d.plan.Started = true
	d.limitMemory(c, t)
	d.postStart(c, t)
	d.startProbes(c, t)
}

// failStart is a command the runtime cannot execute.
func (d *decider) failStart(c *Container, t time.Time) {
	d.event(t, c, true, events.FailedToStartContainer, "Error: "+c.Model.StartError)
	c.Started = time.Unix(0, 0).UTC()
	c.End = Exit{At: t, Code: exitStartError, Reason: reasonStartError, Message: c.Model.StartError}
	d.exit(c)
}

func exitReason(code int32) string {
	if code == 0 {
		return reasonCompleted
	}
	return reasonError
}

// limitMemory finds out when the instance outgrows its memory limit.
func (d *decider) limitMemory(c *Container, from time.Time) {
	limit := d.memoryLimit(c)
	if limit <= 0 || d.in.Usage == nil {
		return
	}
	at, ok := d.in.Usage.Crossing(d.instance(c), limit, from)
	if ok && (c.End.At.IsZero() || at.Before(c.End.At)) {
		c.End = Exit{At: at, Code: exitKilled, Reason: reasonOOMKilled}
	}
}

func (d *decider) memoryLimit(c *Container) int64 {
	r := &c.spec(d.pod).Resources
	if c.Actual != nil {
		r = c.Actual
	} else if c.Allocated != nil {
		r = c.Allocated
	}
	if q, ok := r.Limits[v1.ResourceMemory]; ok {
		return q.Value()
	}
	return 0
}

func (d *decider) instance(c *Container) Instance {
	return Instance{Pod: d.pod, Container: c.spec(d.pod).Name, Restart: c.Restarts, Started: c.Started, Model: &c.Model}
}

// exit ends the running instance as c.End says and decides what follows.
func (d *decider) exit(c *Container) {
	e := c.End
	e.Started, e.ID = c.Started, c.ID
	past, model := d.instance(c), c.Model // a copy: the next instance may have another
	past.Model = &model
	d.plan.Exited = append(d.plan.Exited, ExitedInstance{past, e.At})
	c.Run, c.Exited, c.End = RunExited, e, Exit{}
	c.Startup, c.Readiness, c.Liveness = Flip{}, Flip{}, Flip{}
	c.Ready, c.StartupDone, c.HookDone, c.Asked = false, false, time.Time{}, NoHook
	d.plan.Changed = true
	if e.Reason != reasonRestartAll && d.s.Stop == nil && d.restartsAll(c) {
		d.restartAll(e.At)
	}
}

// shouldRestart reports whether an ended container runs again.
func (d *decider) shouldRestart(c *Container) bool {
	if c.Kind == KindEphemeral {
		return false
	}
	if c.Kind == KindSidecar {
		return true
	}
	if c.ForceRestart && d.pod.Spec.RestartPolicy != v1.RestartPolicyNever {
		return true
	}
	return podutil.ContainerShouldRestart(*c.spec(d.pod), d.pod.Spec, c.Exited.Code)
}

// restart schedules the next instance of an ended container after its back-off.
func (d *decider) restart(c *Container, t time.Time) {
	delay := d.backoff(c)
	at := c.Exited.At.Add(delay)
	if !at.After(t) {
		d.begin(c, t)
		return
	}
	spec := c.spec(d.pod)
	c.Run, c.Due = RunWaiting, at
	c.Wait = reasonCrashLoop
	if c.Unhooked {
		c.Wait = reasonPostStart
	}
	c.WaitMessage = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, spec.Name, format.Pod(d.pod))
	if show := c.Exited.At.Add(d.in.Timing.CrashShow); d.in.Timing.CrashShow > 0 && show.After(t) {
		c.ShowWait = show
	}
	d.event(t, c, true, events.BackOffStartContainer,
		fmt.Sprintf("Back-off restarting failed container %s in pod %s", spec.Name, format.Pod(d.pod)))
}
