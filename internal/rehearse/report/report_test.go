package report

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

func shop(seeds int, withBaseline bool) Source {
	s := Source{Scenario: Scenario{Name: "friday-peak", SHA256: "5f0d", TimeZone: "Europe/Berlin", Fidelity: "flow", File: "scenario.yaml", Inputs: []Input{{Name: "scenario.yaml", SHA256: "5f0d"}}}, Prices: cost.Default(),
		Expectations: expectations()}
	for i := range seeds {
		s.Runs = append(s.Runs, recordtest.Day(recordtest.Options{Seed: int64(i + 1)}))
		if withBaseline {
			s.Scenario.Change = "release"
			s.Baseline = append(s.Baseline, recordtest.Day(recordtest.Options{Seed: int64(i + 1), NoRelease: true}))
		}
	}
	return s
}

// expectations are those of a shop that takes itself seriously; some fail when a zone is lost.
func expectations() []v1alpha1.Expectation {
	var list []v1alpha1.Expectation
	text := `[
		{"slo": {"load": "shoppers", "availability": "99.9%", "p95": "300ms"}, "source": {"file": "scenario.yaml", "line": 36}},
		{"slo": {"service": "shop/cart", "availability": "99.95%"}, "source": {"file": "scenario.yaml", "line": 37}},
		{"cost": {"max": 45}, "source": {"file": "scenario.yaml", "line": 38}},
		{"pending": {"p95": "60s", "max": "5m"}, "source": {"file": "scenario.yaml", "line": 39}},
		{"recovery": {"after": "zone loss", "within": "5m"}, "source": {"file": "scenario.yaml", "line": 40}},
		{"replicas": {"workload": "shop/frontend", "min": 2, "max": 30, "reversals": "4/h"}},
		{"name": "no eviction below a PDB", "severity": "warn", "cel": "evictions.all(e, e.budgetKept)"}
	]`
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		panic(err)
	}
	return list
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
