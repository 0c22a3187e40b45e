package simulate

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
)

// TestObjectsOfOtherRoutersSplitRehearsedLoads plays Rollouts steered by NGINX's annotations, by subsets of a DestinationRule and
// by a TrafficSplit. Their new revisions fail all requests, so that each weight can be read from what fails of a load.
func TestObjectsOfOtherRoutersSplitRehearsedLoads(t *testing.T) {
	t.Parallel()
	r, run := playScenario(t, filepath.Join("testdata", "foreign"))
	if r.Verdict.Result != report.Pass {
		t.Fatalf("%s: %s\n%s", r.Verdict.Result, r.Verdict.Headline, report.Terminal(r, 120))
	}
	if len(r.Limits) != 1 || !strings.Contains(r.Limits[0].What, "Rollout shop/quiet sends its weights to a traffic router (nginx)") {
		t.Errorf("the report's limits are %v; want that of the one Rollout that no load comes to", r.Limits)
	}
	if len(run.Updates) != 3 {
		t.Fatalf("%d updates, want those of three Rollouts", len(run.Updates))
	}
	for _, u := range run.Updates {
		if u.Outcome != record.UpdateHealthy {
			t.Errorf("%s: %s, %s", u.Workload, u.Outcome, u.Message)
		}
		load := filepath.Base(u.Workload)
		var shares []float64
		for i, w := range u.Weights {
			shares = append(shares, w.Share)
			end := run.Table().Times[len(run.Table().Times)-1]
			if i+1 < len(u.Weights) {
				end = u.Weights[i+1].At
			}
			if got := failed(t, &run, load, w.At, end); math.Abs(got-w.Share) > 0.01 {
				t.Errorf("%s: at the weight %v its new revision gets %v of the requests", load, w.Share, got)
			}
			if load == "istio" && w.Share < 1 {
				if got := failed(t, &run, "istio stock", w.At, end); got != 0 {
					t.Errorf("at the weight %v of another route, %v of the requests for /stock come to the new revision", w.Share, got)
				}
			}
		}
		if want := []float64{0.2, 0.6, 1}; !slices.Equal(shares, want) {
			t.Errorf("%s: weights %v, want %v", load, shares, want)
		}
	}
}

// failed is the share of a load's requests that failed in the samples that lie between two times.
func failed(t *testing.T, run *record.Run, load string, from, to time.Time) float64 {
	t.Helper()
	table := run.Table()
	row := func(metric string) []float64 {
		i := slices.IndexFunc(table.Series, func(s record.Series) bool { return s.Metric == metric && s.Labels["load"] == load })
		if i < 0 {
			t.Fatalf("the record has no %s of the load %s", metric, load)
		}
		return table.Series[i].Values
	}
	rates, errors := row(record.MetricRequests), row(record.MetricErrors)
	requests, failures := 0.0, 0.0
	for i, end := range table.Times {
		if !end.Add(-table.Step).Before(from) && !end.After(to) {
			requests += rates[i]
			failures += rates[i] * errors[i]
		}
	}
	if requests == 0 {
		t.Fatalf("the load %s has no requests from %v to %v", load, from, to)
	}
	return failures / requests
}
