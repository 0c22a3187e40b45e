package record

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Table is a run's samples turned on their side: one dense row of values a series. It is what evaluations read.
type Table struct {
	Times  []time.Time // ends of the steps
	Step   time.Duration
	Series []Series // sorted by metric, then labels
}

// Series is one row of a Table. Values has one number a step; NaN is "no data".
type Series struct {
	Metric string
	Labels map[string]string
	Values []float64
}

// Label writes the labels as "service=shop/web", sorted by name; "" without labels.
func (s Series) Label() string {
	parts := make([]string, 0, len(s.Labels))
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		parts = append(parts, k+"="+s.Labels[k])
	}
	return strings.Join(parts, ",")
}

// Table builds the table of the measured time: samples that end at or before Start.PlayFrom are settling and left out.
func (r *Run) Table() Table {
	t := Table{Step: r.Start.SampleStep}
	var samples []Sample
	for _, s := range r.Samples {
		if s.Time.After(r.Start.PlayFrom) {
			samples = append(samples, s)
			t.Times = append(t.Times, s.Time)
		}
	}
	row := make(map[int]int, len(r.Columns))
	for _, c := range r.Columns {
		row[c.ID] = len(t.Series)
		values := make([]float64, len(samples))
		for i := range values {
			values[i] = math.NaN()
		}
		t.Series = append(t.Series, Series{Metric: c.Metric, Labels: c.Labels, Values: values})
	}
	for i, s := range samples {
		for _, v := range s.Values {
			if k, ok := row[v.ID]; ok && !math.IsInf(v.Value, 0) {
				t.Series[k].Values[i] = v.Value
			}
		}
	}
	return t.With()
}

// With is the table with more series, each of as many values as there are steps.
func (t Table) With(more ...Series) Table {
	t.Series = append(slices.Clone(t.Series), more...)
	slices.SortStableFunc(t.Series, func(a, b Series) int {
		return cmp.Or(strings.Compare(a.Metric, b.Metric), strings.Compare(a.Label(), b.Label()))
	})
	return t
}

// Find returns the values of the series with exactly this label, or nil. With name "" it finds the unlabelled series.
func (t Table) Find(metric, name, value string) []float64 {
	for _, s := range t.Series {
		if s.Metric != metric {
			continue
		}
		if name == "" && len(s.Labels) == 0 || name != "" && len(s.Labels) == 1 && s.Labels[name] == value {
			return s.Values
		}
	}
	return nil
}

// All returns every series of a metric, sorted by labels.
func (t Table) All(metric string) []Series {
	var found []Series
	for _, s := range t.Series {
		if s.Metric == metric {
			found = append(found, s)
		}
	}
	return found
}

// Like returns the values of the series with exactly these labels, or nil.
func (t Table) Like(metric string, labels map[string]string) []float64 {
	for _, s := range t.Series {
		if s.Metric == metric && maps.Equal(s.Labels, labels) {
			return s.Values
		}
	}
	return nil
}
