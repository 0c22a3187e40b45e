package rollout

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// seenSet is a ReplicaSet of an owner in a version.
func seenSet(name string, version int) *appsv1.ReplicaSet {
	yes := true
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), ResourceVersion: strconv.Itoa(version),
		OwnerReferences: []metav1.OwnerReference{{Kind: "Rollout", Name: "web", UID: "owner", Controller: &yes}}}}
}

func setCache(objs ...*appsv1.ReplicaSet) cache.Indexer {
	ix := cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers(replicaSetKind))
	for _, o := range objs {
		if err := ix.Add(o); err != nil {
			panic(err)
		}
	}
	return ix
}

func TestOwnWritesAreSeenUntilTheCacheHasCaughtUp(t *testing.T) {
	t.Parallel()
	ix := setCache(seenSet("a", 5), seenSet("b", 5))
	o := &observer{stores: &stores{}, written: &written{}}
	o.stores.put(replicaSetKind, ix)
	names := func() []string {
		var out []string
		for _, rs := range owned[*appsv1.ReplicaSet](o, replicaSetKind, "owner") {
			out = append(out, rs.Name+"@"+rs.ResourceVersion)
		}
		slices.Sort(out)
		return out
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := names(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	o.written.add(seenSet("a", 7), changed, ix)
	o.written.add(seenSet("b", 5), deleted, ix)
	o.written.add(seenSet("c", 8), changed, ix)
	expect("after writing", "a@7", "c@8")
	o.written.seen(seenSet("a", 6), false)
	expect("after an older event", "a@7", "c@8")
	ix.Update(seenSet("a", 9))
	o.written.seen(seenSet("a", 9), false)
	ix.Delete(seenSet("b", 5))
	o.written.seen(seenSet("b", 6), true)
	ix.Add(seenSet("c", 8))
	o.written.seen(seenSet("c", 8), false)
	expect("when the cache has caught up", "a@9", "c@8")
	if len(o.written.by) > 0 || len(o.written.byOwner) > 0 {
		t.Errorf("%d writes are still remembered", len(o.written.by))
	}
	o.written.add(seenSet("c", 8), changed, ix) // the event came before the answer
	ix.Delete(seenSet("c", 8))
	expect("after an answer that came late", "a@9")
}

func TestChangesOfWhatARolloutLookedAtConcernIt(t *testing.T) {
	t.Parallel()
	var n interests
	a, b := types.NamespacedName{Namespace: "shop", Name: "a"}, types.NamespacedName{Namespace: "shop", Name: "b"}
	svc, other := id{serviceKind, "shop", "web"}, id{serviceKind, "shop", "other"}
	n.set(a, []id{svc})
	n.set(b, []id{svc, {serviceKind, "shop", anyName}})
	if got := n.who(svc); !slices.Equal(got, []types.NamespacedName{a, b}) {
		t.Errorf("%v look at the service", got)
	}
	if got := n.who(other); !slices.Equal(got, []types.NamespacedName{b}) {
		t.Errorf("%v look at any service", got)
	}
	n.set(a, nil)
	n.set(b, []id{other})
	if got := n.who(svc); len(got) > 0 {
		t.Errorf("%v still look at the service", got)
	}
	n.set(b, nil)
	if len(n.in)+len(n.of) > 0 {
		t.Error("something is remembered of Rollouts that are gone")
	}
}

func TestThePeerIsKnownByItsLeaseAndByItsWrites(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	wrote := func(manager, sub, fields string, ago time.Duration) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(now.Add(-ago))
		f := &metav1.FieldsV1{}
		f.SetRawString(fields)
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: sub, Time: &at, FieldsV1: f}
	}
	lease := func(holder string, ago time.Duration) *coordinationv1.Lease {
		at, seconds := metav1.NewMicroTime(now.Add(-ago)), int32(15)
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "argo-rollouts", Name: PeerLease("")},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &at, LeaseDurationSeconds: &seconds}}
	}
	for name, c := range map[string]struct {
		lease *coordinationv1.Lease
		entry metav1.ManagedFieldsEntry
		until time.Duration // from now; 0 = no peer
	}{
		"nothing":                         {},
		"a lease that is held":            {lease: lease("x", 10*time.Second), until: 5 * time.Second},
		"a lease that has run out":        {lease: lease("x", 16*time.Second)},
		"a lease that was given back":     {lease: lease("", time.Second)},
		"a status written lately":         {entry: wrote(peerManager, "status", `{"f:status":{}}`, 20*time.Second), until: 40 * time.Second},
		"a status in the whole object":    {entry: wrote(peerManager, "", `{"f:spec":{},"f:status":{}}`, 20*time.Second), until: 40 * time.Second},
		"a spec written lately":           {entry: wrote(peerManager, "", `{"f:spec":{}}`, 20*time.Second)},
		"a status written a while ago":    {entry: wrote(peerManager, "status", `{"f:status":{}}`, 61*time.Second)},
		"a status written by its command": {entry: wrote("kubectl-argo-rollouts", "status", `{"f:status":{}}`, time.Second)},
		"a status that we wrote":          {entry: wrote("fairway", "status", `{"f:status":{}}`, time.Second)},
	} {
		ro := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", ManagedFields: []metav1.ManagedFieldsEntry{c.entry}}}
		kept, err := KeepPeerWrites(ro)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range kept.(*rollouts.Rollout).ManagedFields {
			if f.FieldsV1 != nil {
				t.Errorf("%s: the fields are kept, which nobody needs", name)
			}
		}
		o := &observer{stores: &stores{}, written: &written{}}
		leases := cache.NewIndexer(cache.MetaNamespaceKeyFunc, nil)
		if c.lease != nil {
			leases.Add(c.lease)
		}
		o.stores.put(leaseKind, leases)
		p := o.peer(kept.(client.Object), now)
		switch {
		case p == nil && c.until != 0:
			t.Errorf("%s: the peer is not seen", name)
		case p != nil && !p.Until.Equal(now.Add(c.until)):
			t.Errorf("%s: %s until %v, want %v", name, p.What, p.Until.Sub(now), c.until)
		}
	}
}

func TestPatchHoldsOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	before := seenSet("a", 5)
	before.Annotations = map[string]string{"keep": "1", "drop": "2"}
	after := before.DeepCopy()
	n := int32(3)
	after.Spec.Replicas, after.Annotations = &n, map[string]string{"keep": "1", "new": "3"}
	body, err := difference(before, after)
	if err != nil {
		t.Fatal(err)
	}
	meta := body["metadata"].(map[string]any)
	notes := meta["annotations"].(map[string]any)
	if len(body) != 2 || len(meta) != 1 || len(notes) != 2 || notes["new"] != "3" || notes["drop"] != nil {
		t.Errorf("the patch is %v", body)
	}
	if _, ok := notes["drop"]; !ok {
		t.Error("an annotation that is gone is not taken away")
	}
	if body, err = difference(before, before.DeepCopy()); err != nil || len(body) > 0 {
		t.Errorf("without a difference the patch is %v, %v", body, err)
	}
}

func TestRoutesAreReadInTheVersionThatIsServed(t *testing.T) {
	t.Parallel()
	route := func(kind string) string {
		return `{"` + strings.ToLower(kind[:3]) + kind[3:] + `": "route", "namespace": "shop"}`
	}
	for _, c := range []struct {
		kind, served string
		asked        traffic.Versions
		want         string // "" = a problem
	}{
		{"TLSRoute", "v1", traffic.Versions{}, "v1"}, {"TLSRoute", "v1alpha3", traffic.Versions{}, "v1alpha3"}, {"TLSRoute", "v1alpha2", traffic.Versions{}, "v1alpha2"},
		{"TCPRoute", "v1alpha2", traffic.Versions{}, "v1alpha2"}, {"TCPRoute", "", traffic.Versions{}, ""}, {"TCPRoute", "v1alpha2", traffic.Versions{TCPRoute: "v1"}, ""},
	} {
		ro := routedCanary(1, argo.CanaryStrategy{TrafficRouting: &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{traffic.GatewayAPIPlugin: json.RawMessage(route(c.kind))}}})
		ro.Namespace, ro.Name = "shop", "web"
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": gatewayGroup + "/" + c.served, "kind": c.kind, "metadata": map[string]any{"namespace": "shop", "name": "route"}}}
		tried := map[string]int{}
		o := &observer{written: &written{}, versions: c.asked, stores: &stores{open: func(_ context.Context, kind schema.GroupVersionKind) (cache.Indexer, error) {
			tried[kind.Version]++
			if kind.Version != c.served {
				return nil, &meta.NoKindMatchError{GroupKind: kind.GroupKind(), SearchedVersions: []string{kind.Version}}
			}
			ix := cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers(kind))
			return ix, ix.Add(object)
		}}}
		for range 2 { // the second time it is known
			l := look{observer: o, ctx: t.Context(), s: Snapshot{Rollout: ro}}
			if err := l.routers(); err != nil {
				t.Fatal(err)
			}
			got := ""
			for ref := range l.s.Objects {
				got = ref.Version
			}
			if got != c.want || (c.want == "") != (len(l.s.Problems) > 0) {
				t.Errorf("%+v: read in %q, problems %v", c, got, l.s.Problems)
			}
		}
		for v, n := range tried {
			if n > 1 {
				t.Errorf("%+v: %s was asked for %d times", c, v, n)
			}
		}
	}
}
