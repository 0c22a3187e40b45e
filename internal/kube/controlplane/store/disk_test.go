package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

var quiet = slog.New(slog.DiscardHandler)

func openDisk(t testing.TB, dir string, opts DiskOptions) *Disk {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	d, err := OpenDisk(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

func create(t testing.TB, c *kubernetes.Client, key, value string) int64 {
	t.Helper()
	r, err := c.Kubernetes.OptimisticPut(context.Background(), key, []byte(value), 0, kubernetes.PutOptions{})
	if err != nil || !r.Succeeded {
		t.Fatalf("create %s: %+v, %v", key, r, err)
	}
	return r.Revision
}

func TestDiskKeepsObjectsAndRevisionAcrossRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var last int64
	for i := range 4 {
		d := openDisk(t, dir, DiskOptions{})
		if i > 0 && d.Revision() < last {
			t.Fatalf("revision %d after a restart, was %d", d.Revision(), last)
		}
		c := d.Client()
		last = create(t, c, fmt.Sprintf("/registry/pods/%d", i), "value")
		r, err := c.Kubernetes.List(context.Background(), "/registry/pods/", kubernetes.ListOptions{})
		if err != nil || len(r.Kvs) != i+1 {
			t.Fatalf("%d objects after start %d, error %v", len(r.Kvs), i+1, err)
		}
		d.Stop()
		d.Stop() // again: no harm
	}
}

func TestDiskAnswersStreamedRangesAndWatches(t *testing.T) {
	t.Parallel()
	c := openDisk(t, t.TempDir(), DiskOptions{}).Client()
	ctx := context.Background()
	seen := c.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(2))
	for i := range 30 {
		create(t, c, fmt.Sprintf("/registry/pods/%02d", i), "value")
	}
	stream, err := c.GetStream(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithLimit(10))
	if err != nil {
		t.Fatal(err)
	}
	r, err := clientv3.GetStreamToGetResponse(stream)
	if err != nil || len(r.Kvs) != 10 || r.Count != 30 || !r.More {
		t.Fatalf("streamed range: %v, %v", r, err)
	}
	for events := 0; events < 30; {
		events += len((<-seen).Events)
	}
}

func TestDiskRefusesWritesAtItsQuotaWithEtcdsError(t *testing.T) {
	t.Parallel()
	c := openDisk(t, t.TempDir(), DiskOptions{QuotaBytes: 4 << 20}).Client()
	value := string(make([]byte, 256<<10))
	for i := range 100 {
		_, err := c.Kubernetes.OptimisticPut(context.Background(), fmt.Sprintf("/registry/%d", i), []byte(value), 0, kubernetes.PutOptions{})
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("25 MB were written to a store of 4 MB")
}

func TestOpenDiskNamesWhyADirectoryCannotBeUsed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(t *testing.T, dir string) string
		want    error
		advice  string
	}{
		"another process has it open": {func(t *testing.T, dir string) string {
			openDisk(t, dir, DiskOptions{})
			return dir
		}, ErrLocked, "--name"},
		"a file stands in its place": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "file")
			write(t, path, []byte("x"))
			return path
		}, ErrUnwritable, "--data"},
		"the database is damaged": {func(t *testing.T, dir string) string {
			fill(t, dir)
			write(t, databasePath(dir), bytes.Repeat([]byte("no database "), 10_000))
			return dir
		}, ErrCorrupt, "--reset"},
		"the database is gone": {func(t *testing.T, dir string) string {
			fill(t, dir)
			remove(t, databasePath(dir))
			return dir
		}, ErrCorrupt, "--reset"},
		"the log is gone": {func(t *testing.T, dir string) string {
			fill(t, dir)
			remove(t, filepath.Join(dir, "member", "wal"))
			return dir
		}, ErrCorrupt, "--reset"},
		"the log is damaged": {func(t *testing.T, dir string) string {
			fill(t, dir)
			logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
			if err != nil || len(logs) == 0 {
				t.Fatal(logs, err)
			}
			data, err := os.ReadFile(logs[0])
			if err != nil {
				t.Fatal(err)
			}
			for i := 200; i < 400; i++ {
				data[i] ^= 0xff
			}
			write(t, logs[0], data)
			return dir
		}, ErrCorrupt, "--reset"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := test.prepare(t, t.TempDir())
			before := listing(dir)
			d, err := OpenDisk(context.Background(), dir, DiskOptions{Logger: quiet})
			if err == nil {
				d.Stop()
				t.Fatal("it opened")
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), test.advice) {
				t.Errorf("error %q is not %q with the directory and %q", err, test.want, test.advice)
			}
			for _, other := range []error{ErrLocked, ErrUnwritable, ErrFull, ErrCorrupt} {
				if other != test.want && errors.Is(err, other) {
					t.Errorf("error %q is also %q", err, other)
				}
			}
			if after := listing(dir); after != before {
				t.Errorf("the directory changed:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

func TestDatabaseWithoutLogIsOpenedWhenNothingWasEverWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(databasePath(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, databasePath(dir), nil) // a first start that was killed at once
	create(t, openDisk(t, dir, DiskOptions{}).Client(), "/registry/a", "b")
}

func fill(t *testing.T, dir string) {
	t.Helper()
	d := openDisk(t, dir, DiskOptions{})
	c := d.Client()
	for i := range 20 {
		create(t, c, fmt.Sprintf("/registry/%d", i), "value")
	}
	d.Stop()
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// listing is the names and sizes below a directory, the lock file aside.
func listing(dir string) string {
	var out strings.Builder
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && info.Name() != "store.lock" {
			fmt.Fprintln(&out, path, info.Size())
		}
		return nil
	})
	return out.String()
}
