package why

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
)

func explainPod(ctx context.Context, c client.Reader, key client.ObjectKey, now time.Time) (*Answer, error) {
	var pod corev1.Pod
	if err := c.Get(ctx, key, &pod); err != nil {
		return nil, err
	}
	return podAnswer(ctx, c, &pod, now)
}

// podAnswer is [Pod] with what its events, its node and the other nodes say.
func podAnswer(ctx context.Context, c client.Reader, pod *corev1.Pod, now time.Time) (*Answer, error) {
	list, err := events(ctx, c, pod)
	if err != nil {
		return nil, err
	}
	a := Pod(pod, list, now)
	switch {
	case a.Code == corev1.PodReasonUnschedulable:
		return a, a.placement(ctx, c, pod)
	case pod.Spec.NodeName != "":
		return a, a.onNode(ctx, c, pod)
	}
	return a, nil
}

// onNode lets the state of the pod's node go before all else until the pod has ended: what a silent node last said of it is
// old. For a node without a machine it says what the containers were told to do.
func (a *Answer) onNode(ctx context.Context, c client.Reader, pod *corev1.Pod) error {
	var n corev1.Node
	name, over := pod.Spec.NodeName, pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	err := c.Get(ctx, client.ObjectKey{Name: name}, &n)
	if apierrors.IsNotFound(err) && over {
		return nil
	}
	if apierrors.IsNotFound(err) {
		a.block("NodeGone", "its node %s does not exist any more", name).then("the pod garbage collector deletes it within 2 minutes", time.Time{})
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading its node: %w", err)
	}
	if r := nodeCondition(&n, corev1.NodeReady); !over && (r == nil || r.Status != corev1.ConditionTrue) {
		below := Node(&n, nil)
		a.Evidence = nil
		a.inherit(below)
		a.Try = below.Try
	}
	if n.Labels[fairway.LabelVirtual] == "true" {
		return a.played(ctx, c, pod)
	}
	return nil
}

// Pod says why a pod is not ready. events are those about it, newest first.
func Pod(pod *corev1.Pod, events []corev1.Event, now time.Time) *Answer {
	a := &Answer{Object: "pod/" + pod.Name}
	for _, ask := range []func(*Answer, *corev1.Pod, []corev1.Event, time.Time) bool{terminating, ended, unscheduled, waiting, initializing, unready} {
		if ask(a, pod, events, now) {
			return a
		}
	}
	a.Reason = "nothing blocks it: it is running and ready"
	if c := condition(pod, corev1.PodReady); c != nil {
		a.saw("condition Ready", "%s since %s", c.Status, c.LastTransitionTime.Format(time.RFC3339))
	}
	return a
}

func condition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func terminating(a *Answer, pod *corev1.Pod, _ []corev1.Event, now time.Time) bool {
	if pod.DeletionTimestamp == nil {
		return false
	}
	deadline := pod.DeletionTimestamp.Time
	switch {
	case len(pod.Finalizers) > 0 && now.After(deadline):
		a.block("Finalizers", "it is deleted and waits for its finalizers to be removed by their controllers").saw("metadata.finalizers", "%v", pod.Finalizers)
	case now.After(deadline):
		a.block("NodeSilent", "it is deleted, but its node has not confirmed the end; is node %s alive?", pod.Spec.NodeName).
			saw("metadata.deletionTimestamp", "%s is past", deadline.Format(time.RFC3339)).try("fairway why node/%s", pod.Spec.NodeName)
	default:
		a.block("Terminating", "it is being stopped").then("its containers are killed", deadline)
	}
	return true
}

func ended(a *Answer, pod *corev1.Pod, _ []corev1.Event, _ time.Time) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		a.Reason = "it has done its work: every container ended with exit code 0"
		return true
	case corev1.PodFailed:
		code := pod.Status.Reason
		if code == "" {
			code = "Failed"
		}
		a.block(code, "it has failed and will not run again")
		if pod.Status.Message != "" {
			a.saw("status", "%s: %s", code, pod.Status.Message)
		}
		for _, s := range pod.Status.ContainerStatuses {
			if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
				a.saw("container "+s.Name, "%s", exit(t))
			}
		}
		return true
	}
	return false
}

func unscheduled(a *Answer, pod *corev1.Pod, events []corev1.Event, _ time.Time) bool {
	if pod.Spec.NodeName != "" {
		return false
	}
	if len(pod.Spec.SchedulingGates) > 0 {
		names := make([]string, len(pod.Spec.SchedulingGates))
		for i, g := range pod.Spec.SchedulingGates {
			names[i] = g.Name
		}
		a.block("SchedulingGated", "it waits for its scheduling gates to be removed").saw("spec.schedulingGates", "%v", names)
		return true
	}
	c := condition(pod, corev1.PodScheduled)
	if c == nil || c.Reason == "" {
		a.block("NotScheduled", "no scheduler has looked at it yet; is one with the name %q running?", pod.Spec.SchedulerName)
		return true
	}
	a.block(c.Reason, "no node fits it").saw("condition PodScheduled", "%s", c.Message).sawEvents(events, "FailedCreate", "FailedBinding")
	a.then("the scheduler tries again when nodes, pods or volumes change, and at the latest 5 minutes after the last attempt", time.Time{})
	return true
}

// waiting looks for a container that cannot start.
func waiting(a *Answer, pod *corev1.Pod, events []corev1.Event, _ time.Time) bool {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for i := range all {
		s := &all[i]
		w := s.State.Waiting
		if w == nil || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" || w.Reason == "" {
			continue
		}
		a.saw("container "+s.Name, "%s: %s", w.Reason, w.Message)
		switch w.Reason {
		case "CrashLoopBackOff":
			crashLoop(a, s, w)
			a.try("kubectl logs %s -n %s -c %s --previous", pod.Name, pod.Namespace, s.Name)
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
			a.block(w.Reason, "the image %s of container %s cannot be pulled", s.Image, s.Name).sawEvents(events, "Failed", "FailedToRetrieveImagePullSecret")
			a.then("the node pulls again within 5 minutes", time.Time{})
			a.try("kubectl get pod %s -n %s -o jsonpath={.spec.imagePullSecrets}", pod.Name, pod.Namespace)
		case "CreateContainerConfigError":
			a.block(w.Reason, "container %s refers to something that does not exist", s.Name).then("the node tries again within 15 seconds", time.Time{}).
				try("kubectl get configmaps,secrets -n %s", pod.Namespace)
		default:
			a.block(w.Reason, "container %s cannot start", s.Name)
		}
		return true
	}
	return false
}

var backOffText = regexp.MustCompile(`back-off (\S+) restarting`)

func crashLoop(a *Answer, s *corev1.ContainerStatus, w *corev1.ContainerStateWaiting) {
	a.block(w.Reason, "container %s ends again and again (%d restarts)", s.Name, s.RestartCount)
	t := s.LastTerminationState.Terminated
	if t == nil {
		return
	}
	a.saw("last end of "+s.Name, "%s", exit(t))
	if m := backOffText.FindStringSubmatch(w.Message); m != nil {
		if d, err := time.ParseDuration(m[1]); err == nil {
			a.then("it is started again", t.FinishedAt.Add(d))
		}
	}
}

func exit(t *corev1.ContainerStateTerminated) string {
	text := fmt.Sprintf("%s, exit code %d at %s", t.Reason, t.ExitCode, t.FinishedAt.Format(time.RFC3339))
	if t.Message != "" {
		text += ": " + t.Message
	}
	return text
}

// initializing: bound to a node, nothing failed, not running yet.
func initializing(a *Answer, pod *corev1.Pod, events []corev1.Event, _ time.Time) bool {
	if pod.Status.Phase == corev1.PodRunning {
		return false
	}
	for _, s := range pod.Status.InitContainerStatuses {
		switch {
		case s.State.Running != nil && !(s.Started != nil && *s.Started && s.Ready):
			a.block("Initializing", "init container %s runs and has not ended yet", s.Name).saw("container "+s.Name, "running since %s", s.State.Running.StartedAt.Format(time.RFC3339))
			return true
		case s.State.Terminated != nil && s.State.Terminated.ExitCode != 0:
			a.block("InitFailed", "init container %s failed", s.Name).saw("container "+s.Name, "%s", exit(s.State.Terminated))
			return true
		}
	}
	for i := range events {
		if r := events[i].Reason; r == "FailedMount" || r == "FailedAttachVolume" || r == "FailedCreatePodSandBox" {
			a.block(r, "its node cannot prepare it").sawEvents(events, r)
			a.then("the node tries again within 2 minutes", time.Time{})
			return true
		}
	}
	a.block("Starting", "node %s is starting it", pod.Spec.NodeName).sawEvents(events, "Pulling", "Pulled")
	return true
}

func unready(a *Answer, pod *corev1.Pod, events []corev1.Event, _ time.Time) bool {
	c := condition(pod, corev1.PodReady)
	if c == nil || c.Status == corev1.ConditionTrue {
		return false
	}
	for _, s := range pod.Status.ContainerStatuses {
		if s.Ready {
			continue
		}
		if t := s.State.Terminated; t != nil {
			a.block("ContainerEnded", "container %s has ended", s.Name).saw("container "+s.Name, "%s", exit(t))
			return true
		}
		what := "its readiness probe has not passed"
		if s.Started != nil && !*s.Started {
			what = "its startup probe has not passed"
		}
		a.block(c.Reason, "container %s is not ready: %s", s.Name, what).saw("condition Ready", "%s", c.Message).sawEvents(events, "Unhealthy", "ProbeWarning")
		if p := probeOf(pod, s.Name, s.Started == nil || *s.Started); p != nil {
			a.saw("probe", "%s", probeText(p)).then(fmt.Sprintf("it is probed every %d s", max(p.PeriodSeconds, 1)), time.Time{})
		}
		a.try("kubectl logs %s -n %s -c %s", pod.Name, pod.Namespace, s.Name)
		return true
	}
	for _, g := range pod.Spec.ReadinessGates {
		if got := condition(pod, g.ConditionType); got == nil || got.Status != corev1.ConditionTrue {
			a.block("ReadinessGatesNotReady", "its readiness gate %s is not true; whoever owns that condition has to set it", g.ConditionType)
			return true
		}
	}
	a.block(c.Reason, "it is not ready").saw("condition Ready", "%s", c.Message)
	return true
}

// probeOf is the probe that decides now: readiness once the container has started, startup before.
func probeOf(pod *corev1.Pod, container string, started bool) *corev1.Probe {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == container {
			if started {
				return c.ReadinessProbe
			}
			return c.StartupProbe
		}
	}
	return nil
}

// probeText says what a probe asks.
func probeText(p *corev1.Probe) string {
	switch {
	case p.HTTPGet != nil:
		return fmt.Sprintf("GET %s on port %s, at most %d s", p.HTTPGet.Path, p.HTTPGet.Port.String(), max(p.TimeoutSeconds, 1))
	case p.TCPSocket != nil:
		return "connect to port " + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		return fmt.Sprintf("gRPC health on port %d", p.GRPC.Port)
	case p.Exec != nil:
		return "exec " + strings.Join(p.Exec.Command, " ")
	}
	return "none"
}
