package causes

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

const (
	loadMoved   = 0.10 // of the last reported rate
	loadSmooth  = 5    // samples averaged, so that noise is no change
	errorsBegin = 0.01 // share of requests that fail
	errorsEnd   = 0.005
	errorsClose = 2 * time.Minute // a recorded entry this near makes the derived one needless
)

// Derive reads changes of load and of failures off the run's series, for recorders that sample them without saying so:
// an entry when a load's smoothed rate has moved by a tenth since the last one, and one when a load's or service's share
// of failures rises above 1 % or falls below 0.5 %. What the timeline already tells is not told again.
func Derive(run *record.Run) []record.Entry {
	t := run.Table()
	var list []record.Entry
	if !told(run.Timeline, record.KindLoad) {
		for _, s := range t.All(record.MetricRequests) {
			if load := s.Labels["load"]; load != "" && len(s.Labels) == 1 {
				list = append(list, loadChanges(t, load, s.Values)...)
			}
		}
	}
	for _, s := range t.All(record.MetricErrors) {
		if len(s.Labels) != 1 {
			continue
		}
		for _, e := range failures(t, s) {
			if !near(run.Timeline, e) {
				list = append(list, e)
			}
		}
	}
	x := NewIndex(run)
	slices.SortStableFunc(list, func(a, b record.Entry) int { // who is called before who calls
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(x.below(a.Object), x.below(b.Object)))
	})
	next := 0
	for _, e := range run.Timeline {
		next = max(next, e.ID)
	}
	for i := range list {
		list[i].ID = next + 1 + i
	}
	return list
}

func told(timeline []record.Entry, kind string) bool {
	for _, e := range timeline {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

func near(timeline []record.Entry, e record.Entry) bool {
	for _, x := range timeline {
		if x.Kind == e.Kind && x.Time.Sub(e.Time).Abs() <= errorsClose && (x.Object == e.Object || ServiceOf(x) != "" && ServiceOf(x) == ServiceOf(e)) {
			return true
		}
	}
	return false
}

func loadChanges(t record.Table, load string, values []float64) []record.Entry {
	var list []record.Entry
	last := math.NaN()
	for i := loadSmooth - 1; i < len(values); i++ {
		sum, n := 0.0, 0.0
		for _, v := range values[i-loadSmooth+1 : i+1] {
			if !math.IsNaN(v) {
				sum, n = sum+v, n+1
			}
		}
		if n == 0 {
			continue
		}
		rate := sum / n
		if math.IsNaN(last) {
			last = rate
			continue
		}
		if math.Abs(rate-last) < loadMoved*max(last, rate) || rate == last {
			continue
		}
		list = append(list, record.Entry{Time: t.Times[i].Add(-t.Step), Kind: record.KindLoad, Object: load, Severity: record.Info,
			What: fmt.Sprintf("%s goes from %s to %s requests a second", load, short(last), short(rate)),
			Data: map[string]string{"load": load, "from": short(last), "to": short(rate)}})
		last = rate
	}
	return list
}

// percent writes a share with two digits, and all of it only when it is.
func percent(share float64) string {
	switch p := 100 * share; {
	case share >= 1:
		return "100 %"
	case p >= 99.5:
		return "99.9 %"
	case p >= 9.95:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

// short writes a rate with three digits.
func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func failures(t record.Table, s record.Series) []record.Entry {
	name := s.Labels["service"] + s.Labels["load"]
	data := func(state string) map[string]string {
		d := map[string]string{"state": state}
		for k, v := range s.Labels {
			d[k] = v
		}
		return d
	}
	var list []record.Entry
	failing := false
	for i, v := range s.Values {
		switch {
		case !failing && v >= errorsBegin:
			failing = true
			list = append(list, record.Entry{Time: t.Times[i], Kind: record.KindErrors, Object: name, Severity: record.Severe, Data: data("begins"),
				What: fmt.Sprintf("%s fails %s of its requests", name, percent(v))})
		case failing && v < errorsEnd:
			failing = false
			list = append(list, record.Entry{Time: t.Times[i], Kind: record.KindErrors, Object: name, Severity: record.Notable, Data: data("ends"),
				What: name + " answers again"})
		}
	}
	return list
}
