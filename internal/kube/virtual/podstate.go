package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// PodState is what really happens on the node for one pod: the program state that a kubelet would read from its
// runtime. The API object shows it later, or in part; it never depends on what was written.
type PodState struct {
	Identity string // see Choice.Identity

	Admitted time.Time // zero until the node has taken or refused the pod; then its status.startTime
	Refused  bool      // admission failed: no container ever runs

	IP          string
	SandboxAt   time.Time // when volumes and network are up, or tried again
	SandboxUp   bool
	Initialized bool // every init container has done its part once

	Containers []Container // init containers in spec order, then app containers, then ephemeral ones

	RestartingAll bool // an exit rule restarts every container; true until the first runs again

	Stop  *Stop     // not nil: everything is being stopped for good
	Ended time.Time // not zero: no container runs or ever will; the phase is final

	Resize *Resize // not nil: the spec's resources changed and that is not settled

	Reason, Message string // of phase Failed, when the node and not a container is the cause
	Disruption      string // message of condition DisruptionTarget, set with the terminal phase

	Removed bool // the object's deletion was confirmed to the API server
}

// Stop is the end of a pod: why, since when and until when containers may take.
type Stop struct {
	At       time.Time
	Deadline time.Time // when SIGKILL is due
	Grace    int64     // seconds
	Deleted  bool      // the API object is being deleted
	Natural  bool      // all app containers completed; sidecars are told to go
}

// Kind of a container within its pod.
type Kind uint8

const (
	KindInit Kind = iota
	KindSidecar
	KindApp
	KindEphemeral
)

// Run is the state of one container on the node.
type Run uint8

const (
	// RunIdle: not begun.
	RunIdle Run = iota
	// RunPulling: its image is awaited.
	RunPulling
	// RunStarting: it runs from Due on.
	RunStarting
	// RunWaiting: the next attempt is at Due (crash back-off, image back-off, configuration error).
	RunWaiting
	// RunRunning: it runs; End says when it stops.
	RunRunning
	// RunExited: it ended.
	RunExited
)

// Container is the program state of one container.
type Container struct {
	Kind  Kind
	Index int // in its list of the pod's spec
	Run   Run
	Due   time.Time

	Wait, WaitMessage string    // reason shown while not running; empty = the default one
	ShowWait          time.Time // a crash is shown as terminated until then

	Restarts int32
	Started  time.Time
	ID       string // containerd://…
	ImageID  string
	Model    Model
	HookDone time.Time // when postStart is over
	Asked    HookKind  // whose answer is awaited of somebody outside; then HookDone bounds the wait for a PostStart
	Unhooked bool      // its postStart failed, so it is being killed

	End    Exit // of the running instance, when End.At is not zero: how and when it will end
	Exited Exit // of the latest instance, when Exited.At is not zero
	Last   Exit // of the one before the shown one

	Killing      bool      // told to stop
	StopBy       time.Time // when it is killed, if it was told
	ForceRestart bool      // killed by a probe: restarted whatever its exit code

	Backoff       time.Duration // delay before the next restart; 0 = none so far
	BackoffRaised time.Time

	PullBackoff time.Duration // delay before the next pull after a failure; 0 = none so far
	PullRetry   time.Time

	StartupDone bool
	Ready       bool // readiness probe result
	ReadyFrom   time.Time
	Startup     Flip
	Readiness   Flip
	Liveness    Flip
	Unready     bool      // a fault makes its probes fail
	UnreadyFrom time.Time // since when, or since when no more

	Allocated *v1.ResourceRequirements // what the node granted; nil = what the spec said at admission
	Actual    *v1.ResourceRequirements // what is enforced; nil = Allocated
}

// Exit is how one instance ends.
type Exit struct {
	At      time.Time
	Started time.Time
	Code    int32
	Reason  string // Completed, Error, OOMKilled, …
	Message string
	ID      string
}

// Flip is the next change of a probe's result.
type Flip struct {
	At   time.Time // zero = never, as far as is known
	Fail bool      // the change is to failure
}

// Reasons of container states as the kubelet words them.
const (
	reasonCreating      = "ContainerCreating"
	reasonInitializing  = "PodInitializing"
	reasonCompleted     = "Completed"
	reasonError         = "Error"
	reasonOOMKilled     = "OOMKilled"
	reasonStartError    = "StartError"
	reasonCrashLoop     = "CrashLoopBackOff"
	reasonPostStart     = "PostStartHookError"
	reasonConfigError   = "CreateContainerConfigError"
	reasonStatusUnknown = "ContainerStatusUnknown"
)

const (
	exitKilled     = 137 // 128 + SIGKILL
	exitStartError = 128
)

// newPodState lays out the containers of a pod that was not seen before.
func newPodState(pod *v1.Pod, identity string) *PodState {
	s := &PodState{Identity: identity}
	s.Containers = make([]Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers)+len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.InitContainers {
		k := KindInit
		if isSidecar(&pod.Spec.InitContainers[i]) {
			k = KindSidecar
		}
		s.Containers = append(s.Containers, Container{Kind: k, Index: i})
	}
	for i := range pod.Spec.Containers {
		s.Containers = append(s.Containers, Container{Kind: KindApp, Index: i})
	}
	s.addEphemeral(pod)
	return s
}

// addEphemeral takes up ephemeral containers added since.
func (s *PodState) addEphemeral(pod *v1.Pod) {
	have := len(s.Containers) - len(pod.Spec.InitContainers) - len(pod.Spec.Containers)
	for i := have; i < len(pod.Spec.EphemeralContainers); i++ {
		s.Containers = append(s.Containers, Container{Kind: KindEphemeral, Index: i})
	}
}

// spec returns the container's part of the pod's spec.
func (c *Container) spec(pod *v1.Pod) *v1.Container {
	switch c.Kind {
	case KindInit, KindSidecar:
		return &pod.Spec.InitContainers[c.Index]
	case KindEphemeral:
		return (*v1.Container)(&pod.Spec.EphemeralContainers[c.Index].EphemeralContainerCommon)
	default:
		return &pod.Spec.Containers[c.Index]
	}
}

// started reports whether a running container counts as started: its startup probe, if any, has passed.
func (c *Container) started() bool { return c.Run == RunRunning && c.StartupDone }

// ending reports an end that is due and has not been carried out yet: a kill that nothing takes back.
func (c *Container) ending(now time.Time) bool { return !c.End.At.IsZero() && !c.End.At.After(now) }

// ready is the container's own contribution to the pod's readiness.
func (c *Container) ready() bool {
	if c.Kind == KindInit {
		return c.Run == RunExited && c.Exited.Code == 0
	}
	return c.started() && c.Ready
}

// running counts containers that run.
func (s *PodState) running() (n int) {
	for i := range s.Containers {
		if s.Containers[i].Run == RunRunning {
			n++
		}
	}
	return n
}

func isSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}
