package analysis

import (
	"encoding/json"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func num(n int) *intstr.IntOrString { return ptr.To(intstr.FromInt32(int32(n))) }

// web is a metric that asks a web server; change says how it differs from one measured once.
func web(name string, change func(*argo.Metric)) argo.Metric {
	m := argo.Metric{Name: name, Provider: argo.MetricProvider{Web: &argo.WebMetric{URL: "http://x"}}}
	if change != nil {
		change(&m)
	}
	return m
}

func aRun(metrics ...argo.Metric) *argo.AnalysisRun {
	return &argo.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Name: "run", Namespace: "shop", UID: "uid"}, Spec: argo.AnalysisRunSpec{Metrics: metrics}}
}

// stored is the run as the API server gives it back: times are cut to the second.
func stored(t require, run *argo.AnalysisRun) *argo.AnalysisRun {
	b, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	out := &argo.AnalysisRun{}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

type require interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// letters of phases in scripts of tests.
var letters = map[byte]argo.AnalysisPhase{'s': argo.AnalysisPhaseSuccessful, 'f': argo.AnalysisPhaseFailed,
	'i': argo.AnalysisPhaseInconclusive, 'e': argo.AnalysisPhaseError}

// player carries runs out with measurements from scripts: the n-th letter of a metric's script is its n-th measurement, the
// last letter repeated for ever.
type player struct {
	t       require
	run     *argo.AnalysisRun
	now     time.Time
	scripts map[string]string
	made    map[string][]time.Time // when each measurement was made
	events  []Event
	dropped int
}

func play(t require, run *argo.AnalysisRun, scripts map[string]string) *player {
	return &player{t: t, run: run, now: noon, scripts: scripts, made: map[string][]time.Time{}}
}

// pass does what a controller does when it looks at a run; it reports when it is to look again.
func (p *player) pass() time.Time {
	for range 10 {
		plan := Next(p.run, p.now)
		var results []Result
		for _, task := range plan.Tasks {
			results = append(results, p.measure(task))
		}
		p.run.Status = Record(p.run, results)
		v := Assess(p.run, p.now)
		p.run.Status = v.Status
		p.events = append(p.events, v.Events...)
		p.dropped += len(v.Dropped)
		if len(plan.Tasks) == 0 {
			return plan.RequeueAt
		}
	}
	p.t.Fatalf("the run asks for measurements without end at %v", p.now)
	return time.Time{}
}

func (p *player) measure(task Task) Result {
	at := metav1.Time{Time: p.now}
	m := argo.Measurement{StartedAt: &at, FinishedAt: &at}
	if task.Do == Terminate {
		m.Phase, m.Message = argo.AnalysisPhaseInconclusive, "Metric Terminated"
		return Result{Metric: task.Name, Number: task.Number, Measurement: m}
	}
	script := p.scripts[task.Name]
	letter := script[min(task.Number, len(script))-1]
	if m.Phase = letters[letter]; letter == 'r' { // running for ever
		m.Phase, m.FinishedAt = argo.AnalysisPhaseRunning, nil
		m.ResumeAt = &metav1.Time{Time: p.now.Add(time.Minute)}
	}
	p.made[task.Name] = append(p.made[task.Name], p.now)
	return Result{Metric: task.Name, Number: task.Number, Measurement: m}
}

// until plays to the end of the run or to a time.
func (p *player) until(end time.Time) {
	for range 100000 {
		at := p.pass()
		if p.run.Status.Phase.Completed() || at.IsZero() || at.After(end) {
			p.now = end
			return
		}
		p.now = at
		p.run = stored(p.t, p.run)
	}
	p.t.Fatalf("the run is looked at again and again at %v", p.now)
}
