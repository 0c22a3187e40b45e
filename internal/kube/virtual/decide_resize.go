package virtual

import (
	"cmp"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/events"
)

// Resize is an in-place change of a pod's resources under way.
type Resize struct {
	Pending        string // Deferred or Infeasible; empty = none
	PendingMessage string
	RetryAt        time.Time
	Tries          int

	DoneAt     time.Time // when what was granted is in force
	Error      string    // why it cannot be put into force
	Generation int64     // of the request
	Since      time.Time
}

const (
	// resizeTakes is how long the runtime takes to put new limits into force (assumption).
	resizeTakes = 500 * time.Millisecond
	// resizeRetryFirst and resizeRetry are how soon a deferred resize is tried again when nothing else happens.
	resizeRetryFirst = 30 * time.Second
	resizeRetry      = 3 * time.Minute
)

// observeResize compares what the spec asks with what was granted, and asks the node.
func (d *decider) observeResize(t time.Time) {
	s := d.s
	if s.Stop != nil || !s.Ended.IsZero() || !s.Initialized {
		return
	}
	if !d.wantsResize() {
		if s.Resize != nil && s.Resize.DoneAt.IsZero() && s.Resize.Error == "" {
			s.Resize = nil // the request was taken back
			d.plan.Changed = true
		}
		return
	}
	r := s.Resize
	if r != nil && r.Pending != "" && r.Generation == d.pod.Generation && r.RetryAt.After(t) {
		return
	}
	if r == nil || r.Pending == "" {
		r = &Resize{Since: t}
		s.Resize = r
	}
	reason, message := d.in.Around.Resize(d.pod)
	d.plan.Changed = true
	if reason != "" {
		d.postpone(r, reason, message, t)
		return
	}
	d.accept(r, t)
}

// wantsResize reports whether a container's spec differs from what it was granted.
func (d *decider) wantsResize() bool {
	for i := range d.s.Containers {
		c := &d.s.Containers[i]
		if c.Kind != KindEphemeral && c.Allocated != nil && !sameResources(c.Allocated, &c.spec(d.pod).Resources) {
			return true
		}
	}
	return false
}

// postpone notes that the node cannot, or will never, grant the resize.
func (d *decider) postpone(r *Resize, reason, message string, t time.Time) {
	if r.Pending != reason || r.Generation != d.pod.Generation {
		name := events.ResizeDeferred
		if reason == v1.PodReasonInfeasible {
			name = events.ResizeInfeasible
		}
		if d.in.Events {
			d.event(t, nil, true, name, events.PodResizePendingMsg(klog.Background(), d.pod, reason, message, d.pod.Generation))
		}
		r.Tries = 0
	}
	r.Pending, r.PendingMessage, r.Generation = reason, message, d.pod.Generation
	wait := resizeRetry
	if r.Tries == 0 {
		wait = resizeRetryFirst
	}
	r.Tries++
	r.RetryAt = t.Add(wait)
	if reason == v1.PodReasonInfeasible {
		r.RetryAt = time.Time{}
	}
}

// accept grants the resize; it is in force after a while.
func (d *decider) accept(r *Resize, t time.Time) {
	if d.in.Events {
		d.event(t, nil, false, events.ResizeStarted, events.PodResizeStartedMsg(klog.Background(), d.pod, d.pod.Generation))
	}
	takes := resizeTakes
	*r = Resize{Generation: d.pod.Generation, Since: t}
	for i := range d.s.Containers {
		c := &d.s.Containers[i]
		spec := c.spec(d.pod)
		if c.Allocated == nil || sameResources(c.Allocated, &spec.Resources) {
			continue
		}
		if c.Run == RunRunning {
			if c.Actual == nil {
				c.Actual = c.Allocated
			}
			if c.Model.ResizeDelay > 0 {
				takes = max(takes, c.Model.ResizeDelay)
			}
			r.Error = cmp.Or(r.Error, c.Model.ResizeError, d.shrinksBelowUse(c, spec, t))
		}
		c.Allocated = spec.Resources.DeepCopy()
	}
	if r.Error == "" {
		r.DoneAt = t.Add(takes)
		return
	}
	d.event(t, nil, true, events.ResizeError, events.PodResizeErrorMsg(klog.Background(), d.pod, d.pod.Generation, r.Error))
}

// shrinksBelowUse is the runtime's refusal to set a memory limit below what is in use.
func (d *decider) shrinksBelowUse(c *Container, spec *v1.Container, t time.Time) string {
	limit, ok := spec.Resources.Limits[v1.ResourceMemory]
	if !ok || d.in.Usage == nil || limit.Value() >= d.memoryLimit(c) && d.memoryLimit(c) > 0 {
		return ""
	}
	if used := d.in.Usage.Usage(d.instance(c), t).MemoryBytes; used > limit.Value() {
		return "attempting to set pod memory limit below current usage"
	}
	return ""
}

// resized puts a granted resize into force.
func (d *decider) resized(t time.Time) {
	s := d.s
	restarted := false
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Actual == nil {
			continue
		}
		old, spec := c.Actual, c.spec(d.pod)
		c.Actual = nil
		if c.Allocated != nil && sameResources(c.Allocated, &spec.Resources) {
			c.Allocated = nil
		}
		if c.Run != RunRunning {
			continue
		}
		if restartsOnResize(spec, old, &spec.Resources) {
			restarted = true
			c.ForceRestart = true
			d.terminate(c, t, t.Add(time.Duration(podGrace(d.pod))*time.Second), "Container "+spec.Name+" resize requires restart")
			continue
		}
		if c.End.Reason == reasonOOMKilled && !c.Killing {
			c.End = c.naturalEnd()
		}
		d.limitMemory(c, t)
	}
	if d.in.Events && !restarted {
		d.event(t, nil, false, events.ResizeCompleted, events.PodResizeCompletedMsg(klog.Background(), d.pod, s.Resize.Generation))
	}
	s.Resize = nil
	d.plan.Changed = true
}

// naturalEnd is how the instance ends by itself.
func (c *Container) naturalEnd() Exit {
	if !c.Model.Exits {
		return Exit{}
	}
	return Exit{At: c.Started.Add(max(c.Model.RunsFor, 0)), Code: c.Model.ExitCode, Reason: exitReason(c.Model.ExitCode), Message: c.Model.Message}
}

func restartsOnResize(spec *v1.Container, old, next *v1.ResourceRequirements) bool {
	for _, p := range spec.ResizePolicy {
		if p.RestartPolicy != v1.RestartContainer {
			continue
		}
		for _, lists := range [][2]v1.ResourceList{{old.Requests, next.Requests}, {old.Limits, next.Limits}} {
			a, b := lists[0][p.ResourceName], lists[1][p.ResourceName]
			if a.Cmp(b) != 0 {
				return true
			}
		}
	}
	return false
}

// resizeConditions are the pod's resize conditions.
func resizeConditions(s *PodState) []v1.PodCondition {
	r := s.Resize
	if r == nil || !s.Ended.IsZero() {
		return nil
	}
	since := metav1.NewTime(r.Since.Truncate(time.Second))
	if r.Pending != "" {
		return []v1.PodCondition{{Type: v1.PodResizePending, Status: v1.ConditionTrue, Reason: r.Pending, Message: r.PendingMessage,
			ObservedGeneration: r.Generation, LastTransitionTime: since, LastProbeTime: since}}
	}
	c := v1.PodCondition{Type: v1.PodResizeInProgress, Status: v1.ConditionTrue, ObservedGeneration: r.Generation, LastTransitionTime: since, LastProbeTime: since}
	if r.Error != "" {
		c.Reason, c.Message = v1.PodReasonError, r.Error
	}
	return []v1.PodCondition{c}
}

// noteResize keeps what containers were granted when a pod's spec changes under them. The caller holds mu.
func (s *PodState) noteResize(old, next *v1.Pod) {
	if s == nil || old.Generation == next.Generation || s.Admitted.IsZero() {
		return
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Kind == KindEphemeral || c.Allocated != nil {
			continue
		}
		if before := &c.spec(old).Resources; !sameResources(before, &c.spec(next).Resources) {
			c.Allocated = before.DeepCopy()
		}
	}
}

// Resize implements Surroundings: whether the node can grant what the spec asks now.
func (a around) Resize(pod *v1.Pod) (reason, message string) {
	n := a.r.node
	if n.obj == nil {
		return v1.PodReasonDeferred, "node is not registered"
	}
	if n.group != nil && n.group.spec.StaticCPUManager && qosClass(pod) == v1.PodQOSGuaranteed {
		return v1.PodReasonInfeasible, "Resize is infeasible for Guaranteed Pods alongside CPU Manager static policy"
	}
	want := podRequests(desired(pod))
	if s, short := n.ledger.lacks(a.r.key, want, n.obj.Status.Allocatable); short {
		n.deferred[a.r.key] = a.r
		return v1.PodReasonDeferred, s.String()
	}
	n.ledger.grant(a.r.key, want)
	delete(n.deferred, a.r.key)
	return "", ""
}

// desired is the pod as its spec asks, whatever its status says was granted.
func desired(pod *v1.Pod) *v1.Pod { return &v1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec} }

// retryResizes lets deferred resizes try again because something was given back: by priority, then class, then age.
// The caller holds mu.
func (e *Engine) retryResizes(n *nodeRecord, now time.Time) {
	if len(n.deferred) == 0 {
		return
	}
	list := make([]*podRecord, 0, len(n.deferred))
	for _, r := range n.deferred {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *podRecord) int {
		return cmp.Or(cmp.Compare(priorityOf(b.obj), priorityOf(a.obj)), cmp.Compare(qosRank(a.obj), qosRank(b.obj)),
			a.obj.CreationTimestamp.Compare(b.obj.CreationTimestamp.Time), compareKeys(a.key, b.key))
	})
	for _, r := range list {
		if r.gone || r.state == nil || r.state.Resize == nil || r.state.Resize.Pending == "" {
			delete(n.deferred, r.key)
			continue
		}
		r.state.Resize.RetryAt = now
		e.touch(r)
	}
}

func priorityOf(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func qosRank(pod *v1.Pod) int {
	switch qosClass(pod) {
	case v1.PodQOSGuaranteed:
		return 0
	case v1.PodQOSBurstable:
		return 1
	default:
		return 2
	}
}
