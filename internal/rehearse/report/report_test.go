package report

import (
	"bytes"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

func shop(seeds int, withBaseline bool) Source {
	s := Source{Scenario: Scenario{Name: "friday-peak", SHA256: "5f0d", TimeZone: "Europe/Berlin", Fidelity: "flow", File: "scenario.yaml", Inputs: []Input{{Name: "scenario.yaml", SHA256: "5f0d"}}}, Prices: cost.Default()}
	for i := range seeds {
		s.Runs = append(s.Runs, recordtest.Day(recordtest.Options{Seed: int64(i + 1)}))
		if withBaseline {
			s.Scenario.Change = "release"
			s.Baseline = append(s.Baseline, recordtest.Day(recordtest.Options{Seed: int64(i + 1), NoRelease: true}))
		}
	}
	return s
}

func TestEqualRunsGiveEqualBytesInAnyOrder(t *testing.T) {
	t.Parallel()
	a := shop(3, true)
	b := shop(3, true)
	b.Runs[0], b.Runs[2] = b.Runs[2], b.Runs[0]
	b.Baseline[0], b.Baseline[1] = b.Baseline[1], b.Baseline[0]
	x, err := JSON(Build(a))
	if err != nil {
		t.Fatal(err)
	}
	y, err := JSON(Build(b))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("the order in which runs finished shows in the report")
	}
}

