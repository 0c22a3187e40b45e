package expect

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// Directions of a figure.
const (
	Lower  = "lower"
	Higher = "higher"
)

const (
	lower  = Lower
	higher = Higher

	throttledMinuteShare = 0.05 // of the CPU periods; a minute above it counts as throttled
)

// Figure is one summary metric of one run. Unit is s, min, h, ratio, requests, replicas, pods, kills, restarts, breaks,
// reversals or a currency; Better is lower, higher or "" when neither is.
type Figure struct {
	Value        float64
	Unit, Better string
}

// Measure computes the summary figures of a run. What cannot be computed is left out, never zero.
func Measure(o Observed) map[string]Figure {
	f := map[string]Figure{}
	measureLoads(f, o)
	measurePods(f, o.Run)
	measureMoney(f, o)
	for _, w := range o.Run.Workloads {
		f["replicas_min:"+w.Object] = Figure{float64(w.ReplicasMin), "replicas", higher}
		f["replicas_mean:"+w.Object] = Figure{w.ReplicasMean, "replicas", lower}
		f["replicas_max:"+w.Object] = Figure{float64(w.ReplicasMax), "replicas", lower}
		f["scale_reversals"] = Figure{f["scale_reversals"].Value + float64(w.Reversals), "reversals", lower}
	}
	f["evictions"] = Figure{float64(len(o.Run.Evictions)), "pods", lower}
	breaks := 0
	for _, e := range o.Run.Evictions {
		if !e.BudgetKept {
			breaks++
		}
	}
	if o.Run.End != nil {
		breaks = max(breaks, o.Run.End.BudgetBreaks)
	}
	f["budget_breaks"] = Figure{float64(breaks), "breaks", lower}
	f["throttled_minutes"] = Figure{throttledMinutes(o.Table), "min", lower}
	for _, s := range o.Run.Steps {
		if s.At.IsZero() || !Disturbs(s.Action) {
			continue
		}
		if d, ok := Recovery(o, s.At, ""); ok {
			f["recovery_seconds:"+s.Name] = Figure{d.Seconds(), "s", lower}
		}
	}
	return f
}

func measureLoads(f map[string]Figure, o Observed) {
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
			f["availability"+key] = Figure{float64(l.Served) / settled, "ratio", higher}
		}
		if l.Served > 0 {
			f["latency_p50_seconds"+key] = Figure{l.P50, "s", lower}
			f["latency_p95_seconds"+key] = Figure{l.P95, "s", lower}
			f["latency_p99_seconds"+key] = Figure{l.P99, "s", lower}
		}
	}
	if loads == 0 {
		return
	}
	f["requests"] = Figure{offered, "requests", ""}
	f["failed"] = Figure{failed, "requests", lower}
	f["latency_p95_seconds"] = Figure{worst, "s", lower}
	if served+failed > 0 {
		f["availability"] = Figure{served / (served + failed), "ratio", higher}
	}
}

func measurePods(f map[string]Figure, run *record.Run) {
	var waits []float64
	var restarts, ooms, starts float64
	for _, p := range run.Pods {
		restarts += float64(p.Restarts)
		ooms += float64(p.OOMKills)
		if !p.Started.IsZero() && p.Started.After(run.Start.PlayFrom) {
			starts++
		}
		if wait, _, ok := PendingTime(run, p); ok {
			waits = append(waits, wait.Seconds())
		}
	}
	f["restarts"] = Figure{restarts, "restarts", lower}
	f["oom_kills"] = Figure{ooms, "kills", lower}
	f["cold_starts"] = Figure{starts, "pods", lower}
	if len(waits) == 0 {
		waits = []float64{0}
	}
	f["pending_p95_seconds"] = Figure{stat.Quantile(waits, .95), "s", lower}
	f["pending_max_seconds"] = Figure{slices.Max(waits), "s", lower}
}

func measureMoney(f map[string]Figure, o Observed) {
	b := o.Bill
	f["cost_total"] = Figure{b.Total, b.Currency, lower}
	f["cost_idle"] = Figure{b.Idle, b.Currency, lower}
	f["cost_idle_share"] = Figure{b.IdleShare, "ratio", lower}
	f["cost_at_60_percent_spot"] = Figure{b.AtSpotShare, b.Currency, lower}
	if b.PerThousand > 0 {
		f["cost_per_1000_requests"] = Figure{b.PerThousand, b.Currency, lower}
	}
	f["node_hours"] = Figure{b.NodeHours, "h", lower}
	for _, p := range b.Pools {
		name := "node_hours:" + cmp.Or(p.Name, p.Type, "nodes")
		f[name] = Figure{f[name].Value + p.NodeHours, "h", lower}
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
