package celenv

import (
	"reflect"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Cost is what a run cost, in the currency of its prices.
type Cost struct {
	Total     float64            `json:"total"`
	Idle      float64            `json:"idle"`
	IdleShare float64            `json:"idleShare"`
	Per1k     float64            `json:"per1k"`     // a thousand requests
	Pools     map[string]float64 `json:"pools"`     // by pool
	Workloads map[string]float64 `json:"workloads"` // by Kind/namespace/name
}

// Sample is one value of one series.
type Sample struct {
	Time   time.Time         `json:"time"`
	Metric string            `json:"metric"`
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

// RecordView is a finished run. Make it with NewRecordView, so that its series are put together once.
type RecordView struct {
	run      *record.Run
	start    time.Time
	cost     Cost
	summary  map[string]float64
	baseline map[string]float64
	columns  []Column
}

// NewRecordView prepares a finished run for conditions. The start is in the scenario's time zone, so that "19:00" means
// what the scenario means by it; summary and baseline are summary metrics by name, baseline nil when there is none.
func NewRecordView(run *record.Run, start time.Time, cost Cost, summary, baseline map[string]float64) *RecordView {
	v := &RecordView{run: run, start: start, cost: cost, summary: summary, baseline: baseline}
	place := make(map[int]int, len(run.Columns))
	for i, c := range run.Columns {
		place[c.ID] = i
		v.columns = append(v.columns, Column{Metric: c.Metric, Labels: c.Labels})
	}
	for _, s := range run.Samples {
		for _, value := range s.Values {
			if i, ok := place[value.ID]; ok {
				v.columns[i].Points = append(v.columns[i].Points, Point{s.Time, value.Value})
			}
		}
	}
	return v
}

func (v *RecordView) find(metric string, labels map[string]string) []Column {
	var found []Column
	for _, c := range v.columns {
		if c.Metric == metric && matches(c.Labels, labels) {
			found = append(found, c)
		}
	}
	return found
}

func (v *RecordView) samples() []Sample {
	var all []Sample
	for _, c := range v.columns {
		for _, p := range c.Points {
			all = append(all, Sample{p.Time, c.Metric, c.Labels, p.Value})
		}
	}
	return all
}

func (v *RecordView) activation() map[string]any {
	return map[string]any{
		"start":        v.start,
		"now":          v.run.Start.PlayTo,
		sourceVariable: &source{start: v.start, columns: v.find, native: Record().env.CELTypeAdapter()},
		"timeline":     v.run.Timeline,
		"steps":        v.run.Steps,
		"pods":         v.run.Pods,
		"nodes":        v.run.Nodes,
		"evictions":    v.run.Evictions,
		"workloads":    v.run.Workloads,
		"updates":      v.run.Updates,
		"loads":        v.run.Loads,
		"samples":      func() any { return v.samples() },
		"cost":         v.cost,
		"summary":      orEmpty(v.summary),
		"baseline":     orEmpty(v.baseline),
	}
}

func orEmpty(m map[string]float64) map[string]float64 {
	if m == nil {
		return map[string]float64{}
	}
	return m
}

func recordOptions() []cel.EnvOption {
	list := func(name string) *cel.Type { return cel.ListType(cel.ObjectType(name)) }
	numbers := cel.MapType(cel.StringType, cel.DoubleType)
	return append(sharedOptions(),
		ext.NativeTypes(
			reflect.TypeFor[record.Entry](), reflect.TypeFor[record.Step](), reflect.TypeFor[record.Pod](),
			reflect.TypeFor[record.Node](), reflect.TypeFor[record.Eviction](), reflect.TypeFor[record.Workload](), reflect.TypeFor[record.Update](),
			reflect.TypeFor[record.Load](), reflect.TypeFor[Cost](), reflect.TypeFor[Sample](),
			ext.ParseStructTag("json")),
		cel.Variable("pods", list("record.Pod")),
		cel.Variable("nodes", list("record.Node")),
		cel.Variable("evictions", list("record.Eviction")),
		cel.Variable("workloads", list("record.Workload")),
		cel.Variable("updates", list("record.Update")),
		cel.Variable("loads", list("record.Load")),
		cel.Variable("samples", list("celenv.Sample")),
		cel.Variable("cost", cel.ObjectType("celenv.Cost")),
		cel.Variable("summary", numbers),
		cel.Variable("baseline", numbers),
	)
}
