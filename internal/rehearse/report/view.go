package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// Rows of long tables shown on the page; the JSON has them all.
const (
	pageRows      = 100
	pageCards     = 60
	pageSpending  = 15
	pageDifferent = 120
)

func newPage(r *Report, entries, series int) *view {
	v := &view{R: r, Title: cmp.Or(r.Scenario.Title, r.Scenario.Name, "Rehearsal"), Result: strings.ToUpper(r.Verdict.Result), CauseNote: r.causeNote()}
	shown, of := r.pageTimeline(entries)
	v.data = r.data(shown, series)
	if len(shown) < of || len(v.data.Series) < len(r.Series.Columns) {
		v.Dropped = fmt.Sprintf("This page keeps %d of %d timeline entries and %d of %d series; the JSON report has them all.", len(shown), of, len(v.data.Series), len(r.Series.Columns))
	}
	v.header(r)
	v.timeline(r, shown)
	v.plots(r)
	v.cards(r)
	v.difference(r)
	v.seeds(r)
	v.money(r)
	if len(r.Calls) > 0 {
		v.Graph = drawGraph(r)
	}
	v.tables(r)
	v.Updates = updateRows(r)
	v.origin(r)
	v.sections(r)
	return v
}

func (v *view) header(r *Report) {
	l := r.location()
	if len(r.Seeds) > 0 {
		end := r.Scenario.Start.Add(time.Duration(r.Scenario.Seconds * float64(time.Second))).In(l)
		v.When = fmt.Sprintf("%s to %s, %s · %s", r.Scenario.Start.In(l).Format("Mon 2 Jan 2006 15:04"), end.Format("Mon 15:04"), cmp.Or(r.Scenario.TimeZone, "UTC"), plural(len(r.Seeds), "seed"))
		if r.Scenario.Change != "" {
			v.When += " · change: " + r.Scenario.Change
		}
	}
	v.SeedLine = fmt.Sprintf("seed %d", r.Verdict.ShownSeed)
	if n := len(r.Seeds); n > 1 {
		v.SeedLine = fmt.Sprintf("seed %d, the worst of %d; pale bands: range of all seeds", r.Verdict.ShownSeed, n)
	}
	order := slices.Clone(r.Verdict.Expectations)
	slices.SortStableFunc(order, func(a, b expect.Result) int { return cmp.Compare(heldRank(a), heldRank(b)) })
	for i, e := range order {
		x := viewExpectation{E: e, Index: i, Class: "yes", Mark: "✔", Word: "held", Value: cmp.Or(e.Value, "no data")}
		switch heldRank(e) {
		case 0:
			x.Class, x.Mark, x.Word = "no", "✘", "failed"
		case 1:
			x.Class, x.Mark, x.Word = "mild", "!", "not held, a warning"
		}
		if !e.FirstAt.IsZero() {
			x.First = r.clock(e.FirstAt)
		}
		if e.TotalSeconds > 0 {
			x.Total = seconds(e.TotalSeconds)
		}
		if e.WorstSeed == r.Verdict.ShownSeed {
			for _, id := range e.Why {
				x.Chain = append(x.Chain, viewCause{id, r.what(id)})
			}
			if len(e.Why) > 0 {
				x.Entry = e.Why[0]
			}
		}
		for _, d := range e.Evidence {
			text := strings.TrimPrefix(d.Object+": "+d.What, ": ")
			if !d.Time.IsZero() {
				text = r.clock(d.Time) + " " + text
			}
			x.Evidence = append(x.Evidence, text)
		}
		v.Expectations = append(v.Expectations, x)
	}
	for _, m := range r.Verdict.Moments {
		v.Moments = append(v.Moments, viewMoment{m.From.UnixMilli(), m.To.UnixMilli(), m.Entry, m.Title})
	}
}

func heldRank(e expect.Result) int {
	switch {
	case e.Held:
		return 2
	case e.Severity == expect.SeverityWarn:
		return 1
	}
	return 0
}

// what is the text of one of the shown seed's entries.
func (r *Report) what(id int) string {
	for _, e := range r.Timeline {
		if e.ID == id && e.Seed == r.Verdict.ShownSeed {
			return r.clock(e.T.Truncate(time.Second)) + " " + e.text()
		}
	}
	return fmt.Sprintf("entry %d", id)
}

// text is what an entry says, with its subject where the words lack it, and its count.
func (e Entry) text() string {
	t := e.What
	subject := e.Object
	if e.Kind != record.KindStep {
		subject = shortName(or(e.Owner, e.Object))
	}
	if strings.HasPrefix(e.Kind, "pod-") || e.Kind == record.KindStep || e.Kind == record.KindEviction || e.Kind == record.KindCrash || e.Kind == record.KindOOM {
		if subject != "" && !strings.Contains(t, subject) {
			t = subject + ": " + t
		}
	}
	if e.Count > 1 {
		t += fmt.Sprintf(" (×%d)", e.Count)
	}
	return t
}

// shortName drops the kind: Deployment/shop/web is shop/web.
func shortName(object string) string {
	if _, rest, ok := strings.Cut(object, "/"); ok && strings.Count(object, "/") == 2 {
		return rest
	}
	return object
}

func (v *view) timeline(r *Report, shown []Entry) {
	for _, e := range shown {
		v.Entries = append(v.Entries, viewEntry{E: e, ISO: e.T.UTC().Format(time.RFC3339), Clock: r.clock(e.T.Truncate(time.Second)), Mark: severityMark[e.Severity], Text: e.text()})
	}
}

func (v *view) plots(r *Report) {
	has := func(metric string) bool {
		return slices.ContainsFunc(r.Series.Columns, func(c Column) bool { return c.Metric == metric })
	}
	if has(record.MetricCPUDemand) || has(record.MetricRequests) {
		v.Plots = append(v.Plots, viewPlot{ID: "demand", Title: "Demand and ready capacity", Select: "pick-service", SelectLabel: "Service", Summary: r.describeDemand(v.data.Tightest)})
	}
	if has(record.MetricLatencyP95) {
		v.Plots = append(v.Plots, viewPlot{ID: "latency", Title: "Latency and failures", Select: "pick-load", SelectLabel: "Load", Summary: r.describeLatency(v.data.Load)})
	}
	if has(record.MetricNewWeight) {
		v.Plots = append(v.Plots, viewPlot{ID: "updates", Title: "Traffic of the newest revision", Summary: r.describeUpdates()})
	}
	if has(record.MetricReady) {
		v.Plots = append(v.Plots, viewPlot{ID: "replicas", Title: "Ready replicas", Summary: r.describeReplicas()})
	}
	if has(record.MetricNodes) {
		v.Plots = append(v.Plots, viewPlot{ID: "nodes", Title: "Nodes and cost", Summary: r.describeNodes()})
	}
	if n := len(v.Plots); n > 0 {
		v.Plots[n-1].Last = true
	}
}

func (v *view) cards(r *Report) {
	loads := map[string]record.Load{}
	for _, l := range r.Loads {
		if l.Service {
			loads[l.Name] = l
		}
	}
	type ranked struct {
		card viewCard
		sum  float64
	}
	var list []ranked
	for _, w := range r.Workloads {
		if w.Service == "" {
			continue
		}
		card := viewCard{Name: w.Service}
		used, capacity := r.Series.values(record.MetricCPUUsed, "service", w.Service), r.Series.values(record.MetricCPUCapacity, "service", w.Service)
		card.Spark = used != nil && capacity != nil
		add := func(name, value, class string) { card.Facts = append(card.Facts, fact{name, value, class}) }
		sum := 0.0
		if shares := ratio(used, capacity); len(shares) > 0 {
			top := slices.Max(shares)
			class := ""
			if top > 0.95 {
				class = "bad"
			}
			sum = stat.Mean(used)
			add("CPU mean / top", percent(significant(stat.Mean(shares), 2))+" / "+percent(significant(top, 2)), class)
		}
		if l, ok := loads[w.Service]; ok && l.Offered > 0 {
			bad := float64(l.Failed + l.Rejected + l.Abandoned)
			class := ""
			if bad/float64(l.Offered) > momentErrors {
				class = "bad"
			}
			add("requests", count(float64(l.Offered)), "")
			add("failed", percent(significant(bad/float64(l.Offered), 3)), class)
			add("p95 / p99", seconds(significant(l.P95, 3))+" / "+seconds(significant(l.P99, 3)), "")
		}
		replicas := fmt.Sprintf("%d", w.ReplicasMin)
		if w.ReplicasMax != w.ReplicasMin {
			replicas = fmt.Sprintf("%d–%d", w.ReplicasMin, w.ReplicasMax)
		}
		add("replicas", replicas, "")
		if w.Strategy != "" {
			add("update", standing(w.Workload), "")
		}
		if w.ThrottledShare > 0.01 {
			class := ""
			if w.ThrottledShare > 0.25 {
				class = "bad"
			}
			add("throttled at worst", percent(significant(w.ThrottledShare, 2)), class)
		}
		if w.Restarts+w.OOMKills > 0 {
			add("restarts / out of memory", fmt.Sprintf("%d / %d", w.Restarts, w.OOMKills), "warn")
		}
		add("cost", formatValue(float64(w.Cost), r.Cost.Currency), "")
		if w.BalanceNote != "" {
			card.Notes = append(card.Notes, w.BalanceNote)
		}
		if b, _, ok := r.Series.extreme(r.Series.values(record.MetricBalance, "service", w.Service)); ok && b > 1.3 {
			card.Notes = append(card.Notes, fmt.Sprintf("Uneven: the busiest pod carried up to %s × the mean.", grouped(significant(b, 2), 1)))
		}
		list = append(list, ranked{card, sum})
	}
	slices.SortStableFunc(list, func(a, b ranked) int { return cmp.Compare(b.sum, a.sum) })
	for _, x := range list[:min(pageCards, len(list))] {
		v.Cards = append(v.Cards, x.card)
	}
}

// ratio divides two series where both are known.
func ratio(a, b Values) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 && !math.IsNaN(a[i]) {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

func (v *view) difference(r *Report) {
	if r.Baseline == nil {
		return
	}
	rows := slices.DeleteFunc(slices.Clone(r.Baseline.Rows), func(x Row) bool { return x.Verdict == NoData || x.A == 0 && x.B == 0 })
	rank := func(x Row) int {
		if i := slices.IndexFunc(headlineMetrics, func(h struct{ name, label string }) bool { return h.name == x.Metric }); i >= 0 {
			return i
		}
		if x.Verdict == Better || x.Verdict == Worse || x.Verdict == Different {
			return len(headlineMetrics)
		}
		return len(headlineMetrics) + 1
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(rank(a), rank(b)) })
	for _, x := range rows[:min(pageDifferent+len(headlineMetrics), len(rows))] {
		d := viewDifference{Name: metricLabel(x.Metric), A: formatValue(float64(x.A), x.Unit), B: formatValue(float64(x.B), x.Unit), D: signed(float64(x.Difference), x.Unit), Verdict: x.Verdict,
			Class: map[string]string{Better: "good", Worse: "bad", Different: "warn"}[x.Verdict]}
		if x.Low.Known() {
			d.Interval = signed(float64(x.Low), x.Unit) + " … " + signed(float64(x.High), x.Unit)
		}
		if rank(x) > len(headlineMetrics) {
			v.Alike = append(v.Alike, d)
			continue
		}
		v.Differences = append(v.Differences, d)
	}
	v.DifferenceNote = fmt.Sprintf("%s, paired by seed with the same draws. A difference is called one only when its interval excludes zero, it survives Holm's correction over the table, and it exceeds 1 %% or the floor of its unit.", plural(len(r.Baseline.Seeds), "pair"))
	if len(r.Baseline.Seeds) < fewSeeds {
		v.DifferenceNote = strings.Join(r.Baseline.Notes, " ")
	}
	for _, d := range r.Baseline.Divergences {
		v.Divergent = append(v.Divergent, d.sentence(r))
	}
}

// sentence says where paired futures part.
func (d Divergence) sentence(r *Report) string {
	at, _ := time.Parse(time.RFC3339, d.T)
	where := map[string]string{"a": "only in the first", "b": "only in the second", "both": "in both, but differently"}[d.OnlyIn]
	return fmt.Sprintf("%s %s (%s; %s)", r.clock(at), d.What, where, plural(len(d.Seeds), "seed"))
}

// metricLabel writes a summary metric for people: "latency_p95_seconds:shoppers" is "latency p95, shoppers".
func metricLabel(name string) string {
	family, of, found := strings.Cut(name, ":")
	label := strings.TrimSuffix(strings.ReplaceAll(family, "_", " "), " seconds")
	for _, h := range headlineMetrics {
		if h.name == family {
			label = h.label
		}
	}
	if found {
		label += ", " + of
	}
	return label
}

func (v *view) seeds(r *Report) {
	if len(r.Seeds) < 2 {
		return
	}
	for _, s := range r.Seeds {
		row := viewSeed{Name: fmt.Sprint(s.Seed), Result: s.Result, Class: "bad", Availability: formatValue(float64(s.Availability), "ratio"), P95: formatValue(float64(s.P95), "s"), Cost: formatValue(float64(s.Cost), r.Cost.Currency), Failed: strings.Join(s.Failed, ", ")}
		if s.Result == Pass {
			row.Class = "good"
		}
		if s.Seed == r.Verdict.ShownSeed {
			row.Name += " (shown)"
		}
		if s.Incomplete != "" {
			row.Failed = strings.TrimPrefix(row.Failed+"; "+s.Incomplete, "; ")
		}
		v.Seeds = append(v.Seeds, row)
	}
	v.FanNote = "Bands in the plots span the lowest and highest value of all seeds."
	if len(r.Seeds) >= fewSeeds {
		v.FanNote = "Bands in the plots span the 5th to the 95th percentile over the seeds."
	}
}

func (v *view) money(r *Report) {
	c := r.Cost
	m := func(name string, amount float64) {
		v.Money = append(v.Money, fact{Name: name, Value: formatValue(amount, c.Currency)})
	}
	m("total", c.Total)
	for _, p := range c.Pools {
		name := cmp.Or(p.Name, p.Type, "nodes")
		v.Money = append(v.Money, fact{Name: fmt.Sprintf("%s: %s h of %s, %s", name, grouped(p.NodeHours, 1), cmp.Or(p.Type, "a node"), p.CapacityType), Value: formatValue(p.Cost, c.Currency)})
	}
	m("control plane, load balancers, unused commitments", c.Overhead)
	v.Money = append(v.Money, fact{Name: "idle: nodes that nobody paid for", Value: formatValue(c.Idle, c.Currency) + " (" + percent(significant(c.IdleShare, 3)) + ")"})
	m("reserved by workloads and not used", c.WorkloadIdle)
	if c.PerThousand > 0 {
		m("per 1,000 requests served well", c.PerThousand)
	}
	m("the same run with 60 % of it on spot", c.AtSpotShare)
	rows := slices.Clone(c.ByWorkload)
	slices.SortStableFunc(rows, func(a, b cost.Workload) int { return cmp.Compare(b.Cost, a.Cost) })
	scale := 0.0
	if len(rows) > 0 {
		scale = rows[0].Cost
	}
	bar := func(name string, amount, idle float64) {
		s := viewSpending{Name: name, Cost: formatValue(amount, c.Currency), IdleCost: formatValue(idle, c.Currency)}
		if scale > 0 {
			s.Used = int(140 * min(1, (amount-idle)/scale))
			s.Idle = min(140-s.Used, int(140*idle/scale))
		}
		v.Spending = append(v.Spending, s)
	}
	for _, w := range rows[:min(pageSpending, len(rows))] {
		bar(w.Object, w.Cost, w.Idle)
	}
	if len(rows) > pageSpending {
		sum, idle := 0.0, 0.0
		for _, w := range rows[pageSpending:] {
			sum, idle = sum+w.Cost, idle+w.Idle
		}
		bar(fmt.Sprintf("%d others", len(rows)-pageSpending), sum, idle)
	}
	bar("idle capacity of nodes", c.Idle, c.Idle)
}

func (v *view) tables(r *Report) {
	for _, s := range r.Steps {
		row := viewStep{Name: s.Name, Action: s.Action, State: string(s.State), At: "–"}
		if !s.At.IsZero() {
			row.At = r.clock(s.At.Truncate(time.Second))
		}
		if s.State == record.StepFailed || s.State == record.StepNeverReached {
			row.Class = "bad"
			row.State += ": " + s.Message
		}
		if s.RecoverySeconds != nil {
			row.Recovery = seconds(float64(*s.RecoverySeconds))
		}
		v.Steps = append(v.Steps, row)
	}
	for _, p := range r.Pending[:min(pageRows, len(r.Pending))] {
		row := viewPending{Pod: p.Pod, Since: r.clock(p.Since.Truncate(time.Second)), Waited: seconds(p.Seconds), Reason: p.Reason}
		if !p.Placed {
			row.Class = "bad"
			row.Waited += ", never placed"
			if p.Fits != "" {
				row.Reason += " Would fit on " + p.Fits + "."
			}
		}
		v.Pending = append(v.Pending, row)
	}
	for _, e := range r.Evictions[:min(pageRows, len(r.Evictions))] {
		row := viewEviction{At: r.clock(e.Time.Truncate(time.Second)), Pod: e.Pod, Node: e.Node, By: strings.TrimSpace(e.By + " " + e.Kind), Budget: "kept"}
		if !e.BudgetKept {
			row.Budget, row.Class = "broken: "+e.Budget, "bad"
		}
		v.Evictions = append(v.Evictions, row)
	}
	for _, a := range r.Assumptions[:min(pageRows, len(r.Assumptions))] {
		row := viewAssumption{Assumed: a}
		if a.CPUShare > 0 {
			row.Share = percent(significant(a.CPUShare, 2))
		}
		v.Assumptions = append(v.Assumptions, row)
	}
}

func (v *view) origin(r *Report) {
	add := func(name, value, class string) {
		if value != "" {
			v.Provenance = append(v.Provenance, fact{name, value, class})
		}
	}
	add("scenario", r.Scenario.Name, "")
	add("resolved scenario, sha256", r.Scenario.SHA256, "hash")
	for _, in := range r.Scenario.Inputs {
		add(in.Name+", sha256", in.SHA256, "hash")
	}
	for _, k := range slices.Sorted(maps.Keys(r.Provenance.Versions)) {
		add(k, r.Provenance.Versions[k], "")
	}
	add("build", r.Provenance.Build, "")
	add("model", r.Fidelity.Mode, "")
	for _, h := range r.Provenance.Runs {
		if len(v.Provenance) < pageRows {
			add(fmt.Sprintf("writes of seed %d (%s)", h.Seed, grouped(float64(h.Writes), 0)), h.WritesHash, "hash")
		}
	}
	v.Repeat = r.Scenario.Command
	if v.Repeat == "" {
		v.Repeat = fmt.Sprintf("fairway rehearse %s --seed %d --html report.html", cmp.Or(r.Scenario.File, "SCENARIO"), r.Verdict.ShownSeed)
	}
}

func (v *view) sections(r *Report) {
	add := func(id, title string, shown bool) {
		if shown {
			v.Sections = append(v.Sections, viewLink{id, title})
		}
	}
	add("main", "Overview", true)
	add("services", "Services", len(v.Cards) > 0)
	add("differences", "Differences", len(v.Differences) > 0)
	add("seeds", "Seeds", len(v.Seeds) > 0)
	add("cost", "Cost", true)
	add("calls", "Calls", len(r.Calls) > 0)
	add("updates", "Updates", len(v.Updates) > 0)
	add("steps", "Steps, pending, evictions", true)
	add("assumptions", "Assumptions", true)
	add("provenance", "Provenance", true)
}
