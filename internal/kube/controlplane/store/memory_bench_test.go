package store

import (
	"context"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// benchPods is the number of objects that the benchmarks' store holds, of 2 kB each.
const benchPods = 10_000

var podKeys = func() (keys []string) {
	for i := range benchPods {
		keys = append(keys, fmt.Sprintf("/registry/pods/default/web-7d9f8b6c5d-%05d", i))
	}
	return keys
}()

// withPods fills a store and starts a watch for each of 100 resources, as the API server does.
func withPods(b *testing.B, c *kubernetes.Client) (revisions []int64) {
	b.Helper()
	ctx := b.Context()
	for i := range 100 {
		dir := fmt.Sprintf("/registry/example.com/resource%02d/", i)
		if i == 0 {
			dir = "/registry/pods/"
		}
		seen := c.Watch(ctx, dir, clientv3.WithPrefix(), clientv3.WithPrevKV())
		go func() {
			for range seen {
			}
		}()
	}
	for i := range benchPods {
		revisions = append(revisions, create(b, c, podKeys[i], string(make([]byte, 2_000))))
	}
	return revisions
}

func benchStores(b *testing.B, run func(*testing.B, *kubernetes.Client)) {
	b.Run("memory", func(b *testing.B) {
		m := NewMemory(MemoryOptions{Logger: quiet})
		defer m.Stop()
		run(b, m.Client())
	})
	b.Run("disk", func(b *testing.B) {
		run(b, openDisk(b, b.TempDir(), DiskOptions{}).Client())
	})
}

func BenchmarkUpdateOfAWatchedPod(b *testing.B) {
	benchStores(b, func(b *testing.B, c *kubernetes.Client) {
		revisions := withPods(b, c)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			i := n % benchPods
			r, err := c.Kubernetes.OptimisticPut(context.Background(), podKeys[i], make([]byte, 2_000), revisions[i], kubernetes.PutOptions{GetOnFailure: true})
			if err != nil || !r.Succeeded {
				b.Fatal(r, err)
			}
			revisions[i] = r.Revision
		}
	})
}

func BenchmarkGetOfAPod(b *testing.B) {
	benchStores(b, func(b *testing.B, c *kubernetes.Client) {
		withPods(b, c)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if r, err := c.Kubernetes.Get(context.Background(), podKeys[n%benchPods], kubernetes.GetOptions{}); err != nil || r.KV == nil {
				b.Fatal(r, err)
			}
		}
	})
}

func BenchmarkListOfTenThousandPods(b *testing.B) {
	benchStores(b, func(b *testing.B, c *kubernetes.Client) {
		withPods(b, c)
		b.ReportAllocs()
		for b.Loop() {
			if r, err := c.Kubernetes.List(context.Background(), "/registry/pods/", kubernetes.ListOptions{}); err != nil || len(r.Kvs) != benchPods {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWriteBesideWatches shows that a write's cost does not grow with the watches of other resources.
func BenchmarkWriteBesideWatches(b *testing.B) {
	for _, watches := range []int{1, 100, 1_000} {
		b.Run(fmt.Sprint(watches), func(b *testing.B) {
			m := NewMemory(MemoryOptions{Logger: quiet})
			defer m.Stop()
			c := m.Client()
			for i := range watches {
				c.Watch(b.Context(), fmt.Sprintf("/registry/example.com/resource%d/", i), clientv3.WithPrefix(), clientv3.WithPrevKV())
			}
			rev, value := int64(0), make([]byte, 2_000)
			b.ReportAllocs()
			for b.Loop() {
				r, err := c.Kubernetes.OptimisticPut(context.Background(), podKeys[0], value, rev, kubernetes.PutOptions{})
				if err != nil || !r.Succeeded {
					b.Fatal(r, err)
				}
				rev = r.Revision
			}
		})
	}
}
