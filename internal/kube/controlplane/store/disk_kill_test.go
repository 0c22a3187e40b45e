package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
)

// writerDirectory makes this test binary, started as a child, write to a store until it is killed.
const writerDirectory = "FAIRWAY_STORE_TEST_WRITE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDirectory); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever creates and updates objects and prints each write that was acknowledged: key, revision, value.
func writeForever(dir string) error {
	d, err := OpenDisk(context.Background(), dir, DiskOptions{Logger: quiet})
	if err != nil {
		return err
	}
	c := d.Client()
	prefix := fmt.Sprintf("/registry/%d/", d.Revision())
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s%d", prefix, i%50)
		var expected int64
		now, err := c.Kubernetes.Get(context.Background(), key, kubernetes.GetOptions{})
		if err != nil {
			return err
		}
		expected = now.KV.GetModRevision()
		value := fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%2000))
		r, err := c.Kubernetes.OptimisticPut(context.Background(), key, []byte(value), expected, kubernetes.PutOptions{})
		if err != nil || !r.Succeeded {
			return fmt.Errorf("write %s: %+v, %w", key, r, err)
		}
		if _, err := fmt.Println(key, r.Revision, value); err != nil {
			return err
		}
	}
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	kills := 5
	if os.Getenv("FAIRWAY_NIGHTLY") != "" {
		kills = 50
	}
	dir := t.TempDir()
	acknowledged := map[string]string{} // key to value
	random := rand.New(rand.NewPCG(1, uint64(kills)))
	var revision int64
	for kill := range kills {
		revision = max(revision, writeUntilKilled(t, dir, 1+random.IntN(400), time.Duration(random.IntN(2_000))*time.Microsecond, acknowledged))
		d := openDisk(t, dir, DiskOptions{})
		if d.Revision() < revision {
			t.Fatalf("kill %d: revision %d, acknowledged was %d", kill, d.Revision(), revision)
		}
		c := d.Client()
		for key, value := range acknowledged {
			r, err := c.Kubernetes.Get(context.Background(), key, kubernetes.GetOptions{})
			if err != nil || r.KV == nil {
				t.Fatalf("kill %d: %s is lost (%v)", kill, key, err)
			}
			// One write more than was acknowledged may have been made.
			if got := string(r.KV.Value); got != value && sequence(got) <= sequence(value) {
				t.Fatalf("kill %d: %s holds write %d, acknowledged was %d", kill, key, sequence(got), sequence(value))
			}
			acknowledged[key] = string(r.KV.Value)
		}
		d.Stop()
	}
}

func sequence(value string) (n int) {
	_, _ = fmt.Sscanf(value, "%d-", &n)
	return n
}

// writeUntilKilled runs a writer, kills it some time after a number of writes, and records what it said it wrote.
func writeUntilKilled(t *testing.T, dir string, writes int, delay time.Duration, acknowledged map[string]string) (revision int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), writerDirectory+"="+dir)
	var complaints strings.Builder
	child.Stderr = &complaints
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == writes {
			go func() {
				time.Sleep(delay)
				_ = child.Process.Kill() // SIGKILL; it may have ended by itself, which the count below shows
			}()
		}
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			break // the last line may be torn
		}
		if sequence(fields[2]) >= 0 && strings.HasSuffix(fields[2], strings.Repeat("x", sequence(fields[2])%2000)) {
			acknowledged[fields[0]] = fields[2]
			_, _ = fmt.Sscan(fields[1], &revision)
		}
	}
	_ = child.Wait()
	if complaints.Len() > 0 {
		t.Fatal(complaints.String())
	}
	return revision
}
