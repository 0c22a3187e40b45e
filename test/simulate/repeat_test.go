package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// repeatSeed is a case with faults of many kinds.
const repeatSeed = 1

func TestARunRepeatsItselfByteForByte(t *testing.T) {
	// Not parallel with the others: one of its runs has the other core to itself, and keeps it busy. That the same is the same when
	// nothing differs is seen by TestTheExampleOfAReleaseHoldsAndRepeatsToTheByte.
	c, err := Generate(repeatSeed, Tiny)
	if err != nil {
		t.Fatal(err)
	}
	first := playJSON(t, c, t.TempDir(), program(t))
	for _, again := range []struct {
		what string
		run  func(t *testing.T) []byte
	}{
		{"with everything else that can be different on one machine", func(t *testing.T) []byte {
			elsewhere := longer(t, program(t))
			t.Setenv("TZ", "Asia/Kathmandu")
			t.Setenv("LANG", "tr_TR.UTF-8")
			t.Setenv("GOGC", "20")
			t.Setenv("GOMEMLIMIT", "300MiB")
			t.Setenv("TMPDIR", t.TempDir())
			dir := t.TempDir()
			t.Chdir(dir)
			defer onOneProcessor(t)()
			return playJSON(t, c, dir, elsewhere)
		}},
		{"with the other core busy", func(t *testing.T) []byte {
			defer busy()()
			return playJSON(t, c, t.TempDir(), program(t))
		}},
	} {
		t.Run(again.what, func(t *testing.T) {
			if b := again.run(t); !bytes.Equal(first, b) {
				t.Errorf("the report differs from the first:\n%s", firstDifference(first, b))
			}
		})
	}
}

// longer is the program under a much longer path: memory that holds it comes out of another size class.
func longer(t *testing.T, program string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("elsewhere", 12))
	path := filepath.Join(dir, filepath.Base(program))
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Link(program, path)); err == nil {
		return path
	}
	b, err := os.ReadFile(program) // another file system
	if err := errors.Join(err, os.WriteFile(path, b, 0o700)); err != nil {
		t.Fatal(err)
	}
	return path
}

// onOneProcessor confines this process, and what it starts, to one processor until the function it returns is called.
func onOneProcessor(t *testing.T) (release func()) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for i := range len(all) * strconv.IntSize {
		if one.Count() == 0 && all.IsSet(i) {
			one.Set(i)
		}
	}
	confine := func(set *unix.CPUSet) {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err = errors.Join(err, unix.SchedSetaffinity(id, set)); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				t.Fatal(err)
			}
		}
	}
	confine(&one)
	return func() { confine(&all) }
}

func playJSON(t *testing.T, c *Case, dir, program string) []byte {
	t.Helper()
	p, err := runProgram(t, program, c, dir, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.describe())
	}
	if p.run.End.Writes == 0 || len(p.run.Steps) == 0 {
		t.Fatalf("nothing happened: %d writes, %d steps", p.run.End.Writes, len(p.run.Steps))
	}
	return p.json(t)
}

// busy keeps a core at work until the function it returns is called.
func busy() (stop func()) {
	var enough atomic.Bool
	done := make(chan float64)
	go func() {
		x := 1.0
		for !enough.Load() {
			x = math.Sin(x) + 1
		}
		done <- x
	}()
	return func() {
		enough.Store(true)
		<-done
	}
}

func firstDifference(a, b []byte) string {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	cut := func(s []byte) string { return string(s[max(0, at-300):min(len(s), at+300)]) }
	return fmt.Sprintf("at byte %d of %d and %d:\n%s\n--- or ---\n%s", at, len(a), len(b), cut(a), cut(b))
}

// TestABrokenEngineIsCaught plants a break in the house and sees that the run ends with the invariant that it breaks.
func TestABrokenEngineIsCaught(t *testing.T) {
	t.Parallel()
	for _, broken := range []struct{ plant, invariant string }{
		{play.PlantDoubleAddress, "an address belongs to one pod"},
		{play.PlantPhaseBack, "phases move forward"},
		{play.PlantRestartsFall, "restart counts never fall"},
		{play.PlantIgnoreBudget, "evictions keep their budgets"},
		{play.PlantLostRequests, "every request has an end"},
		{play.PlantReadyLie, "a ready pod has ready containers"},
		{play.PlantOverfull, "nodes hold what they can"},
		{play.PlantIgnoreQuota, "quotas are kept"},
		{play.PlantSilentPending, "a pending pod says why"},
		{play.PlantLeftWaiting, "pods that fit are placed"},
		{play.PlantOrphan, "nothing is owned by the dead"},
		{play.PlantHalfDone, "nothing is left half done"},
		{play.PlantLostNode, "pools recover"},
		{play.PlantStuckRollout, "controllers come to rest"},
	} {
		t.Run(broken.plant, func(t *testing.T) {
			t.Parallel()
			p, err := runCase(t, drained(), t.TempDir(), broken.plant)
			switch {
			case err == nil:
				t.Fatal("nothing was noticed")
			case p.run.End == nil || p.run.End.Incomplete == "":
				t.Fatalf("the run does not say that it is incomplete: %v", err)
			case !bytes.Contains([]byte(err.Error()), []byte(`invariant "`+broken.invariant+`" broken at`)):
				t.Fatalf("noticed something else: %v", err)
			}
			last := p.run.Timeline[len(p.run.Timeline)-1]
			if last.Kind != play.KindInvariant || last.Severity != "severe" {
				t.Errorf("the timeline ends with %s %s: %s", last.Severity, last.Kind, last.What)
			}
		})
	}
	t.Run("and the same house without a break is not blamed", func(t *testing.T) {
		t.Parallel()
		if p, err := runCase(t, drained(), t.TempDir(), ""); err != nil {
			t.Fatalf("%v\n%s", err, p.describe())
		}
	})
}

// drained is a small cluster of which nodes are drained whose pods are under a tight budget, and whose quota is asked for
// more than it gives.
func drained() *Case {
	return &Case{Seed: 7, Scenario: []byte(`apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: drained}
spec:
  duration: 20m
  settle: 5m
  seeds: [7]
  cluster:
    pools: [{name: web, type: m5.large, zones: [a], size: 3}, {name: spare, type: m5.large, zones: [a], size: 1}]
    manifests: [manifests.yaml]
  load: [{to: shop/web, rate: 20}]
  services: [{match: shop/web, cpu: 2ms, ready: 20s}]
  steps:
  - {name: maintenance, at: +5m, for: 6m, drain: {pool: web, count: 2}}
  - {name: too many, at: +12m, for: 2m, scale: {workload: shop/web, replicas: 14}}
`), Manifests: []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: registry.example/web:v1, resources: {requests: {cpu: 100m, memory: 64Mi}}}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: limits, namespace: shop}
spec: {hard: {pods: "10"}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
`)}
}
