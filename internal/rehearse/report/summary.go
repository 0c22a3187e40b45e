package report

import (
	"maps"
	"math"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

const (
	lower  = expect.Lower
	higher = expect.Higher

	fewSeeds = 5 // below it every value is shown instead of percentiles
)

// summarise measures every seed and joins the results. A metric that a seed lacks is null there.
func summarise(runs []expect.Observed, results []expect.Result) map[string]Metric {
	per := make([]map[string]expect.Figure, len(runs))
	shape := map[string]expect.Figure{}
	for i, o := range runs {
		per[i] = o.Figures
		if results != nil {
			per[i] = maps.Clone(o.Figures)
			per[i]["slo_minutes_missed"] = expect.Figure{Value: minutesMissed(results, o.Run.Start.Seed), Unit: "min", Better: lower}
		}
		maps.Copy(shape, per[i])
	}
	out := make(map[string]Metric, len(shape))
	for name, f := range shape {
		m := Metric{Unit: f.Unit, Better: f.Better, PerSeed: make([]Number, len(runs))}
		var known []float64
		for i := range runs {
			m.PerSeed[i] = Missing
			if g, ok := per[i][name]; ok && !math.IsNaN(g.Value) && !math.IsInf(g.Value, 0) {
				m.PerSeed[i] = Number(significant(g.Value, summaryDigits))
				known = append(known, g.Value)
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

// minutesMissed adds the time in which service level expectations did not hold in a seed.
func minutesMissed(results []expect.Result, seed int64) (minutes float64) {
	for _, e := range results {
		for _, in := range e.Seeds {
			if e.Kind == expect.KindSLO && in.Seed == seed {
				minutes += in.TotalSeconds / 60
			}
		}
	}
	return minutes
}
