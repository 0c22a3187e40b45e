package live_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/kube/kubetest"
	"github.com/fairway-dev/fairway/internal/ship/live/house"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

// The Lease concerns all Rollouts of a cluster, so this test is not parallel to others.
func TestControllerStandsAsideWhileThePeerHoldsItsLease(t *testing.T) {
	c, _ := serve(t)
	ns := c.Namespace(t)
	holder, seconds, now := "argo-rollouts-1", int32(3), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "argo-rollouts-controller-lock"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	house.Create(t, c, lease)
	time.Sleep(100 * time.Millisecond) // the watch of Leases and that of Rollouts are not one
	ro := house.Read(t, &rollouts.Rollout{}, ns, one)
	house.Create(t, c, ro)
	got := kubetest.Eventually(t, c, ro, func(ro *rollouts.Rollout) string {
		for _, cond := range ro.Status.Conditions {
			if cond.Type == rollout.ConditionConflict {
				return ""
			}
		}
		return "there is no condition Conflict"
	})
	if n := len(sets(t, c, ns)); n > 0 {
		t.Errorf("%d ReplicaSets were made while another controller was in charge", n)
	}
	await(t, c, got, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
		for _, cond := range ro.Status.Conditions {
			if cond.Type == rollout.ConditionConflict {
				return "the condition Conflict is still there"
			}
		}
		return ""
	})
}

// sharded is a Rollout that only the controller of an instance carries out.
func sharded(t *testing.T, ns, instance, text string) *rollouts.Rollout {
	ro := house.Read(t, &rollouts.Rollout{}, ns, text)
	ro.Labels = map[string]string{argo.LabelKeyControllerInstanceID: instance}
	return ro
}

func instance(name string) func(*rollout.Controller) {
	return func(c *rollout.Controller) { c.InstanceID = name }
}

// What Argo Rollouts of another version has left in the middle of an update, with hashes that nobody computes any more, goes on
// with the same pods.
func TestUpdateOfThePeerIsTakenOverWithNoPodRestarted(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	ns := c.Namespace(t)
	ro := sharded(t, ns, "takeover", four)
	house.Create(t, c, ro)
	old, fresh := peerSet(t, c, ro, "5d8f7c9b4f", "1", 3, "web:1"), peerSet(t, c, ro, "7c6d8b5f9d", "2", 1, "web:2")
	patch(t, c, ro, image("2"))
	patch(t, c, ro, `{"metadata":{"annotations":{"rollout.argoproj.io/revision":"2"}}}`)
	steps := rollout.StepsHash(ro.Spec.Strategy.Canary.Steps)
	started := metav1.Now().UTC().Format(time.RFC3339)
	patchStatus(t, c, ro, fmt.Sprintf(`{"status":{"stableRS":"5d8f7c9b4f","currentPodHash":"7c6d8b5f9d","currentStepHash":%q,"currentStepIndex":1,
		"controllerPause":true,"pauseConditions":[{"reason":"CanaryPauseStep","startTime":%q}],"observedGeneration":"2","phase":"Paused"}}`, steps, started))
	for _, rs := range []*appsv1.ReplicaSet{old, fresh} {
		kubetest.Eventually(t, c, rs, func(rs *appsv1.ReplicaSet) string {
			if rs.Status.AvailableReplicas != *rs.Spec.Replicas {
				return "its pods are not available"
			}
			return ""
		})
	}
	before := pods(t, c, ns)
	h := start(t, c, instance("takeover"))
	defer func() { h.end() }()
	ro = kubetest.Eventually(t, c, ro, func(ro *rollouts.Rollout) string {
		if ro.Status.AvailableReplicas != 4 {
			return "the status does not count the pods"
		}
		return ""
	})
	if ro.Status.StableRS != "5d8f7c9b4f" || ro.Status.CurrentPodHash != "7c6d8b5f9d" || *ro.Status.CurrentStepIndex != 1 || len(ro.Status.PauseConditions) != 1 {
		t.Errorf("the status after taking over is %+v", ro.Status)
	}
	if after := pods(t, c, ns); len(after) != 4 || !sameKeys(before, after) {
		t.Errorf("pods before %v, after %v", before, after)
	}
	if n := len(sets(t, c, ns)); n != 2 {
		t.Errorf("%d ReplicaSets, want the peer's two", n)
	}
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`)
	ro = await(t, c, ro, argo.RolloutPhasePaused, at(3))
	patchStatus(t, c, ro, `{"status":{"pauseConditions":null}}`)
	ro = await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	if ro.Status.StableRS != "7c6d8b5f9d" {
		t.Errorf("%s is stable", ro.Status.StableRS)
	}
}

// peerSet is a ReplicaSet as Argo Rollouts makes it; without an owner when the Rollout is not there yet.
func peerSet(t *testing.T, c *kubetest.Cluster, ro *rollouts.Rollout, hash, revision string, n int32, image string) *appsv1.ReplicaSet {
	t.Helper()
	labels := map[string]string{"app": "web", rollout.HashLabel: hash}
	template := *ro.Spec.Template.DeepCopy()
	template.Labels, template.Spec.Containers[0].Image = labels, image
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ro.Namespace, Name: ro.Name + "-" + hash, Labels: labels,
		Annotations: map[string]string{rollout.RevisionAnnotation: revision, rollout.DesiredReplicasAnnotation: strconv.Itoa(int(*ro.Spec.Replicas))}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template}}
	if ro.UID != "" {
		rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(ro, rollout.Kind)}
	}
	house.Create(t, c, rs)
	return rs
}

func sameKeys[K comparable, V any](a, b map[K]V) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if _, ok := b[k]; !ok {
			return false
		}
	}
	return true
}

func TestReplicaSetsLeftByADeletedRolloutAreAdoptedByTheNextOne(t *testing.T) {
	t.Parallel()
	c, _ := serve(t)
	ns := c.Namespace(t)
	ro := house.Read(t, &rollouts.Rollout{}, ns, one)
	rs := peerSet(t, c, ro, rollout.Hash(&ro.Spec.Template, nil), "4", 1, "web:1")
	kubetest.Eventually(t, c, rs, func(rs *appsv1.ReplicaSet) string {
		if rs.Status.AvailableReplicas != 1 {
			return "its pod is not available"
		}
		return ""
	})
	before := pods(t, c, ns)
	house.Create(t, c, ro)
	await(t, c, ro, argo.RolloutPhaseHealthy, nil)
	if after := pods(t, c, ns); !sameKeys(before, after) {
		t.Errorf("pods before %v, after %v", before, after)
	}
	kubetest.Eventually(t, c, rs, func(rs *appsv1.ReplicaSet) string {
		if owner := metav1.GetControllerOf(rs); owner == nil || owner.UID != ro.UID {
			return "it is not adopted"
		}
		return ""
	})
}

// dying is a client that fails for good after some writes, as a process does that is killed.
type dying struct {
	client.Client
	left atomic.Int32
	dead chan struct{}
}

var errKilled = errors.New("killed")

func (d *dying) spend() bool {
	n := d.left.Add(-1)
	if n == -1 {
		close(d.dead)
	}
	return n >= 0
}

// Create implements client.Client.
func (d *dying) Create(ctx context.Context, obj client.Object, o ...client.CreateOption) error {
	if !d.spend() {
		return errKilled
	}
	return d.Client.Create(ctx, obj, o...)
}

// Patch implements client.Client.
func (d *dying) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.PatchOption) error {
	if !d.spend() {
		return errKilled
	}
	return d.Client.Patch(ctx, obj, p, o...)
}

// SubResource implements client.Client.
func (d *dying) SubResource(name string) client.SubResourceClient {
	return dyingSub{d.Client.SubResource(name), d}
}

type dyingSub struct {
	client.SubResourceClient
	d *dying
}

// Patch implements client.SubResourceWriter.
func (s dyingSub) Patch(ctx context.Context, obj client.Object, p client.Patch, o ...client.SubResourcePatchOption) error {
	if !s.d.spend() {
		return errKilled
	}
	return s.SubResourceClient.Patch(ctx, obj, p, o...)
}

func TestUpdateGoesOnWhereverItsControllerWasKilled(t *testing.T) {
	t.Parallel()
	c := house.Cluster(t)
	for writes := range int32(8) {
		name := fmt.Sprintf("killed-after-%d-writes", writes)
		t.Run(name, func(t *testing.T) {
			ns := c.Namespace(t)
			ro := sharded(t, ns, name, strings.Replace(one, "3s", "1s", 1))
			first := start(t, c, instance(name))
			house.Create(t, c, ro)
			await(t, c, ro, argo.RolloutPhaseHealthy, nil)
			first.end()
			d := &dying{dead: make(chan struct{})}
			d.left.Store(writes)
			second := startWith(t, c, instance(name), func(inner client.Client) client.Client { d.Client = inner; return d })
			patch(t, c, ro, image("2"))
			select {
			case <-d.dead:
			case <-time.After(kubetest.Patience):
				t.Fatalf("the update took fewer than %d writes", writes)
			}
			second.end()
			third := start(t, c, instance(name))
			defer third.end()
			got := await(t, c, ro, argo.RolloutPhaseHealthy, func(ro *rollouts.Rollout) string {
				if ro.Status.StableRS != ro.Status.CurrentPodHash || ro.Status.Replicas != 1 {
					return "the update is not done"
				}
				return ""
			})
			if all := sets(t, c, ns); len(all) != 2 || all[got.Status.StableRS].Spec.Template.Spec.Containers[0].Image != "web:2" {
				t.Errorf("%d ReplicaSets; stable is %s", len(all), got.Status.StableRS)
			}
		})
	}
}
