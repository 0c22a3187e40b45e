package why

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
	a := Node(&n, list)
	if n.Spec.Unschedulable {
		return a, a.drain(ctx, c, n.Name)
	}
	return a, nil
}

// drain names the disruption budgets that keep pods on a cordoned node.
func (a *Answer) drain(ctx context.Context, c client.Reader, node string) error {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.MatchingFields{"spec.nodeName": node}); err != nil {
		return fmt.Errorf("listing the pods of node %s: %w", node, err)
	}
	budgets := map[string]*policyv1.PodDisruptionBudget{}
	held := map[string][]string{}
	for i := range pods.Items {
		p := &pods.Items[i]
		if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == "DaemonSet" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		var list policyv1.PodDisruptionBudgetList
		if err := c.List(ctx, &list, client.InNamespace(p.Namespace)); err != nil {
			return fmt.Errorf("listing disruption budgets: %w", err)
		}
		for j := range list.Items {
			b := &list.Items[j]
			s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
			if err != nil || !s.Matches(labels.Set(p.Labels)) || b.Status.DisruptionsAllowed > 0 {
				continue
			}
			key := b.Namespace + "/" + b.Name
			budgets[key], held[key] = b, append(held[key], p.Name)
		}
	}
	for i, key := range slices.Sorted(maps.Keys(held)) {
		b := budgets[key]
		if i == 0 {
			a.block("DisruptionBudget", "it is cordoned and cannot be drained: %d pods on it must not be evicted", len(held[key]))
			a.then("evictions succeed as soon as enough other pods are healthy", time.Time{})
		}
		a.saw("pdb "+key, "%d of at least %d pods are healthy, so none may be disrupted: %s", b.Status.CurrentHealthy, b.Status.DesiredHealthy, strings.Join(held[key], ", "))
		a.try("kubectl describe pdb %s -n %s", b.Name, b.Namespace)
	}
	return nil
}

// Node says why a node takes no pods. events are those about it, newest first.
func Node(n *corev1.Node, events []corev1.Event) *Answer {
	a := &Answer{Object: "node/" + n.Name}
	known := false
	for _, c := range n.Status.Conditions {
		source := "condition " + string(c.Type)
		known = known || c.Type == corev1.NodeReady
		switch {
		case c.Type == corev1.NodeReady && c.Reason == "NodeStatusNeverUpdated":
			return a.block(c.Reason, "no kubelet has ever reported for it").saw(source, "%s", c.Message).try("kubectl describe node %s", n.Name)
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown:
			return a.block(c.Reason, "its kubelet has been silent since %s", c.LastHeartbeatTime.Format(time.RFC3339)).saw(source, "%s", c.Message).
				then("its pods are evicted after their tolerations for unreachable nodes, 5 minutes by default", time.Time{}).
				try("kubectl get lease %s -n kube-node-lease", n.Name).try("kubectl get pods -A --field-selector spec.nodeName=%s", n.Name)
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
		return a.block("Unschedulable", "it is cordoned: no new pods").saw("spec.unschedulable", "true").try("kubectl uncordon %s", n.Name)
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			return a.block("Tainted", "it takes only pods that tolerate its taints").saw("spec.taints", "%s", t.ToString()).
				try("kubectl get pods -A --field-selector spec.nodeName=%s", n.Name)
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
	a.usage(h)
	target := strings.ToLower(h.Spec.ScaleTargetRef.Kind) + "/" + h.Spec.ScaleTargetRef.Name
	if c := state[autoscalingv2.AbleToScale]; c.Status == corev1.ConditionFalse {
		return a.block(c.Reason, "it cannot change %s", target).saw("condition AbleToScale", "%s", c.Message).sawEvents(events).
			try("kubectl get %s -n %s", target, h.Namespace)
	}
	if c := state[autoscalingv2.ScalingActive]; c.Status == corev1.ConditionFalse {
		if c.Reason == "ScalingDisabled" {
			return a.block(c.Reason, "its target has 0 replicas, which switches it off").try("kubectl scale %s -n %s --replicas=%d", target, h.Namespace, max(minReplicas(h), 1))
		}
		return a.noMetrics(h, &c, target, events)
	}
	if c := state[autoscalingv2.ScalingLimited]; c.Status == corev1.ConditionTrue && c.Reason == "TooManyReplicas" {
		return a.block(c.Reason, "it is at its maximum of %d replicas and its metrics ask for more", h.Spec.MaxReplicas).
			saw("condition ScalingLimited", "%s", c.Message).try("kubectl edit hpa %s -n %s", h.Name, h.Namespace)
	} else if c.Status == corev1.ConditionTrue && c.Reason == "TooFewReplicas" {
		a.Reason = fmt.Sprintf("nothing blocks it: its metrics ask for less than its minimum of %d replicas", minReplicas(h))
		return a
	} else if c.Status == corev1.ConditionTrue {
		return a.block(c.Reason, "its behaviour lets it change the number of replicas only in steps").saw("condition ScalingLimited", "%s", c.Message)
	}
	if c := state[autoscalingv2.AbleToScale]; c.Reason == "ScaleDownStabilized" || c.Reason == "ScaleUpStabilized" {
		direction, seconds := "fewer", windowDown(h)
		if c.Reason == "ScaleUpStabilized" {
			direction, seconds = "more", windowUp(h)
		}
		return a.block(c.Reason, "its metrics ask for %s replicas, but they must do so for %d s first (the stabilization window)", direction, seconds).
			saw("condition AbleToScale", "%s", c.Message)
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

// usage shows what the metrics say against their targets.
func (a *Answer) usage(h *autoscalingv2.HorizontalPodAutoscaler) {
	for i, m := range h.Status.CurrentMetrics {
		if m.Resource == nil || i >= len(h.Spec.Metrics) {
			continue
		}
		want := h.Spec.Metrics[i].Resource
		now := m.Resource.Current
		switch {
		case want == nil:
		case now.AverageUtilization != nil && want.Target.AverageUtilization != nil:
			a.saw("metric "+string(m.Resource.Name), "%d%% of requests, target %d%%", *now.AverageUtilization, *want.Target.AverageUtilization)
		case now.AverageValue != nil && want.Target.AverageValue != nil:
			a.saw("metric "+string(m.Resource.Name), "%s a pod, target %s", now.AverageValue, want.Target.AverageValue)
		}
	}
}

// noMetrics says why no number of replicas follows from the metrics.
func (a *Answer) noMetrics(h *autoscalingv2.HorizontalPodAutoscaler, c *autoscalingv2.HorizontalPodAutoscalerCondition, target string, events []corev1.Event) *Answer {
	a.block(c.Reason, "it cannot compute a number of replicas from its metrics, so it holds still").saw("condition ScalingActive", "%s", c.Message)
	switch {
	case strings.Contains(c.Message, "missing request for"):
		a.Reason = "its pods do not request the resource it measures, so there is nothing to take a percentage of; it holds still"
		return a.try("kubectl set resources %s -n %s --requests=cpu=100m", target, h.Namespace)
	case strings.Contains(c.Message, "unable to fetch metrics") || strings.Contains(c.Message, "could not find the requested resource"):
		a.Reason = "the metrics API does not answer, so it holds still"
		return a.try("kubectl get apiservice v1beta1.metrics.k8s.io").sawEvents(events)
	}
	return a.try("kubectl top pods -n %s", h.Namespace).try("fairway why %s -n %s", target, h.Namespace)
}

// windowDown is the stabilization window of scaling down in seconds, upstream's default being 300.
func windowDown(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
	if b := h.Spec.Behavior; b != nil && b.ScaleDown != nil && b.ScaleDown.StabilizationWindowSeconds != nil {
		return *b.ScaleDown.StabilizationWindowSeconds
	}
	return 300
}

// windowUp is that of scaling up, 0 by default.
func windowUp(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
	if b := h.Spec.Behavior; b != nil && b.ScaleUp != nil && b.ScaleUp.StabilizationWindowSeconds != nil {
		return *b.ScaleUp.StabilizationWindowSeconds
	}
	return 0
}

func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}
