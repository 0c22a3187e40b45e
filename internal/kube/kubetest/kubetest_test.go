package kubetest_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/internal/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

func TestDeploymentBecomesAvailableInANamespaceOfTheTest(t *testing.T) {
	t.Parallel()
	c := kubetest.Start(t)
	ns := c.Namespace(t)
	labels, replicas := map[string]string{"app": "web"}, int32(2)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "web:1"}}}},
	}}
	if err := c.Objects.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, c, d, func(d *appsv1.Deployment) string {
		if d.Status.AvailableReplicas != replicas {
			return fmt.Sprintf("%d of %d replicas are available", d.Status.AvailableReplicas, replicas)
		}
		return ""
	})
	if err := c.Objects.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	kubetest.Gone(t, c, d)
}

func TestEachTestHasItsOwnNamespace(t *testing.T) {
	t.Parallel()
	c := kubetest.Start(t)
	if a, b := c.Namespace(t), c.Namespace(t); a == b {
		t.Errorf("both namespaces are %q", a)
	}
}
