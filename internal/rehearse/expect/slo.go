package expect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Defaults of service level expectations.
const (
	sloWindow    = 5 * time.Minute
	fastBurnOver = time.Hour
	slowBurnOver = 6 * time.Hour
	evidenceMax  = 3
)

// subjectOf is whose requests count, as label=value, and what people call it; "" = those of all loads.
func subjectOf(s *v1alpha1.SLOExpectation) (subject, name string) {
	switch {
	case s.Service != "":
		return "service=" + s.Service, s.Service
	case s.Load != "":
		return "load=" + s.Load, s.Load
	}
	return "", "all loads"
}

func sloChecks(s v1alpha1.SLOExpectation) []check {
	subject, name := subjectOf(&s)
	var list []check
	add := func(what, limit, metric string, target float64, eval func(o Observed, base *Observed) outcome) {
		list = append(list, check{name: name + " " + what, kind: KindSLO, limit: limit, metric: metric, target: target, subject: subject, eval: eval})
	}
	if s.Availability != nil {
		target := float64(*s.Availability)
		over := time.Duration(0)
		limit := "≥ " + percentText(target)
		if s.Over != "" && s.Over != "run" {
			if d, err := v1alpha1.ParseDuration(s.Over); err == nil {
				over = d.Duration
				limit += " over any " + d.String()
			}
		}
		add("availability", limit, "availability", target, func(o Observed, _ *Observed) outcome { return availability(o, subject, target, over) })
		for _, b := range burns(s.Burn) {
			add("burn rate", fmt.Sprintf("< %s over %s", number(b.Limit), b.Over), record.MetricBurnRate, b.Limit, func(o Observed, _ *Observed) outcome { return burn(o, subject, target, b) })
		}
	}
	window := s.Window.Duration
	if window <= 0 {
		window = sloWindow
	}
	for _, q := range []struct {
		name, metric string
		limit        *v1alpha1.Duration
	}{{"p50", record.MetricLatencyP50, s.P50}, {"p95", record.MetricLatencyP95, s.P95}, {"p99", record.MetricLatencyP99, s.P99}} {
		if q.limit == nil {
			continue
		}
		limit := "≤ " + durationText(q.limit.Duration)
		if s.Allow > 0 {
			limit += fmt.Sprintf(" in all but %d windows of %s", s.Allow, durationText(window))
		}
		add(q.name, limit, q.metric, q.limit.Seconds(), func(o Observed, _ *Observed) outcome {
			return latency(o, subject, q.metric, q.limit.Seconds(), window, int(s.Allow))
		})
	}
	return list
}

func burns(b *v1alpha1.Burn) []v1alpha1.BurnLimit {
	var list []v1alpha1.BurnLimit
	if b == nil {
		return nil
	}
	if b.Fast != nil {
		f := *b.Fast
		if f.Over.Duration == 0 {
			f.Over = v1alpha1.DurationOf(fastBurnOver)
		}
		list = append(list, f)
	}
	if b.Slow != nil {
		s := *b.Slow
		if s.Over.Duration == 0 {
			s.Over = v1alpha1.DurationOf(slowBurnOver)
		}
		list = append(list, s)
	}
	return list
}

// account returns the exact counts of a subject over the run, if the recorder kept them (not for single routes).
func account(run *record.Run, subject string) (served, asked float64, ok bool) {
	key, name, _ := strings.Cut(subject, "=")
	for _, l := range run.Loads {
		if subject == "" && !l.Service || l.Name == name && l.Service == (key == "service") {
			served += float64(l.Served)
			asked += float64(l.Offered - l.Inside)
			ok = true
		}
	}
	return served, asked, ok
}

// availability is served well ÷ asked over the run (over 0), else the lowest in any sliding stretch.
func availability(o Observed, subject string, target float64, over time.Duration) outcome {
	asked, bad := rates(o.Table, subject)
	out := outcome{}
	var value float64
	if over > 0 {
		value = lowest(asked, bad, per(over, o.Table))
	} else if served, all, ok := account(o.Run, subject); ok && all > 0 {
		value = served / all
	} else {
		value = lowest(asked, bad, len(asked))
	}
	if math.IsNaN(value) {
		return noData("no request reached " + nameOf(subject))
	}
	out.held, out.value, out.excess = value >= target, percentText(value), target-value
	var below []int
	for i := range asked {
		if asked[i] > 0 && 1-bad[i]/asked[i] < target {
			below = append(below, i)
		}
	}
	out.total = steps(len(below), o.Table)
	slices.SortStableFunc(below, func(a, b int) int { return cmp.Compare(bad[b], bad[a]) })
	if len(below) > 0 {
		out.firstAt = o.Table.Times[below[0]]
	}
	if i := spent(asked, bad, target, per(over, o.Table)); i >= 0 {
		out.firstAt = o.Table.Times[i]
	}
	worst := below[:min(evidenceMax, len(below))]
	slices.Sort(worst)
	for _, i := range worst {
		out.evidence = append(out.evidence, Evidence{Time: o.Table.Times[i], Object: nameOf(subject), What: percentText(1-bad[i]/asked[i]) + " served well"})
	}
	return out
}

// spent is the step at which an availability was lost for good: the failures so far (n 0), or those of the last n steps,
// are more than the target leaves to the whole run, or to those steps. -1 when it never was.
func spent(asked, bad []float64, target float64, n int) int {
	var all, a, b float64
	for _, q := range asked {
		all += q
	}
	for i := range asked {
		a, b = a+asked[i], b+bad[i]
		switch {
		case n <= 0 && b > (1-target)*all:
			return i
		case n <= 0:
			continue
		case i >= n:
			a, b = a-asked[i-n], b-bad[i-n]
		}
		if i >= n-1 && a > 0 && 1-b/a < target {
			return i
		}
	}
	return -1
}

// nameOf is a subject without its key.
func nameOf(subject string) string {
	_, name, _ := strings.Cut(subject, "=")
	if name == "" {
		return "any load"
	}
	return name
}

// rates are requests asked and failed at every step, summed over the subject's series; 0 where nothing is known.
func rates(t record.Table, subject string) (asked, bad []float64) {
	asked, bad = make([]float64, len(t.Times)), make([]float64, len(t.Times))
	for _, s := range t.All(record.MetricRequests) {
		if !concerns(s, subject) {
			continue
		}
		errors := t.Like(record.MetricErrors, s.Labels)
		for i, r := range s.Values {
			if errors != nil && r > 0 && !math.IsNaN(errors[i]) {
				asked[i] += r
				bad[i] += r * errors[i]
			}
		}
	}
	return asked, bad
}

// lowest is the lowest availability over any n steps in a row; NaN when nothing was asked.
func lowest(asked, bad []float64, n int) float64 {
	n = min(max(n, 1), max(1, len(asked)))
	low := math.NaN()
	for end := n; end <= len(asked); end++ {
		var a, b float64
		for i := end - n; i < end; i++ {
			a, b = a+asked[i], b+bad[i]
		}
		if v := 1 - b/a; a > 0 && !(v >= low) {
			low = v
		}
	}
	return low
}

// burnRates are error ratio ÷ (1 − target) over the stretch that ends with each step; NaN when nothing was asked in it. The target
// is below 1.
func burnRates(t record.Table, subject string, target float64, over time.Duration) []float64 {
	asked, bad := rates(t, subject)
	n := min(max(1, per(over, t)), max(1, len(asked)))
	rates := make([]float64, len(asked))
	var a, b float64
	for i := range asked {
		a, b = a+asked[i], b+bad[i]
		if i >= n {
			a, b = a-asked[i-n], b-bad[i-n]
		}
		if rates[i] = math.NaN(); a > 0 {
			rates[i] = max(0, b/a) / (1 - target)
		}
	}
	return rates
}

// BurnSeries are the burn rates that expectations limit, by subject and stretch, in the order of the expectations.
func BurnSeries(expectations []v1alpha1.Expectation, t record.Table) []record.Series {
	var all []record.Series
	for _, e := range expectations {
		s := e.SLO
		if s == nil || s.Availability == nil || *s.Availability >= 1 {
			continue
		}
		subject, _ := subjectOf(s)
		for _, b := range burns(s.Burn) {
			labels := map[string]string{"over": b.Over.String()}
			if kind, name, ok := strings.Cut(subject, "="); ok {
				labels[kind] = name
			}
			all = append(all, record.Series{Metric: record.MetricBurnRate, Labels: labels, Values: burnRates(t, subject, float64(*s.Availability), b.Over.Duration)})
		}
	}
	return all
}

// burn is error ratio ÷ (1 − target) over sliding stretches, below the limit in all of them.
func burn(o Observed, subject string, target float64, limit v1alpha1.BurnLimit) outcome {
	if target >= 1 {
		return noData("an availability of 100 % leaves no budget to burn")
	}
	out := outcome{held: true}
	highest, over := math.NaN(), 0
	for i, rate := range burnRates(o.Table, subject, target, limit.Over.Duration) {
		if math.IsNaN(rate) {
			continue
		}
		if !(rate <= highest) {
			highest = rate
		}
		if rate >= limit.Limit {
			if over++; over == 1 {
				out.held, out.firstAt = false, o.Table.Times[i]
				out.evidence = append(out.evidence, Evidence{Time: o.Table.Times[i], Object: nameOf(subject), What: "burn rate " + number(rate)})
			}
		}
	}
	if math.IsNaN(highest) {
		return noData("no request reached " + nameOf(subject))
	}
	out.value, out.excess, out.total = number(highest), highest-limit.Limit, steps(over, o.Table)
	return out
}

// latency holds when the quantile, averaged by requests over each window, is within the limit in all but allow windows. A
// window in which requests came but none was answered exceeds every limit.
func latency(o Observed, subject, metric string, limit float64, window time.Duration, allow int) outcome {
	size := max(1, per(window, o.Table))
	out := outcome{}
	highest, broken, seen := math.NaN(), 0, 0
	for from := 0; from < len(o.Table.Times); from += size {
		to := min(from+size, len(o.Table.Times))
		value, asked := windowQuantile(o.Table, subject, metric, from, to)
		if !asked && math.IsNaN(value) {
			continue
		}
		seen++
		what := secondsText(value)
		if math.IsNaN(value) {
			value, what = math.Inf(1), "no request was answered"
		}
		if !(value <= highest) {
			highest = value
		}
		if value > limit {
			broken++
			if broken == allow+1 || broken == 1 {
				out.firstAt = o.Table.Times[from]
			}
			out.total += steps(to-from, o.Table)
			if len(out.evidence) < evidenceMax {
				out.evidence = append(out.evidence, Evidence{Time: o.Table.Times[from], Object: nameOf(subject), What: what})
			}
		}
	}
	if seen == 0 {
		return noData("no latency was recorded for " + nameOf(subject))
	}
	out.held, out.excess = broken <= allow, highest/limit
	out.value = secondsText(highest)
	if math.IsInf(highest, 1) {
		out.value = "no answers"
	}
	if broken > 0 {
		out.value += fmt.Sprintf(" at worst, over in %d of %d windows", broken, seen)
	}
	return out
}

func windowQuantile(t record.Table, subject, metric string, from, to int) (value float64, asked bool) {
	var sum, weight float64
	for _, s := range t.All(metric) {
		if !concerns(s, subject) {
			continue
		}
		rate := t.Like(record.MetricRequests, s.Labels)
		for i := from; i < to; i++ {
			w := 1.0
			if rate != nil {
				if w = rate[i]; !(w > 0) {
					continue
				}
				asked = true
			}
			if !math.IsNaN(s.Values[i]) {
				sum, weight = sum+w*s.Values[i], weight+w
			}
		}
	}
	if weight == 0 {
		return math.NaN(), asked
	}
	return sum / weight, asked
}
