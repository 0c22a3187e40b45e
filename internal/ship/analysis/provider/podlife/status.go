package podlife

import (
	"iter"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// reasonOOMKilled is what kubelets give as the reason of a container that its kernel killed for want of memory.
const reasonOOMKilled = "OOMKilled"

// statuses visits the containers of a pod, init containers and sidecars too.
func statuses(pod *corev1.Pod) iter.Seq[*corev1.ContainerStatus] {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// ends are the ends of a container that its status still tells.
func ends(s *corev1.ContainerStatus) []*corev1.ContainerStateTerminated {
	var out []*corev1.ContainerStateTerminated
	for _, end := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
		if end != nil {
			out = append(out, end)
		}
	}
	return out
}

// newEnds counts the restarts of containers since a pod was as before, and the kills for want of memory. Of kills between
// two looks only those are seen that the status still tells: two at most of each container.
func newEnds(before, pod *corev1.Pod) (restarts, kills int) {
	for s := range statuses(pod) {
		old := &corev1.ContainerStatus{}
		for o := range statuses(before) {
			if o.Name == s.Name {
				old = o
			}
		}
		restarts += max(0, int(s.RestartCount)-int(old.RestartCount))
		for _, end := range ends(s) {
			if end.Reason == reasonOOMKilled && !known(old, end) {
				kills++
			}
		}
	}
	return restarts, kills
}

// known reports whether a status tells of an end already. It moves from the state to the last state.
func known(s *corev1.ContainerStatus, end *corev1.ContainerStateTerminated) bool {
	for _, o := range ends(s) {
		if o.ContainerID == end.ContainerID && o.FinishedAt.Equal(&end.FinishedAt) && o.StartedAt.Equal(&end.StartedAt) {
			return true
		}
	}
	return false
}

// condition of a pod; the zero value when it has none.
func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return pod.Status.Conditions[i]
		}
	}
	return corev1.PodCondition{}
}

func ready(pod *corev1.Pod) corev1.PodCondition { return condition(pod, corev1.PodReady) }

// alive pods have not come to their end and are not asked to.
func alive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// startedFrom is when a pod began to start: it was given a node, or made with one. false = it waits for one.
func startedFrom(pod *corev1.Pod) (time.Time, bool) {
	switch c := condition(pod, corev1.PodScheduled); {
	case c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero():
		return c.LastTransitionTime.Time, true
	case c.Status == corev1.ConditionFalse:
		return time.Time{}, false
	}
	return pod.CreationTimestamp.Time, true
}

// readyAfter is how long a ready pod took from its start until it was (last) ready.
func readyAfter(pod *corev1.Pod) time.Duration {
	from, _ := startedFrom(pod)
	return max(0, ready(pod).LastTransitionTime.Sub(from))
}
