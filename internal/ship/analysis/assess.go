package analysis

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// retained is how many measurements of a metric are kept where no rule says otherwise.
const retained = 10

// Event to be told about a run.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Verdict is how a run stands.
type Verdict struct {
	Status argo.AnalysisRunStatus
	Events []Event
	// Dropped are measurements that are no longer kept; the Jobs that made them can go.
	Dropped []argo.Measurement
}

// Result is a measurement that was made, or has begun.
type Result struct {
	Metric      string
	Number      int // as in the Task
	Measurement argo.Measurement
	// Metadata of the metric's provider, told once.
	Metadata map[string]string
	// Fatal is why the whole run cannot go on, "" when it can.
	Fatal string
}

// Abandon ends a run that cannot go on.
func Abandon(run *argo.AnalysisRun, why string, now time.Time) Verdict {
	v := Verdict{Status: *run.Status.DeepCopy()}
	if !v.Status.Phase.Completed() {
		v.conclude(argo.AnalysisPhaseError, why, now)
	}
	return v
}

// Record enters results into the status of a run. A result that is not of the measurement that is awaited (it was
// recorded before, or the metric has ended) is left out.
func Record(run *argo.AnalysisRun, results []Result) argo.AnalysisRunStatus {
	status := *run.Status.DeepCopy()
	if status.Phase.Completed() {
		return status
	}
	for i := range results {
		enter(&status, &results[i])
	}
	return status
}

func enter(status *argo.AnalysisRunStatus, got *Result) {
	r := resultOf(status, got.Metric)
	if r == nil {
		if got.Number != 1 {
			return
		}
		status.MetricResults = append(status.MetricResults, argo.MetricResult{Name: got.Metric, Phase: argo.AnalysisPhaseRunning, Metadata: got.Metadata})
		r = &status.MetricResults[len(status.MetricResults)-1]
	}
	if r.Phase.Completed() || int(r.Count+r.Error)+1 != got.Number {
		return
	}
	if begun := last(r); begun != nil && begun.FinishedAt == nil {
		*begun = got.Measurement
	} else {
		r.Measurements = append(r.Measurements, got.Measurement)
	}
	if got.Measurement.FinishedAt == nil {
		return
	}
	r.ConsecutiveError, r.Count = next(got.Measurement.Phase == argo.AnalysisPhaseError, r.ConsecutiveError), r.Count+1
	r.ConsecutiveSuccess = next(got.Measurement.Phase == argo.AnalysisPhaseSuccessful, r.ConsecutiveSuccess)
	switch got.Measurement.Phase {
	case argo.AnalysisPhaseSuccessful:
		r.Successful++
	case argo.AnalysisPhaseFailed:
		r.Failed++
	case argo.AnalysisPhaseInconclusive:
		r.Inconclusive++
	default: // errors are not counted: they say nothing about the metric
		r.Error++
		r.Count--
	}
}

// next counts what happens in a row.
func next(again bool, n int32) int32 {
	if again {
		return n + 1
	}
	return 0
}

// Assess judges a run by its measurements: the rules of each metric, then the worst of those that are not dry runs. It is
// pure, and judging its own outcome again changes nothing.
func Assess(run *argo.AnalysisRun, now time.Time) Verdict {
	v := Verdict{Status: *run.Status.DeepCopy()}
	if run.Status.Phase.Completed() {
		return v
	}
	metrics, err := read(&run.Spec)
	if err != nil {
		v.conclude(argo.AnalysisPhaseError, err.Error(), now)
		return v
	}
	if v.Status.StartedAt == nil {
		v.Status.StartedAt = &metav1.Time{Time: now}
	}
	v.arrange(metrics)
	ending := terminating(run)
	v.judge(metrics, ending)
	if !ending && wentBad(&v.Status) { // one bad metric ends the others
		ending = true
		v.judge(metrics, ending)
	}
	phase, message := v.sum(metrics, run.Spec.Terminate, ending)
	if phase.Completed() {
		v.conclude(phase, message, now)
	} else if phase != v.Status.Phase {
		v.Status.Phase, v.Status.Message = phase, message
	}
	v.trim(metrics)
	return v
}

// arrange puts the results into the order of the spec: measurements made side by side end in any order.
func (v *Verdict) arrange(metrics []metric) {
	place := func(r argo.MetricResult) int {
		if i := slices.IndexFunc(metrics, func(m metric) bool { return m.Name == r.Name }); i >= 0 {
			return i
		}
		return len(metrics) // of a metric that the spec has lost
	}
	slices.SortStableFunc(v.Status.MetricResults, func(a, b argo.MetricResult) int { return place(a) - place(b) })
}

func (v *Verdict) conclude(phase argo.AnalysisPhase, message string, now time.Time) {
	v.Status.Phase, v.Status.Message = phase, message
	if v.Status.CompletedAt == nil {
		v.Status.CompletedAt = &metav1.Time{Time: now}
	}
	v.Events = append(v.Events, Event{Warning: alarming(phase), Reason: "AnalysisRun" + string(phase), Message: "Analysis Completed. Result: " + string(phase)})
}

// judge gives each metric that has been measured its phase.
func (v *Verdict) judge(metrics []metric, ending bool) {
	for i := range metrics {
		m := &metrics[i]
		r := resultOf(&v.Status, m.Name)
		if r == nil {
			continue
		}
		r.DryRun = m.dry
		if r.Phase.Completed() {
			continue
		}
		phase, why := m.phase(r, ending)
		if phase == r.Phase {
			continue
		}
		r.Phase = phase
		if l := last(r); l != nil {
			r.Message = l.Message
		}
		if !phase.Completed() {
			continue
		}
		if m.dry && why != "" {
			r.Message = fmt.Sprintf("Metric assessed %s due to %s", phase, why)
		}
		v.Events = append(v.Events, Event{Warning: alarming(phase), Reason: "Metric" + string(phase),
			Message: fmt.Sprintf("Metric '%s' Completed. Result: %s", m.Name, phase)})
	}
}

// phase of a metric, and the limit that was passed when it is not a good one.
func (m *metric) phase(r *argo.MetricResult, ending bool) (argo.AnalysisPhase, string) {
	l := last(r)
	switch {
	case l == nil && ending:
		return argo.AnalysisPhaseSuccessful, ""
	case l == nil:
		return argo.AnalysisPhasePending, ""
	case l.FinishedAt == nil:
		return argo.AnalysisPhaseRunning, ""
	}
	if phase, why := m.passed(r); phase != "" {
		return phase, why
	}
	switch {
	case m.successLimit > 0 && int(r.ConsecutiveSuccess) >= m.successLimit:
		return argo.AnalysisPhaseSuccessful, ""
	case m.count > 0 && int(r.Count) >= m.count:
		return m.atCount(r)
	case ending:
		return argo.AnalysisPhaseSuccessful, ""
	}
	return argo.AnalysisPhaseRunning, ""
}

// passed is the last of the three limits that has been passed.
func (m *metric) passed(r *argo.MetricResult) (phase argo.AnalysisPhase, why string) {
	if m.failureLimit >= 0 && int(r.Failed) > m.failureLimit {
		phase, why = argo.AnalysisPhaseFailed, fmt.Sprintf("failed (%d) > failureLimit (%d)", r.Failed, m.failureLimit)
	}
	if int(r.Inconclusive) > m.inconclusiveLimit {
		phase, why = argo.AnalysisPhaseInconclusive, fmt.Sprintf("inconclusive (%d) > inconclusiveLimit (%d)", r.Inconclusive, m.inconclusiveLimit)
	}
	if int(r.ConsecutiveError) > m.errorLimit {
		phase, why = argo.AnalysisPhaseError, fmt.Sprintf("consecutiveErrors (%d) > consecutiveErrorLimit (%d)", r.ConsecutiveError, m.errorLimit)
	}
	return phase, why
}

// atCount is the phase of a metric that has been measured as often as it asks for without passing a limit.
func (m *metric) atCount(r *argo.MetricResult) (argo.AnalysisPhase, string) {
	if m.successLimit == 0 {
		return argo.AnalysisPhaseSuccessful, ""
	}
	why := fmt.Sprintf("consecutiveSuccess (%d) < consecutiveSuccessLimit (%d) after %d measurements", r.ConsecutiveSuccess, m.successLimit, r.Count)
	if m.failureLimit < 0 {
		return argo.AnalysisPhaseFailed, why
	}
	return argo.AnalysisPhaseInconclusive, why
}

// sum makes one phase of those of the metrics and counts them.
func (v *Verdict) sum(metrics []metric, requested, ending bool) (worst argo.AnalysisPhase, message string) {
	if requested {
		message = "Run Terminated"
	}
	waiting, running := false, false
	run, dry := argo.RunSummary{}, argo.RunSummary{}
	for i := range metrics {
		m := &metrics[i]
		summary := &run
		if m.dry {
			summary = &dry
		}
		summary.Count++
		r := resultOf(&v.Status, m.Name)
		if r == nil || !r.Phase.Completed() {
			waiting = true
			running = running || r != nil && last(r) != nil && last(r).FinishedAt == nil
			continue
		}
		tally(summary, r.Phase)
		phase := r.Phase
		if m.dry {
			phase = argo.AnalysisPhaseSuccessful
		}
		if worst == "" || Worse(worst, phase) {
			if worst = phase; phase != argo.AnalysisPhaseSuccessful {
				message = m.why(r)
			}
		}
	}
	v.Status.RunSummary, v.Status.DryRunSummary = run, &dry
	switch {
	case running || waiting && !ending || worst == "" && !ending:
		return argo.AnalysisPhaseRunning, ""
	case worst == "": // told to end before anything was measured
		return argo.AnalysisPhaseSuccessful, message
	}
	return worst, message
}

// why a metric that counts went bad, as a sentence.
func (m *metric) why(r *argo.MetricResult) string {
	_, limit := m.passed(r)
	if limit == "" {
		_, limit = m.atCount(r)
	}
	text := fmt.Sprintf("Metric %q assessed %s", m.Name, r.Phase)
	if limit != "" {
		text += " due to " + limit
	}
	if r.Message != "" {
		text += fmt.Sprintf(": \"Error Message: %s\"", r.Message)
	}
	return text
}

func tally(s *argo.RunSummary, phase argo.AnalysisPhase) {
	switch phase {
	case argo.AnalysisPhaseFailed:
		s.Failed++
	case argo.AnalysisPhaseInconclusive:
		s.Inconclusive++
	case argo.AnalysisPhaseError:
		s.Error++
	default:
		s.Successful++
	}
}

// trim forgets the oldest measurements of each metric.
func (v *Verdict) trim(metrics []metric) {
	for i := range metrics {
		r := resultOf(&v.Status, metrics[i].Name)
		if r == nil || len(r.Measurements) <= metrics[i].keep {
			continue
		}
		old := len(r.Measurements) - metrics[i].keep
		v.Dropped = append(v.Dropped, r.Measurements[:old]...)
		r.Measurements = slices.Clone(r.Measurements[old:])
	}
}

// order of phases from best to worst.
var order = []argo.AnalysisPhase{argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseRunning, argo.AnalysisPhasePending,
	argo.AnalysisPhaseInconclusive, argo.AnalysisPhaseError, argo.AnalysisPhaseFailed}

// Worse says whether phase b is worse than phase a.
func Worse(a, b argo.AnalysisPhase) bool { return slices.Index(order, b) > slices.Index(order, a) }

func alarming(p argo.AnalysisPhase) bool {
	return p == argo.AnalysisPhaseError || p == argo.AnalysisPhaseFailed
}

// Equal says whether two specs ask for the same measurements, so that a run of the one can stand for the other.
func Equal(a, b argo.AnalysisRunSpec) bool {
	a.Terminate, b.Terminate, a.TTLStrategy, b.TTLStrategy = false, false, nil, nil
	left, errA := json.Marshal(a)
	right, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(left) == string(right)
}
