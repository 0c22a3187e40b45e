package why

import (
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago = metav1.NewTime(now.Add(-time.Minute))
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

// bound is a pod of one container on a node.
func bound(phase corev1.PodPhase, s corev1.ContainerStatus, conditions ...corev1.PodCondition) *corev1.Pod {
	s.Name, s.Image = "app", "example.com/app:v1"
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "app",
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 5}}}},
		Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{s}, Conditions: conditions}}
}

func waitingFor(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func TestPodHasOneReasonWithEvidenceAndTheNextStep(t *testing.T) {
	t.Parallel()
	running := corev1.ContainerStatus{Started: yes(), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago}}}
	starting := running
	starting.Started = no()
	crash := waitingFor("CrashLoopBackOff", "back-off 40s restarting failed container=app pod=web")
	crash.RestartCount = 3
	crash.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137, FinishedAt: ago}
	unready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", Message: "unready: [app]"}
	deleted := bound(corev1.PodRunning, running)
	deleted.DeletionTimestamp = &ago
	held := deleted.DeepCopy()
	held.Finalizers = []string{"example.com/hold"}
	gate := bound(corev1.PodPending, corev1.ContainerStatus{})
	gate.Spec.NodeName, gate.Spec.SchedulingGates = "", []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
	nowhere := bound(corev1.PodPending, corev1.ContainerStatus{}, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
		Reason: "Unschedulable", Message: "0/3 nodes are available: 3 Insufficient cpu."})
	nowhere.Spec.NodeName = ""
	failed := bound(corev1.PodFailed, corev1.ContainerStatus{})
	failed.Status.Reason, failed.Status.Message = "Evicted", "The node was low on resource: memory."
	cases := map[string]struct {
		pod    *corev1.Pod
		events []corev1.Event
		code   string // empty = nothing is wrong
		says   []string
		nextAt time.Time
	}{
		"running":            {pod: bound(corev1.PodRunning, running, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}), says: []string{"nothing blocks it"}},
		"done":               {pod: bound(corev1.PodSucceeded, corev1.ContainerStatus{}), says: []string{"done its work"}},
		"evicted":            {pod: failed, code: "Evicted", says: []string{"low on resource"}},
		"nowhere to go":      {pod: nowhere, code: "Unschedulable", says: []string{"no node fits", "Insufficient cpu"}},
		"gated":              {pod: gate, code: "SchedulingGated", says: []string{"example.com/gate"}},
		"crash loop":         {pod: bound(corev1.PodRunning, crash, unready), code: "CrashLoopBackOff", says: []string{"3 restarts", "OOMKilled, exit code 137"}, nextAt: ago.Add(40 * time.Second)},
		"image":              {pod: bound(corev1.PodPending, waitingFor("ImagePullBackOff", "Back-off pulling image")), code: "ImagePullBackOff", says: []string{"example.com/app:v1"}},
		"missing ConfigMap":  {pod: bound(corev1.PodPending, waitingFor("CreateContainerConfigError", `configmap "x" not found`)), code: "CreateContainerConfigError", says: []string{`configmap "x" not found`}},
		"volume":             {pod: bound(corev1.PodPending, waitingFor("ContainerCreating", "")), events: []corev1.Event{{Reason: "FailedMount", Message: `secret "s" not found`}}, code: "FailedMount", says: []string{`secret "s" not found`}},
		"readiness probe":    {pod: bound(corev1.PodRunning, running, unready), events: []corev1.Event{{Reason: "Unhealthy", Message: "HTTP probe failed with statuscode: 503"}}, code: "ContainersNotReady", says: []string{"readiness probe has not passed", "503", "every 5 s"}},
		"startup probe":      {pod: bound(corev1.PodRunning, starting, unready), code: "ContainersNotReady", says: []string{"startup probe has not passed"}},
		"held by finalizer":  {pod: held, code: "Finalizers", says: []string{"example.com/hold"}},
		"node does not stop": {pod: deleted, code: "NodeSilent", says: []string{"node n"}},
	}
	for name, c := range cases {
		a := Pod(c.pod, c.events, now)
		text := a.Reason + a.Next
		for _, e := range a.Evidence {
			text += e.Source + e.Detail
		}
		if a.Blocked != (c.code != "") || a.Code != c.code {
			t.Errorf("%s: blocked %t with code %q, want %q: %s", name, a.Blocked, a.Code, c.code, text)
		}
		for _, s := range c.says {
			if !strings.Contains(text, s) {
				t.Errorf("%s: does not say %q: %s", name, s, text)
			}
		}
		if !c.nextAt.IsZero() && (a.NextAt == nil || !a.NextAt.Equal(c.nextAt)) {
			t.Errorf("%s: next at %v, want %v", name, a.NextAt, c.nextAt)
		}
	}
}

func TestNodeSaysWhyItTakesNoPods(t *testing.T) {
	t.Parallel()
	ready := func(s corev1.ConditionStatus, reason string) corev1.NodeStatus {
		return corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: s, Reason: reason}}}
	}
	for want, n := range map[string]*corev1.Node{
		"":                  {Status: ready(corev1.ConditionTrue, "KubeletReady")},
		"NodeStatusUnknown": {Status: ready(corev1.ConditionUnknown, "NodeStatusUnknown")},
		"KubeletNotReady":   {Status: ready(corev1.ConditionFalse, "KubeletNotReady")},
		"NotRegistered":     {},
		"Unschedulable":     {Spec: corev1.NodeSpec{Unschedulable: true}, Status: ready(corev1.ConditionTrue, "KubeletReady")},
		"Tainted":           {Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoExecute}}}, Status: ready(corev1.ConditionTrue, "KubeletReady")},
	} {
		if a := Node(n, nil); a.Code != want || a.Blocked != (want != "") {
			t.Errorf("code %q, want %q: %s", a.Code, want, a.Reason)
		}
	}
}

func TestAutoscalerSaysWhyItHoldsStill(t *testing.T) {
	t.Parallel()
	type cond = autoscalingv2.HorizontalPodAutoscalerCondition
	able, active := cond{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue}, cond{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue}
	for want, list := range map[string][]cond{
		"":                        {able, active, {Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionFalse}},
		"NotObserved":             nil,
		"FailedGetScale":          {{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionFalse, Reason: "FailedGetScale"}},
		"FailedGetResourceMetric": {able, {Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetResourceMetric"}},
		"TooManyReplicas":         {able, active, {Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionTrue, Reason: "TooManyReplicas"}},
	} {
		h := &autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: list}}
		if a := HPA(h, nil); a.Code != want || a.Blocked != (want != "") || a.Next == "" {
			t.Errorf("code %q, want %q: %s; next %q", a.Code, want, a.Reason, a.Next)
		}
	}
}

func TestKindsAreFoundByTheNamesPeopleUse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"po": "Pod", "Deployment": "Deployment", "HPA": "HorizontalPodAutoscaler", "nodes": "Node", "rs": "ReplicaSet"} {
		if e, err := Find(name); err != nil || e.Kind != want {
			t.Errorf("%s is %q, %v; want %s", name, e.Kind, err, want)
		}
	}
	if _, err := Find("configmap"); err == nil || !strings.Contains(err.Error(), "pod") {
		t.Errorf("an unknown kind gives %v", err)
	}
}
