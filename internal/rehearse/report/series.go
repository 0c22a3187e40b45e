package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/fairway-dev/fairway/internal/rehearse/causes"
	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// metricOrder ranks metrics by how much of the story they tell; what a crowded report drops comes from the end.
var metricOrder = []string{
	record.MetricRequests, record.MetricErrors, record.MetricLatencyP95, record.MetricNewWeight, record.MetricReady, record.MetricDesired,
	record.MetricNodes, record.MetricCostPerHour, record.MetricPodsPending, record.MetricCPUDemand, record.MetricCPUCapacity,
	record.MetricCPUUsed, record.MetricThrottled, record.MetricLatencyP50, record.MetricLatencyP99, record.MetricBalance,
	record.MetricCPURequested, record.MetricMemoryUsed, record.MetricPodPending, record.MetricBurnRate,
}

func metricRank(metric string) int {
	if i := slices.Index(metricOrder, metric); i >= 0 {
		return i
	}
	return len(metricOrder)
}

// series packs the shown seed's table, with the range over all seeds beside it.
func series(runs []expect.Observed, shown int, limits *[]record.Limit) Series {
	t := runs[shown].Table
	s := Series{Start: runs[shown].Run.Start.PlayFrom.UTC(), StepSecond: t.Step.Seconds(), Steps: len(t.Times), Seed: runs[shown].Run.Start.Seed, Columns: []Column{}}
	for _, row := range t.Series {
		if !anyKnown(row.Values) {
			continue
		}
		c := Column{Metric: row.Metric, Labels: row.Labels, Values: row.Values}
		if len(runs) > 1 {
			c.Low, c.High = envelope(runs, row, len(t.Times))
		}
		s.Columns = append(s.Columns, c)
	}
	if len(s.Columns) > maxColumns {
		slices.SortStableFunc(s.Columns, func(a, b Column) int { return cmp.Compare(metricRank(a.Metric), metricRank(b.Metric)) })
		s.Columns = cut(s.Columns, maxColumns, "series", "the metrics that say least are left out", limits)
		slices.SortStableFunc(s.Columns, func(a, b Column) int { return cmp.Compare(a.Metric, b.Metric) })
	}
	return s
}

func anyKnown(values []float64) bool {
	return slices.ContainsFunc(values, func(v float64) bool { return !math.IsNaN(v) })
}

// envelope is the range of a series over the seeds: all of it, or the 5th to 95th percentile from five seeds on.
func envelope(runs []expect.Observed, row record.Series, steps int) (low, high Values) {
	low, high = make(Values, steps), make(Values, steps)
	rows := make([][]float64, 0, len(runs))
	for _, o := range runs {
		if v := o.Table.Like(row.Metric, row.Labels); v != nil {
			rows = append(rows, v)
		}
	}
	values := make([]float64, 0, len(rows))
	for i := range steps {
		values = values[:0]
		for _, v := range rows {
			if i < len(v) && !math.IsNaN(v[i]) {
				values = append(values, v[i])
			}
		}
		switch {
		case len(values) == 0:
			low[i], high[i] = math.NaN(), math.NaN()
		case len(values) < fewSeeds:
			low[i], high[i] = slices.Min(values), slices.Max(values)
		default:
			low[i], high[i] = stat.Quantile(values, .05), stat.Quantile(values, .95)
		}
	}
	return low, high
}

// severityRank orders entries by how much they matter.
func severityRank(s record.Severity) int {
	return slices.Index([]record.Severity{record.Severe, record.Warning, record.Notable, record.Info}, s)
}

// entries makes the report's timeline: all of the shown seed as far as it fits, the notable rest of the others.
func entries(runs []expect.Observed, shown int, limits *[]record.Limit) []Entry {
	list := keep(runs[shown].Run, maxEntries, record.Info, limits)
	for i, o := range runs {
		if i != shown {
			list = append(list, keep(o.Run, maxEntriesOther, record.Notable, nil)...)
		}
	}
	slices.SortStableFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Seed, b.Seed), a.T.Compare(b.T), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// keep picks the n most severe entries that are at least as severe as from, and everything their cause chains need.
func keep(run *record.Run, n int, from record.Severity, limits *[]record.Limit) []Entry {
	var ids []int
	for _, e := range run.Timeline {
		if severityRank(e.Severity) <= severityRank(from) {
			ids = append(ids, e.ID)
		}
	}
	if len(ids) > n {
		if limits != nil {
			*limits = append(*limits, record.Limit{What: fmt.Sprintf("%d of %d timeline entries left out", len(ids)-n, len(ids)), Why: "the most severe, and the first of equal ones, are kept"})
		}
		slices.SortStableFunc(ids, func(a, b int) int {
			return cmp.Compare(severityRank(run.Timeline[a-1].Severity), severityRank(run.Timeline[b-1].Severity))
		})
		ids = ids[:n]
	}
	wanted := map[int]bool{}
	for _, id := range ids {
		for _, c := range causes.Chain(run.Timeline, id) {
			wanted[c] = true
			for _, beside := range run.Timeline[c-1].Causes {
				wanted[beside] = true
			}
		}
	}
	list := make([]Entry, 0, len(wanted))
	for _, e := range run.Timeline {
		if wanted[e.ID] {
			list = append(list, entry(run.Start.Seed, e, wanted))
		}
	}
	return list
}

func entry(seed int64, e record.Entry, kept map[int]bool) Entry {
	linked := []int{}
	for _, c := range e.Causes {
		if kept[c] {
			linked = append(linked, c)
		}
	}
	return Entry{ID: e.ID, Seed: seed, T: e.Time, Until: e.Until, Kind: e.Kind, Object: e.Object, Owner: e.Owner, What: e.What, Why: e.Why,
		Causes: linked, Unknown: len(e.Causes) == 0 && causes.Expected(e), Severity: e.Severity, Actor: e.Actor, Count: e.Count, Data: e.Data}
}
