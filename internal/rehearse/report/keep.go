package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// KeepSeries keeps the n series that tell most, and says in the limits how many are gone. All are kept when n is 0 or
// there are no more.
func (r *Report) KeepSeries(n int) {
	if n <= 0 || len(r.Series.Columns) <= n {
		return
	}
	columns := slices.Clone(r.Series.Columns)
	slices.SortStableFunc(columns, func(a, b Column) int { return cmp.Compare(metricRank(a.Metric), metricRank(b.Metric)) })
	r.Series.Columns = cut(columns, n, "series", "report.series keeps the metrics that say most", &r.Limits)
	slices.SortStableFunc(r.Series.Columns, func(a, b Column) int { return cmp.Compare(a.Metric, b.Metric) })
}

// Hide takes timeline entries of these kinds out of the report; links to them go with them. The verdict was made with all.
func (r *Report) Hide(kinds []string) {
	if len(kinds) == 0 {
		return
	}
	type key struct {
		seed int64
		id   int
	}
	hidden := map[key]bool{}
	r.Timeline = slices.DeleteFunc(r.Timeline, func(e Entry) bool {
		if slices.Contains(kinds, e.Kind) {
			hidden[key{e.Seed, e.ID}] = true
		}
		return hidden[key{e.Seed, e.ID}]
	})
	if len(hidden) == 0 {
		return
	}
	for i := range r.Timeline {
		e := &r.Timeline[i]
		e.Causes = slices.DeleteFunc(e.Causes, func(id int) bool { return hidden[key{e.Seed, id}] })
	}
	r.Limits = append(r.Limits, record.Limit{What: fmt.Sprintf("%d timeline entries are hidden", len(hidden)), Why: "report.hide names their kinds"})
}
