package live_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

const one = `
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1"}]}
  strategy:
    canary:
      steps: [{setWeight: 50}, {pause: {duration: 3s}}]
`

const four = `
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "web:1"}]}
  strategy:
    canary:
      maxSurge: 1
      maxUnavailable: 0
      steps: [{setWeight: 25}, {pause: {}}, {setWeight: 50}, {pause: {}}]
`

// The sequence of Events that tools of Argo Rollouts' users wait for.
func TestEventsOfAnAbortedAndRetriedUpdateComeInThePeersOrder(t *testing.T) {
	t.Parallel()
	c, h := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, one)
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	patchStatus(t, c, ro, `{"status":{"abort":true}}`)
	await(t, c, ro, argo.RolloutPhaseDegraded, func(ro *rollouts.Rollout) string {
		if !ro.Status.Abort || ro.Status.UpdatedReplicas != 0 {
			return "the new pods are still there"
		}
		return ""
	})
	patchStatus(t, c, ro, `{"status":{"abort":false}}`)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	t.Logf("writes: %v", h.writes.In(ns))
	want := strings.Fields("RolloutAddedToInformer RolloutUpdated NewReplicaSetCreated RolloutNotCompleted ScalingReplicaSet RolloutCompleted " +
		"RolloutUpdated NewReplicaSetCreated RolloutNotCompleted ScalingReplicaSet RolloutStepCompleted RolloutPaused ScalingReplicaSet RolloutAborted " +
		"ScalingReplicaSet RolloutStepCompleted RolloutPaused RolloutStepCompleted RolloutResumed ScalingReplicaSet RolloutCompleted")
	deadline := time.Now().Add(kubetest.Patience) // Events are written behind
	for len(reasons(t, c, ro)) < len(want) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if got := reasons(t, c, ro); !slices.Equal(got, want) {
		t.Errorf("events:\n got %v\nwant %v", got, want)
	}
}

func TestUpdateOfOneReplicaWithoutStepsTakesFewWrites(t *testing.T) {
	t.Parallel()
	c, h := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, strings.Replace(one, "steps: [{setWeight: 50}, {pause: {duration: 3s}}]", "{}", 1))
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	first := h.writes.In(ns)
	t.Logf("the first deploy takes %d writes: %v", len(first), first)
	patch(t, c, ro, image("2"))
	await(t, c, ro, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		if ro.Status.Replicas != 1 {
			return "the old pod is still there"
		}
		return ""
	})
	update := h.writes.In(ns)[len(first):]
	t.Logf("and the update %d: %v", len(update), update)
	if len(update) > 6 {
		t.Errorf("an update took %d writes, want at most 6: %v", len(update), update)
	}
}

func TestStepsArePromotedAbortedRetriedAndUndoneByThePatchesOfClients(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, four)
	house.Create(t, c, ro)
	ro = await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	first := ro.Status.CurrentPodHash

	patch(t, c, ro, image("2"))
	ro = await(t, c, ro, argo.RolloutPhasePaused, at(1))
	second := ro.Status.CurrentPodHash
	if all := sets(t, c, ns); *all[first].Spec.Replicas != 3 || *all[second].Spec.Replicas != 1 {
		t.Errorf("at weight 25 there are %d old and %d new pods, want 3 and 1", *all[first].Spec.Replicas, *all[second].Spec.Replicas)
	}
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`) // promote
	await(t, c, ro, argo.RolloutPhasePaused, at(3))
	if all := sets(t, c, ns); *all[first].Spec.Replicas != 2 || *all[second].Spec.Replicas != 2 {
		t.Errorf("at weight 50 there are %d old and %d new pods, want 2 and 2", *all[first].Spec.Replicas, *all[second].Spec.Replicas)
	}
	patchStatus(t, c, ro, `{"status":{"abort":true}}`)
	await(t, c, ro, argo.RolloutPhaseDegraded, func(ro *rollouts.Rollout) string {
		if all := sets(t, c, ns); *all[first].Spec.Replicas != 4 || *all[second].Spec.Replicas != 0 {
			return "the old pods are not all back"
		}
		return ""
	})
	patchStatus(t, c, ro, `{"status":{"abort":false}}`) // retry
	await(t, c, ro, argo.RolloutPhasePaused, at(1))
	patchStatus(t, c, ro, `{"status":{"promoteFull":true}}`)
	ro = await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	if ro.Status.StableRS != second {
		t.Errorf("after a full promotion %s is stable, want %s", ro.Status.StableRS, second)
	}
	undo(t, c, ro, sets(t, c, ns)[first].Spec.Template)
	ro = await(t, c, ro, argo.RolloutPhasePaused, at(1))
	if ro.Status.CurrentPodHash != first {
		t.Errorf("undo leads to %s, want the ReplicaSet %s used again", ro.Status.CurrentPodHash, first)
	}
	if rev := sets(t, c, ns)[first].Annotations[rollout.RevisionAnnotation]; rev != "3" {
		t.Errorf("the ReplicaSet used again has revision %s, want 3", rev)
	}
}

// undo replaces the template as kubectl's plugin does.
func undo(t *testing.T, c *kubetest.Cluster, ro *rollouts.Rollout, template corev1.PodTemplateSpec) {
	t.Helper()
	template = *template.DeepCopy()
	delete(template.Labels, rollout.HashLabel)
	b, err := yaml.Marshal([]any{map[string]any{"op": "replace", "path": "/spec/template", "value": template}})
	if err == nil {
		b, err = yaml.YAMLToJSON(b)
	}
	if err == nil {
		o := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: ro.Namespace, Name: ro.Name}}
		err = c.Objects.Patch(t.Context(), o, client.RawPatch(types.JSONPatchType, b))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPausedRolloutHoldsStillUntilItIsResumed(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, strings.Replace(one, "replicas: 1", "paused: true\n  replicas: 1", 1))
	ro.Spec.Paused = false
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	patch(t, c, ro, `{"spec":{"paused":true,"template":{"spec":{"containers":[{"name":"app","image":"web:2"}]}}}}`)
	ro = await(t, c, ro, argo.RolloutPhasePaused, nil)
	for hash, rs := range sets(t, c, ns) {
		if hash != ro.Status.StableRS && *rs.Spec.Replicas != 0 {
			t.Errorf("%s has %d pods although the Rollout is paused", rs.Name, *rs.Spec.Replicas)
		}
	}
	patch(t, c, ro, `{"spec":{"paused":false}}`)
	await(t, c, ro, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		if ro.Status.StableRS != ro.Status.CurrentPodHash {
			return "the update is not done"
		}
		return ""
	})
}

func TestInvalidSpecIsRefusedWithWordsAndRecoversWithWhatItMissed(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, strings.Replace(one, "canary:\n", "canary:\n      stableService: web\n      canaryService: web-canary\n", 1))
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseDegraded, func(ro *rollouts.Rollout) string {
		if !strings.Contains(ro.Status.Message, "InvalidSpec") || !strings.Contains(ro.Status.Message, "web") {
			return "the message is " + ro.Status.Message
		}
		return ""
	})
	if n := len(sets(t, c, ns)); n > 0 {
		t.Errorf("%d ReplicaSets were made for an invalid Rollout", n)
	}
	began := time.Now()
	house.Create(t, c, service(ns, "web"), service(ns, "web-canary"))
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	t.Logf("healthy %v after the services came", time.Since(began))
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	kubetest.Eventually(t, c, svc, func(s *corev1.Service) string {
		if s.Annotations[rollout.ManagedByAnnotation] != "web" || s.Spec.Selector[rollout.HashLabel] == "" {
			return fmt.Sprintf("the service is not switched: %v", s.Spec.Selector)
		}
		return ""
	})
	if err := c.Objects.Delete(t.Context(), ro); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, c, svc, func(s *corev1.Service) string {
		if s.Annotations[rollout.ManagedByAnnotation] != "" || s.Spec.Selector[rollout.HashLabel] != "" {
			return "the service of a Rollout that is gone still has its mark"
		}
		return ""
	})
}

func TestReplicaSetThatAQuotaRefusesIsToldAndMadeOnceItMay(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	const sets = "count/replicasets.apps"
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{sets: resource.MustParse("0")}}}
	house.Create(t, c, quota)
	kubetest.Eventually(t, c, quota, func(q *corev1.ResourceQuota) string {
		if len(q.Status.Hard) == 0 {
			return "the quota is not counted yet"
		}
		return ""
	})
	ro := house.Read(t, &rollouts.Rollout{}, ns, one)
	house.Create(t, c, ro)
	kubetest.Eventually(t, c, ro, func(ro *rollouts.Rollout) string {
		for _, cond := range ro.Status.Conditions {
			if cond.Type == argo.RolloutProgressing && cond.Reason == "ReplicaSetCreateError" && strings.Contains(cond.Message, "exceeded quota: none") {
				return ""
			}
		}
		return fmt.Sprintf("conditions %+v", ro.Status.Conditions)
	})
	if err := c.Objects.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
}

func service(ns, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
}

func TestRolloutThatSubscribesToNotificationsIsToldOnceThatNoneAreSent(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, one)
	ro.Annotations = map[string]string{"notifications.argoproj.io/subscribe.on-rollout-completed.slack": "shop", "notifications.argoproj.io/subscribe.on-rollout-aborted.slack": "shop"}
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	told := func() (n int) {
		for _, r := range reasons(t, c, ro) {
			if r == "NotificationsNotSent" {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(kubetest.Patience); !slices.Contains(reasons(t, c, ro), "RolloutCompleted") && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if n := told(); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

func TestPodsOlderThanRestartAtAreReplaced(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, strings.Replace(one, "replicas: 1", "replicas: 3", 1))
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	before := pods(t, c, ns)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // times of objects are whole seconds
	patch(t, c, ro, fmt.Sprintf(`{"spec":{"restartAt":%q}}`, time.Now().UTC().Format(time.RFC3339)))
	await(t, c, ro, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		if ro.Status.RestartedAt == nil || ro.Status.AvailableReplicas != 3 {
			return "the restart is not over"
		}
		return ""
	})
	for uid := range pods(t, c, ns) {
		if before[uid] != "" {
			t.Errorf("pod %s was not restarted", before[uid])
		}
	}
}

// pods of a namespace that are not going, by UID.
func pods(t *testing.T, c *kubetest.Cluster, ns string) map[types.UID]string {
	t.Helper()
	list, err := c.Client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[types.UID]string{}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			out[list.Items[i].UID] = list.Items[i].Name
		}
	}
	return out
}
