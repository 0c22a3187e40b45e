package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiserver/pkg/storage"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

func TestStorageFactoryGetsTheClientOfAnEndpointInUse(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	defer m.Stop()
	var made atomic.Int32
	release := Use("http://store.test", func() *kubernetes.Client { made.Add(1); return m.Client() })
	before := made.Load()
	c, err := newETCD3Client(storagebackend.TransportConfig{ServerList: []string{"http://store.test"}})
	if err != nil || made.Load() != before+1 {
		t.Fatalf("the factory made no client of ours: %v", err)
	}
	create(t, c, "/registry/a", "b")
	if m.Writes() != 1 {
		t.Fatalf("%d writes reached the store, want 1", m.Writes())
	}
	for deadline := time.Now().Add(10 * time.Second); !etcdfeature.DefaultFeatureSupportChecker.Supports(storage.RequestWatchProgress); {
		if time.Now().After(deadline) {
			t.Fatal("upstream does not believe that the store reports watch progress")
		}
		time.Sleep(time.Millisecond)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an endpoint was taken twice")
			}
		}()
		Use("http://store.test", m.Client)
	}()
	release()
	release()
	Use("http://store.test", m.Client)()
}

func TestLeaseDeletesItsKeysInOneCommitWhenItRunsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryOptions{})
		defer m.Stop()
		c, ctx := m.Client(), t.Context()
		defer c.Close()
		seen := c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithFilterPut())
		short, err := c.Grant(ctx, 60)
		if err != nil {
			t.Fatal(err)
		}
		long, err := c.Grant(ctx, 3600)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"/c", "/a", "/b"} {
			if _, err := c.Put(ctx, key, "v", clientv3.WithLease(short.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Put(ctx, "/b", "v", clientv3.WithLease(long.ID)); err != nil { // moves to the other lease
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if _, err := c.KeepAliveOnce(ctx, short.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if n := m.Writes(); n != 4 {
			t.Fatalf("%d commits before a renewed lease ran out, want 4", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r := <-seen
		if len(r.Events) != 2 || string(r.Events[0].Kv.Key) != "/a" || string(r.Events[1].Kv.Key) != "/c" {
			t.Fatalf("the expiry's events are %v", r.Events)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if r := <-seen; string(r.Events[0].Kv.Key) != "/b" {
			t.Fatalf("the second expiry's events are %v", r.Events)
		}
		if _, err := c.Put(ctx, "/d", "v", clientv3.WithLease(short.ID)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Fatalf("a put with a lease that ran out: %v", err)
		}
	})
}

func TestStoreAtItsQuotaRefusesWritesUntilObjectsAreDeleted(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{QuotaBytes: 100_000, CompactExactly: true, Logger: quiet})
	defer m.Stop()
	c, ctx := m.Client(), context.Background()
	var err error
	n := 0
	for ; err == nil && n < 1_000; n++ {
		_, err = c.Put(ctx, fmt.Sprint("/", n), strings.Repeat("x", 1_000))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) || m.Size() > 100_000 {
		t.Fatalf("after %d writes of 1 kB into 100 kB: %v, size %d", n, err, m.Size())
	}
	if _, err := c.KV.Get(ctx, "/1"); err != nil {
		t.Fatal(err)
	}
	d, err := c.Delete(ctx, "/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(ctx, d.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if m.Size() != 0 {
		t.Errorf("%d bytes after everything was deleted and compacted", m.Size())
	}
	if _, err := c.Put(ctx, "/1", "x"); err != nil {
		t.Fatal(err)
	}
}

func TestValueIsNotKeptOfAKeyThatTheSameTransactionClears(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryOptions{})
	defer m.Stop()
	c, ctx := m.Client(), t.Context()
	create(t, c, "/a", "old")
	clear := clientv3.OpDelete("/", clientv3.WithFromKey())
	for _, keep := range []clientv3.OpOption{clientv3.WithIgnoreValue(), clientv3.WithIgnoreLease()} {
		put := clientv3.OpPut("/a", "", keep)
		for _, ops := range [][]clientv3.Op{{clear, put}, {clear, clientv3.OpTxn(nil, []clientv3.Op{put}, nil)}} {
			if _, err := c.KV.Txn(ctx).Then(ops...).Commit(); !errors.Is(err, rpctypes.ErrKeyNotFound) {
				t.Errorf("clearing and keeping gives %v, want %v", err, rpctypes.ErrKeyNotFound)
			}
		}
	}
	if r, err := c.KV.Get(ctx, "/a"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "old" {
		t.Errorf("a refused transaction left %v, %v", r, err)
	}
}

func TestCompactionKeepsTheNewestEventsWhateverIsAsked(t *testing.T) {
	t.Parallel()
	const keep = 100
	m := NewMemory(MemoryOptions{KeepEvents: keep})
	defer m.Stop()
	c, ctx := m.Client(), context.Background()
	for i := range 1_000 {
		if _, err := c.Put(ctx, fmt.Sprint("/", i%7), "v"); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if _, err := c.Compact(ctx, m.Revision()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r := <-c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(m.Revision()-keep+1)); len(r.Events) != keep {
		t.Errorf("%d of the newest %d events are left (%v)", len(r.Events), keep, r.Err())
	}
	if r := <-c.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(2)); !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from the beginning gets %v", r.Err())
	}
	if limit := int64((keep + keep/4 + 9) * (versionBytes + 8)); m.Size() > limit {
		t.Errorf("%d bytes of history are kept, want at most %d", m.Size(), limit)
	}
}

func TestStopLeavesNoGoroutineBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	m := NewMemory(MemoryOptions{})
	c := m.Client()
	var channels []clientv3.WatchChan
	for i := range 50 {
		channels = append(channels, c.Watch(context.Background(), fmt.Sprintf("/%d/", i), clientv3.WithPrefix()))
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines for idle watches", n-before)
	}
	for i := range 50 * 3 * watchBuffer { // nobody reads: all watches fall behind
		if _, err := c.Put(context.Background(), fmt.Sprintf("/%d/x", i%50), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Grant(context.Background(), 1_000); err != nil {
		t.Fatal(err)
	}
	m.Stop()
	for _, ch := range channels {
		for range ch { // ends
		}
	}
	if _, err := c.KV.Get(context.Background(), "/a"); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("a read after Stop: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
		time.Sleep(time.Millisecond)
	}
}
