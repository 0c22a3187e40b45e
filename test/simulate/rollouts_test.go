package simulate

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fairway-dev/fairway/internal/rehearse"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
)

// playScenario plays a scenario file as a user would, and returns its report and the run behind it.
func playScenario(t *testing.T, path string) (*report.Report, record.Run) {
	t.Helper()
	loaded, err := rehearse.Scenario(rehearse.Request{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	doc, warnings, err := rehearse.Prepare(loaded, false)
	if err != nil {
		t.Fatal(err)
	}
	playing <- struct{}{}
	defer func() { <-playing }()
	runs, err := rehearse.Run(t.Context(), rehearse.Options{Document: doc.Document, Seeds: []int64{1}, Program: program(t),
		MemoryLimitBytes: rehearse.MemoryLimit(doc.Pods()), Timeout: runTimeout})
	if err != nil {
		t.Fatal(err)
	}
	r, err := rehearse.Report(loaded, runs, nil, warnings, false)
	if err != nil {
		t.Fatal(err)
	}
	return r, runs[0]
}

func TestTheExampleOfAReleaseHoldsAndRepeatsToTheByte(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "examples", "release")
	first, run := playScenario(t, path)
	if first.Verdict.Result != report.Pass {
		t.Errorf("%s: %s\n%s", first.Verdict.Result, first.Verdict.Headline, report.Terminal(first, 120))
	}
	ends := ended(run)
	if want := []string{"1.1 Aborted", "1.2 Healthy"}; !slices.Equal(ends, want) {
		t.Errorf("updates %v, want %v", ends, want)
	}
	repeats(t, path, first)
}

// ended are the updates of a run: the tag of the image, and how it ended.
func ended(run record.Run) []string {
	var ends []string
	for _, u := range run.Updates {
		ends = append(ends, u.Image[strings.LastIndexByte(u.Image, ':')+1:]+" "+u.Outcome)
	}
	return ends
}

// repeats plays a scenario once more, which gives the same report to the byte.
func repeats(t *testing.T, path string, first *report.Report) {
	t.Helper()
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
		t.Errorf("two runs of one seed differ: writes %s and %s, timelines %s and %s", first.Provenance.Runs[0].WritesHash, second.Provenance.Runs[0].WritesHash,
			first.Provenance.Runs[0].TimelineHash, second.Provenance.Runs[0].TimelineHash)
	}
}

// TestStepsSteerRollouts plays a canary behind a router, a blue-green update and one by a Deployment's template with an HPA.
func TestStepsSteerRollouts(t *testing.T) {
	t.Parallel()
	r, run := playScenario(t, filepath.Join("testdata", "rollouts"))
	if r.Verdict.Result != report.Pass {
		t.Errorf("%s: %s\n%s", r.Verdict.Result, r.Verdict.Headline, report.Terminal(r, 120))
	}
	var told []string
	for _, e := range run.Timeline {
		if e.Kind == record.KindRollout || e.Kind == record.KindAnalysis {
			told = append(told, e.What)
		}
	}
	all := strings.Join(told, "\n")
	at := 0
	for _, want := range []string{
		"shop/green rolls out a new revision, example/green:2", "shop/green pauses", "shop/green switches its active Service to the new revision", "shop/green has rolled out",
		"shop/routed rolls out a new revision, example/routed:2", "shop/routed pauses at step 2 of 4: pause until promoted", "the router of shop/routed sends 5 % to the new revision",
		"the update of shop/routed is aborted at step 2 of 4", "shop/routed begins its aborted update anew", "shop/routed reaches step 3 of 4: set weight 50 %", "shop/routed has passed all 4 steps",
		"shop/lent rolls out a new revision, example/lent:2", "shop/lent has rolled out", "shop/green rolls out a new revision, example/green:3", "shop/green is promoted in full",
	} {
		i := strings.Index(all[at:], want)
		if i < 0 {
			t.Fatalf("%q is not told, or too early; the timeline has\n%s", want, all)
		}
		at += i
	}
	for _, l := range []string{"Rollout shop/routed sends its weights to a traffic router (nginx)"} {
		if !slices.ContainsFunc(r.Limits, func(x record.Limit) bool { return x.What == l }) {
			t.Errorf("the limits lack %q", l)
		}
	}
}
