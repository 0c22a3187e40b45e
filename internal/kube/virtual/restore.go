package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// restore rebuilds a pod's program state from what its status shows, so that an engine that starts anew goes on where
// the last one stopped: running containers run on, deletions go on, terminal pods stay terminal.
func restore(s *PodState, in *Inputs, now time.Time) {
	pod, st := in.Pod, &in.Pod.Status
	if st.StartTime == nil && !terminalPhase(st.Phase) {
		return // no kubelet has seen it
	}
	s.Admitted = now
	if st.StartTime != nil {
		s.Admitted = st.StartTime.Time
	}
	s.IP = st.PodIP
	if terminalPhase(st.Phase) {
		s.Ended = now
		s.Reason, s.Message = st.Reason, st.Message
		s.Refused = len(st.ContainerStatuses) == 0
	}
	if c := findCondition(st.Conditions, v1.PodReadyToStartContainers); c != nil && c.Status == v1.ConditionTrue || s.IP != "" {
		s.SandboxUp = true
	} else if s.Ended.IsZero() {
		s.SandboxAt = now.Add(in.Timing.Sandbox)
	}
	d := decider{s: s, in: in, pod: pod}
	for i := range s.Containers {
		c := &s.Containers[i]
		if cs := statusOf(st, c, pod); cs != nil {
			d.restoreContainer(c, cs, now)
		}
	}
	if c := findCondition(st.Conditions, v1.PodInitialized); c != nil && c.Status == v1.ConditionTrue {
		s.Initialized = true
	}
}

func statusOf(st *v1.PodStatus, c *Container, pod *v1.Pod) *v1.ContainerStatus {
	list := st.ContainerStatuses
	switch c.Kind {
	case KindInit, KindSidecar:
		list = st.InitContainerStatuses
	case KindEphemeral:
		list = st.EphemeralContainerStatuses
	}
	name := c.spec(pod).Name
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func (d *decider) restoreContainer(c *Container, cs *v1.ContainerStatus, now time.Time) {
	c.Restarts, c.ID, c.ImageID = cs.RestartCount, cs.ContainerID, cs.ImageID
	c.Last = exitOf(cs.LastTerminationState.Terminated)
	if cs.Resources != nil && c.Kind != KindEphemeral && !sameResources(cs.Resources, &c.spec(d.pod).Resources) {
		c.Allocated = cs.Resources // a resize was under way: it is taken up again
	}
	if cs.RestartCount > 0 { // the exact delay is not in the API: take the one the count implies
		c.Backoff = backoffFirst
		for range min(cs.RestartCount-1, 5) {
			c.Backoff = min(2*c.Backoff, d.backoffCap())
		}
	}
	switch {
	case cs.State.Running != nil:
		c.Run, c.Started = RunRunning, cs.State.Running.StartedAt.Time
		c.BackoffRaised = c.Started
		c.Model = d.in.Behaviour.Choose(Choice{Pod: d.pod, Container: c.spec(d.pod), Init: c.Kind == KindInit,
			Restart: c.Restarts, Identity: d.s.Identity, Node: d.in.Node.Name, Seed: d.in.Seed})
		if c.End = c.naturalEnd(); c.Model.Exits {
			c.End.At = maxTime(c.End.At, now)
		}
		d.limitMemory(c, now)
		d.restoreProbes(c, cs, now)
	case cs.State.Terminated != nil:
		c.Run, c.Exited = RunExited, exitOf(cs.State.Terminated)
		c.BackoffRaised = c.Exited.Started
		c.Started = c.Exited.Started
	case cs.State.Waiting != nil && cs.LastTerminationState.Terminated != nil:
		c.Run, c.Exited, c.Last = RunExited, c.Last, Exit{}
		c.BackoffRaised = c.Exited.Started
		c.Started = c.Exited.Started
	}
}

// restoreProbes continues the probes of a container that runs on, with the results its status shows.
func (d *decider) restoreProbes(c *Container, cs *v1.ContainerStatus, now time.Time) {
	spec := c.spec(d.pod)
	if cs.Started == nil || !*cs.Started {
		d.startProbes(c, now)
		return
	}
	c.StartupDone, c.Ready, c.ReadyFrom = true, cs.Ready, c.Started
	if p := spec.ReadinessProbe; p != nil {
		c.Readiness = nextProbeChange(c, p, ReadinessProbe, d.ticks(c, p, c.ReadyFrom), c.Ready, now)
	} else {
		c.Ready = true
	}
	d.armLiveness(c, now)
}

func exitOf(t *v1.ContainerStateTerminated) Exit {
	if t == nil {
		return Exit{}
	}
	e := Exit{At: t.FinishedAt.Time, Started: t.StartedAt.Time, Code: t.ExitCode, Reason: t.Reason, Message: t.Message, ID: t.ContainerID}
	if e.At.IsZero() {
		e.At = time.Unix(1, 0)
	}
	return e
}
