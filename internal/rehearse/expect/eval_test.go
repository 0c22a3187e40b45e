package expect

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// shaped makes a two-hour run with one load and one service of one workload; each function gives a minute's value.
type shaped struct {
	errors, p95, ready func(minute int) float64
}

func flat(v float64) func(int) float64 { return func(int) float64 { return v } }

func (s shaped) run(seed int64) record.Run {
	run := record.Run{Start: record.Start{Seed: seed, SampleStep: time.Minute, PlayFrom: start, PlayTo: start.Add(2 * time.Hour)}}
	run.End = &record.End{Time: run.Start.PlayTo}
	add := func(id int, metric, label, value string) {
		run.Columns = append(run.Columns, record.Column{ID: id, Metric: metric, Labels: map[string]string{label: value}})
	}
	add(0, record.MetricRequests, "load", "shoppers")
	add(1, record.MetricErrors, "load", "shoppers")
	add(2, record.MetricLatencyP95, "load", "shoppers")
	add(3, record.MetricReady, "workload", "Deployment/shop/web")
	for m := 1; m <= 120; m++ {
		sample := record.Sample{Time: start.Add(time.Duration(m) * time.Minute), Values: []record.ColumnValue{{ID: 0, Value: 100}}}
		for id, f := range map[int]func(int) float64{1: s.errors, 2: s.p95, 3: s.ready} {
			if f != nil {
				sample.Values = append(sample.Values, record.ColumnValue{ID: id, Value: f(m)})
			}
		}
		run.Samples = append(run.Samples, sample)
	}
	return run
}

func parse(t *testing.T, text string) v1alpha1.Expectation {
	t.Helper()
	var e v1alpha1.Expectation
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// first evaluates one expectation over runs and returns the result that is about it.
func first(t *testing.T, text string, baseline []record.Run, runs ...record.Run) Result {
	t.Helper()
	e := parse(t, text)
	e.Name = "it"
	for _, r := range Eval(Given{Expectations: []v1alpha1.Expectation{e}}, observed(runs), observed(baseline)) {
		if strings.HasPrefix(r.Name, "it") {
			return r
		}
	}
	t.Fatalf("%s gave no result", text)
	return Result{}
}

func observed(runs []record.Run) []Observed {
	var list []Observed
	for _, r := range runs {
		list = append(list, Observe(r, cost.Default()))
	}
	return list
}

func burst(from, to int, bad float64) func(int) float64 {
	return func(m int) float64 {
		if m >= from && m < to {
			return bad
		}
		return 0
	}
}

func TestEachKindHoldsAndFailsAsItsLimitSays(t *testing.T) {
	t.Parallel()
	calm := shaped{errors: flat(0), p95: flat(0.1), ready: flat(3)}
	failing := shaped{errors: burst(60, 72, 0.5), p95: func(m int) float64 { return 0.1 + 0.4*burst(60, 70, 1)(m) }, ready: func(m int) float64 { return 3 - 2*burst(60, 65, 1)(m) }}
	stepped := func(s shaped) record.Run {
		run := s.run(1)
		run.Steps = []record.Step{{Name: "fault", State: record.StepDone, At: start.Add(time.Hour), Action: "nodeCrash"}}
		return run
	}
	waiting := calm.run(1)
	waiting.Pods = []record.Pod{{Namespace: "shop", Name: "a", Created: start.Add(time.Hour), Scheduled: start.Add(time.Hour + 90*time.Second)},
		{Namespace: "shop", Name: "stuck", Workload: "Deployment/shop/web", Created: start.Add(100 * time.Minute), Reason: "Unschedulable", Message: "0/3 nodes are available: 3 Insufficient cpu."}}
	evicting := calm.run(1)
	evicting.Evictions = []record.Eviction{{Time: start.Add(time.Minute), Pod: "shop/a", Kind: "eviction", BudgetKept: true}, {Time: start.Add(2 * time.Minute), Pod: "shop/b", Kind: "forced", By: "node-lost", Budget: "shop/web"}}
	evicting.Pods = []record.Pod{{WorkLostSeconds: 12}}
	paid := calm.run(1)
	paid.Nodes = []record.Node{{Name: "n", PricePerHour: 10, Requested: start, CPUCores: 4, MemoryBytes: 1 << 34}}
	paid.Loads = []record.Load{{Name: "shoppers", Offered: 1000, Served: 1000}}
	for name, c := range map[string]struct {
		run   record.Run
		text  string
		held  bool
		value string
	}{
		"availability kept":          {calm.run(1), `{"slo": {"load": "shoppers", "availability": "99.9%"}}`, true, "100 %"},
		"availability broken":        {failing.run(1), `{"slo": {"load": "shoppers", "availability": "99.9%"}}`, false, "95 %"},
		"availability over any 10m":  {failing.run(1), `{"slo": {"load": "shoppers", "availability": "60%", "over": "10m"}}`, false, "50 %"},
		"latency kept":               {calm.run(1), `{"slo": {"load": "shoppers", "p95": "100ms"}}`, true, "100 ms"},
		"latency broken in 2 or 3":   {failing.run(1), `{"slo": {"load": "shoppers", "p95": "300ms"}}`, false, "500 ms"},
		"latency broken but allowed": {failing.run(1), `{"slo": {"load": "shoppers", "p95": "300ms", "allow": 3}}`, true, "500 ms"},
		"burn below":                 {failing.run(1), `{"slo": {"load": "shoppers", "availability": "90%", "burn": {"fast": 14.4}}}`, true, "95 %"},
		"replicas kept":              {calm.run(1), `{"replicas": {"workload": "shop/web", "min": 3}}`, true, "3 ready"},
		"replicas broken":            {failing.run(1), `{"replicas": {"workload": "Deployment/shop/web", "min": 2}}`, false, "1 ready"},
		"too many replicas":          {calm.run(1), `{"replicas": {"workload": "shop/web", "max": 2}}`, false, "3 ready"},
		"pending p95":                {waiting, `{"pending": {"max": "5m"}}`, false, "20 min"},
		"pending at the end":         {waiting, `{"pending": {"atEnd": 0}}`, false, "1 pod"},
		"pending at the end allowed": {waiting, `{"pending": {"atEnd": 1}}`, true, "1 pod"},
		"cost kept":                  {paid, `{"cost": {"max": 25}}`, true, "20.2 USD"},
		"cost broken":                {paid, `{"cost": {"max": 20}}`, false, "20.2 USD"},
		"cost a request":             {paid, `{"cost": {"perRequest": 0.01}}`, false, "0.0202 USD"},
		"budget broken":              {evicting, `{"disruption": {"forced": 5}}`, false, "1 break"},
		"evictions within":           {evicting, `{"disruption": {"budgetKept": false, "evictions": 2, "forced": 1}}`, true, "2 evictions"},
		"forced":                     {evicting, `{"disruption": {"budgetKept": false}}`, false, "1 removal"},
		"recovered in time":          {stepped(failing), `{"recovery": {"after": "fault", "within": "12m"}}`, true, "11 min"},
		"recovered late":             {stepped(failing), `{"recovery": {"after": "fault", "within": "10m"}}`, false, "11 min"},
		"never recovered":            {stepped(shaped{errors: burst(60, 999, .5)}), `{"recovery": {"after": "fault", "within": "10m"}}`, false, "not within the run"},
		"nothing to recover from":    {stepped(calm), `{"recovery": {"after": "fault", "within": "1s"}}`, true, "0 s"},
		"condition true":             {calm.run(1), `{"cel": "series(\"latency_p95_seconds\", {\"load\": \"shoppers\"}).max() < 0.3"}`, true, "true"},
		"condition false":            {failing.run(1), `{"cel": "series(\"latency_p95_seconds\", {\"load\": \"shoppers\"}).max() < 0.3"}`, false, "0.5"},
	} {
		r := first(t, c.text, nil, c.run)
		if r.Held != c.held || !strings.Contains(r.Value, c.value) || r.NoData {
			t.Errorf("%s: held %v with %q (no data %v), want %v with %q", name, r.Held, r.Value, r.NoData, c.held, c.value)
		}
		if !r.Held && r.Kind == KindSLO && (r.FirstAt.IsZero() || r.TotalSeconds == 0 || len(r.Evidence) == 0) {
			t.Errorf("%s: the failure lacks when, how long or evidence: %+v", name, r)
		}
	}
}

func TestBurnRateIsErrorRatioOverBudget(t *testing.T) {
	t.Parallel()
	run := shaped{errors: burst(60, 120, 0.2)}.run(1)
	e := parse(t, `{"slo": {"load": "shoppers", "availability": "99%", "burn": {"fast": {"limit": 14.4, "over": "30m"}}}}`)
	results := Eval(Given{Expectations: []v1alpha1.Expectation{e}}, observed([]record.Run{run}), nil)
	r := results[1]
	if r.Held || r.Value != "20" || !r.FirstAt.Equal(start.Add((60+21)*time.Minute)) {
		t.Errorf("burn %+v; 20 %% errors burn a budget of 1 %% 20-fold, above 14.4 once 22 of 30 minutes are bad", r)
	}
	o := observed([]record.Run{run})[0]
	shown := BurnSeries([]v1alpha1.Expectation{e}, o.Table)
	if len(shown) != 1 || shown[0].Label() != "load=shoppers,over=30m" || len(shown[0].Values) != len(o.Table.Times) || math.Abs(slices.Max(shown[0].Values)-20) > 1e-9 {
		t.Errorf("burn rates to show %+v, want one series of load shoppers over 30m that reaches 20", shown)
	}
}

func TestMissingDataNeverPasses(t *testing.T) {
	t.Parallel()
	empty := record.Run{Start: record.Start{SampleStep: time.Minute, PlayFrom: start, PlayTo: start.Add(time.Hour)}, End: &record.End{Time: start.Add(time.Hour)}}
	for _, text := range []string{
		`{"slo": {"load": "shoppers", "availability": "0%"}}`, `{"slo": {"service": "shop/web", "p95": "1h"}}`,
		`{"slo": {"load": "shoppers", "availability": "1%", "burn": {"slow": 100}}}`,
		`{"replicas": {"workload": "shop/web", "min": 0}}`, `{"replicas": {"workload": "shop/web", "reversals": "1000/h"}}`,
		`{"pending": {"p95": "1h"}}`, `{"cost": {"max": 1000}}`, `{"cost": {"max": 1000, "of": "shop/web"}}`, `{"cost": {"idleShare": "100%"}}`, `{"cost": {"perRequest": 1000}}`,
		`{"recovery": {"after": "nothing", "within": "1h"}}`, `{"noWorse": ["availability"]}`,
		`{"cel": "series(\"nothing\").max() < 1.0"}`, `{"cel": "1 +"}`, `{"severity": "error"}`,
	} {
		if r := first(t, text, nil, empty); r.Held || !r.NoData || !strings.HasPrefix(r.Value, "no data: ") {
			t.Errorf("%s on an empty run: held %v, %q", text, r.Held, r.Value)
		}
	}
}

func TestWindowWithRequestsButNoAnswerBreaksEveryLatencyLimit(t *testing.T) {
	t.Parallel()
	run := shaped{errors: flat(1)}.run(1)
	run.Samples[0].Values = append(run.Samples[0].Values, record.ColumnValue{ID: 2, Value: 0.1})
	if r := first(t, `{"slo": {"load": "shoppers", "p95": "1h"}}`, nil, run); r.Held || !strings.HasPrefix(r.Value, "no answers") {
		t.Errorf("a service that answers nothing: held %v, %q", r.Held, r.Value)
	}
}

func TestExpectationHoldsInTheShareOfSeedsAsked(t *testing.T) {
	t.Parallel()
	good, bad := shaped{errors: flat(0)}, shaped{errors: flat(0.5)}
	runs := []record.Run{good.run(1), bad.run(2), good.run(3), good.run(4)}
	r := first(t, `{"slo": {"load": "shoppers", "availability": "99%"}}`, nil, runs...)
	if r.Held || r.HeldIn != 3 || r.Of != 4 || r.WorstSeed != 2 {
		t.Errorf("got %+v", r)
	}
	if r := first(t, `{"in": "75%", "slo": {"load": "shoppers", "availability": "99%"}}`, nil, runs...); !r.Held {
		t.Errorf("3 of 4 seeds are 75 %%, still: %+v", r)
	}
}

func TestNoWorseComparesSeedBySeed(t *testing.T) {
	t.Parallel()
	run := func(seed, served int64) record.Run {
		r := shaped{errors: flat(0)}.run(seed)
		r.Loads = []record.Load{{Name: "shoppers", Offered: 1000, Served: served, Failed: 1000 - served, P95: 0.1}}
		return r
	}
	before := []record.Run{run(1, 1000), run(2, 900)}
	if r := first(t, `{"noWorse": ["availability"]}`, before, run(1, 985), run(2, 900)); !r.Held {
		t.Errorf("1.5 %% worse is within 2 %%: %+v", r)
	}
	if r := first(t, `{"noWorse": ["availability"]}`, before, run(1, 1000), run(2, 870)); r.Held || r.WorstSeed != 2 {
		t.Errorf("seed 2 lost 3.3 %%: %+v", r)
	}
	if r := first(t, `{"noWorse": {"metrics": ["p95"], "tolerance": "0%"}}`, before, run(1, 1000)); !r.Held {
		t.Errorf("an equal p95 is no worse: %+v", r)
	}
	if r := first(t, `{"noWorse": ["availabilty"]}`, before, run(1, 1000)); r.Held || !r.NoData {
		t.Errorf("a misspelt metric passes: %+v", r)
	}
}

func TestDefaultsCoverStepsPendingBudgetsAndTheEnd(t *testing.T) {
	t.Parallel()
	run := recordtest.Day(recordtest.Options{})
	names := func(runs, baseline []Observed) string {
		var list []string
		for _, r := range Eval(Given{}, runs, baseline) {
			mark := "-"
			if r.Held {
				mark = "+"
			}
			list = append(list, mark+r.Kind)
		}
		return strings.Join(list, " ")
	}
	o := observed([]record.Run{run})
	if got, want := names(o, nil), "+steps +end +pending -disruption"; got != want {
		t.Errorf("defaults gave %q, want %q", got, want)
	}
	if got, want := names(o, o), "+steps +end +pending -disruption +noWorse +noWorse"; got != want {
		t.Errorf("with a baseline %q, want %q", got, want)
	}
	run.Steps[0].State, run.Steps[0].Message = record.StepNeverReached, "rollout(…).phase was \"Healthy\""
	run.Workloads[2].AvailabilityEnd = 0.5
	if got, want := names(observed([]record.Run{run}), nil), "-steps -end +pending -disruption"; got != want {
		t.Errorf("with a step never reached and a degraded workload %q, want %q", got, want)
	}
}

func TestRequiredStepThatFailsFailsTheRunWhateverIsExpected(t *testing.T) {
	t.Parallel()
	run := shaped{errors: flat(0)}.run(1)
	run.Steps = []record.Step{{Name: "release", State: record.StepFailed, Required: true, Message: "denied by quota"}, {Name: "extra", State: record.StepFailed}}
	list := Eval(Given{Expectations: []v1alpha1.Expectation{parse(t, `{"slo": {"load": "shoppers", "availability": "1%"}}`)}}, observed([]record.Run{run}), nil)
	if len(list) != 2 || list[0].Kind != KindSteps || list[0].Held || !strings.Contains(list[0].Value, "denied by quota") {
		t.Errorf("got %+v", list)
	}
}

func TestFailureCarriesItsCauseChain(t *testing.T) {
	t.Parallel()
	run := recordtest.Day(recordtest.Options{})
	o := observed([]record.Run{run})
	list := Eval(Given{Expectations: []v1alpha1.Expectation{parse(t, `{"slo": {"service": "shop/frontend", "availability": "99.999%"}}`)}}, o, nil)
	r := list[len(list)-1]
	if r.Held || len(r.Why) < 3 {
		t.Fatalf("no chain: %+v", r)
	}
	if root := o[0].Run.Timeline[r.Why[len(r.Why)-1]-1]; root.Object != "zone loss" {
		t.Errorf("the root is %q, want the zone loss", root.What)
	}
}

func TestATighterLimitIsNeverEasierToHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		bad := rapid.SliceOfN(rapid.Float64Range(0, 1), 121, 121).Draw(rt, "errors")
		slow := rapid.SliceOfN(rapid.Float64Range(0, 2), 121, 121).Draw(rt, "p95")
		run := shaped{errors: func(m int) float64 { return bad[m] }, p95: func(m int) float64 { return slow[m] }}.run(1)
		a := rapid.Float64Range(0, 1).Draw(rt, "a")
		b := rapid.Float64Range(a, 1).Draw(rt, "b")
		for _, text := range []string{`{"slo": {"load": "shoppers", "availability": %g}}`, `{"slo": {"load": "shoppers", "availability": %g, "over": "10m"}}`} {
			if loose, tight := first(t, fmt.Sprintf(text, a), nil, run), first(t, fmt.Sprintf(text, b), nil, run); tight.Held && !loose.Held {
				rt.Fatalf("%v holds and %v does not", b, a)
			}
		}
		for _, text := range []string{`{"slo": {"load": "shoppers", "p95": "%.6fs"}}`} {
			if loose, tight := first(t, fmt.Sprintf(text, b), nil, run), first(t, fmt.Sprintf(text, a), nil, run); tight.Held && !loose.Held {
				rt.Fatalf("%v s holds and %v s does not", a, b)
			}
		}
	})
}

func TestAvailabilityIsLostWhenTheFailuresOfTheRunAreSpent(t *testing.T) {
	t.Parallel()
	// 120 steps of which 0.1 % may fail: 0.12 steps' worth. A scratch at minute 10 leaves enough, the burst at 60 does not.
	r := first(t, `{"slo": {"load": "shoppers", "availability": "99.9%"}}`, nil, shaped{errors: func(i int) float64 {
		switch {
		case i == 10:
			return .05
		case i >= 60 && i < 63:
			return .5
		}
		return 0
	}}.run(1))
	if at := r.FirstAt.Sub(start); at < time.Hour || at > 62*time.Minute {
		t.Errorf("lost after %v, want in the burst after an hour and not at the scratch before", at)
	}
}

func TestAConditionOverTheTimelineFailsForTheEntriesAgainstIt(t *testing.T) {
	t.Parallel()
	run := shaped{}.run(1)
	for i, kind := range []string{record.KindNote, record.KindRefused, record.KindRefused} {
		run.Timeline = append(run.Timeline, record.Entry{ID: i + 1, Time: start.Add(time.Duration(i) * time.Hour / 2), Kind: kind, Object: fmt.Sprint("ReplicaSet/shop/", i), What: "refused"})
	}
	r := first(t, `{"cel": "timeline.all(e, e.kind != \"refused\")"}`, nil, run)
	if r.Held || r.Value != "2 times" || !r.FirstAt.Equal(start.Add(time.Hour/2)) || len(r.Why) == 0 || len(r.Evidence) != 2 {
		t.Errorf("%+v, want two entries against it, the first after half an hour", r)
	}
}

func TestARunThatBrokeOffBeforeItBeganHoldsNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"slo": {"load": "shoppers", "availability": "99.9%", "p95": "300ms"}}`, `{"slo": {"load": "shoppers", "availability": "99%", "over": "10m", "burn": {"fast": 14}}}`,
		`{"recovery": {"after": "fault", "within": "10m"}}`, `{"cel": "timeline.all(e, e.kind != \"refused\")"}`, `{"pending": {"p95": "60s", "max": "5m"}}`} {
		if r := first(t, text, nil, record.Run{Start: record.Start{Seed: 1}}); r.Held {
			t.Errorf("%s held in a run without anything", text)
		}
	}
}
