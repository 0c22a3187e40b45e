package why

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name, cpu string, change func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourcePods: resource.MustParse("10")}}}
	if change != nil {
		change(&n)
	}
	return n
}

func asking(cpu string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}}}
}

func TestPlacementSaysWhatEachNodeLacks(t *testing.T) {
	t.Parallel()
	tainted := node("gpu", "8", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
	})
	cordoned := node("off", "8", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	busy := asking("3")
	busy.Spec.NodeName = "full"
	picky := asking("1")
	picky.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	cases := map[string]struct {
		pod   *corev1.Pod
		nodes []corev1.Node
		says  []string
		try   string
	}{
		"no nodes":        {asking("1"), nil, []string{"no nodes"}, "kubectl get nodes"},
		"larger than any": {asking("100"), []corev1.Node{node("a", "8", nil)}, []string{"1 too small", "asks for 100 cpu; the node has 8"}, "kubectl describe node a"},
		"nearest comes first": {asking("2"), []corev1.Node{tainted, node("full", "4", nil)}, []string{"1 full", "1 with a taint", "of the node's 4, 3 are requested by others", "gpu=yes:NoSchedule"},
			"kubectl describe node full"},
		"cordoned": {asking("1"), []corev1.Node{cordoned}, []string{"1 cordoned"}, "kubectl uncordon off"},
		"selector": {picky, []corev1.Node{node("a", "8", nil)}, []string{"has no label disk=ssd"}, "kubectl get nodes --show-labels"},
	}
	for name, c := range cases {
		a := (&Answer{}).block("Unschedulable", "no node fits it")
		a.fits(c.pod, c.nodes, requested([]corev1.Pod{*busy}))
		text := a.Reason + a.text()
		for _, s := range c.says {
			if !strings.Contains(text, s) {
				t.Errorf("%s: does not say %q: %s", name, s, text)
			}
		}
		if len(a.Try) == 0 || a.Try[0] != c.try {
			t.Errorf("%s: proposes %q, want %q", name, a.Try, c.try)
		}
	}
	tolerant := asking("2")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	a := (&Answer{}).block("Unschedulable", "no node fits it")
	if a.fits(tolerant, []corev1.Node{tainted}, nil); a.Reason != "no node fits it" {
		t.Errorf("a node that fits by all that is known here is blamed: %s", a.Reason)
	}
}

func TestRefusedPodsNameTheQuotaOrTheWebhook(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`pods "web-1" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2`: "kubectl describe quota team -n shop",
		`admission webhook "policy.example.com" denied the request: no`:                                     "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
	} {
		a := (&Answer{}).refused("shop", &appsv1.ReplicaSetCondition{Reason: "FailedCreate", Message: message})
		if len(a.Try) != 1 || a.Try[0] != want || !a.Blocked {
			t.Errorf("%s: proposes %q, want %q", message, a.Try, want)
		}
	}
}

func TestAutoscalerThatWaitsForItsWindowSaysSo(t *testing.T) {
	t.Parallel()
	type cond = autoscalingv2.HorizontalPodAutoscalerCondition
	seconds := int32(60)
	h := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &seconds}}},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []cond{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "ScaleDownStabilized"},
			{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue}}}}
	if a := HPA(h, nil); a.Code != "ScaleDownStabilized" || !strings.Contains(a.Reason, "60 s") {
		t.Errorf("%s: %s", a.Code, a.Reason)
	}
	h.Status.Conditions[0].Reason = "ReadyForNewScale"
	h.Status.Conditions = append(h.Status.Conditions, cond{Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionTrue, Reason: "TooFewReplicas"})
	if a := HPA(h, nil); a.Blocked {
		t.Errorf("resting at the minimum counts as blocked: %s", a.Reason)
	}
}
