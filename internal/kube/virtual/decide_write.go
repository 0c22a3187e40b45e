package virtual

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// mergeWindow is how long a state may wait for its successor to be written together with it.
	mergeWindow = 250 * time.Millisecond
	// generationLate is how late a new generation may be acknowledged when nothing else changes.
	generationLate = time.Second
)

// Difference says what a status write would change.
type Difference struct {
	Any bool
	// Generation: only observed generations differ.
	Generation bool
	// Sandbox: only the condition PodReadyToStartContainers moved.
	Sandbox bool
	// Barrier: the write shows something that later writes would hide or that somebody waits for.
	Barrier bool
}

// compare finds out what writing next over old would change. It is hand-written because it runs at every step.
func compare(old, next *v1.PodStatus) (d Difference) {
	generation := old.ObservedGeneration != next.ObservedGeneration
	if old.Phase != next.Phase || old.Reason != next.Reason || old.Message != next.Message {
		d.Any = true
		d.Barrier = d.Barrier || terminalPhase(next.Phase)
	}
	if old.PodIP != next.PodIP || old.HostIP != next.HostIP || len(old.HostIPs) != len(next.HostIPs) ||
		old.StartTime == nil != (next.StartTime == nil) || old.QOSClass != next.QOSClass {
		d.Any = true
	}
	if len(old.Conditions) != len(next.Conditions) {
		d.Any = true
	}
	for i := range next.Conditions {
		n := &next.Conditions[i]
		o := findCondition(old.Conditions, n.Type)
		if o == nil {
			d.Any = true
			d.Barrier = d.Barrier || isBarrierCondition(n)
			continue
		}
		if o.Status != n.Status || o.Reason != n.Reason || o.Message != n.Message {
			if n.Type == v1.PodReadyToStartContainers {
				d.Sandbox = true
				continue
			}
			d.Any = true
			d.Barrier = d.Barrier || isBarrierCondition(n) || o.Status != n.Status && n.Type == v1.PodReady && o.Status == v1.ConditionTrue
		} else if o.ObservedGeneration != n.ObservedGeneration {
			generation = true
		}
	}
	compareContainers(old.InitContainerStatuses, next.InitContainerStatuses, true, &d)
	compareContainers(old.ContainerStatuses, next.ContainerStatuses, false, &d)
	compareContainers(old.EphemeralContainerStatuses, next.EphemeralContainerStatuses, false, &d)
	if d.Any {
		d.Sandbox = false
	} else if d.Sandbox {
		d.Any = true
	}
	if !d.Any && generation {
		d.Any, d.Generation = true, true
	}
	return d
}

func findCondition(list []v1.PodCondition, t v1.PodConditionType) *v1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

func isBarrierCondition(c *v1.PodCondition) bool {
	switch c.Type {
	case v1.DisruptionTarget, v1.PodResizePending, v1.PodResizeInProgress:
		return true
	case v1.PodReady:
		return c.Status == v1.ConditionTrue || c.Reason == "ReadinessGatesNotReady"
	}
	return false
}

func compareContainers(old, next []v1.ContainerStatus, init bool, d *Difference) {
	if len(old) != len(next) {
		d.Any = true
	}
	for i := range next {
		n := &next[i]
		var o *v1.ContainerStatus
		if i < len(old) && old[i].Name == n.Name {
			o = &old[i]
		}
		if o == nil {
			d.Any = true
			d.Barrier = d.Barrier || n.RestartCount > 0 || waitsOnFailure(n) ||
				n.State.Terminated != nil && (!init || n.State.Terminated.ExitCode != 0)
			continue
		}
		if o.RestartCount != n.RestartCount {
			d.Any, d.Barrier = true, true
		}
		if o.State.Terminated == nil && n.State.Terminated != nil {
			d.Any = true
			d.Barrier = d.Barrier || !init || n.State.Terminated.ExitCode != 0
		}
		if waitsOnFailure(n) && (o.State.Waiting == nil || o.State.Waiting.Reason != n.State.Waiting.Reason) {
			d.Any, d.Barrier = true, true
		}
		if !sameContainer(o, n) {
			d.Any = true
		}
	}
}

// waitsOnFailure reports a waiting reason that people look for.
func waitsOnFailure(c *v1.ContainerStatus) bool {
	return c.State.Waiting != nil && c.State.Waiting.Reason != reasonCreating && c.State.Waiting.Reason != reasonInitializing
}

func sameContainer(a, b *v1.ContainerStatus) bool {
	return a.Ready == b.Ready && a.RestartCount == b.RestartCount && a.Image == b.Image && a.ImageID == b.ImageID &&
		a.ContainerID == b.ContainerID && boolOf(a.Started) == boolOf(b.Started) &&
		sameState(&a.State, &b.State) && sameState(&a.LastTerminationState, &b.LastTerminationState) &&
		sameList(a.AllocatedResources, b.AllocatedResources) && sameResources(a.Resources, b.Resources)
}

func boolOf(b *bool) bool { return b != nil && *b }

func sameState(a, b *v1.ContainerState) bool {
	switch {
	case b.Running != nil:
		return a.Running != nil && a.Running.StartedAt.Equal(&b.Running.StartedAt)
	case b.Waiting != nil:
		return a.Waiting != nil && *a.Waiting == *b.Waiting
	case b.Terminated != nil:
		x, y := a.Terminated, b.Terminated
		return x != nil && x.ExitCode == y.ExitCode && x.Reason == y.Reason && x.Message == y.Message &&
			x.ContainerID == y.ContainerID && sameTime(x.FinishedAt, y.FinishedAt)
	default:
		return a.Running == nil && a.Waiting == nil && a.Terminated == nil
	}
}

func sameTime(a, b metav1.Time) bool { return a.Unix() == b.Unix() || a.IsZero() && b.IsZero() }

func sameResources(a, b *v1.ResourceRequirements) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameList(a.Requests, b.Requests) && sameList(a.Limits, b.Limits)
}

func sameList(a, b v1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range b {
		o, ok := a[k]
		if !ok || o.Cmp(v) != 0 {
			return false
		}
	}
	return true
}

// Merge decides when a pending difference is written: now, or at a later instant because its successor will carry it.
// hold is Plan.Hold, wake the state's next change by itself, since when the difference first stood.
func merge(policy WritePolicy, d Difference, pod *v1.Pod, s *PodState, hold bool, wake, since, now time.Time) (write bool, at time.Time) {
	switch {
	case !d.Any:
		return false, time.Time{}
	case policy == WritesFull && !hold:
		return true, time.Time{}
	case d.Generation && pod.DeletionTimestamp != nil:
		return false, time.Time{} // the terminal write or the deletion follows; nobody waits for the acknowledgement
	case d.Generation:
		return later(since.Add(generationLate), now)
	case d.Barrier:
		return true, time.Time{}
	case d.Sandbox && s.starting() && (!wake.IsZero() || s.pulling()):
		return false, time.Time{}
	case hold:
		return false, time.Time{}
	case policy == WritesLean && s.starting() && (!wake.IsZero() || s.pulling()):
		return false, time.Time{} // "admitted" goes with "running"
	case !wake.IsZero() && wake.Sub(now) < mergeWindow && now.Sub(since) < mergeWindow:
		return false, time.Time{}
	default:
		return true, time.Time{}
	}
}

func later(at, now time.Time) (bool, time.Time) {
	if at.After(now) {
		return false, at
	}
	return true, time.Time{}
}

// starting reports a pod on its way to its first app container, with nothing having gone wrong.
func (s *PodState) starting() bool {
	if s.Stop != nil || !s.Ended.IsZero() {
		return false
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Run == RunWaiting || c.Kind == KindSidecar && !c.Exited.At.IsZero() || c.Kind == KindApp && c.Run != RunIdle && c.Run != RunStarting && c.Run != RunPulling {
			return false
		}
	}
	return true
}

// pulling reports whether an image is on its way: its arrival wakes the pod.
func (s *PodState) pulling() bool {
	for i := range s.Containers {
		if s.Containers[i].Run == RunPulling {
			return true
		}
	}
	return false
}

// removable reports whether a stopped pod that is being deleted may be removed without showing its terminal status
// first: nobody waits for it (Jobs count, finalizers look, and people look at pods without an owner).
func removable(policy WritePolicy, pod *v1.Pod) bool {
	if policy != WritesLean || len(pod.Finalizers) > 0 || pod.Spec.RestartPolicy != v1.RestartPolicyAlways {
		return false
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind != "Job"
}
