package expect

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// noWorseTolerance is what a metric may lose against the baseline by default.
const noWorseTolerance = 0.02

func recoveryCheck(e v1alpha1.RecoveryExpectation) check {
	subject := ""
	switch {
	case e.Service != "":
		subject = "service=" + e.Service
	case e.Load != "":
		subject = "load=" + e.Load
	}
	share := recoveryTo
	if e.To != nil {
		share = float64(*e.To)
	}
	limit := fmt.Sprintf("≤ %s until %s of the level before", durationText(e.Within.Duration), percentText(share))
	return check{name: "recovery after " + e.After, kind: KindRecovery, limit: limit, subject: subject, eval: func(o Observed, _ *Observed) outcome {
		out := outcome{held: true, excess: math.Inf(-1), data: map[string]string{"step": e.After}}
		ran := false
		for _, s := range o.Run.Steps {
			if s.Name != e.After || s.At.IsZero() {
				continue
			}
			ran = true
			took, back := recovery(o, s.At, subject, share)
			if !back && !measured(o, s.At, subject) {
				return noData("nothing was served in the ten minutes before " + e.After)
			}
			value := secondsText(took.Seconds())
			if !back {
				took = Until(o.Run).Sub(s.At)
				value = "not within the run"
			}
			if excess := took.Seconds() - e.Within.Seconds(); excess > out.excess || !back {
				out.excess, out.value = excess, value
				out.held = back && took <= e.Within.Duration
				out.firstAt, out.total, out.evidence = time.Time{}, 0, nil
				if !out.held {
					out.firstAt, out.total = s.At.Add(e.Within.Duration), took
					out.evidence = []Evidence{{Time: s.At, Object: s.Name, What: s.Action + " came into force"}}
				}
			}
			if !back {
				break
			}
		}
		if !ran {
			return noData("the step " + e.After + " never came into force")
		}
		return out
	}}
}

// measured tells whether a service level was known in the ten minutes before a moment.
func measured(o Observed, at time.Time, subject string) bool {
	level := served(o.Table, subject)
	for i, t := range o.Table.Times {
		if !t.After(at) && t.After(at.Add(-recoveryBefore)) && !math.IsNaN(level[i]) {
			return true
		}
	}
	return false
}

// metricAlias lets expectations name the usual metrics shortly.
var metricAlias = map[string]string{"p50": "latency_p50_seconds", "p95": "latency_p95_seconds", "p99": "latency_p99_seconds",
	"cost": "cost_total", "errors": "failed", "pending": "pending_p95_seconds"}

func noWorseChecks(e v1alpha1.NoWorseExpectation) []check {
	metrics := e.Metrics
	if len(metrics) == 0 {
		metrics = []string{"availability", "p95"}
	}
	tolerance := noWorseTolerance
	if e.Tolerance != nil {
		tolerance = float64(*e.Tolerance)
	}
	var list []check
	for _, m := range metrics {
		metric := cmp.Or(metricAlias[m], m)
		list = append(list, check{name: "no worse " + m, kind: KindNoWorse, limit: fmt.Sprintf("within %s of the baseline", percentText(tolerance)),
			eval: func(o Observed, base *Observed) outcome { return noWorse(o, base, metric, tolerance) }})
	}
	return list
}

func noWorse(o Observed, base *Observed, metric string, tolerance float64) outcome {
	if base == nil {
		return noData("there is no baseline of this seed")
	}
	now, ok := o.Figures[metric]
	before, ok2 := base.Figures[metric]
	if !ok || !ok2 || math.IsNaN(now.Value) || math.IsNaN(before.Value) {
		return noData("the metric " + metric + " was not measured" + nearest(metric, o.Figures))
	}
	loss := now.Value - before.Value
	if now.Better == Higher {
		loss = -loss
	}
	out := outcome{value: figureText(now) + ", was " + figureText(before), excess: loss}
	if before.Value != 0 {
		out.excess = loss / math.Abs(before.Value)
	}
	out.held = out.excess <= tolerance
	return out
}

func figureText(f Figure) string {
	switch f.Unit {
	case "ratio":
		return percentText(f.Value)
	case "s":
		return secondsText(f.Value)
	}
	return strings.TrimSpace(number(f.Value) + " " + f.Unit)
}

func nearest(metric string, known map[string]Figure) string {
	var near []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if strings.Contains(name, metric) || strings.Contains(metric, name) {
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		return ""
	}
	return "; measured are " + strings.Join(near[:min(evidenceMax, len(near))], ", ")
}

func (g Given) celCheck(e v1alpha1.Expectation) check {
	c := check{name: "cel", kind: KindCEL, limit: e.CEL}
	condition, err := celenv.Record().Compile(e.CEL)
	views := g.views
	c.eval = func(o Observed, base *Observed) outcome {
		if err != nil {
			return noData(err.Error())
		}
		view := views[o.Run.Start.Seed]
		if view == nil {
			view = g.view(o, base)
			views[o.Run.Start.Seed] = view
		}
		held, err := condition.Eval(view)
		if err != nil {
			if errors.Is(err, celenv.ErrNoData) {
				return noData(strings.TrimPrefix(err.Error(), fmt.Sprintf("%q: no data: ", e.CEL)))
			}
			return noData(err.Error())
		}
		out := outcome{held: held, value: "true"}
		if !held {
			out.value, out.excess = "false", 1
			if out.against(g, o, base, condition) {
				return out
			}
			var parts []string
			for _, operand := range condition.Operands(view) {
				parts = append(parts, operand.Text+" = "+operand.Value)
				out.evidence = append(out.evidence, Evidence{What: operand.Text + " = " + operand.Value})
			}
			if len(parts) > 0 {
				out.value = strings.Join(parts[:min(evidenceMax, len(parts))], ", ")
			}
		}
		return out
	}
	return c
}

// against looks for timeline entries, or else evictions, that alone make a condition false which holds without any: what
// a condition over all of them fails for. It tells whether there are such.
func (out *outcome) against(g Given, o Observed, base *Observed, condition *celenv.Condition) bool {
	holds := func(timeline []record.Entry, evictions []record.Eviction) bool {
		run := *o.Run
		run.Timeline, run.Evictions, run.Samples = timeline, evictions, nil
		held, err := condition.Eval(g.view(Observed{Run: &run, Bill: o.Bill, Figures: o.Figures}, base))
		return held && err == nil
	}
	if !holds(nil, nil) {
		return false
	}
	times := 0
	for _, e := range o.Run.Timeline {
		if holds([]record.Entry{e}, nil) {
			continue
		}
		if times == 0 {
			out.firstAt, out.entry = e.Time, e.ID
		}
		times += max(1, e.Count)
		if len(out.evidence) < evidenceMax {
			out.evidence = append(out.evidence, Evidence{Time: e.Time, Object: cmp.Or(e.Owner, e.Object), What: e.What})
		}
	}
	told := times > 0
	for _, e := range o.Run.Evictions {
		if told || holds(nil, []record.Eviction{e}) {
			continue
		}
		if times == 0 {
			out.firstAt, out.entry = e.Time, evictionEntry(o.Run.Timeline, e)
			out.subject, out.data = "workload="+e.Workload, map[string]string{"metric": "disruption"}
		}
		if times++; len(out.evidence) < evidenceMax {
			out.evidence = append(out.evidence, Evidence{Time: e.Time, Object: "Pod/" + e.Pod, What: e.Kind + " by " + e.By})
		}
	}
	switch out.value = fmt.Sprintf("%d times", times); times {
	case 0:
		out.value = "false"
	case 1:
		out.value = "once"
	}
	return times > 0
}

// evictionEntry is the timeline's entry of an eviction, 0 when it has none.
func evictionEntry(timeline []record.Entry, v record.Eviction) int {
	for _, e := range timeline {
		if e.Kind == record.KindEviction && e.Owner == v.Workload && !e.Time.After(v.Time) && v.Time.Sub(e.Time) <= time.Minute {
			return e.ID
		}
	}
	return 0
}

// view shows a run to conditions. Samples of settling are not part of it.
func (g Given) view(o Observed, base *Observed) *celenv.RecordView {
	run := *o.Run
	run.Samples = slices.DeleteFunc(slices.Clone(run.Samples), func(s record.Sample) bool { return !s.Time.After(run.Start.PlayFrom) })
	start := run.Start.PlayFrom
	if g.Location != nil {
		start = start.In(g.Location)
	}
	b := o.Bill
	cost := celenv.Cost{Total: b.Total, Idle: b.Idle, IdleShare: b.IdleShare, Per1k: b.PerThousand, Pools: map[string]float64{}, Workloads: map[string]float64{}}
	for _, p := range b.Pools {
		cost.Pools[p.Name] += p.Cost
	}
	for _, w := range b.ByWorkload {
		cost.Workloads[w.Object] = w.Cost
	}
	var baseline map[string]float64
	if base != nil {
		baseline = plain(base.Figures)
	}
	return celenv.NewRecordView(&run, start, cost, plain(o.Figures), baseline)
}

func plain(figures map[string]Figure) map[string]float64 {
	m := make(map[string]float64, len(figures))
	for k, f := range figures {
		if !math.IsNaN(f.Value) {
			m[k] = f.Value
		}
	}
	return m
}
