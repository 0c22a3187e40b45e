package simulate

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
)

// TestAReleaseBehindAGatewayIsJudgedByItsEvidence plays a canary behind an HTTPRoute: the good release goes through, the one
// with 2 % errors in place of 0.2 % is aborted while it has a small share of the requests.
func TestAReleaseBehindAGatewayIsJudgedByItsEvidence(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "gateway")
	first, run := playScenario(t, path)
	if first.Verdict.Result != report.Pass {
		t.Errorf("%s: %s\n%s", first.Verdict.Result, first.Verdict.Headline, report.Terminal(first, 120))
	}
	var ends []string
	for _, u := range run.Updates {
		ends = append(ends, u.Image[strings.LastIndexByte(u.Image, ':')+1:]+" "+u.Outcome)
	}
	if want := []string{"2 Healthy", "3 Aborted"}; !slices.Equal(ends, want) {
		t.Errorf("updates %v, want %v", ends, want)
	}
	for _, l := range first.Limits {
		if strings.Contains(l.What, "traffic router") {
			t.Errorf("weights that requests follow are said not to be modelled: %s: %s", l.What, l.Why)
		}
	}
	byHost := slices.IndexFunc(run.Loads, func(l record.Load) bool { return l.Name == "by host" })
	if byHost < 0 || run.Loads[byHost].Served == 0 || run.Loads[byHost].Failed != 0 {
		t.Errorf("the load on a host name, which a rule redirects, came to %+v", run.Loads)
	}
	second, _ := playScenario(t, path)
	a, err := report.JSON(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := report.JSON(second)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Error("two runs of one seed differ")
	}
}
