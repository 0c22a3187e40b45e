package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/catalog"
	"github.com/fairway-dev/fairway/internal/rehearse/causes"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// What a report keeps. Beyond it the least important goes first and Limits says so; a report must stay small enough to
// attach to a pull request and to open on a phone.
const (
	maxEntries      = 4000 // of the shown seed
	maxEntriesOther = 300  // notable ones of each other seed, for comparisons
	maxColumns      = 600
	maxPendingRows  = 200
	maxEvictions    = 1000
	maxUpdates      = 500
	pendingNotable  = 30 * time.Second // shorter waits are normal scheduling
)

// Source is everything a report is built from.
type Source struct {
	Scenario Scenario
	Runs     []record.Run // one a seed, any order
	Baseline []record.Run // the paired runs without the change; empty without one
	// Expectations of the scenario; none means expect.Defaults.
	Expectations []v1alpha1.Expectation
	Prices       cost.Prices
	// Warnings are said on top: load that reaches nothing, objects left out, a cluster that was not at rest.
	Warnings []string
	// WithExecution adds real time and memory use, which differ between equal runs.
	WithExecution bool
}

// Build makes the report. Runs are sorted by seed, timelines folded and linked to their causes, everything rounded.
func Build(s Source) *Report {
	runs, baseline := observe(s.Runs, s.Prices), observe(s.Baseline, s.Prices)
	r := &Report{Schema: Schema, Scenario: s.Scenario, Summary: map[string]Metric{}}
	r.Scenario.Inputs = nonNil(r.Scenario.Inputs)
	r.Scenario.Seeds = make([]int64, 0, len(runs))
	for _, run := range runs {
		r.Scenario.Seeds = append(r.Scenario.Seeds, run.Run.Start.Seed)
	}
	given := expect.Given{Expectations: s.Expectations, Location: r.location()}
	r.Verdict.Expectations = nonNil(expect.Eval(given, runs, baseline))
	tell(runs, r.Verdict.Expectations)
	for i := range runs {
		runs[i].Table = runs[i].Table.With(expect.BurnSeries(s.Expectations, runs[i].Table)...)
	}
	r.Verdict.Warnings = nonNil(slices.Clone(s.Warnings))
	r.Summary = summarise(runs, r.Verdict.Expectations)
	r.Seeds = seeds(runs, r.Verdict.Expectations, r.Summary)
	shown := worst(runs, r.Seeds, r.Verdict.Expectations)
	r.Provenance = provenance(runs)
	if shown >= 0 {
		r.show(runs, shown)
	}
	r.fillLists()
	r.Fidelity = fidelity(s.Scenario.Fidelity, runs)
	if len(baseline) > 0 {
		r.compareBaseline(baseline)
	}
	r.decide(runs, shown)
	r.Verdict.Moments = moments(r)
	if s.WithExecution {
		for _, run := range runs {
			if run.Run.End != nil && run.Run.End.Execution != nil {
				r.Execution = append(r.Execution, Execution{Seed: run.Run.Start.Seed, Execution: *run.Run.End.Execution})
			}
		}
	}
	return r
}

// observe prepares runs for evaluation, sorted by seed.
func observe(runs []record.Run, prices cost.Prices) []expect.Observed {
	list := make([]expect.Observed, 0, len(runs))
	for _, run := range runs {
		list = append(list, expect.Observe(run, prices))
	}
	slices.SortStableFunc(list, func(a, b expect.Observed) int { return cmp.Compare(a.Run.Start.Seed, b.Run.Start.Seed) })
	return list
}

// tell adds an entry to the worst seed's timeline for every failed expectation, at the moment it first failed, and puts it
// at the head of the cause chain. It comes after Annotate, so the new IDs follow the others and no cause moves.
func tell(runs []expect.Observed, results []expect.Result) {
	for i := range results {
		e := &results[i]
		if e.Held || e.FirstAt.IsZero() {
			continue
		}
		at := slices.IndexFunc(runs, func(o expect.Observed) bool { return o.Run.Start.Seed == e.WorstSeed })
		run := runs[at].Run
		id := len(run.Timeline) + 1
		severity := record.Severe
		if e.Severity == expect.SeverityWarn {
			severity = record.Warning
		}
		entry := record.Entry{ID: id, Time: e.FirstAt, Kind: record.KindExpectation, Object: e.Name, Severity: severity,
			What: e.Name + ": no longer " + e.Limit, Why: e.Value}
		if e.Kind == expect.KindCEL {
			entry.What = e.Name + ": no longer true"
		}
		if len(e.Why) > 0 {
			entry.Causes = e.Why[:1:1]
		}
		run.Timeline = append(run.Timeline, entry)
		e.Why = append([]int{id}, e.Why...)
	}
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// fillLists replaces null lists, so that readers need no special case.
func (r *Report) fillLists() {
	r.Timeline, r.Steps, r.Loads = nonNil(r.Timeline), nonNil(r.Steps), nonNil(r.Loads)
	r.Workloads, r.Nodes, r.Pending = nonNil(r.Workloads), nonNil(r.Nodes), nonNil(r.Pending)
	r.Evictions, r.Calls = nonNil(r.Evictions), nonNil(r.Calls)
	r.Assumptions, r.Limits = nonNil(r.Assumptions), nonNil(r.Limits)
	r.Series.Columns = nonNil(r.Series.Columns)
	r.Cost.Pools, r.Cost.ByWorkload = nonNil(r.Cost.Pools), nonNil(r.Cost.ByWorkload)
}

func provenance(runs []expect.Observed) Provenance {
	p := Provenance{Versions: map[string]string{}, Runs: []RunHash{}}
	for _, o := range runs {
		for k, v := range o.Run.Start.Versions {
			p.Versions[k] = v
		}
		p.Build = cmp.Or(p.Build, o.Run.Start.Build)
		h := RunHash{Seed: o.Run.Start.Seed}
		if e := o.Run.End; e != nil {
			h.WritesHash, h.TimelineHash, h.Writes = e.WritesHash, e.TimelineHash, e.Writes
		}
		p.Runs = append(p.Runs, h)
	}
	return p
}

// incomplete says why a run has no end, or "".
func incomplete(run *record.Run) string {
	switch {
	case run.End == nil:
		return "the run broke off"
	case run.End.Incomplete != "":
		return run.End.Incomplete
	}
	return ""
}

func seeds(runs []expect.Observed, results []expect.Result, summary map[string]Metric) []Seed {
	list := make([]Seed, 0, len(runs))
	for i, o := range runs {
		s := Seed{Seed: o.Run.Start.Seed, Result: Pass, Failed: []string{}, Incomplete: incomplete(o.Run),
			Availability: at(summary, "availability", i), P95: at(summary, "latency_p95_seconds", i), Cost: at(summary, "cost_total", i)}
		for _, e := range results {
			for _, in := range e.Seeds {
				if in.Seed == s.Seed && !in.Held {
					s.Failed = append(s.Failed, e.Name)
					if e.Severity == expect.SeverityError {
						s.Result = Fail
					}
				}
			}
		}
		if s.Incomplete != "" {
			s.Result = Incomplete
			s.EndedAt = ended(o.Run).Format(time.RFC3339)
		}
		list = append(list, s)
	}
	return list
}

func at(summary map[string]Metric, name string, i int) Number {
	if m, ok := summary[name]; ok && i < len(m.PerSeed) {
		return m.PerSeed[i]
	}
	return Missing
}

// ended is the last virtual moment a run is known to have reached.
func ended(run *record.Run) time.Time {
	if run.End != nil && !run.End.Time.IsZero() {
		return run.End.Time
	}
	if n := len(run.Samples); n > 0 {
		return run.Samples[n-1].Time
	}
	return run.Start.PlayFrom
}

// worst picks the seed to show: one that broke off, else the worst seed of the most serious failure (whose cause chain
// the headline tells), else the one with the lowest availability; of equals the first.
func worst(runs []expect.Observed, list []Seed, results []expect.Result) int {
	if i := slices.IndexFunc(list, func(s Seed) bool { return s.Result == Incomplete }); i >= 0 {
		return i
	}
	broken := failures(results)
	if len(broken) == 0 {
		broken = slices.DeleteFunc(slices.Clone(results), func(e expect.Result) bool { return e.Held })
	}
	if len(broken) > 0 {
		return slices.IndexFunc(list, func(s Seed) bool { return s.Seed == broken[0].WorstSeed })
	}
	best := -1
	for i := range runs {
		if best < 0 || float64(list[i].Availability) < float64(list[best].Availability) {
			best = i
		}
	}
	return best
}

// show fills the tables that describe one seed.
func (r *Report) show(runs []expect.Observed, shown int) {
	o := runs[shown]
	run := o.Run
	r.Verdict.ShownSeed = run.Start.Seed
	r.Scenario.Start, r.Scenario.Seconds = run.Start.PlayFrom.UTC(), run.Start.PlayTo.Sub(run.Start.PlayFrom).Seconds()
	r.Scenario.StepSecond = run.Start.SampleStep.Seconds()
	r.Cost = roundAll(o.Bill)
	r.Series = series(runs, shown, &r.Limits)
	r.Timeline = entries(runs, shown, &r.Limits)
	r.Loads = roundAll(run.Loads)
	r.Workloads = workloads(o)
	r.Updates = cut(roundAll(run.Updates), maxUpdates, "updates", "the first are kept", &r.Limits)
	r.Nodes = nodes(run)
	r.Pending = pendingRows(run, &r.Limits)
	r.Steps = steps(o)
	r.Evictions = evictions(run, &r.Limits)
	r.Calls = calls(run)
	r.Assumptions = assumptions(run)
	r.Limits = append(r.Limits, run.Limits...)
	slices.SortStableFunc(r.Limits, func(a, b record.Limit) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why)) })
}

func workloads(o expect.Observed) []Workload {
	rows := make([]Workload, 0, len(o.Run.Workloads))
	for _, w := range o.Run.Workloads {
		row := Workload{Workload: w, Cost: 0, IdleCost: 0}
		for _, c := range o.Bill.ByWorkload {
			if c.Object == w.Object {
				row.Cost, row.IdleCost = Number(c.Cost), Number(c.Idle)
			}
		}
		for _, p := range o.Run.Pods {
			if p.Workload == w.Object {
				row.Pods++
				row.Restarts += p.Restarts
				row.OOMKills += p.OOMKills
			}
		}
		row.Workload = roundAll(row.Workload)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Workload) int { return cmp.Compare(a.Object, b.Object) })
	return rows
}

func nodes(run *record.Run) []Node {
	placed := map[string]int{}
	for _, p := range run.Pods {
		placed[p.Node]++
	}
	rows := make([]Node, 0, len(run.Nodes))
	for _, n := range run.Nodes {
		rows = append(rows, Node{Name: n.Name, Pool: n.Pool, Type: n.Type, Zone: n.Zone, CapacityType: n.CapacityType,
			Requested: n.Requested, Ready: n.Ready, Gone: n.Gone, Reason: n.Reason, PodsMax: placed[n.Name]})
	}
	slices.SortFunc(rows, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Requested.Compare(b.Requested)) })
	return rows
}

func pendingRows(run *record.Run, limits *[]record.Limit) []Pending {
	rows := []Pending{}
	for _, p := range run.Pods {
		wait, placed, ok := expect.PendingTime(run, p)
		if !ok || wait < pendingNotable && placed {
			continue
		}
		row := Pending{Pod: p.Namespace + "/" + p.Name, Workload: p.Workload, Since: p.Created, Seconds: significant(wait.Seconds(), summaryDigits), Placed: placed}
		if !placed {
			row.Reason = cmp.Or(p.Message, p.Reason)
			want := catalog.Resources{CPUMillicores: int64(math.Ceil(p.CPURequestCores * 1000)), MemoryBytes: int64(p.MemoryRequestBytes), Pods: 1}
			if t, ok := catalog.Smallest(want, ""); ok {
				row.Fits = t.Name
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Pending) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), a.Since.Compare(b.Since), cmp.Compare(a.Pod, b.Pod))
	})
	return cut(rows, maxPendingRows, "pending pods", "those that waited longest are kept", limits)
}

func evictions(run *record.Run, limits *[]record.Limit) []record.Eviction {
	rows := slices.Clone(run.Evictions)
	slices.SortStableFunc(rows, func(a, b record.Eviction) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Pod, b.Pod)) })
	return cut(rows, maxEvictions, "evictions", "the first are kept", limits)
}

func cut[T any](rows []T, n int, what, why string, limits *[]record.Limit) []T {
	if len(rows) <= n {
		return rows
	}
	*limits = append(*limits, record.Limit{What: fmt.Sprintf("%d of %d %s left out", len(rows)-n, len(rows), what), Why: why})
	return rows[:n]
}

func steps(o expect.Observed) []Step {
	rows := make([]Step, 0, len(o.Run.Steps))
	for _, s := range o.Run.Steps {
		row := Step{Step: s}
		if !s.At.IsZero() && expect.Disturbs(s.Action) {
			if d, ok := expect.Recovery(o, s.At, ""); ok {
				n := Number(d.Seconds())
				row.RecoverySeconds = &n
			}
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b Step) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Occurrence, b.Occurrence))
	})
	return rows
}

func calls(run *record.Run) []Call {
	saturated := map[string]bool{}
	for _, e := range run.Timeline {
		if e.Kind == record.KindSaturation && e.Severity != record.Info {
			saturated[causes.ServiceOf(e)] = true
		}
	}
	rows := make([]Call, 0, len(run.Calls))
	for _, c := range run.Calls {
		row := Call{Call: roundAll(c), Bottleneck: saturated[c.To]}
		for _, below := range run.Calls {
			if below.From == c.To && saturated[below.To] {
				row.Bottleneck = false // something deeper is
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b Call) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return rows
}

// assumptions are those of a run, the ones with most of its CPU behind them first.
func assumptions(run *record.Run) []record.Assumed {
	rows := roundAll(slices.Clone(run.Assumptions))
	used, total := map[string]float64{}, 0.0
	for _, p := range run.Pods {
		used[p.Workload] += p.CPUUsedCoreSeconds
		total += p.CPUUsedCoreSeconds
	}
	for i := range rows {
		if a := &rows[i]; a.CPUShare == 0 && total > 0 && !strings.HasSuffix(a.What, " load") { // a generator's own use says nothing of its load
			a.CPUShare = significant(used[a.FromObject]/total, seriesDigits)
		}
	}
	slices.SortStableFunc(rows, func(a, b record.Assumed) int {
		return cmp.Or(cmp.Compare(b.CPUShare, a.CPUShare), cmp.Compare(a.What, b.What), cmp.Compare(a.FromObject, b.FromObject))
	})
	return rows
}

func fidelity(mode string, runs []expect.Observed) Fidelity {
	f := Fidelity{Mode: cmp.Or(mode, "flow"),
		Sentence: "Not calibrated: compare futures with each other; do not read absolute latency or cost per request."}
	expected, unknown := 0, 0
	for _, o := range runs {
		e, u := causes.Unknown(o.Run.Timeline)
		expected, unknown = expected+e, unknown+u
	}
	if expected > 0 {
		f.UnknownCauseShare = significant(float64(unknown)/float64(expected), seriesDigits)
	}
	return f
}
