package why

import (
	"context"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func explainNode(ctx context.Context, c client.Reader, key client.ObjectKey, _ time.Time) (*Answer, error) {
	var n corev1.Node
	if err := c.Get(ctx, key, &n); err != nil {
		return nil, err
	}
	list, err := events(ctx, c, &n)
	if err != nil {
		return nil, err
	}
	return Node(&n, list), nil
}

// Node says why a node takes no pods. events are those about it, newest first.
func Node(n *corev1.Node, events []corev1.Event) *Answer {
	a := &Answer{Object: "node/" + n.Name}
	known := false
	for _, c := range n.Status.Conditions {
		source := "condition " + string(c.Type)
		known = known || c.Type == corev1.NodeReady
		switch {
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown:
			return a.block(c.Reason, "its kubelet has been silent since %s", c.LastHeartbeatTime.Format(time.RFC3339)).saw(source, "%s", c.Message).
				then("its pods are evicted after their tolerations for unreachable nodes, 5 minutes by default", time.Time{})
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse:
			return a.block(c.Reason, "its kubelet says that it is not ready").saw(source, "%s", c.Message).sawEvents(events)
		case c.Type != corev1.NodeReady && c.Status == corev1.ConditionTrue:
			return a.block(c.Reason, "it is under pressure: %s", c.Type).saw(source, "%s", c.Message).sawEvents(events)
		}
	}
	switch {
	case !known:
		return a.block("NotRegistered", "its kubelet has not reported yet")
	case n.Spec.Unschedulable:
		return a.block("Unschedulable", "it is cordoned; `kubectl uncordon %s` lets pods in", n.Name).saw("spec.unschedulable", "true")
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			return a.block("Tainted", "it takes only pods that tolerate its taints").saw("spec.taints", "%s", t.ToString())
		}
	}
	a.Reason = "nothing blocks it: it is ready and takes pods"
	return a
}

func explainHPA(ctx context.Context, c client.Reader, key client.ObjectKey, _ time.Time) (*Answer, error) {
	var h autoscalingv2.HorizontalPodAutoscaler
	if err := c.Get(ctx, key, &h); err != nil {
		return nil, err
	}
	list, err := events(ctx, c, &h)
	if err != nil {
		return nil, err
	}
	return HPA(&h, list), nil
}

// HPA says why an autoscaler does not change the number of replicas, or keeps it at a limit.
func HPA(h *autoscalingv2.HorizontalPodAutoscaler, events []corev1.Event) *Answer {
	a := &Answer{Object: "hpa/" + h.Name}
	a.saw("status", "%d replicas now, %d wanted, between %d and %d", h.Status.CurrentReplicas, h.Status.DesiredReplicas, minReplicas(h), h.Spec.MaxReplicas)
	a.then("it looks again every 15 s", time.Time{})
	state := map[autoscalingv2.HorizontalPodAutoscalerConditionType]autoscalingv2.HorizontalPodAutoscalerCondition{}
	for _, c := range h.Status.Conditions {
		state[c.Type] = c
	}
	if len(state) == 0 {
		return a.block("NotObserved", "the autoscaler controller has not looked at it yet")
	}
	if c := state[autoscalingv2.AbleToScale]; c.Status == corev1.ConditionFalse {
		return a.block(c.Reason, "it cannot change %s/%s", h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name).saw("condition AbleToScale", "%s", c.Message).sawEvents(events)
	}
	if c := state[autoscalingv2.ScalingActive]; c.Status == corev1.ConditionFalse {
		reason := "it cannot compute a number of replicas from its metrics, so it holds still"
		if c.Reason == "ScalingDisabled" {
			reason = "its target has 0 replicas, which switches it off"
		}
		return a.block(c.Reason, "%s", reason).saw("condition ScalingActive", "%s", c.Message).sawEvents(events)
	}
	if c := state[autoscalingv2.ScalingLimited]; c.Status == corev1.ConditionTrue {
		return a.block(c.Reason, "its metrics ask for a number of replicas that its limits or its behaviour do not allow").saw("condition ScalingLimited", "%s", c.Message)
	}
	a.Reason = "nothing blocks it: the number of replicas fits its metrics"
	return a
}

func minReplicas(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
	if h.Spec.MinReplicas == nil {
		return 1
	}
	return *h.Spec.MinReplicas
}
