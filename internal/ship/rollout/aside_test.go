package rollout

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func TestOnlyThePeersLeaseOfTheSameInstanceCounts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, c := range []struct {
		lease, instanceID string
		aside             bool
	}{
		{"argo-rollouts-controller-lock", "", true},
		{"argo-rollouts-controller-lock", "team", false},
		{"argo-rollouts-controller-lock-team", "team", true},
		{"argo-rollouts-controller-lock-team", "", false},
		{"argo-rollouts-controller-lock-other", "team", false},
	} {
		holder, at, seconds := "x", metav1.NewMicroTime(now), int32(15)
		leases := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
		leases.Add(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "argo-rollouts", Name: c.lease},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: &seconds}})
		o := &observer{stores: &stores{}, written: &written{}, instanceID: c.instanceID}
		o.stores.put(leaseKind, leases)
		if p := o.peer(&rollouts.Rollout{}, now); (p != nil) != c.aside {
			t.Errorf("with the instance id %q and the Lease %s: aside is %v, want %v", c.instanceID, c.lease, p != nil, c.aside)
		}
	}
}
