package simulate

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// seedsInCI and seedsAtNight are how many clusters are played; a night is some 300 cluster-hours and more.
const (
	seedsInCI    = 3
	seedsAtNight = 40
)

func TestClustersKeepTheirInvariantsUnderFaults(t *testing.T) {
	t.Parallel()
	n, size := int64(seedsInCI), Small
	if nightly() {
		n, size = seedsAtNight, Large
	} else if more := explored(t); more > 0 {
		n = more
	}
	for _, seed := range wanted(t, n) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			c, err := Generate(seed, size)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.ArtifactDir()
			p, err := runCase(t, c, dir, "")
			if err != nil {
				t.Fatalf("%v\nplay it again with "+seedsVariable+"=%d; with -artifacts its files are kept in %s\n%s", err, seed, dir, p.describe())
			}
			steps := map[string]int{}
			for _, s := range p.run.Steps {
				steps[string(s.State)]++
				if s.Message != "" {
					t.Logf("step %s %s: %s", s.Name, s.State, s.Message)
				}
			}
			t.Logf("seed %d: %d writes, %d pods lived, %d evictions, steps %v, %.1f s (%.1f s of CPU)", seed, p.run.End.Writes, len(p.run.Pods), len(p.run.Evictions), steps, p.run.End.Execution.WallSeconds, p.run.End.Execution.CPUSeconds)
		})
	}
}

// generated is how many seeds are generated and checked without being played.
const generated = 200

// onRollouts are the actions for Rollouts, which generated clusters do not have; TestStepsSteerRollouts plays them.
var onRollouts = map[string]bool{"promote": true, "abort": true, "pause": true, "resume": true, "retry": true}

func TestGeneratedScenariosAreAcceptedAsUsersAre(t *testing.T) {
	t.Parallel()
	actions := map[string]bool{}
	for seed := range int64(generated) {
		c, err := Generate(seed, Large)
		if err != nil {
			t.Fatal(err)
		}
		loaded, _ := prepare(t, c, t.TempDir())
		for i := range loaded.Scenario.Spec.Steps {
			actions[scenario.ActionName(&loaded.Scenario.Spec.Steps[i].Action)] = true
		}
	}
	all := reflect.TypeFor[v1alpha1.Action]()
	for i := range all.NumField() {
		if name, _, _ := strings.Cut(all.Field(i).Tag.Get("json"), ","); !actions[name] && !onRollouts[name] {
			t.Errorf("no generated scenario has a step that does %s", name)
		}
	}
}
