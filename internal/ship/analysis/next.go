package analysis

import (
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

const (
	// errorInterval is the time until a measurement that could not be made is made again.
	errorInterval = 10 * time.Second
	// finest is the shortest time between two measurements: the API keeps times to the second only, so a shorter interval
	// could not be told from none.
	finest = time.Second
)

// Do is what is to be done about a metric.
type Do int

// What there is to do.
const (
	Measure   Do = iota // a new measurement
	Resume              // look how a measurement that has begun is doing
	Terminate           // end a measurement that has begun
)

// Task is one thing to do about one metric of a run.
type Task struct {
	Do     Do
	Name   string // of the metric, arguments in place
	Index  int    // of the metric in the spec
	Kind   string // of its provider
	Number int    // of the measurement, from 1
	Keep   int    // measurements that are kept of the metric
	Begun  *argo.Measurement
}

// Plan says what is to be done about a run now.
type Plan struct {
	Tasks []Task
	// RequeueAt is when to look again although nothing changes; zero = never.
	RequeueAt time.Time
	// Delete is set when the run has outlived its ttlStrategy.
	Delete bool
}

// Next says which measurements of a run are due and when the next one will be. It is pure: the same run at the same time
// always gives the same plan, so a controller that starts again goes on where another stopped. A measurement is due at the
// run's start plus initialDelay, then an interval after the end of the one before, or 10 s after one that could not be made.
// A run that terminates, by request or because a metric that is not a dry run went bad, measures nothing more.
func Next(run *argo.AnalysisRun, now time.Time) Plan {
	if run.Status.Phase.Completed() {
		return outlived(run, now)
	}
	metrics, err := read(&run.Spec)
	if err != nil {
		return Plan{} // Assess says why
	}
	var p Plan
	ending := terminating(run)
	for i := range metrics {
		m := &metrics[i]
		result := resultOf(&run.Status, m.Name)
		if result != nil && result.Phase.Completed() {
			continue
		}
		task := Task{Name: m.Name, Index: m.index, Kind: Kind(&m.Metric), Number: 1, Keep: m.keep}
		if result != nil {
			task.Number = int(result.Count+result.Error) + 1
		}
		begun := last(result)
		switch {
		case begun != nil && begun.FinishedAt == nil:
			task.Begun = begun
			if task.Do = Resume; ending {
				task.Do = Terminate
			} else if task.Kind != Job && begun.ResumeAt != nil && begun.ResumeAt.After(now) {
				p.wakeAt(begun.ResumeAt.Time)
				continue
			}
			p.Tasks = append(p.Tasks, task)
		case ending || m.count > 0 && result != nil && int(result.Count) >= m.count:
		default:
			if at := m.due(run, begun, now); at.After(now) {
				p.wakeAt(at)
			} else {
				p.Tasks = append(p.Tasks, task)
			}
		}
	}
	return p
}

func (p *Plan) wakeAt(t time.Time) {
	if p.RequeueAt.IsZero() || t.Before(p.RequeueAt) {
		p.RequeueAt = t
	}
}

// due is when the next measurement of a metric is to be made; before is the one before.
func (m *metric) due(run *argo.AnalysisRun, before *argo.Measurement, now time.Time) time.Time {
	if before == nil {
		if run.Status.StartedAt == nil {
			return now.Add(m.initialDelay)
		}
		return run.Status.StartedAt.Add(m.initialDelay)
	}
	wait := m.interval
	if before.Phase == argo.AnalysisPhaseError || m.Interval == "" {
		wait = errorInterval
	}
	return before.FinishedAt.Add(max(wait, finest))
}

// outlived says when a run that has ended may go.
func outlived(run *argo.AnalysisRun, now time.Time) Plan {
	ttl := run.Spec.TTLStrategy
	if ttl == nil || run.Status.CompletedAt == nil || run.DeletionTimestamp != nil {
		return Plan{}
	}
	seconds := ttl.SecondsAfterCompletion
	switch {
	case run.Status.Phase == argo.AnalysisPhaseSuccessful && ttl.SecondsAfterSuccess != nil:
		seconds = ttl.SecondsAfterSuccess
	case run.Status.Phase == argo.AnalysisPhaseFailed && ttl.SecondsAfterFailure != nil:
		seconds = ttl.SecondsAfterFailure
	}
	if seconds == nil {
		return Plan{}
	}
	at := run.Status.CompletedAt.Add(time.Duration(*seconds) * time.Second)
	if at.After(now) {
		return Plan{RequeueAt: at}
	}
	return Plan{Delete: true}
}

// terminating says whether a run is to end early.
func terminating(run *argo.AnalysisRun) bool {
	return run.Spec.Terminate || wentBad(&run.Status)
}

// wentBad says whether a metric that counts has a verdict that ends the run.
func wentBad(s *argo.AnalysisRunStatus) bool {
	for i := range s.MetricResults {
		r := &s.MetricResults[i]
		if !r.DryRun && r.Phase.Completed() && r.Phase != argo.AnalysisPhaseSuccessful {
			return true
		}
	}
	return false
}

func resultOf(s *argo.AnalysisRunStatus, name string) *argo.MetricResult {
	for i := range s.MetricResults {
		if s.MetricResults[i].Name == name {
			return &s.MetricResults[i]
		}
	}
	return nil
}

func last(r *argo.MetricResult) *argo.Measurement {
	if r == nil || len(r.Measurements) == 0 {
		return nil
	}
	return &r.Measurements[len(r.Measurements)-1]
}
