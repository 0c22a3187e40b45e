package expect

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// pendingAtEnd is how long a pod must have waited at the end to count.
const pendingAtEnd = 5 * time.Minute

// isWorkload compares namespace/name or Kind/namespace/name with an object.
func isWorkload(object string, w v1alpha1.Workload) bool {
	return object == string(w) || strings.Count(string(w), "/") == 1 && strings.HasSuffix(object, "/"+string(w))
}

func replicaChecks(e v1alpha1.ReplicasExpectation) []check {
	var list []check
	add := func(what, limit string, eval func(Observed, *Observed) outcome) {
		list = append(list, check{name: string(e.Workload) + " " + what, kind: KindReplicas, limit: limit, subject: "workload=" + string(e.Workload), eval: eval})
	}
	if e.Min != nil {
		add("least replicas", fmt.Sprintf("≥ %d ready", *e.Min), func(o Observed, _ *Observed) outcome { return replicas(o, e.Workload, float64(*e.Min), false) })
	}
	if e.Max != nil {
		add("most replicas", fmt.Sprintf("≤ %d ready", *e.Max), func(o Observed, _ *Observed) outcome { return replicas(o, e.Workload, float64(*e.Max), true) })
	}
	if e.Reversals != nil {
		perHour := float64(*e.Reversals) * time.Hour.Seconds()
		add("reversals", "≤ "+number(perHour)+" an hour", func(o Observed, _ *Observed) outcome { return reversals(o, e.Workload, perHour) })
	}
	return list
}

func replicas(o Observed, w v1alpha1.Workload, limit float64, upper bool) outcome {
	out := outcome{held: true}
	extreme, n := math.NaN(), 0
	for _, s := range o.Table.All(record.MetricReady) {
		if !isWorkload(s.Labels["workload"], w) {
			continue
		}
		out.subject = "workload=" + s.Labels["workload"]
		for i, v := range s.Values {
			if math.IsNaN(v) {
				continue
			}
			if upper && !(v <= extreme) || !upper && !(v >= extreme) {
				extreme = v
			}
			if upper && v > limit || !upper && v < limit {
				if n++; n == 1 {
					out.held, out.firstAt = false, o.Table.Times[i]
					out.evidence = append(out.evidence, Evidence{Time: o.Table.Times[i], Object: s.Labels["workload"], What: number(v) + " ready"})
				}
			}
		}
	}
	if math.IsNaN(extreme) {
		return noData("replicas of " + string(w) + " were not recorded")
	}
	out.value, out.excess, out.total = number(extreme)+" ready", math.Abs(extreme-limit), steps(n, o.Table)
	return out
}

func reversals(o Observed, w v1alpha1.Workload, perHour float64) outcome {
	hours := Until(o.Run).Sub(o.Run.Start.PlayFrom).Hours()
	for _, row := range o.Run.Workloads {
		if isWorkload(row.Object, w) && hours > 0 {
			rate := float64(row.Reversals) / hours
			return outcome{held: rate <= perHour, value: strconv.FormatFloat(rate, 'g', 3, 64) + " an hour", excess: rate - perHour, subject: "workload=" + row.Object}
		}
	}
	return noData("scaling of " + string(w) + " was not recorded")
}

func pendingChecks(e v1alpha1.PendingExpectation) []check {
	var list []check
	add := func(name, limit string, eval func(Observed, *Observed) outcome) {
		list = append(list, check{name: name, kind: KindPending, limit: limit, data: map[string]string{"metric": "pending"}, eval: eval})
	}
	if e.P95 != nil {
		add("pending p95", "≤ "+durationText(e.P95.Duration), func(o Observed, _ *Observed) outcome { return pendingWithin(o, .95, e.P95.Duration) })
	}
	if e.Max != nil {
		add("longest pending", "≤ "+durationText(e.Max.Duration), func(o Observed, _ *Observed) outcome { return pendingWithin(o, 1, e.Max.Duration) })
	}
	atEnd := 0
	if e.AtEnd != nil {
		atEnd = int(*e.AtEnd)
	}
	limit := "none for more than 5 min"
	if atEnd > 0 {
		limit = fmt.Sprintf("at most %d for more than 5 min", atEnd)
	}
	add("pending at the end", limit, func(o Observed, _ *Observed) outcome { return stillPending(o, atEnd) })
	return list
}

func pendingWithin(o Observed, q float64, limit time.Duration) outcome {
	var waits []float64
	longest, at := time.Duration(-1), record.Pod{}
	for _, p := range o.Run.Pods {
		if wait, _, ok := PendingTime(o.Run, p); ok {
			waits = append(waits, wait.Seconds())
			if wait > longest {
				longest, at = wait, p
			}
		}
	}
	if len(waits) == 0 {
		if len(o.Run.Pods) == 0 {
			return noData("no pod was recorded")
		}
		return outcome{held: true, value: "no pod was created"}
	}
	value := stat.Quantile(waits, q)
	out := outcome{held: value <= limit.Seconds(), value: secondsText(value), excess: value - limit.Seconds()}
	if !out.held {
		out.firstAt = at.Created.Add(limit)
		out.total = longest
		out.data = map[string]string{"workload": at.Workload}
		out.evidence = []Evidence{{Time: at.Created, Object: "Pod/" + at.Namespace + "/" + at.Name, What: "waited " + secondsText(longest.Seconds()) + ": " + reason(at)}}
	}
	return out
}

func reason(p record.Pod) string {
	switch {
	case p.Message != "":
		return p.Message
	case p.Reason != "":
		return p.Reason
	}
	return "no reason was recorded"
}

func stillPending(o Observed, most int) outcome {
	if len(o.Run.Pods) == 0 {
		return noData("no pod was recorded")
	}
	end := Until(o.Run)
	var waiting []record.Pod
	for _, p := range o.Run.Pods {
		if p.Scheduled.IsZero() && p.Gone.IsZero() && p.Deleted.IsZero() && end.Sub(p.Created) > pendingAtEnd {
			waiting = append(waiting, p)
		}
	}
	out := outcome{held: len(waiting) <= most, value: fmt.Sprintf("%d pods", len(waiting)), excess: float64(len(waiting) - most)}
	if len(waiting) == 1 {
		out.value = "1 pod"
	}
	if out.held {
		return out
	}
	slices.SortStableFunc(waiting, func(a, b record.Pod) int { return a.Created.Compare(b.Created) })
	out.firstAt = waiting[0].Created.Add(pendingAtEnd)
	if out.firstAt.Before(o.Run.Start.PlayFrom) {
		out.firstAt = o.Run.Start.PlayFrom // waiting since before the measured time
	}
	out.data = map[string]string{"workload": waiting[0].Workload}
	for _, p := range waiting[:min(evidenceMax, len(waiting))] {
		out.evidence = append(out.evidence, Evidence{Time: p.Created, Object: "Pod/" + p.Namespace + "/" + p.Name, What: reason(p)})
	}
	return out
}

func costChecks(e v1alpha1.CostExpectation) []check {
	name := "cost"
	if e.Of != "" {
		name = "cost of " + string(e.Of)
	}
	var list []check
	add := func(what, limit string, most float64, text func(Observed, float64) string, of func(Observed) (float64, bool)) {
		list = append(list, check{name: what, kind: KindCost, limit: limit, eval: func(o Observed, _ *Observed) outcome {
			v, ok := of(o)
			if !ok || math.IsNaN(v) {
				return noData("nothing of it was charged")
			}
			return outcome{held: v <= most, value: text(o, v), excess: v - most}
		}})
	}
	money := func(o Observed, v float64) string {
		return strings.TrimSpace(fmt.Sprintf("%.4g %s", v, o.Bill.Currency))
	}
	total := func(o Observed) (float64, bool) { return o.Bill.Total, len(o.Run.Nodes) > 0 }
	idle := func(o Observed) (float64, bool) { return o.Bill.IdleShare, o.Bill.Nodes > 0 }
	served := func(o Observed) float64 { s, _, _ := account(o.Run, ""); return s }
	if e.Of != "" {
		total = func(o Observed) (float64, bool) { c, _, ok := workloadBill(o, e.Of); return c, ok }
		idle = func(o Observed) (float64, bool) { c, i, ok := workloadBill(o, e.Of); return i / c, ok && c > 0 }
		served = func(o Observed) float64 {
			for _, w := range o.Run.Workloads {
				if isWorkload(w.Object, e.Of) && w.Service != "" {
					s, _, _ := account(o.Run, "service="+w.Service)
					return s
				}
			}
			return 0
		}
	}
	if e.Max != nil {
		add(name, "≤ "+number(*e.Max), *e.Max, money, total)
	}
	if e.IdleShare != nil {
		add("idle share of "+name, "≤ "+percentText(float64(*e.IdleShare)), float64(*e.IdleShare), func(_ Observed, v float64) string { return percentText(v) }, idle)
	}
	if e.PerRequest != nil {
		add(name+" a request", "≤ "+number(*e.PerRequest), *e.PerRequest, money, func(o Observed) (float64, bool) {
			c, ok := total(o)
			n := served(o)
			return c / n, ok && n > 0
		})
	}
	return list
}

func workloadBill(o Observed, w v1alpha1.Workload) (cost, idle float64, ok bool) {
	for _, b := range o.Bill.ByWorkload {
		if isWorkload(b.Object, w) {
			cost, idle, ok = cost+b.Cost, idle+b.Idle, true
		}
	}
	return cost, idle, ok
}

func disruptionChecks(e v1alpha1.DisruptionExpectation) []check {
	var list []check
	add := func(name, limit string, eval func(Observed, *Observed) outcome) {
		list = append(list, check{name: name, kind: KindDisruption, limit: limit, data: map[string]string{"metric": "disruption"}, eval: eval})
	}
	if e.BudgetKept == nil || *e.BudgetKept {
		add("disruption budgets", "never broken", func(o Observed, _ *Observed) outcome {
			out := evicted(o, 0, "breaks", func(v record.Eviction) bool { return !v.BudgetKept })
			if o.Run.End != nil && o.Run.End.BudgetBreaks > int(out.excess) {
				out.held, out.value, out.excess = false, fmt.Sprintf("%d breaks", o.Run.End.BudgetBreaks), float64(o.Run.End.BudgetBreaks)
			}
			return out
		})
	}
	if e.Evictions != nil {
		add("evictions", fmt.Sprintf("≤ %d", *e.Evictions), func(o Observed, _ *Observed) outcome {
			return evicted(o, int(*e.Evictions), "evictions", func(record.Eviction) bool { return true })
		})
	}
	forced := 0
	if e.Forced != nil {
		forced = int(*e.Forced)
	}
	if forced < math.MaxInt32 {
		add("forced removals", fmt.Sprintf("≤ %d", forced), func(o Observed, _ *Observed) outcome {
			return evicted(o, forced, "removals", func(v record.Eviction) bool { return v.Kind == "forced" })
		})
	}
	if e.WorkSecondsLost != nil {
		add("work lost", "≤ "+number(*e.WorkSecondsLost)+" s", func(o Observed, _ *Observed) outcome {
			lost := 0.0
			for _, p := range o.Run.Pods {
				lost += p.WorkLostSeconds
			}
			return outcome{held: lost <= *e.WorkSecondsLost, value: number(lost) + " s", excess: lost - *e.WorkSecondsLost}
		})
	}
	return list
}

func evicted(o Observed, most int, noun string, counts func(record.Eviction) bool) outcome {
	out := outcome{}
	n := 0
	for _, v := range o.Run.Evictions {
		if v.Time.Before(o.Run.Start.PlayFrom) || !counts(v) {
			continue
		}
		n++
		if n == most+1 {
			out.firstAt, out.subject = v.Time, "workload="+v.Workload
			what := "taken by " + v.By
			if v.Budget != "" && !v.BudgetKept {
				what += ", below budget " + v.Budget
			}
			out.evidence = []Evidence{{Time: v.Time, Object: "Pod/" + v.Pod, What: what}}
		}
	}
	if n == 1 {
		noun = strings.TrimSuffix(noun, "s")
	}
	out.held, out.value, out.excess = n <= most, fmt.Sprintf("%d %s", n, noun), float64(n-most)
	return out
}
