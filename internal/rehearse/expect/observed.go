package expect

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/causes"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Observed is one run made ready for evaluation; Observe makes it.
type Observed struct {
	Run     *record.Run // with its timeline folded and linked
	Table   record.Table
	Bill    cost.Bill
	Figures map[string]Figure

	index *causes.Index
}

// Observe prepares a run: its timeline is completed from the series, folded and linked to causes, its samples turned into series, its bill made,
// its summary figures computed. The run given is not changed.
func Observe(run record.Run, prices cost.Prices) Observed {
	run.Timeline = append(slices.Clone(run.Timeline), causes.Derive(&run)...)
	run.Timeline = causes.Annotate(&run)
	o := Observed{Run: &run, Table: priced(&run, prices), Bill: cost.Charge(&run, prices), index: causes.NewIndex(&run)}
	o.index.Conditions(run.Timeline)
	for _, e := range run.Timeline {
		o.index.Add(e)
	}
	o.Figures = Measure(o)
	return o
}

// priced is the run's table with what it cost an hour, unless the recorder knew.
func priced(run *record.Run, prices cost.Prices) record.Table {
	t := run.Table()
	if len(run.Nodes) == 0 || t.Find(record.MetricCostPerHour, "", "") != nil {
		return t
	}
	return t.With(record.Series{Metric: record.MetricCostPerHour, Values: cost.Hourly(run, prices, t.Times, t.Step)})
}

// why finds the cause chain of something that began at a moment: the entry most likely behind it, then that one's
// causes. subject is as in Recovery; data adds evidence for the rules.
func (o Observed) why(at time.Time, subject string, data map[string]string) []int {
	e := record.Entry{ID: -1, Time: at, Kind: record.KindExpectation, Severity: record.Severe, Data: map[string]string{"state": "begins"}}
	for k, v := range data {
		e.Data[k] = v
	}
	switch key, value, _ := strings.Cut(subject, "="); key {
	case "service":
		e.Data["service"] = trimRoute(value, 2)
	case "load":
		e.Object = trimRoute(value, 1)
	case "workload":
		e.Data["workload"] = value
	}
	linked := causes.Link(o.index, e)
	if len(linked) == 0 {
		return nil
	}
	return causes.Chain(o.Run.Timeline, linked[0])
}

// trimRoute cuts the route off namespace/name/route (parts 2) or load/route (parts 1).
func trimRoute(s string, parts int) string {
	if p := strings.Split(s, "/"); len(p) > parts {
		return strings.Join(p[:parts], "/")
	}
	return s
}

// PendingTime is how long a pod waited for a place within the measured time, and whether it got one. ok is false for pods
// that were placed before, and for those that never count: created after the end.
func PendingTime(run *record.Run, p record.Pod) (wait time.Duration, placed, ok bool) {
	from, to := run.Start.PlayFrom, Until(run)
	created := p.Created
	if created.Before(from) {
		created = from // waiting during settling is not measured
	}
	end := p.Scheduled
	placed = !end.IsZero() && !end.After(to)
	if !placed {
		end = to
		if !p.Gone.IsZero() && p.Gone.Before(end) {
			end = p.Gone
		}
	}
	if end.Before(from) || created.After(to) {
		return 0, false, false
	}
	return max(0, end.Sub(created)), placed, true
}

// Until is the end of what was measured: the planned end, or the last sign of life of a run that broke off.
func Until(run *record.Run) time.Time {
	to := run.Start.PlayTo
	switch {
	case run.End == nil && len(run.Samples) > 0:
		to = run.Samples[len(run.Samples)-1].Time
	case run.End != nil && run.End.Incomplete != "" && run.End.Time.Before(to):
		to = run.End.Time
	}
	return to
}

// Disturbs tells whether a step's action can hurt users, so that recovery from it means something.
func Disturbs(action string) bool {
	return action != "note" && action != "assert" && action != ""
}

// What recovery is measured with: the level before is a mean over before, and it must stay back for steady.
const (
	recoveryBefore = 10 * time.Minute
	recoverySteady = 5 * time.Minute
	recoveryTo     = 0.99
)

// Recovery is the time from a moment until the share of requests served well stays, for five minutes, at 99 % or more of
// its mean over the ten minutes before. subject is "load=NAME", "service=NAMESPACE/NAME", or "" for all loads together.
// ok is false when it never does in the recorded time, or there is no data. A level that never fell recovers in 0.
func Recovery(o Observed, after time.Time, subject string) (time.Duration, bool) {
	return recovery(o, after, subject, recoveryTo)
}

func recovery(o Observed, after time.Time, subject string, share float64) (time.Duration, bool) {
	level := served(o.Table, subject)
	before, n := 0.0, 0
	for i, t := range o.Table.Times {
		if !t.After(after) && t.After(after.Add(-recoveryBefore)) && !math.IsNaN(level[i]) {
			before, n = before+level[i], n+1
		}
	}
	if n == 0 {
		return 0, false
	}
	limit := share * before / float64(n)
	need := max(1, int(math.Ceil(recoverySteady.Seconds()/o.Table.Step.Seconds())))
	steady, sinceStart := 0, time.Time{}
	for i, t := range o.Table.Times {
		if !t.After(after) {
			continue
		}
		if math.IsNaN(level[i]) || level[i] < limit {
			steady = 0
			continue
		}
		if steady == 0 {
			sinceStart = t.Add(-o.Table.Step)
		}
		if steady++; steady == need {
			return max(0, sinceStart.Sub(after)), true
		}
	}
	return 0, false
}

// served is the share of requests served well at every step: 1 − errors, weighted by rate over the subject's series.
func served(t record.Table, subject string) []float64 {
	level := make([]float64, len(t.Times))
	asked, bad := make([]float64, len(t.Times)), make([]float64, len(t.Times))
	for _, rate := range t.All(record.MetricRequests) {
		if !concerns(rate, subject) {
			continue
		}
		errors := t.Like(record.MetricErrors, rate.Labels)
		for i := range level {
			if errors == nil || math.IsNaN(rate.Values[i]) || math.IsNaN(errors[i]) {
				continue
			}
			asked[i] += rate.Values[i]
			bad[i] += rate.Values[i] * errors[i]
		}
	}
	for i := range level {
		level[i] = math.NaN()
		if asked[i] > 0 {
			level[i] = 1 - bad[i]/asked[i]
		}
	}
	return level
}

// concerns tells whether a series is the subject's own: its label, and no further one such as a route.
func concerns(s record.Series, subject string) bool {
	if subject == "" {
		_, load := s.Labels["load"]
		return load && len(s.Labels) == 1
	}
	key, value, _ := strings.Cut(subject, "=")
	route := ""
	if key == "service" && strings.Count(value, "/") == 2 || key == "load" && strings.Contains(value, "/") {
		cut := strings.LastIndex(value, "/")
		value, route = value[:cut], value[cut+1:]
	}
	if s.Labels[key] != value || s.Labels["route"] != route {
		return false
	}
	want := 1
	if route != "" {
		want = 2
	}
	return len(s.Labels) == want
}
