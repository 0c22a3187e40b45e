package store

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

func TestWatchSeesEachWriteOnceInOrderWithPreviousValue(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Stop()
	c := m.Client()
	ctx := context.Background()
	seen := c.Watch(ctx, "/registry/pods/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(2))
	const writes = 1_000 // far more than the channel holds
	rev := int64(0)
	for i := range writes {
		r, err := c.Kubernetes.OptimisticPut(ctx, "/registry/pods/a/b", []byte{byte(i)}, rev, kubernetes.PutOptions{})
		if err != nil || !r.Succeeded {
			t.Fatal(r, err)
		}
		rev = r.Revision
	}
	next := 0
	for next < writes {
		for _, e := range (<-seen).Events {
			if e.Kv.ModRevision != int64(next+2) || e.Kv.Value[0] != byte(next) {
				t.Fatalf("event %d is %v", next, e)
			}
			if next > 0 && e.PrevKv.Value[0] != byte(next-1) {
				t.Fatalf("event %d has previous value %v", next, e.PrevKv)
			}
			next++
		}
	}
	if m.Writes() != writes || m.Revision() != writes+1 {
		t.Fatalf("%d writes, revision %d", m.Writes(), m.Revision())
	}
}
