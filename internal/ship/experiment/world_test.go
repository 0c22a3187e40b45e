package experiment

import (
	"encoding/json"
	"fmt"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// podTemplate has the labels of a Rollout's pods, the hash of its revision among them.
func podTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}
}

func aTemplate(name string, change func(*argo.TemplateSpec)) argo.TemplateSpec {
	t := argo.TemplateSpec{Name: name, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: podTemplate()}
	if change != nil {
		change(&t)
	}
	return t
}

func anExperiment(change func(*argo.Experiment)) *argo.Experiment {
	ex := &argo.Experiment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "exp", UID: "uid-exp"},
		Spec: argo.ExperimentSpec{Templates: []argo.TemplateSpec{aTemplate("baseline", nil)}}}
	if change != nil {
		change(ex)
	}
	return ex
}

func analyse(name string, required bool, args ...argo.Argument) argo.ExperimentAnalysisTemplateRef {
	return argo.ExperimentAnalysisTemplateRef{Name: name, TemplateName: "rate", RequiredForCompletion: required, Args: args}
}

// world is a cluster in memory: what was written, with times cut as the API server cuts them.
type world struct {
	t       require
	now     time.Time
	ex      *argo.Experiment
	sets    map[string]*appsv1.ReplicaSet
	svcs    map[string]*corev1.Service
	runs    map[string]*argo.AnalysisRun
	taken   map[string]bool
	refused map[string]string
	missing bool // the AnalysisTemplate
	events  []string
	writes  int
	// dies says whether the controller dies before the n-th write.
	dies func() bool
	// broken keeps pods from ever being available.
	broken bool
}

type require interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

func newWorld(t require, ex *argo.Experiment) *world {
	return &world{t: t, now: noon, ex: ex, sets: map[string]*appsv1.ReplicaSet{}, svcs: map[string]*corev1.Service{}, runs: map[string]*argo.AnalysisRun{},
		taken: map[string]bool{}, refused: map[string]string{}, dies: func() bool { return false }}
}

func (w *world) snapshot() Snapshot {
	s := Snapshot{Experiment: w.ex, ReplicaSets: map[string]*appsv1.ReplicaSet{}, Services: map[string]*corev1.Service{}, Runs: w.runs, Taken: w.taken, Refused: w.refused}
	for _, rs := range w.sets {
		s.ReplicaSets[rs.Annotations[templateAnnotation]] = rs
	}
	for _, svc := range w.svcs {
		s.Services[svc.Annotations[templateAnnotation]] = svc
	}
	if !w.missing {
		s.Templates = analysis.Templates{Namespaced: map[string]*argo.AnalysisTemplate{"rate": {Spec: argo.AnalysisTemplateSpec{
			Args:    []argo.Argument{{Name: "hash", Value: ptr.To("")}, {Name: "end", Value: ptr.To("")}},
			Metrics: []argo.Metric{{Name: "m", Provider: argo.MetricProvider{Web: &argo.WebMetric{URL: "http://{{args.hash}}"}}}}}}}}
	}
	return s
}

// pass looks until there is nothing to do; it reports when to look again.
func (w *world) pass() time.Time {
	for range 20 {
		plan := Decide(w.snapshot(), w.now)
		if len(plan.Ops) == 0 {
			return plan.RequeueAt
		}
		for _, op := range plan.Ops {
			if w.dies() {
				break
			}
			w.do(op)
		}
	}
	w.t.Fatalf("writes without end: %v", w.events)
	return time.Time{}
}

func (w *world) do(op Op) {
	if op.Verb != Tell {
		w.writes++
	}
	for _, e := range op.Events {
		w.events = append(w.events, e.Reason)
	}
	switch o := op.After.(type) {
	case *argo.Experiment:
		w.ex = stored(w.t, o)
	case *appsv1.ReplicaSet:
		w.sets[o.Name] = w.put(op, o).(*appsv1.ReplicaSet)
	case *corev1.Service:
		w.svcs[o.Name] = w.put(op, o).(*corev1.Service)
	case *argo.AnalysisRun:
		w.runs[o.Name] = w.put(op, o).(*argo.AnalysisRun)
	}
	if op.Verb == Delete {
		delete(w.svcs, op.Before.GetName())
	}
}

func (w *world) put(op Op, o client.Object) client.Object {
	if op.Verb == Create {
		o.SetCreationTimestamp(metav1.Time{Time: w.now.Truncate(time.Second)})
		o.SetUID(types.UID(fmt.Sprint("uid-", o.GetName())))
	}
	return o
}

func stored(t require, ex *argo.Experiment) *argo.Experiment {
	b, err := json.Marshal(ex)
	if err != nil {
		t.Fatal(err)
	}
	out := &argo.Experiment{}
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// settle lets ReplicaSets come to the size they should have, and looks again.
func (w *world) settle() time.Time {
	for _, rs := range w.sets {
		n := *rs.Spec.Replicas
		rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: n, AvailableReplicas: n}
		if w.broken {
			rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = 0, 0
		}
	}
	return w.pass()
}

// after lets time pass, looking whenever that is wanted.
func (w *world) after(d time.Duration) {
	end := w.now.Add(d)
	for range 1000 {
		at := w.settle()
		if at.IsZero() || at.After(end) {
			w.now = end
			w.settle()
			return
		}
		if at.After(w.now) {
			w.now = at
		}
	}
	w.t.Fatalf("looked at again and again at %v", w.now)
}

func (w *world) finish(run string, phase argo.AnalysisPhase) {
	r := w.runs[run]
	if r == nil {
		w.t.Fatalf("there is no run %s", run)
		return
	}
	r.Status.Phase, r.Status.Message = phase, "because"
	w.settle()
}

func (w *world) set(name string) *appsv1.ReplicaSet { return w.sets["exp-"+name] }
