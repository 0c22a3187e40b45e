package report

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

const (
	lower  = "lower"
	higher = "higher"

	throttledMinuteShare = 0.05 // of the CPU periods; a minute above it counts as throttled
	fewSeeds             = 5    // below it every value is shown instead of percentiles
)

// figure is one metric of one seed.
type figure struct {
	value        float64
	unit, better string
}

// summarise measures every seed and joins the results. A metric that a seed lacks is null there.
func summarise(runs []expect.Observed, results []expect.Result) map[string]Metric {
	per := make([]map[string]figure, len(runs))
	shape := map[string]figure{}
	for i, o := range runs {
		per[i] = measure(o, results)
		maps.Copy(shape, per[i])
	}
	out := make(map[string]Metric, len(shape))
	for name, f := range shape {
		m := Metric{Unit: f.unit, Better: f.better, PerSeed: make([]Number, len(runs))}
		var known []float64
		for i := range runs {
			m.PerSeed[i] = Missing
			if g, ok := per[i][name]; ok && !math.IsNaN(g.value) && !math.IsInf(g.value, 0) {
				m.PerSeed[i] = Number(significant(g.value, summaryDigits))
				known = append(known, g.value)
			}
		}
		m.Value = Number(significant(stat.Mean(known), summaryDigits))
		if len(known) >= fewSeeds {
			m.P5, m.P50, m.P95 = quantile(known, .05), quantile(known, .5), quantile(known, .95)
		}
		out[name] = m
	}
	return out
}

func quantile(values []float64, q float64) *Number {
	n := Number(significant(stat.Quantile(values, q), summaryDigits))
	return &n
}

func measure(o expect.Observed, results []expect.Result) map[string]figure {
	f := map[string]figure{}
	measureLoads(f, o)
	measurePods(f, o.Run)
	measureMoney(f, o)
	for _, w := range o.Run.Workloads {
		f["replicas_min:"+w.Object] = figure{float64(w.ReplicasMin), "replicas", higher}
		f["replicas_mean:"+w.Object] = figure{w.ReplicasMean, "replicas", lower}
		f["replicas_max:"+w.Object] = figure{float64(w.ReplicasMax), "replicas", lower}
		f["scale_reversals"] = figure{f["scale_reversals"].value + float64(w.Reversals), "reversals", lower}
	}
	f["evictions"] = figure{float64(len(o.Run.Evictions)), "pods", lower}
	breaks := 0
	for _, e := range o.Run.Evictions {
		if !e.BudgetKept {
			breaks++
		}
	}
	if o.Run.End != nil {
		breaks = max(breaks, o.Run.End.BudgetBreaks)
	}
	f["budget_breaks"] = figure{float64(breaks), "breaks", lower}
	f["throttled_minutes"] = figure{throttledMinutes(o.Table), "min", lower}
	for _, s := range o.Run.Steps {
		if s.At.IsZero() || !expect.Disturbs(s.Action) {
			continue
		}
		if d, ok := expect.Recovery(o, s.At, ""); ok {
			f["recovery_seconds:"+s.Name] = figure{d.Seconds(), "s", lower}
		}
	}
	missed := 0.0
	for _, e := range results {
		for _, in := range e.Seeds {
			if e.Kind == "slo" && in.Seed == o.Run.Start.Seed {
				missed += in.TotalSeconds / 60
			}
		}
	}
	f["slo_minutes_missed"] = figure{missed, "min", lower}
	return f
}

func measureLoads(f map[string]figure, o expect.Observed) {
	var offered, failed, served float64
	loads := 0
	worst := math.NaN()
	for _, l := range o.Run.Loads {
		bad := float64(l.Failed + l.Rejected + l.Abandoned)
		settled := float64(l.Served) + bad
		key := ":" + l.Name
		if !l.Service {
			loads++
			offered, failed, served = offered+float64(l.Offered), failed+bad, served+float64(l.Served)
			if !(l.P95 <= worst) && l.Served > 0 {
				worst = l.P95
			}
		}
		if settled > 0 {
			f["availability"+key] = figure{float64(l.Served) / settled, "ratio", higher}
		}
		if l.Served > 0 {
			f["latency_p50_seconds"+key] = figure{l.P50, "s", lower}
			f["latency_p95_seconds"+key] = figure{l.P95, "s", lower}
			f["latency_p99_seconds"+key] = figure{l.P99, "s", lower}
		}
	}
	if loads == 0 {
		return
	}
	f["requests"] = figure{offered, "requests", ""}
	f["failed"] = figure{failed, "requests", lower}
	f["latency_p95_seconds"] = figure{worst, "s", lower}
	if served+failed > 0 {
		f["availability"] = figure{served / (served + failed), "ratio", higher}
	}
}

func measurePods(f map[string]figure, run *record.Run) {
	var waits []float64
	var restarts, ooms, starts float64
	for _, p := range run.Pods {
		restarts += float64(p.Restarts)
		ooms += float64(p.OOMKills)
		if !p.Started.IsZero() && p.Started.After(run.Start.PlayFrom) {
			starts++
		}
		if wait, _, ok := expect.PendingTime(run, p); ok {
			waits = append(waits, wait.Seconds())
		}
	}
	f["restarts"] = figure{restarts, "restarts", lower}
	f["oom_kills"] = figure{ooms, "kills", lower}
	f["cold_starts"] = figure{starts, "pods", lower}
	if len(waits) == 0 {
		waits = []float64{0}
	}
	f["pending_p95_seconds"] = figure{stat.Quantile(waits, .95), "s", lower}
	f["pending_max_seconds"] = figure{slices.Max(waits), "s", lower}
}

func measureMoney(f map[string]figure, o expect.Observed) {
	b := o.Bill
	f["cost_total"] = figure{b.Total, b.Currency, lower}
	f["cost_idle"] = figure{b.Idle, b.Currency, lower}
	f["cost_idle_share"] = figure{b.IdleShare, "ratio", lower}
	f["cost_at_60_percent_spot"] = figure{b.AtSpotShare, b.Currency, lower}
	if b.PerThousand > 0 {
		f["cost_per_1000_requests"] = figure{b.PerThousand, b.Currency, lower}
	}
	f["node_hours"] = figure{b.NodeHours, "h", lower}
	for _, p := range b.Pools {
		name := "node_hours:" + cmp.Or(p.Name, p.Type, "nodes")
		f[name] = figure{f[name].value + p.NodeHours, "h", lower}
	}
}

func throttledMinutes(t record.Table) float64 {
	services := t.All(record.MetricThrottled)
	steps := 0
	for i := range t.Times {
		for _, s := range services {
			if s.Values[i] > throttledMinuteShare {
				steps++
				break
			}
		}
	}
	return (time.Duration(steps) * t.Step).Minutes()
}
