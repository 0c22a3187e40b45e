package live_test

import (
	"fmt"
	"testing"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

const green = `
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1"}]}
  strategy:
    blueGreen: {activeService: web, previewService: web-preview, autoPromotionEnabled: false, scaleDownDelaySeconds: 3}
`

func TestBlueGreenSwitchesWhenPromotedAndThenScalesTheOldDown(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, green)
	house.Create(t, c, service(ns, "web"), service(ns, "web-preview"), ro)
	ro = await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	first := ro.Status.CurrentPodHash
	patch(t, c, ro, image("2"))
	ro = await(t, c, ro, argo.RolloutPhasePaused, nil)
	second := ro.Status.CurrentPodHash
	selects(t, c, ns, "web", first)
	selects(t, c, ns, "web-preview", second)
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`)
	ro = await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	selects(t, c, ns, "web", second)
	if ro.Status.StableRS != second {
		t.Errorf("%s is stable, want %s", ro.Status.StableRS, second)
	}
	kubetest.Eventually(t, c, sets(t, c, ns)[first], func(old *appsv1.ReplicaSet) string {
		if *old.Spec.Replicas != 2 || old.Annotations[rollout.DeadlineAnnotation] == "" {
			return fmt.Sprintf("the old ReplicaSet has %d pods and deadline %q, want 2 and a deadline", *old.Spec.Replicas, old.Annotations[rollout.DeadlineAnnotation])
		}
		return ""
	})
	await(t, c, ro, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		if ro.Status.Replicas != 2 {
			return "the old pods are still there"
		}
		return ""
	})
}

func selects(t *testing.T, c *kubetest.Cluster, ns, name, hash string) {
	t.Helper()
	svc, err := c.Client.CoreV1().Services(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || svc.Spec.Selector[rollout.HashLabel] != hash {
		t.Errorf("service %s selects %s, %v; want %s", name, svc.Spec.Selector[rollout.HashLabel], err, hash)
	}
}
