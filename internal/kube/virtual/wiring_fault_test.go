package virtual_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// onGroup pins a pod to a node group of the test's own.
func onGroup(spec v1.PodSpec, group string) v1.PodSpec {
	spec.NodeSelector = map[string]string{virtual.LabelNodeGroup: group}
	return spec
}

func (p plane) pod(t *testing.T, ns, name string) *v1.Pod {
	t.Helper()
	pod, err := p.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func ready(pod *v1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func (p plane) create(t *testing.T, ns, name string, spec v1.PodSpec) {
	t.Helper()
	if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (p plane) waitReady(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, func() string {
		if pod := p.pod(t, ns, name); !ready(pod) {
			return fmt.Sprintf("pod is not ready: %+v", pod.Status)
		}
		return ""
	})
}

func TestResizeInPlaceIsGrantedAndDeferredUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "resize", Size: 1}); err != nil {
		t.Fatal(err)
	}
	spec := onGroup(podTemplate(nil).Spec, "resize")
	spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("2")}
	p.create(t, ns, "grows", spec)
	p.create(t, ns, "stays", spec)
	p.waitReady(t, ns, "grows")
	p.waitReady(t, ns, "stays")
	resize := func(cpu string) {
		t.Helper()
		pod := p.pod(t, ns, "grows")
		pod.Spec.Containers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse(cpu)
		if _, err := p.client.CoreV1().Pods(ns).UpdateResize(t.Context(), "grows", pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	granted := func(cpu string) {
		t.Helper()
		eventually(t, func() string {
			pod := p.pod(t, ns, "grows")
			cs := pod.Status.ContainerStatuses[0]
			if got := cs.Resources.Requests[v1.ResourceCPU]; got.Cmp(resource.MustParse(cpu)) != 0 || cs.RestartCount != 0 {
				return fmt.Sprintf("granted %s, conditions %+v", got.String(), pod.Status.Conditions)
			}
			for _, c := range pod.Status.Conditions {
				if c.Type == v1.PodResizeInProgress || c.Type == v1.PodResizePending {
					return fmt.Sprintf("condition %+v", c)
				}
			}
			return ""
		})
	}
	resize("3")
	granted("3")
	resize("7")
	eventually(t, func() string {
		for _, c := range p.pod(t, ns, "grows").Status.Conditions {
			if c.Type == v1.PodResizePending && c.Reason == v1.PodReasonDeferred {
				return ""
			}
		}
		return "the resize is not deferred"
	})
	if err := p.client.CoreV1().Pods(ns).Delete(t.Context(), "stays", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	granted("7")
}

func TestNodesOfKWOKUsersAreDrivenUnchanged(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "kwok-0", Annotations: map[string]string{virtual.AnnotationKWOK: "fake"},
		Labels: map[string]string{"type": "kwok"}}}
	if _, err := p.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := podTemplate(nil).Spec
	spec.NodeSelector = map[string]string{"type": "kwok"}
	p.create(t, ns, "guest", spec)
	p.waitReady(t, ns, "guest")
}

func TestNotReadyNodeIsTaintedAndHealsWithItsPods(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "flaky", Size: 1}); err != nil {
		t.Fatal(err)
	}
	p.create(t, ns, "app", onGroup(podTemplate(nil).Spec, "flaky"))
	p.waitReady(t, ns, "app")
	if err := p.engine.NotReady("flaky-000", "runtime is down"); err != nil {
		t.Fatal(err)
	}
	tainted := func() bool {
		n, err := p.client.CoreV1().Nodes().Get(t.Context(), "flaky-000", metav1.GetOptions{})
		return err == nil && len(n.Spec.Taints) > 0
	}
	eventually(t, func() string {
		if !tainted() {
			return "the node is not tainted"
		}
		return ""
	})
	if err := p.engine.Heal("flaky-000"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if tainted() {
			return "the node is still tainted"
		}
		return ""
	})
	p.waitReady(t, ns, "app")
}

func TestLostInstanceIsReplacedAndItsNodeDeleted(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the node-lifecycle controller's grace period")
	}
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "doomed", Size: 1}); err != nil {
		t.Fatal(err)
	}
	labels, one := map[string]string{"app": "doomed"}, int32(1)
	tmpl := podTemplate(labels)
	tmpl.Spec = onGroup(tmpl.Spec, "doomed")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}, Spec: appsv1.DeploymentSpec{Replicas: &one,
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: tmpl}}
	if _, err := p.client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		d, _ := p.client.AppsV1().Deployments(ns).Get(t.Context(), "doomed", metav1.GetOptions{})
		if d.Status.ReadyReplicas != 1 {
			return "not ready"
		}
		return ""
	})
	began := time.Now()
	if err := p.engine.CrashNode("doomed-000", virtual.CrashStop, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := p.engine.NodeStats("doomed-000", time.Now()); err == nil {
		t.Error("a lost node answers statistics")
	}
	eventually(t, func() string {
		_, oldErr := p.client.CoreV1().Nodes().Get(t.Context(), "doomed-000", metav1.GetOptions{})
		_, newErr := p.client.CoreV1().Nodes().Get(t.Context(), "doomed-001", metav1.GetOptions{})
		if oldErr == nil || newErr != nil {
			return fmt.Sprintf("old node: %v, new node: %v after %v", oldErr, newErr, time.Since(began))
		}
		return ""
	})
}

func TestKilledContainerRestartsAtOnceAndThenBacksOff(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	p.create(t, ns, "app", podTemplate(nil).Spec)
	p.waitReady(t, ns, "app")
	for restarts := int32(1); restarts <= 2; restarts++ {
		if err := p.engine.KillContainer(ns, "app", "", 0, true); err != nil {
			t.Fatal(err)
		}
		if restarts == 2 {
			break
		}
		eventually(t, func() string {
			if cs := p.pod(t, ns, "app").Status.ContainerStatuses[0]; cs.RestartCount != restarts || cs.LastTerminationState.Terminated == nil ||
				cs.LastTerminationState.Terminated.Reason != "OOMKilled" {
				return fmt.Sprintf("status %+v", cs)
			}
			return ""
		})
	}
	eventually(t, func() string {
		cs := p.pod(t, ns, "app").Status.ContainerStatuses[0]
		if cs.State.Waiting != nil && cs.State.Waiting.Reason == "CrashLoopBackOff" {
			return ""
		}
		// A machine that stood still meanwhile shows the wait only in the times of its end.
		last := cs.LastTerminationState.Terminated
		const backoff, truncated = 10 * time.Second, time.Second
		if cs.RestartCount == 2 && cs.State.Running != nil && last != nil && cs.State.Running.StartedAt.Sub(last.FinishedAt.Time) >= backoff-truncated {
			return ""
		}
		return fmt.Sprintf("%d restarts, state %+v, last %+v", cs.RestartCount, cs.State, last)
	})
}

func TestPodsOfAHangingNodeStayUntilItReturns(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "hangs", Size: 1}); err != nil {
		t.Fatal(err)
	}
	p.create(t, ns, "goes", onGroup(podTemplate(nil).Spec, "hangs"))
	p.create(t, ns, "stays", onGroup(podTemplate(nil).Spec, "hangs"))
	p.waitReady(t, ns, "goes")
	p.waitReady(t, ns, "stays")
	if err := p.engine.CrashNode("hangs-000", virtual.CrashHang, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.client.CoreV1().Pods(ns).Delete(t.Context(), "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // nothing can be waited for: the point is that nothing happens
	if pod := p.pod(t, ns, "goes"); pod.DeletionTimestamp == nil {
		t.Error("the pod is not terminating")
	}
	if err := p.engine.Heal("hangs-000"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if _, err := p.client.CoreV1().Pods(ns).Get(t.Context(), "goes", metav1.GetOptions{}); err == nil {
			return "the pod is still there"
		}
		return ""
	})
	p.waitReady(t, ns, "stays")
}

func TestRebootRestartsContainersWithANewAddress(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "reboots", Size: 1}); err != nil {
		t.Fatal(err)
	}
	p.create(t, ns, "app", onGroup(podTemplate(nil).Spec, "reboots"))
	p.waitReady(t, ns, "app")
	before := p.pod(t, ns, "app").Status.PodIP
	if err := p.engine.CrashNode("reboots-000", virtual.CrashReboot, time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		st := p.pod(t, ns, "app").Status
		cs := st.ContainerStatuses[0]
		if cs.RestartCount != 1 || st.PodIP == before || !cs.Ready || cs.LastTerminationState.Terminated.ExitCode != 255 {
			return fmt.Sprintf("address %s (was %s), container %+v", st.PodIP, before, cs)
		}
		return ""
	})
}

func TestSpotReclaimShutsDownGracefully(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	if err := p.engine.AddGroup(virtual.NodeGroup{Name: "spot", Size: 1, CapacityType: "spot", ShutdownGracePeriod: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	p.create(t, ns, "app", onGroup(podTemplate(nil).Spec, "spot"))
	p.waitReady(t, ns, "app")
	if err := p.engine.SpotReclaim("spot-000", 3*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		st := p.pod(t, ns, "app").Status
		if st.Phase != v1.PodFailed || st.Reason != "Terminated" {
			return fmt.Sprintf("phase %s, reason %q", st.Phase, st.Reason)
		}
		for _, c := range st.Conditions {
			if c.Type == v1.DisruptionTarget && c.Reason == v1.PodReasonTerminationByKubelet {
				return ""
			}
		}
		return "condition DisruptionTarget is missing"
	})
	eventually(t, func() string {
		for _, i := range p.engine.Instances() {
			if i.Group == "spot" && i.Node == "spot-001" {
				return ""
			}
		}
		return "no instance replaces the reclaimed one"
	})
}

func TestMemoryPressureEvictsThePodFurthestAboveItsRequest(t *testing.T) {
	t.Parallel()
	p, ns := cluster(t)
	group := virtual.NodeGroup{Name: "tight", Size: 1, Capacity: v1.ResourceList{v1.ResourceMemory: resource.MustParse("1Gi")}}
	if err := p.engine.AddGroup(group); err != nil {
		t.Fatal(err)
	}
	for name, memory := range map[string]string{"small": "100Mi", "large": "700Mi"} {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"test/memory": memory}}, Spec: onGroup(podTemplate(nil).Spec, "tight")}
		if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() string {
		if st := p.pod(t, ns, "large").Status; st.Phase != v1.PodFailed || st.Reason != "Evicted" {
			return fmt.Sprintf("phase %s, reason %q", st.Phase, st.Reason)
		}
		return ""
	})
	eventually(t, func() string {
		n, err := p.client.CoreV1().Nodes().Get(t.Context(), "tight-000", metav1.GetOptions{})
		for _, taint := range n.Spec.Taints {
			if err == nil && taint.Key == v1.TaintNodeMemoryPressure {
				return ""
			}
		}
		return "the node is not tainted for memory pressure"
	})
	if pod := p.pod(t, ns, "small"); !ready(pod) {
		t.Errorf("the small pod is %s", pod.Status.Phase)
	}
}
