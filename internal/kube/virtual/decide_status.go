package virtual

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	kubestatus "k8s.io/kubernetes/pkg/kubelet/status"
	kubetypes "k8s.io/kubernetes/pkg/kubelet/types"
)

// podStatus returns the status a kubelet would report for the state s at now. Conditions of others are taken from the
// cached object; transition times move only when a condition's status does.
func podStatus(s *PodState, in *Inputs, now time.Time, detail bool) v1.PodStatus {
	pod := in.Pod
	old := &pod.Status
	if s.Refused {
		return refusedStatus(s, in)
	}
	st := v1.PodStatus{
		ObservedGeneration:                   podutil.CalculatePodStatusObservedGeneration(pod),
		NominatedNodeName:                    old.NominatedNodeName,
		QOSClass:                             qosClass(pod),
		StartTime:                            old.StartTime,
		HostIP:                               in.Node.IP,
		HostIPs:                              old.HostIPs,
		PodIP:                                old.PodIP,
		PodIPs:                               old.PodIPs,
		Resize:                               old.Resize,
		ResourceClaimStatuses:                old.ResourceClaimStatuses,
		ExtendedResourceClaimStatus:          old.ExtendedResourceClaimStatus,
		NodeAllocatableResourceClaimStatuses: old.NodeAllocatableResourceClaimStatuses,
	}
	if st.StartTime == nil {
		at := metav1.NewTime(s.Admitted.Truncate(time.Second))
		st.StartTime = &at
	}
	if len(st.HostIPs) == 0 {
		st.HostIPs = []v1.HostIP{{IP: in.Node.IP}}
	}
	if pod.Spec.Resources != nil { // pod-level resources
		st.Resources, st.AllocatedResources = pod.Spec.Resources, podRequests(pod)
	}
	containerStatuses(s, pod, &st, now, detail)
	st.Phase = phaseOf(s, pod)
	if st.PodIP != s.IP && s.IP != "" && (st.Phase != v1.PodPending || pod.Spec.HostNetwork || s.anyStarted()) {
		st.PodIP, st.PodIPs = s.IP, []v1.PodIP{{IP: s.IP}}
	}
	switch {
	case s.Reason != "" && (st.Phase == v1.PodFailed || !s.Ended.IsZero()):
		st.Phase, st.Reason, st.Message = v1.PodFailed, s.Reason, s.Message
	case st.Phase == old.Phase:
		st.Reason, st.Message = old.Reason, old.Message
	}
	if terminalPhase(old.Phase) {
		st.Phase, st.Reason, st.Message = old.Phase, old.Reason, old.Message
	}
	st.Conditions = conditions(s, in, &st, now)
	return st
}

// qosClass keeps the class the API server computed at creation; it never changes.
func qosClass(pod *v1.Pod) v1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	return qos.ComputePodQOS(pod)
}

func (s *PodState) anyStarted() bool {
	for i := range s.Containers {
		if c := &s.Containers[i]; !c.Started.IsZero() {
			return true
		}
	}
	return false
}

// refusedStatus is that of a pod the node did not take.
func refusedStatus(s *PodState, in *Inputs) v1.PodStatus {
	st := in.Pod.Status
	st.Phase, st.Reason, st.Message = v1.PodFailed, s.Reason, s.Message
	st.ObservedGeneration = podutil.CalculatePodStatusObservedGeneration(in.Pod)
	st.QOSClass = qosClass(in.Pod)
	if st.StartTime == nil {
		at := metav1.NewTime(s.Admitted.Truncate(time.Second))
		st.StartTime = &at
	}
	return st
}

// conditions assembles the pod's conditions in the kubelet's order.
func conditions(s *PodState, in *Inputs, st *v1.PodStatus, now time.Time) []v1.PodCondition {
	pod, old := in.Pod, &in.Pod.Status
	out := make([]v1.PodCondition, 0, len(old.Conditions)+5)
	for i := range old.Conditions {
		if !kubetypes.PodConditionByKubelet(old.Conditions[i].Type) {
			out = append(out, old.Conditions[i])
		}
	}
	if s.Disruption != "" && terminalPhase(st.Phase) {
		out = withDisruption(out, s.Disruption)
	}
	all := st.ContainerStatuses
	if len(st.InitContainerStatuses) > 0 {
		all = append(slices.Clip(st.InitContainerStatuses), st.ContainerStatuses...)
	}
	generation := pod.Generation
	sandbox := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionTrue, ObservedGeneration: generation}
	if !s.SandboxUp || !s.Ended.IsZero() {
		sandbox.Status = v1.ConditionFalse
		sandbox.Reason = kubetypes.PodSandboxNotReadyReason
	}
	out = append(out, resizeConditions(s)...)
	out = append(out, sandbox,
		kubestatus.GeneratePodInitializedCondition(pod, old, all, st.Phase),
		kubestatus.GeneratePodReadyCondition(pod, old, out, all, st.Phase),
		kubestatus.GenerateContainersReadyCondition(pod, old, all, st.Phase),
		v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionTrue, ObservedGeneration: generation})
	if c, ok := restartAllCondition(s, pod, st.Phase); ok {
		out = append(out, c)
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	for i := range out {
		keepTransition(&out[i], old.Conditions, at)
	}
	return out
}

// keepTransition carries over the transition time of a condition whose status did not change.
func keepTransition(c *v1.PodCondition, old []v1.PodCondition, now metav1.Time) {
	for i := range old {
		if old[i].Type == c.Type && old[i].Status == c.Status && !old[i].LastTransitionTime.IsZero() {
			c.LastTransitionTime = old[i].LastTransitionTime
			return
		}
	}
	if c.LastTransitionTime.IsZero() || kubeletOwns(c.Type) {
		c.LastTransitionTime = now
	}
}

func kubeletOwns(t v1.PodConditionType) bool {
	return kubetypes.PodConditionByKubelet(t) || kubetypes.PodConditionSharedByKubelet(t)
}

func withDisruption(list []v1.PodCondition, message string) []v1.PodCondition {
	c := v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue,
		Reason: v1.PodReasonTerminationByKubelet, Message: message}
	for i := range list {
		if list[i].Type == c.Type {
			list[i] = c
			return list
		}
	}
	return append(list, c)
}

// phaseOf follows kubelet's getPhase on the program state.
func phaseOf(s *PodState, pod *v1.Pod) v1.PodPhase {
	if s.Reason != "" && !s.Ended.IsZero() {
		return v1.PodFailed
	}
	initPending, sidecarPending := false, false
	var running, waiting, stopped, stoppedForGood, succeeded int
	for i := range s.Containers {
		c := &s.Containers[i]
		ended := !c.Exited.At.IsZero() && c.Run != RunRunning
		switch c.Kind {
		case KindInit:
			switch {
			case !ended:
				initPending = true
			case c.Exited.Code != 0 && !c.restartable(pod):
				return v1.PodFailed
			case c.Exited.Code != 0 && c.Run != RunWaiting && c.Run != RunExited:
				initPending = true
			}
			initPending = initPending || ended && c.Exited.Code != 0
		case KindSidecar:
			switch {
			case c.Run == RunRunning:
				running++
				sidecarPending = sidecarPending || !c.StartupDone
			case !ended:
				sidecarPending = true
				waiting++
			}
		case KindApp:
			switch {
			case c.Run == RunRunning:
				running++
			case ended:
				stopped++
				if !c.restartable(pod) {
					stoppedForGood++
				}
				if c.Exited.Code == 0 {
					succeeded++
				}
			default:
				waiting++
			}
		}
	}
	over := !s.Ended.IsZero() && s.Stop != nil && !s.Stop.Natural
	switch {
	case over && stopped > 0 && waiting == 0 && running == 0 && !initPending:
		if stopped == succeeded {
			return v1.PodSucceeded
		}
		return v1.PodFailed
	case over:
		return v1.PodFailed // it never got going: the kubelet marks such a pod failed when it ends
	case initPending || sidecarPending && !s.Initialized || waiting > 0:
		return v1.PodPending
	case stopped > 0 && stopped == stoppedForGood && countApps(s) == stopped && s.Ended.IsZero():
		return v1.PodRunning // sidecars are still being stopped: the terminal phase waits for them
	case running > 0:
		return v1.PodRunning
	case stopped > 0 && stopped != stoppedForGood:
		return v1.PodRunning
	case stopped > 0 && stopped == succeeded:
		return v1.PodSucceeded
	case stopped > 0:
		return v1.PodFailed
	default:
		return v1.PodPending
	}
}

func countApps(s *PodState) (n int) {
	for i := range s.Containers {
		if s.Containers[i].Kind == KindApp {
			n++
		}
	}
	return n
}

func (c *Container) restartable(pod *v1.Pod) bool {
	if c.ForceRestart && pod.Spec.RestartPolicy != v1.RestartPolicyNever || c.Exited.Reason == reasonRestartAll {
		return true
	}
	return podutil.ContainerShouldRestart(*c.spec(pod), pod.Spec, c.Exited.Code)
}

// containerStatuses fills the three lists: init containers in spec order, the others sorted by name.
func containerStatuses(s *PodState, pod *v1.Pod, st *v1.PodStatus, now time.Time, detail bool) {
	nInit, nApp := len(pod.Spec.InitContainers), len(pod.Spec.Containers)
	buf := make([]v1.ContainerStatus, len(s.Containers))
	for i := range s.Containers {
		containerStatus(&s.Containers[i], pod, &buf[i], detail)
	}
	if nInit > 0 {
		st.InitContainerStatuses = buf[:nInit:nInit]
	}
	st.ContainerStatuses = buf[nInit : nInit+nApp : nInit+nApp]
	byName := func(a, b v1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) }
	if nApp > 1 {
		slices.SortFunc(st.ContainerStatuses, byName)
	}
	if eph := buf[nInit+nApp:]; len(eph) > 0 {
		slices.SortFunc(eph, byName)
		st.EphemeralContainerStatuses = eph
	}
}

func containerStatus(c *Container, pod *v1.Pod, st *v1.ContainerStatus, detail bool) {
	spec := c.spec(pod)
	st.Name, st.Image = spec.Name, spec.Image
	st.ImageID, st.ContainerID = c.ImageID, c.ID
	st.RestartCount = c.Restarts
	st.Ready = c.ready()
	started := c.started()
	st.Started = &started
	switch {
	case c.Run == RunRunning:
		st.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.NewTime(c.Started.Truncate(time.Second))}
		st.LastTerminationState.Terminated = c.Last.terminated()
	case c.Wait != "" && c.Run != RunExited && c.ShowWait.IsZero():
		st.State.Waiting = &v1.ContainerStateWaiting{Reason: c.Wait, Message: c.WaitMessage}
		st.LastTerminationState.Terminated = c.Exited.terminated()
	case !c.Exited.At.IsZero():
		st.State.Terminated = c.Exited.terminated()
		st.LastTerminationState.Terminated = c.Last.terminated()
	default:
		st.State.Waiting = &v1.ContainerStateWaiting{Reason: reasonCreating}
		if hasInit(pod) && c.Kind != KindEphemeral {
			st.State.Waiting.Reason = reasonInitializing
		}
		return
	}
	if c.Kind == KindEphemeral {
		return
	}
	allocated := &spec.Resources
	if c.Allocated != nil {
		allocated = c.Allocated
	}
	st.AllocatedResources = allocated.Requests
	st.Resources = allocated
	if c.Actual != nil {
		st.Resources = c.Actual
	}
	if detail {
		st.User = containerUser(pod, spec)
		st.VolumeMounts = mountStatuses(spec)
	}
}

func (e Exit) terminated() *v1.ContainerStateTerminated {
	if e.At.IsZero() {
		return nil
	}
	t := &v1.ContainerStateTerminated{ExitCode: e.Code, Reason: e.Reason, Message: e.Message, ContainerID: e.ID}
	if e.Reason != reasonStatusUnknown {
		t.StartedAt = metav1.NewTime(e.Started.Truncate(time.Second))
		t.FinishedAt = metav1.NewTime(e.At.Truncate(time.Second))
	}
	return t
}

func mountStatuses(spec *v1.Container) []v1.VolumeMountStatus {
	if len(spec.VolumeMounts) == 0 {
		return nil
	}
	out := make([]v1.VolumeMountStatus, len(spec.VolumeMounts))
	for i := range spec.VolumeMounts {
		m := &spec.VolumeMounts[i]
		out[i] = v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled {
				mode = v1.RecursiveReadOnlyEnabled
			}
			out[i].RecursiveReadOnly = &mode
		}
	}
	return out
}

// containerUser is who the container's first process runs as; images are taken to run as root unless told otherwise.
func containerUser(pod *v1.Pod, spec *v1.Container) *v1.ContainerUser {
	u := &v1.LinuxContainerUser{}
	if sc := pod.Spec.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			u.UID = *sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			u.GID = *sc.RunAsGroup
		}
		u.SupplementalGroups = append(u.SupplementalGroups, sc.SupplementalGroups...)
		if sc.FSGroup != nil {
			u.SupplementalGroups = append(u.SupplementalGroups, *sc.FSGroup)
		}
	}
	if sc := spec.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			u.UID = *sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			u.GID = *sc.RunAsGroup
		}
	}
	if !slices.Contains(u.SupplementalGroups, u.GID) {
		u.SupplementalGroups = append([]int64{u.GID}, u.SupplementalGroups...)
	}
	return &v1.ContainerUser{Linux: u}
}
