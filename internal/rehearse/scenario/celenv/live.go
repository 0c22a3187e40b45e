package celenv

import (
	"reflect"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// View is what a condition is evaluated over: a LiveView or a RecordView.
type View interface {
	activation() map[string]any
}

// Observer shows the run as it stands. Only what a condition asks for is called.
type Observer interface {
	// Columns of a metric whose labels include those given, in the order of the record.
	Columns(metric string, labels map[string]string) []Column
	// Workload by NAMESPACE/NAME or KIND/NAMESPACE/NAME.
	Workload(name string) (Workload, bool)
	// Rollout of the workload of that name: where its newest revision stands.
	Rollout(name string) (Rollout, bool)
	Pods() []Pod
	Nodes() []Node
	Timeline() []record.Entry
	Steps() []record.Step
}

// Workload is the state of a Rollout, Deployment, StatefulSet or DaemonSet.
type Workload struct {
	Desired   int64  `json:"desired"`
	Ready     int64  `json:"ready"`
	Updated   int64  `json:"updated"`
	Available int64  `json:"available"`
	Total     int64  `json:"total"`
	Image     string `json:"image"` // of the first container of the template
}

// Phases of a rollout.
const (
	RolloutProgressing = "Progressing"
	RolloutHealthy     = "Healthy"
	RolloutDegraded    = "Degraded" // the progress deadline has passed, or the update was aborted
	RolloutPaused      = "Paused"
)

// Rollout is where the newest revision of a workload stands.
type Rollout struct {
	Phase    string `json:"phase"` // Progressing, Healthy, Degraded, Paused
	Revision string `json:"revision"`
	Updated  int64  `json:"updated"`
	Desired  int64  `json:"desired"`
	Message  string `json:"message"`
	// Of a Rollout of argoproj.io; of other workloads their zero values.
	Strategy string  `json:"strategy"` // canary, blueGreen
	Step     int64   `json:"step"`     // the step it is at, from 1; 0 without steps, one more than steps when all are passed
	Steps    int64   `json:"steps"`
	Weight   float64 `json:"weight"` // share of the traffic that the newest revision has, from 0 to 1
	Set      float64 `json:"set"`    // share that its steps ask for
	Stable   string  `json:"stable"` // the revisions, as the label of their pods has them
	Canary   string  `json:"canary"` // the one that is being brought in; empty without an update
	Aborted  bool    `json:"aborted"`
	Paused   bool    `json:"paused"`
	Image    string  `json:"image"` // of the first container
}

// Pod is a pod that exists now.
type Pod struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Workload  string            `json:"workload"` // Kind/namespace/name of the top-most owner
	Node      string            `json:"node"`     // empty while pending
	Zone      string            `json:"zone"`
	Phase     string            `json:"phase"`
	Ready     bool              `json:"ready"`
	Reason    string            `json:"reason"` // why it waits or ended
	Restarts  int64             `json:"restarts"`
	Created   time.Time         `json:"created"`
	Labels    map[string]string `json:"labels"`
}

// Node is a node that exists now.
type Node struct {
	Name          string `json:"name"`
	Pool          string `json:"pool"`
	Zone          string `json:"zone"`
	Type          string `json:"type"`
	CapacityType  string `json:"capacityType"`
	Ready         bool   `json:"ready"`
	Unschedulable bool   `json:"unschedulable"`
	Pods          int64  `json:"pods"`
}

// LiveView is the run at an instant.
type LiveView struct {
	// Start of the run, in the scenario's time zone, and the present instant.
	Start, Now time.Time
	Observer   Observer
}

func (v LiveView) activation() map[string]any {
	return map[string]any{
		"start": v.Start,
		"now":   v.Now,
		sourceVariable: &source{
			start: v.Start, columns: v.Observer.Columns, workload: v.Observer.Workload, rollout: v.Observer.Rollout,
			native: Live().env.CELTypeAdapter(),
		},
		"pods":     func() any { return v.Observer.Pods() },
		"nodes":    func() any { return v.Observer.Nodes() },
		"timeline": func() any { return v.Observer.Timeline() },
		"steps":    func() any { return v.Observer.Steps() },
	}
}

func liveOptions() []cel.EnvOption {
	lookup := func(f func(*source, string) (any, bool)) func(ref.Val, ref.Val) ref.Val {
		return func(run, name ref.Val) ref.Val {
			s := run.(*source)
			text := string(name.(types.String))
			found, ok := f(s, text)
			if !ok {
				return types.NewErr("%s: there is no workload %q now", noDataText, text)
			}
			return s.native.NativeToValue(found)
		}
	}
	arguments := []*cel.Type{cel.DynType, cel.StringType}
	return append(sharedOptions(),
		ext.NativeTypes(
			reflect.TypeFor[record.Entry](), reflect.TypeFor[record.Step](),
			reflect.TypeFor[Workload](), reflect.TypeFor[Rollout](), reflect.TypeFor[Pod](), reflect.TypeFor[Node](),
			ext.ParseStructTag("json")),
		cel.Variable("pods", cel.ListType(cel.ObjectType("celenv.Pod"))),
		cel.Variable("nodes", cel.ListType(cel.ObjectType("celenv.Node"))),
		cel.Function(workloadFunction, cel.Overload("workload_of", arguments, cel.ObjectType("celenv.Workload"),
			cel.BinaryBinding(lookup(func(s *source, name string) (any, bool) { return s.workload(name) })))),
		cel.Function(rolloutFunction, cel.Overload("rollout_of", arguments, cel.ObjectType("celenv.Rollout"),
			cel.BinaryBinding(lookup(func(s *source, name string) (any, bool) { return s.rollout(name) })))),
	)
}
