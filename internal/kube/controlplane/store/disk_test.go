package store

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
)

func TestDiskTiming(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		t0 := time.Now()
		d, err := OpenDisk(context.Background(), dir, DiskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t1 := time.Now()
		c := d.Client()
		for j := range 50 {
			r, err := c.Kubernetes.OptimisticPut(context.Background(), "/a/"+string(rune('a'+i))+string(rune('a'+j)), make([]byte, 4000), 0, kubernetes.PutOptions{})
			if err != nil || !r.Succeeded {
				t.Fatal(r, err)
			}
		}
		t2 := time.Now()
		c.Close()
		d.Stop()
		t.Log("open", t1.Sub(t0), "50 puts", t2.Sub(t1), "stop", time.Since(t2))
	}
}
