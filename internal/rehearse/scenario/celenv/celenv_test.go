package celenv

import (
	"errors"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

var start = time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)

func run() *record.Run {
	r := &record.Run{
		Start: record.Start{PlayFrom: start, PlayTo: start.Add(2 * time.Hour)},
		Columns: []record.Column{
			{ID: 1, Metric: "latency_p95_seconds", Labels: map[string]string{"service": "shop/web"}},
			{ID: 2, Metric: "latency_p95_seconds", Labels: map[string]string{"service": "shop/cart"}},
		},
		Evictions: []record.Eviction{{Pod: "shop/a", BudgetKept: true}, {Pod: "shop/b", BudgetKept: false}},
		Pods:      []record.Pod{{Name: "a", Phase: "Running", Created: start}},
		Timeline:  []record.Entry{{ID: 1, Kind: record.KindOOM, Severity: record.Severe, Time: start, Data: map[string]string{"node": "n1"}}},
		Workloads: []record.Workload{{Object: "Deployment/shop/web", Reversals: 3}},
		Updates:   []record.Update{{Workload: "Rollout/shop/web", Image: "web:2", Outcome: record.UpdateAborted, WeightMax: 0.2, Began: start, Ended: start.Add(3 * time.Minute)}},
	}
	for i := range 120 {
		r.Samples = append(r.Samples, record.Sample{Time: start.Add(time.Duration(i+1) * time.Minute),
			Values: []record.ColumnValue{{ID: 1, Value: float64(i) / 100}, {ID: 2, Value: 1}}})
	}
	return r
}

func TestRecordConditionsSeeTheWholeRun(t *testing.T) {
	t.Parallel()
	view := NewRecordView(run(), start, Cost{Total: 12.5, IdleShare: 0.4, Workloads: map[string]float64{"Deployment/shop/web": 3}},
		map[string]float64{"availability": 0.999}, nil)
	for expression, want := range map[string]bool{
		`evictions.all(e, e.budgetKept)`:                                                                        false,
		`evictions.filter(e, !e.budgetKept).size() == 1`:                                                        true,
		`series("latency_p95_seconds", {"service": "shop/web"}).between("06:00", "06:30").max() < 0.3`:          true,
		`series("latency_p95_seconds", {"service": "shop/web"}).max() > 1.18`:                                   true,
		`series("latency_p95_seconds", {"service": "shop/web"}).last() > 1.18`:                                  true,
		`series("latency_p95_seconds").sum().first() == 1.0`:                                                    true,
		`series("latency_p95_seconds", {"service": "shop/web"}).at("+10m") == 0.09`:                             true,
		`series("latency_p95_seconds", {"service": "shop/cart"}).between(start, now).count() == 120`:            true,
		`cost.total < 45.0 && cost.idleShare <= 0.4 && cost.workloads["Deployment/shop/web"] == 3.0`:            true,
		`summary["availability"] > 0.99`:                                                                        true,
		`timeline.exists(e, e.kind == "oom" && e.severity == "severe" && e.data["node"] == "n1")`:               true,
		`workloads.all(w, w.reversals < 5)`:                                                                     true,
		`updates.exists(u, u.outcome == "Aborted" && u.weightMax <= 0.2 && u.ended - u.began < duration("5m"))`: true,
		`pods.all(p, p.created == start)`:                                                                       true,
		`samples.size() == 240`:                                                                                 true,
		`nodes.size() == 0 && steps.size() == 0 && loads.size() == 0 && !has(baseline.availability)`:            true,
		`series("latency_p95_seconds", {"service": "shop/web"}).quantile(0.5) == 0.6`:                           true,
		`series("latency_p95_seconds", {"service": "shop/web"}).between("day 1 06:00", "+5m").min() < 0.1`:      true,
	} {
		c, err := Record().Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		got, err := c.Eval(view)
		if err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", expression, got, err, want)
		}
	}
}

type observer struct{}

func (observer) Columns(metric string, labels map[string]string) []Column {
	return []Column{{Metric: metric, Labels: labels, Points: []Point{{start, 7}}}}
}
func (observer) Workload(name string) (Workload, bool) {
	return Workload{Desired: 4, Ready: 3}, name == "shop/web"
}
func (observer) Rollout(name string) (Rollout, bool) {
	return Rollout{Phase: RolloutPaused}, name == "shop/web"
}
func (observer) Pods() []Pod {
	return []Pod{{Name: "a", Phase: "Pending"}, {Name: "b", Phase: "Running", Ready: true}}
}
func (observer) Nodes() []Node            { return []Node{{Name: "n1", Pool: "web", Ready: true}} }
func (observer) Timeline() []record.Entry { return nil }
func (observer) Steps() []record.Step {
	return []record.Step{{Name: "release", State: record.StepInForce}}
}

func TestLiveConditionsSeeTheRunAsItStands(t *testing.T) {
	t.Parallel()
	view := LiveView{Start: start, Now: start.Add(time.Hour), Observer: observer{}}
	for expression, want := range map[string]bool{
		`rollout("shop/web").phase == "Paused"`:                              true,
		`workload("shop/web").ready < workload("shop/web").desired`:          true,
		`pods.filter(p, p.phase == "Pending").size() > 0`:                    true,
		`nodes.filter(n, n.pool == "web" && n.ready).size() == 1`:            true,
		`series("errors_ratio", {"service": "shop/web"}).last() > 7.0`:       false,
		`steps.exists(s, s.name == "release" && s.state == "in force")`:      true,
		`now - start >= duration("1h")`:                                      true,
		`now.getHours("Europe/Berlin") == 8`:                                 true,
		`pods.exists(p, p.ready) && pods.map(p, p.name).exists(n, n == "b")`: true,
	} {
		c, err := Live().Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		got, err := c.Eval(view)
		if err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", expression, got, err, want)
		}
	}
}

func TestAConditionOverAnEmptySeriesFailsAsNoData(t *testing.T) {
	t.Parallel()
	view := NewRecordView(run(), start, Cost{}, nil, nil)
	for _, expression := range []string{
		`series("nothing", {}).max() < 1.0`,
		`series("latency_p95_seconds", {"service": "shop/web"}).between("09:00", "10:00").mean() < 1.0`,
	} {
		c, err := Record().Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		if held, err := c.Eval(view); held || !errors.Is(err, ErrNoData) {
			t.Errorf("%s = %v, %v; want ErrNoData", expression, held, err)
		}
	}
}

func TestWrongConditionsAreRefusedBeforeTheRun(t *testing.T) {
	t.Parallel()
	for expression, column := range map[string]int{
		`evictions.all(e, e.budgetkept)`: 19,
		`podz.size() > 0`:                1,
		`1 + `:                           5,
		`cost.total`:                     1,
		`series("x", {}).between(1, 2)`:  24,
	} {
		_, err := Record().Compile(expression)
		var failure *CompileError
		if !errors.As(err, &failure) {
			t.Errorf("%s compiles", expression)
			continue
		}
		if got := failure.Issues[0]; got.Line != 1 || got.Column != column || got.Message == "" {
			t.Errorf("%s: %+v; want column %d", expression, got, column)
		}
	}
}

func TestEndlessConditionsAreCutOff(t *testing.T) {
	t.Parallel()
	c, err := Record().Compile(`samples.all(a, samples.all(b, samples.all(c, a.value + b.value + c.value < 100.0)))`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Eval(NewRecordView(run(), start, Cost{}, nil, nil)); err == nil {
		t.Error("fourteen million comparisons were not refused")
	}
}

func TestOperandsShowWhatAConditionSaw(t *testing.T) {
	t.Parallel()
	c, err := Live().Compile(`workload("shop/web").ready >= 4 && rollout("shop/web").phase == "Healthy"`)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Operands(LiveView{Start: start, Now: start, Observer: observer{}})
	want := []Operand{{`workload("shop/web").ready`, "3"}, {`rollout("shop/web").phase`, `"Paused"`}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("operands %v; want %v", got, want)
	}
}
