package controlplane_test

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
)

func startRehearsal(t *testing.T) (context.Context, kubernetes.Interface) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p, err := controlplane.Start(ctx, controlplane.Options{Profile: controlplane.Rehearsal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.WithoutCancel(ctx)) })
	c, err := kubernetes.NewForConfig(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	return ctx, c
}

// A process has one controller manager in its life, so that one plane serves all of these.
func TestARehearsalPlane(t *testing.T) {
	ctx, c := startRehearsal(t)
	t.Run("runs the workload controllers", func(t *testing.T) { runsControllers(ctx, t, c) })
	t.Run("gives the room of a pod that has ended to the next", func(t *testing.T) { reusesRoom(ctx, t, c) })
}

func runsControllers(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	two, labels := int32(2), map[string]string{"app": "web"}
	_, err := c.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeSelector: map[string]string{"no": "node"}, Containers: []corev1.Container{{Name: "web", Image: "web"}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pods of the Deployment", func() bool {
		pods, err := c.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		return err == nil && len(pods.Items) == 2
	})
}

func reusesRoom(ctx context.Context, t *testing.T, c kubernetes.Interface) {
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourcePods: resource.MustParse("10")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Status: corev1.NodeStatus{Capacity: room, Allocatable: room,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	if _, err := c.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods := c.CoreV1().Pods("default")
	for _, name := range []string{"first", "second"} {
		_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "work", Image: "work", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var placed *corev1.Pod
		await(ctx, t, "a place for the "+name+" pod", func() bool {
			placed, err = pods.Get(ctx, name, metav1.GetOptions{})
			return err == nil && placed.Spec.NodeName != ""
		})
		placed.Status.Phase = corev1.PodSucceeded
		if _, err := pods.UpdateStatus(ctx, placed, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func await(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatal("waited in vain for " + what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
