package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// NodeView is what a pod's life depends on of its node.
type NodeView struct {
	Name       string
	IP         string
	BackoffMax time.Duration // cap of the crash back-off; 0 = the kubelet's 300 s
}

// Surroundings are what DecidePod asks beyond the pod and its node. Every answer must depend on its input and the
// state of the node's ledgers alone.
type Surroundings interface {
	// Address takes a pod address from the node's ledger.
	Address(now time.Time) (string, error)
	// Image says whether the container's image is on the node, awaited, or cannot be had.
	Image(pod *v1.Pod, c *v1.Container, now time.Time) ImageAnswer
	// Volumes says what the pod's volumes wait for; the zero value is nothing.
	Volumes(pod *v1.Pod, now time.Time) Blocked
	// ConfigError says why a container cannot be configured (a ConfigMap or key of its environment is missing), or "".
	ConfigError(pod *v1.Pod, c *v1.Container) string
	// Admit returns why the node refuses the pod, if it does.
	Admit(pod *v1.Pod) (reason, message string, refused bool)
	// Resize grants what the pod's spec asks now, or returns Deferred or Infeasible and why.
	Resize(pod *v1.Pod) (reason, message string)
}

// Blocked is what holds up a pod's volumes: trouble that is reported and tried again, or (without a message) a time.
type Blocked struct {
	Reason, Message string
	RetryAt         time.Time
}

// ImageAnswer is the state of one image on one node.
type ImageAnswer struct {
	Present bool
	Pulling bool   // ask again when the engine is told
	Reason  string // neither: the waiting reason of the failure
	Message string
	BackOff bool // the failure is a pull's: attempts are spaced out
	Events  []ImageEvent
}

// ImageEvent is an event about an image.
type ImageEvent struct {
	Warning         bool
	Reason, Message string
}

// Timing is how long the steps of a pod take.
type Timing struct {
	Sandbox   time.Duration // volumes and network
	Container time.Duration // create and start, image present
	Stop      time.Duration // SIGTERM to exit unless the model says
	CrashShow time.Duration // how long a crash shows as terminated before it shows as waiting
}

// Modelled parts of a start (assumption: containerd and a CNI plugin on an idle node), and how a fixed PodStart is
// divided between them.
const (
	modelledSandbox   = 700 * time.Millisecond
	modelledContainer = 300 * time.Millisecond
	sandboxShare      = 0.6
	crashShownFor     = time.Second
)

func timingOf(o Options) Timing {
	t := Timing{Sandbox: modelledSandbox, Container: modelledContainer, Stop: max(o.PodStop, 0)}
	if o.PodStart >= 0 {
		t.Sandbox = time.Duration(float64(o.PodStart) * sandboxShare)
		t.Container = o.PodStart - t.Sandbox
	}
	if o.PodWrites != WritesLean {
		t.CrashShow = crashShownFor
	}
	return t
}

// Inputs are all that DecidePod looks at beside the state it moves.
type Inputs struct {
	Pod       *v1.Pod
	Node      NodeView
	Timing    Timing
	Seed      int64
	Behaviour Behaviour
	Usage     UsageSource
	Around    Surroundings
	Events    bool // whether events are wanted at all
	Hooks     bool // whether somebody sends the requests of hooks and answers
}

// Plan is the outcome of one step.
type Plan struct {
	Wake   time.Time  // when the state changes next by itself; zero = never
	Events []PodEvent // in order
	// Hold: a start is under way whose end a kubelet reports together with it, so the status is not due yet.
	Hold bool
	// Started: a container began to run, so what the node uses has changed.
	Started bool
	// Changed: the program state moved.
	Changed bool
	// Exited are the instances that ended, for the node's cumulative counters.
	Exited []ExitedInstance
	// Hooks are the HTTP requests that are due.
	Hooks []Hook
	// Freed: the pod's address and resources go back to the node.
	Freed bool
}

// ExitedInstance is one run of a container that is over.
type ExitedInstance struct {
	Instance
	At time.Time
}

// PodEvent is an event about a pod or one of its containers.
type PodEvent struct {
	At        time.Time
	Container string
	Kind      Kind
	Warning   bool
	Reason    string
	Message   string
}

// maxSteps bounds one call: a container that ends the instant it starts is held back by its back-off, so a pod passes
// few instants a call; more means the state moves without time passing, which is a bug.
const maxSteps = 10000

// DecidePod moves s to now: first everything that was due meanwhile, each at its own instant, then what the API object
// asks for now. It is deterministic and has no effect beyond s and the ledgers of in.Around.
func DecidePod(s *PodState, in *Inputs, now time.Time) Plan {
	d := decider{s: s, in: in, pod: in.Pod}
	if !s.Ended.IsZero() && s.Stop == nil {
		return d.plan
	}
	if s.Admitted.IsZero() {
		d.admit(now)
	}
	s.addEphemeral(in.Pod)
	for range maxSteps {
		t, ok := d.next()
		if !ok || t.After(now) {
			break
		}
		d.fire(t)
		d.reconcile(t)
	}
	d.observe(now)
	d.reconcile(now)
	for range maxSteps {
		t, ok := d.next()
		if !ok || t.After(now) {
			d.plan.Wake = t
			break
		}
		d.fire(t)
		d.reconcile(t)
	}
	d.plan.Hold = d.startUnderWay()
	return d.plan
}

type decider struct {
	s    *PodState
	in   *Inputs
	pod  *v1.Pod
	plan Plan
}

func (d *decider) event(t time.Time, c *Container, warning bool, reason, message string) {
	if !d.in.Events {
		return
	}
	e := PodEvent{At: t, Warning: warning, Reason: reason, Message: message}
	if c != nil {
		e.Container, e.Kind = c.spec(d.pod).Name, c.Kind
	}
	d.plan.Events = append(d.plan.Events, e)
}

func (d *decider) admit(now time.Time) {
	s := d.s
	s.Admitted = now
	d.plan.Changed = true
	if reason, message, refused := d.in.Around.Admit(d.pod); refused {
		s.Refused, s.Ended = true, now
		s.Reason, s.Message = reason, "Pod was rejected: "+message
		d.event(now, nil, true, reason, message)
		d.plan.Freed = true
		return
	}
	s.SandboxAt = now.Add(d.in.Timing.Sandbox)
}

// observe takes up what the API object says now: deletion, a shortened grace, an active deadline.
func (d *decider) observe(now time.Time) {
	s := d.s
	if d.pod.DeletionTimestamp != nil {
		grace := int64(v1.DefaultTerminationGracePeriodSeconds)
		if g := d.pod.DeletionGracePeriodSeconds; g != nil {
			grace = *g
		}
		d.stop(now, grace, true)
		// An engine that was away finds deletions that are overdue. The timestamp is cut to whole seconds.
		if due := d.pod.DeletionTimestamp.Add(time.Second); due.Before(s.Stop.Deadline) {
			s.Stop.Deadline = due
		}
	}
	d.observeResize(now)
	if at := d.activeDeadline(); !at.IsZero() && !at.After(now) && s.Stop == nil && s.Ended.IsZero() {
		s.Reason, s.Message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
		d.event(now, nil, false, s.Reason, s.Message)
		d.stop(now, podGrace(d.pod), false)
	}
}

// activeDeadline is when spec.activeDeadlineSeconds ends the pod; zero = never.
func (d *decider) activeDeadline() time.Time {
	if d.pod.Spec.ActiveDeadlineSeconds == nil || d.s.Admitted.IsZero() {
		return time.Time{}
	}
	return d.s.Admitted.Add(time.Duration(*d.pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// next returns the earliest instant at which the state changes by itself.
func (d *decider) next() (time.Time, bool) {
	var at time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	s := d.s
	if !s.Ended.IsZero() {
		return at, false
	}
	if !s.SandboxUp && s.Stop == nil {
		earliest(s.SandboxAt)
	}
	if s.Stop == nil {
		earliest(d.activeDeadline())
		if r := s.Resize; r != nil {
			earliest(r.DoneAt)
			if r.Pending != "" {
				earliest(r.RetryAt)
			}
		}
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		switch c.Run {
		case RunStarting, RunWaiting:
			if s.Stop == nil {
				earliest(c.Due)
				if c.Run == RunWaiting {
					earliest(c.ShowWait)
				}
			}
		case RunRunning:
			earliest(c.End.At)
			earliest(c.HookDone)
			if !c.Killing {
				earliest(c.Startup.At)
				earliest(c.Liveness.At)
			}
			earliest(c.Readiness.At)
		}
	}
	return at, !at.IsZero()
}

// fire carries out what is due at t.
func (d *decider) fire(t time.Time) {
	s := d.s
	d.plan.Changed = true
	if at := d.activeDeadline(); !at.IsZero() && !at.After(t) {
		d.observe(t)
	}
	if !s.SandboxUp && s.Stop == nil && !s.SandboxAt.After(t) {
		d.sandbox(t)
	}
	if r := s.Resize; r != nil && s.Stop == nil {
		switch {
		case !r.DoneAt.IsZero() && !r.DoneAt.After(t):
			d.resized(t)
		case r.Pending != "" && !r.RetryAt.IsZero() && !r.RetryAt.After(t):
			d.observeResize(t)
		}
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		switch c.Run {
		case RunStarting:
			if s.Stop == nil && !c.Due.After(t) {
				d.run(c, t)
			}
		case RunWaiting:
			if !c.ShowWait.IsZero() && !c.ShowWait.After(t) {
				c.ShowWait = time.Time{}
			}
			if s.Stop == nil && !c.Due.After(t) {
				d.begin(c, t)
			}
		case RunRunning:
			d.fireRunning(c, t)
		}
	}
}

func (d *decider) fireRunning(c *Container, t time.Time) {
	if !c.End.At.IsZero() && !c.End.At.After(t) {
		d.exit(c)
		return
	}
	if !c.HookDone.IsZero() && !c.HookDone.After(t) {
		c.HookDone = time.Time{}
		if c.Asked == PostStart {
			c.Asked = NoHook
		}
	}
	d.probes(c, t)
}

// sandbox brings up volumes and network, or tries again later.
func (d *decider) sandbox(t time.Time) {
	s := d.s
	switch b := d.in.Around.Volumes(d.pod, t); {
	case b.Message != "":
		d.event(t, nil, true, b.Reason, b.Message)
		s.SandboxAt = t.Add(mountRetry(t.Sub(s.Admitted)))
		return
	case b.RetryAt.After(t):
		s.SandboxAt = b.RetryAt
		return
	}
	if d.pod.Spec.HostNetwork {
		s.IP = d.in.Node.IP
	} else if s.IP == "" {
		ip, err := d.in.Around.Address(t)
		if err != nil {
			d.event(t, nil, true, events.FailedCreatePodSandBox, "Failed to create pod sandbox: "+err.Error())
			s.SandboxAt = t.Add(startRetry)
			return
		}
		s.IP = ip
	}
	s.SandboxUp = true
	s.SandboxAt = t
}

const (
	// startRetry is how soon the kubelet tries a failed start again (it says 10 to 15 s).
	startRetry = 12 * time.Second
	// mountRetryMin and Max bound the back-off of volume operations.
	mountRetryMin = 500 * time.Millisecond
	mountRetryMax = 122 * time.Second
)

// mountRetry doubles from 0.5 s to about two minutes as the wait grows.
func mountRetry(waited time.Duration) time.Duration {
	return min(max(waited, mountRetryMin), mountRetryMax)
}
