package simulate

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
)

// TestAReleaseBehindAGatewayIsJudgedByItsEvidence plays examples/canary: the release with 2 % errors in place of 0.2 % is aborted
// by what the gateway counted, the good one goes through by its steps.
func TestAReleaseBehindAGatewayIsJudgedByItsEvidence(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "gateway")
	first, run := playScenario(t, path)
	if first.Verdict.Result != report.Pass {
		t.Errorf("%s: %s\n%s", first.Verdict.Result, first.Verdict.Headline, report.Terminal(first, 120))
	}
	ends := ended(run)
	if want := []string{"v3 Aborted", "v2 Healthy"}; !slices.Equal(ends, want) {
		t.Fatalf("updates %v, want %v", ends, want)
	}
	var weights []float64
	for _, w := range run.Updates[1].Weights {
		weights = append(weights, w.Share)
	}
	if want := []float64{0.05, 0.2, 0.5, 1}; !slices.Equal(weights, want) {
		t.Errorf("the good release had shares %v of the traffic, want %v", weights, want)
	}
	if m := run.Updates[0].Message; !strings.Contains(m, "success-rate") {
		t.Errorf("the bad release was aborted for another reason than its evidence: %s", m)
	}
	for _, l := range first.Limits {
		if strings.Contains(l.What, "traffic router") || strings.Contains(l.What, "Program") {
			t.Errorf("what requests follow is said not to be modelled: %s: %s", l.What, l.Why)
		}
	}
	byRoute := slices.IndexFunc(run.Loads, func(l record.Load) bool { return l.Name == "by route" })
	if byRoute < 0 || run.Loads[byRoute].Served == 0 {
		t.Errorf("the load that names the route came to %+v", run.Loads)
	}
	repeats(t, path, first)
}
