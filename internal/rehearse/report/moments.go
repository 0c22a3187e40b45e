package report

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

const (
	worstMoments  = 3
	momentMargin  = 10 * time.Minute // shown before and after
	momentErrors  = 0.001            // share of failed requests that makes a bad step
	momentSlow    = 2.0              // × the median p95
	momentMerge   = 10 * time.Minute // bad stretches closer than this are one
	slowWeight    = 0.2              // a slow answer hurts less than none
	maxSlowFactor = 10.0
)

// moments finds the worst stretches: steps in which requests failed or were slow, weighted by how many, joined when
// close, and named after the most severe entry that began in them. Fewer than three are filled up with warnings outside them.
func moments(r *Report) []Moment {
	hurt := damage(r.Series)
	step := time.Duration(r.Series.StepSecond * float64(time.Second))
	type stretch struct {
		from, to int
		sum      float64
	}
	var found []stretch
	for i, h := range hurt {
		if h <= 0 {
			continue
		}
		if n := len(found); n > 0 && time.Duration(i-found[n-1].to)*step <= momentMerge {
			found[n-1].to, found[n-1].sum = i, found[n-1].sum+h
			continue
		}
		found = append(found, stretch{i, i, h})
	}
	slices.SortStableFunc(found, func(a, b stretch) int { return cmp.Compare(b.sum, a.sum) })
	list := []Moment{}
	for _, s := range found[:min(worstMoments, len(found))] {
		from, to := r.Series.Start.Add(time.Duration(s.from)*step), r.Series.Start.Add(time.Duration(s.to+1)*step)
		m := Moment{From: from.Add(-momentMargin), To: to.Add(momentMargin), Title: r.clock(from) + " requests failed or were slow"}
		r.name(&m, from.Add(-momentMargin), to)
		list = append(list, m)
	}
	for _, m := range severeMoments(r) {
		covered := slices.ContainsFunc(list, func(x Moment) bool { return m.From.Before(x.To) && x.From.Before(m.To) })
		if !covered && len(list) < worstMoments {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b Moment) int { return a.From.Compare(b.From) })
	return list
}

// damage is how much users suffered in each step: failed requests, and slow ones at a fifth.
func damage(s Series) []float64 {
	hurt := make([]float64, s.Steps)
	for _, c := range s.Columns {
		if c.Metric != record.MetricRequests || c.Labels["load"] == "" || len(c.Labels) != 1 {
			continue
		}
		errors := s.values(record.MetricErrors, "load", c.Labels["load"])
		p95 := s.values(record.MetricLatencyP95, "load", c.Labels["load"])
		usual := median(p95)
		for i := range hurt {
			if i >= len(c.Values) || math.IsNaN(c.Values[i]) {
				continue
			}
			if i < len(errors) && errors[i] > momentErrors {
				hurt[i] += c.Values[i] * errors[i]
			}
			if i < len(p95) && usual > 0 && p95[i] > momentSlow*usual {
				hurt[i] += slowWeight * c.Values[i] * min(maxSlowFactor, p95[i]/usual) / maxSlowFactor
			}
		}
	}
	return hurt
}

func median(values []float64) float64 {
	known := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return known[len(known)/2]
}

// values returns the series with this one label (none for label ""), or nil.
func (s Series) values(metric, label, value string) Values {
	for _, c := range s.Columns {
		if c.Metric == metric && (label == "" && len(c.Labels) == 0 || label != "" && len(c.Labels) == 1 && c.Labels[label] == value) {
			return c.Values
		}
	}
	return nil
}

// name titles a moment after the step that began in it, else its most severe entry.
func (r *Report) name(m *Moment, from, to time.Time) {
	var best *Entry
	rank := func(e *Entry) int {
		if e.Kind == record.KindStep {
			return -1
		}
		return severityRank(e.Severity)
	}
	for i := range r.Timeline {
		e := &r.Timeline[i]
		if e.Seed != r.Verdict.ShownSeed || e.T.Before(from) || e.T.After(to) || e.Severity == record.Info {
			continue
		}
		if best == nil || rank(e) < rank(best) {
			best = e
		}
	}
	if best != nil {
		m.Entry = best.ID
		m.Title = r.clock(best.T) + " " + best.text()
		if best.Kind == record.KindStep {
			m.Title = r.clock(best.T) + " " + best.Object
		}
	}
}

func severeMoments(r *Report) []Moment {
	list := []Moment{}
	for _, e := range r.Timeline {
		if e.Seed == r.Verdict.ShownSeed && severityRank(e.Severity) <= severityRank(record.Warning) {
			list = append(list, Moment{From: e.T.Add(-momentMargin), To: e.T.Add(2 * momentMargin), Title: r.clock(e.T) + " " + e.text(), Entry: e.ID})
		}
	}
	return list
}
