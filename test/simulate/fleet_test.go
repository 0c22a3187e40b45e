package simulate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// fleetsInCI and fleetsAtNight are how many clusters of Rollouts are played.
const (
	fleetsInCI    = 2 // one is disturbed by faults of the controllers too
	fleetsAtNight = 60
)

// unrest is what Fairway's controllers are put through besides: about one write in twelve goes wrong.
var unrest = play.Unrest{Refuse: .05, Lose: .02, Die: .01, Peace: PeaceAtEnd}

// shrinksMax bounds how often a case that fails is played again with fewer steps.
const shrinksMax = 40

func TestRolloutsKeepTheirInvariantsUnderFaults(t *testing.T) {
	t.Parallel()
	n, size := int64(fleetsInCI), Fleet
	if nightly() {
		n, size = fleetsAtNight, FleetAtNight
	} else if more := explored(t); more > 0 {
		n, size = more, LongFleet
	}
	for _, seed := range wanted(t, n) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			c, err := Generate(seed, size)
			if err != nil {
				t.Fatal(err)
			}
			if seed%3 != 1 {
				c.Unrest = &unrest
			}
			dir := t.ArtifactDir()
			p, err := runCase(t, c, dir, "")
			if err != nil {
				t.Errorf("%v\nplay it again with "+seedsVariable+"=%d; with -artifacts its files are kept in %s\n%s", err, seed, dir, p.describe())
				steps, smaller := shrink(t, c, err)
				t.Fatalf("these %d steps are enough (%v):\n%s", len(steps), smaller, strings.Join(steps, "\n"))
			}
			ends := map[string]int{}
			for _, u := range p.run.Updates {
				ends[u.Outcome]++
			}
			t.Logf("seed %d: %d writes, %d pods lived, updates %v, %.1f s (%.1f s of CPU)", seed, p.run.End.Writes, len(p.run.Pods), ends, p.run.End.Execution.WallSeconds, p.run.End.Execution.CPUSeconds)
			if ends["Healthy"] == 0 {
				t.Error("no update ever ended well: nothing was tried")
			}
		})
	}
}

// TestRolloutsThatStandStillAreNotWritten lets many Rollouts of every shape come to rest, at an end or at a pause, and be looked
// at again and again; that nothing is written then is an invariant.
func TestRolloutsThatStandStillAreNotWritten(t *testing.T) {
	t.Parallel()
	size := IdleFleet
	if nightly() || explored(t) > 0 {
		size = LargeIdle
	}
	c, err := Generate(1, size)
	if err != nil {
		t.Fatal(err)
	}
	p, err := runCase(t, c, t.ArtifactDir(), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.describe())
	}
	phases, strategies := map[string]int{}, map[string]int{}
	for i := range p.run.Workloads {
		if w := &p.run.Workloads[i]; strings.HasPrefix(w.Object, "Rollout/") {
			phases[w.Phase]++
			strategies[w.Strategy]++
		}
	}
	t.Logf("%v %v, %d writes in all, %.1f s of CPU", phases, strategies, p.run.End.Writes, p.run.End.Execution.CPUSeconds)
	for _, phase := range []string{"Healthy", "Paused", "Degraded"} {
		if phases[phase] == 0 {
			t.Errorf("no Rollout is %s", phase)
		}
	}
}

// shrink plays a case that fails with fewer and fewer steps, as long as it fails in the same way, and returns those that are
// left, one a line.
func shrink(t *testing.T, c *Case, failure error) (left []string, smaller error) {
	t.Helper()
	var scenario map[string]any
	if err := yaml.Unmarshal(c.Scenario, &scenario); err != nil {
		t.Fatal(err)
	}
	spec := scenario["spec"].(map[string]any)
	all, _ := spec["steps"].([]any)
	kind, smaller := invariantOf(failure), failure
	fails := func(steps []any) bool {
		spec["steps"] = steps
		b, err := yaml.Marshal(scenario)
		if err != nil {
			t.Fatal(err)
		}
		_, err = runCase(t, &Case{Seed: c.Seed, Scenario: b, Manifests: c.Manifests, Unrest: c.Unrest}, t.TempDir(), "")
		if err == nil || invariantOf(err) != kind {
			return false
		}
		smaller = err
		return true
	}
	played := 0
	if kind == "" {
		return []string{"  (it is not about an invariant)"}, failure
	}
	for part := (len(all) + 1) / 2; part > 0 && played < shrinksMax; part /= 2 {
		for at := 0; at < len(all) && played < shrinksMax; played++ {
			if less := slices.Delete(slices.Clone(all), at, min(at+part, len(all))); fails(less) {
				all = less
			} else {
				at += part
			}
		}
	}
	for _, s := range all {
		b, err := yaml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, "  "+strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n  "))
	}
	return left, smaller
}

// invariantOf is the name of the first broken invariant in an error.
func invariantOf(err error) string {
	_, rest, _ := strings.Cut(err.Error(), `invariant "`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// TestBrokenControllersOfRolloutsAreCaught plants what controllers of Rollouts must never do.
func TestBrokenControllersOfRolloutsAreCaught(t *testing.T) {
	t.Parallel()
	for plant, invariant := range map[string]string{
		play.PlantStarve:   "what serves keeps its pods",
		play.PlantDeaf:     "no Service is led to nobody",
		play.PlantForget:   "the stable revision is remembered",
		play.PlantStorm:    "writes come to an end",
		play.PlantRestless: "what is at rest is left alone",
	} {
		t.Run(plant, func(t *testing.T) {
			t.Parallel()
			p, err := runCase(t, green(), t.TempDir(), plant)
			if err == nil {
				t.Fatal("nothing was noticed")
			}
			if got := invariantOf(err); got != invariant {
				t.Fatalf("noticed something else: %v", err)
			}
			if p.run.End == nil || p.run.End.Incomplete == "" {
				t.Error("the run does not say that it is incomplete")
			}
		})
	}
	t.Run("and the same Rollout without a break is not blamed", func(t *testing.T) {
		t.Parallel()
		if p, err := runCase(t, green(), t.TempDir(), ""); err != nil {
			t.Fatalf("%v\n%s", err, p.describe())
		}
	})
}

// green is one Rollout that is left in peace.
func green() *Case {
	return &Case{Seed: 3, Scenario: []byte(`apiVersion: fairway.dev/v1alpha1
kind: Scenario
metadata: {name: green}
spec:
  duration: 50m
  settle: 5m
  seeds: [3]
  cluster: {pools: [{name: web, type: m5.large, zones: [a], size: 2}], manifests: [manifests.yaml]}
`), Manifests: []byte(`apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {blueGreen: {activeService: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: "registry.example/web:v1", resources: {requests: {cpu: 100m, memory: 64Mi}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
`)}
}

func TestGeneratedRolloutsAreAcceptedAsUsersAre(t *testing.T) {
	t.Parallel()
	for seed := range int64(generated) {
		c, err := Generate(seed, Fleet)
		if err != nil {
			t.Fatal(err)
		}
		prepare(t, c, t.TempDir())
	}
}
