package experiment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
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
	version int
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
	}
	r.Status.Phase, r.Status.Message = phase, "because"
	w.settle()
}

func (w *world) set(name string) *appsv1.ReplicaSet { return w.sets["exp-"+name] }

func TestAnExperimentRunsForItsDurationAndItsPodsGoAfterTheDelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Duration = "1m"
		ex.Spec.Templates = append(ex.Spec.Templates, aTemplate("canary", func(t *argo.TemplateSpec) { t.Replicas = ptr.To[int32](3) }))
	}))
	w.pass()
	if w.ex.Status.Phase != argo.AnalysisPhasePending || *w.set("baseline").Spec.Replicas != 1 || *w.set("canary").Spec.Replicas != 3 || w.ex.Status.AvailableAt != nil {
		t.Fatalf("%+v", w.ex.Status)
	}
	w.now = noon.Add(5 * time.Second)
	if at := w.settle(); w.ex.Status.Phase != argo.AnalysisPhaseRunning || !w.ex.Status.AvailableAt.Time.Equal(w.now) || !at.Equal(w.now.Add(time.Minute)) {
		t.Fatalf("%s, looks again at %v", w.ex.Status.Phase, at)
	}
	w.after(59 * time.Second)
	if w.ex.Status.Phase != argo.AnalysisPhaseRunning {
		t.Fatalf("%s before the end", w.ex.Status.Phase)
	}
	w.after(time.Second)
	if w.ex.Status.Phase != argo.AnalysisPhaseSuccessful || *w.set("canary").Spec.Replicas != 3 || w.set("canary").Annotations[deadlineAnnotation] == "" {
		t.Fatalf("%s with %d pods", w.ex.Status.Phase, *w.set("canary").Spec.Replicas)
	}
	w.after(29 * time.Second)
	if *w.set("canary").Spec.Replicas != 3 {
		t.Fatal("the pods went before the delay was over")
	}
	w.after(time.Second)
	if *w.set("canary").Spec.Replicas != 0 || *w.set("baseline").Spec.Replicas != 0 {
		t.Fatal("the pods stay")
	}
	if at := w.settle(); !at.IsZero() {
		t.Errorf("an experiment that has ended looks again at %v", at)
	}
	for _, st := range w.ex.Status.TemplateStatuses {
		if st.Status != argo.TemplateStatusSuccessful || st.Replicas != 0 {
			t.Errorf("%+v", st)
		}
	}
	want := []string{"ScalingReplicaSet", "ScalingReplicaSet", "TemplateProgressing", "TemplateProgressing", "ExperimentPending", "TemplateRunning", "TemplateRunning",
		"ExperimentRunning", "TemplateSuccessful", "TemplateSuccessful", "ExperimentSuccessful", "ScalingReplicaSet", "ScalingReplicaSet"}
	if !slices.Equal(w.events, want) {
		t.Errorf("events %v", w.events)
	}
	if c := condition(&w.ex.Status, argo.ExperimentProgressing); c.Status != corev1.ConditionFalse || c.Reason != "ExperimentCompleted" {
		t.Errorf("%+v", c)
	}
}

func TestADelayOfZeroLetsThePodsGoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) { ex.Spec.Duration, ex.Spec.ScaleDownDelaySeconds = "1m", ptr.To[int32](0) }))
	w.settle()
	w.settle()
	w.after(time.Minute)
	if w.ex.Status.Phase != argo.AnalysisPhaseSuccessful || *w.set("baseline").Spec.Replicas != 0 {
		t.Errorf("%s with %d pods", w.ex.Status.Phase, *w.set("baseline").Spec.Replicas)
	}
}

func TestEachTemplateHasAHashOfItsOwn(t *testing.T) {
	t.Parallel()
	revision := podTemplate()
	ro := rollout.Hash(&revision, nil)
	ex := anExperiment(func(ex *argo.Experiment) {
		ex.Labels = map[string]string{analysis.InstanceLabel: "blue"}
		ex.Spec.Templates[0].Template.Labels[rollout.HashLabel] = ro
		ex.Spec.Templates[0].Selector.MatchLabels[rollout.HashLabel] = ro
	})
	w := newWorld(t, ex)
	w.pass()
	rs := w.set("baseline")
	hash := rs.Labels[rollout.HashLabel]
	if hash == "" || hash == ro || rs.Spec.Selector.MatchLabels[rollout.HashLabel] != hash || rs.Spec.Template.Labels[rollout.HashLabel] != hash {
		t.Errorf("the Rollout's hash is %s; %+v", ro, rs)
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(rs.Spec.Template.Labels)) {
		t.Errorf("%v does not select %v: %v", selector, rs.Spec.Template.Labels, err)
	}
	if rs.Labels[analysis.InstanceLabel] != "blue" || rs.Annotations[nameAnnotation] != "exp" || rs.Annotations[templateAnnotation] != "baseline" || !metav1.IsControlledBy(rs, ex) {
		t.Errorf("%+v", rs.ObjectMeta)
	}
	if ex.Spec.Templates[0].Selector.MatchLabels[rollout.HashLabel] != ro {
		t.Error("the experiment's own spec was changed")
	}
}

func TestNamesThatOthersHaveAreAvoided(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
	}))
	w.taken["ReplicaSet/exp-baseline"], w.taken["ReplicaSet/exp-baseline-1"], w.taken["AnalysisRun/exp-a"] = true, true, true
	w.settle()
	w.settle()
	if w.sets["exp-baseline-2"] == nil || *w.ex.Status.TemplateStatuses[0].CollisionCount != 2 || w.runs["exp-a.1"] == nil || w.ex.Status.AnalysisRuns[0].AnalysisRun != "exp-a.1" {
		t.Errorf("%v, %v, %+v", w.sets, w.runs, w.ex.Status)
	}
}

func TestAnalysesStartWithThePodsAndKnowThem(t *testing.T) {
	t.Parallel()
	value := func(name, v string) argo.Argument { return argo.Argument{Name: name, Value: &v} }
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Labels = map[string]string{analysis.InstanceLabel: "blue"}
		ex.Spec.Duration = "10m"
		ex.Spec.AnalysisRunMetadata = argo.AnalysisRunMetadata{Labels: map[string]string{"team": "shop"}, Annotations: map[string]string{"x": "y"}}
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false,
			value("hash", "{{templates.baseline.podTemplateHash}}-{{ templates.baseline.replicaset.name }}"), value("end", "{{experiment.availableAt}} {{experiment.finishedAt}}"))}
	}))
	w.pass()
	if len(w.runs) != 0 {
		t.Fatal("an analysis began before the pods were there")
	}
	w.settle()
	run := w.runs["exp-a"]
	if run == nil {
		t.Fatalf("there is no run; %+v", w.ex.Status)
	}
	rs := w.set("baseline")
	if *run.Spec.Args[0].Value != rs.Labels[rollout.HashLabel]+"-exp-baseline" || *run.Spec.Args[1].Value != "2026-03-04T12:00:00Z 2026-03-04T12:10:00Z" {
		t.Errorf("args %q, %q", *run.Spec.Args[0].Value, *run.Spec.Args[1].Value)
	}
	if run.Labels["team"] != "shop" || run.Labels[analysis.InstanceLabel] != "blue" || run.Annotations["x"] != "y" || !metav1.IsControlledBy(run, w.ex) {
		t.Errorf("%+v", run.ObjectMeta)
	}
	if st := w.ex.Status.AnalysisRuns[0]; st.AnalysisRun != "exp-a" || st.Phase != argo.AnalysisPhasePending {
		t.Errorf("%+v", st)
	}
}

func TestPhasesFollowTemplatesAndAnalyses(t *testing.T) {
	t.Parallel()
	good, badly, unsure, faulty := argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseFailed, argo.AnalysisPhaseInconclusive, argo.AnalysisPhaseError
	for name, c := range map[string]struct {
		spec    func(*argo.Experiment)
		play    func(*world)
		phase   argo.AnalysisPhase
		message string
	}{
		"a failed analysis fails it":                         {nil, func(w *world) { w.finish("exp-a", badly) }, badly, "because"},
		"an inconclusive analysis makes it so":               {nil, func(w *world) { w.finish("exp-a", unsure) }, unsure, "because"},
		"an analysis in error makes it so":                   {nil, func(w *world) { w.finish("exp-a", faulty) }, faulty, "because"},
		"a good analysis alone does not end it":              {nil, func(w *world) { w.finish("exp-a", good) }, argo.AnalysisPhaseRunning, ""},
		"without a duration it runs until it is told to end": {nil, func(w *world) { w.after(24 * time.Hour) }, argo.AnalysisPhaseRunning, ""},
		"told to end it is successful":                       {nil, func(w *world) { w.ex.Spec.Terminate = true; w.settle() }, good, ""},
		"at the end of its duration it is successful":        {func(ex *argo.Experiment) { ex.Spec.Duration = "1m" }, func(w *world) { w.after(time.Minute) }, good, ""},
		"required analyses end it before its duration does":  {func(ex *argo.Experiment) { ex.Spec.Duration, ex.Spec.Analyses[0].RequiredForCompletion = "1h", true }, func(w *world) { w.finish("exp-a", good) }, good, ""},
		"required analyses end it though others go on": {func(ex *argo.Experiment) {
			ex.Spec.Analyses[0].RequiredForCompletion = true
			ex.Spec.Analyses = append(ex.Spec.Analyses, analyse("b", false))
		}, func(w *world) { w.finish("exp-a", good) }, good, "Required AnalysisRuns completed"},
		"a required analysis that goes on blocks the end": {func(ex *argo.Experiment) { ex.Spec.Duration, ex.Spec.Analyses[0].RequiredForCompletion = "1m", true }, func(w *world) { w.after(time.Hour) }, argo.AnalysisPhaseRunning, ""},
		"and gives the verdict when it ends":              {func(ex *argo.Experiment) { ex.Spec.Duration, ex.Spec.Analyses[0].RequiredForCompletion = "1m", true }, func(w *world) { w.after(time.Hour); w.finish("exp-a", badly) }, badly, "because"},
		"all required ones must be good": {func(ex *argo.Experiment) {
			ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", true), analyse("b", true)}
		}, func(w *world) { w.finish("exp-a", good) }, argo.AnalysisPhaseRunning, ""},
		"told to end while a required analysis goes on it waits": {func(ex *argo.Experiment) { ex.Spec.Analyses[0].RequiredForCompletion = true }, func(w *world) { w.ex.Spec.Terminate = true; w.settle() }, argo.AnalysisPhaseRunning, ""},
		"and ends with that analysis":                            {func(ex *argo.Experiment) { ex.Spec.Analyses[0].RequiredForCompletion = true }, func(w *world) { w.ex.Spec.Terminate = true; w.settle(); w.finish("exp-a", good) }, good, ""},
		"a template that is taken back to pending":               {nil, func(w *world) { w.broken = true; w.settle() }, argo.AnalysisPhasePending, ""},
		"a run that somebody deleted is an error":                {nil, func(w *world) { clear(w.runs); w.settle() }, faulty, `analysisrun.argoproj.io "exp-a" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
				ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
				if c.spec != nil {
					c.spec(ex)
				}
			}))
			w.settle()
			w.settle()
			c.play(w)
			if st := w.ex.Status; st.Phase != c.phase || st.Phase.Completed() && st.Message != c.message {
				t.Errorf("%s %q, want %s %q", st.Phase, st.Message, c.phase, c.message)
			}
		})
	}
}

func TestAnEndingExperimentEndsItsAnalyses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false), analyse("b", false)}
	}))
	w.settle()
	w.settle()
	w.finish("exp-a", argo.AnalysisPhaseFailed)
	if !w.runs["exp-b"].Spec.Terminate || w.runs["exp-a"].Spec.Terminate || !slices.Contains(w.events, "AnalysisRunTerminating") {
		t.Errorf("%+v; events %v", w.runs, w.events)
	}
}

func TestPodsThatDoNotComeFailTheExperimentAtTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) { ex.Spec.ProgressDeadlineSeconds = ptr.To[int32](60) }))
	w.broken = true
	w.pass()
	if at := w.pass(); !at.Equal(noon.Add(time.Minute)) {
		t.Errorf("looks again at %v", at)
	}
	w.now = noon.Add(10 * time.Second)
	w.settle() // the pods exist: progress
	w.after(59 * time.Second)
	if w.ex.Status.Phase != argo.AnalysisPhasePending {
		t.Fatalf("%s before the deadline", w.ex.Status.Phase)
	}
	w.after(time.Second)
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseFailed || st.Message != "Template 'baseline' exceeded its progressDeadlineSeconds (60)" {
		t.Errorf("%s %q", st.Phase, st.Message)
	}
}

func TestWhatTheAPIServerRefusesIsAnErrorOfTheTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(nil))
	w.refused["baseline"] = "Failed to create ReplicaSet for template 'baseline': no"
	w.pass()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseError || st.Message != w.refused["baseline"] || len(w.sets) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhatTheAPIServerRefusesOfAnAnalysisIsItsError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
	}))
	w.refused["a"+runSuffix] = "too long a name"
	w.settle()
	w.settle()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseError || st.Message != "Failed to create AnalysisRun for analysis 'a': too long a name" || len(w.runs) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestATemplateThatIsMissingIsSaidBeforeThePodsAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
	}))
	w.missing = true
	w.pass()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseError || st.Message != `AnalysisTemplate verification failed for analysis 'a': analysistemplate.argoproj.io "rate" not found` {
		t.Errorf("%s %q", st.Phase, st.Message)
	}
}

func TestAnArgumentThatCannotBeFilledIsAnErrorOfTheAnalysis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) { // no duration: no end is known
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false, argo.Argument{Name: "end", Value: ptr.To("{{experiment.finishedAt}}")})}
	}))
	w.settle()
	w.settle()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseError || st.Message != "Failed to create AnalysisRun for analysis 'a': failed to resolve {{experiment.finishedAt}}" {
		t.Errorf("%s %q", st.Phase, st.Message)
	}
}

func TestATemplatesServiceLivesAsLongAsItsPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Duration = "1m"
		ex.Spec.Templates[0].Service = &argo.TemplateService{}
		ex.Spec.Templates[0].Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 80}, {Name: "admin", ContainerPort: 9000}, {ContainerPort: 53, Protocol: corev1.ProtocolUDP}}
	}))
	w.pass()
	w.settle()
	svc, rs := w.svcs["exp-baseline"], w.set("baseline")
	if svc == nil {
		t.Fatalf("there is no service; %+v", w.ex.Status)
	}
	var ports []string
	for _, p := range svc.Spec.Ports {
		ports = append(ports, fmt.Sprintf("%s %s %d→%s", p.Name, p.Protocol, p.Port, p.TargetPort.String()))
	}
	if want := []string{"tcp-80 TCP 80→80", "admin TCP 9000→9000", "udp-53 UDP 53→53"}; !slices.Equal(ports, want) {
		t.Errorf("ports %v", ports)
	}
	if svc.Spec.Selector[rollout.HashLabel] != rs.Labels[rollout.HashLabel] || svc.Spec.Selector["app"] != "web" || !metav1.IsControlledBy(svc, w.ex) {
		t.Errorf("%+v", svc)
	}
	if st := w.ex.Status.TemplateStatuses[0]; st.ServiceName != "exp-baseline" || st.PodTemplateHash != rs.Labels[rollout.HashLabel] {
		t.Errorf("%+v", st)
	}
	w.after(90 * time.Second)
	if len(w.svcs) != 1 || *rs.Spec.Replicas != 0 {
		w.settle()
	}
	w.after(time.Minute)
	if len(w.svcs) != 0 || w.ex.Status.TemplateStatuses[0].ServiceName != "" {
		t.Errorf("the service stays: %+v", w.ex.Status.TemplateStatuses[0])
	}
}

func TestAServiceMayHaveANameOfItsOwnUnlessAnothersHasIt(t *testing.T) {
	t.Parallel()
	named := func() *argo.Experiment {
		return anExperiment(func(ex *argo.Experiment) { ex.Spec.Templates[0].Service = &argo.TemplateService{Name: "mine"} })
	}
	w := newWorld(t, named())
	w.pass()
	w.settle()
	if w.svcs["mine"] == nil {
		t.Error("there is no service by its name")
	}
	w = newWorld(t, named())
	w.taken["Service/mine"] = true
	w.pass()
	w.settle()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseError || !strings.Contains(st.Message, "service mine already exists and is not owned by experiment template baseline") {
		t.Errorf("%s %q", st.Phase, st.Message)
	}
}

func TestAStatusTakenAwayStartsTheExperimentAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Duration, ex.Spec.Analyses = "1m", []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
	}))
	w.settle()
	w.settle()
	w.finish("exp-a", argo.AnalysisPhaseFailed)
	w.after(10 * time.Second)
	if w.set("baseline").Annotations[deadlineAnnotation] == "" {
		t.Fatal("the pods have no deadline")
	}
	w.ex.Status = argo.ExperimentStatus{}
	w.settle()
	w.settle()
	if st := w.ex.Status; st.Phase != argo.AnalysisPhaseRunning || st.AnalysisRuns[0].AnalysisRun != "exp-a.1" || w.set("baseline").Annotations[deadlineAnnotation] != "" {
		t.Errorf("%+v", st)
	}
	w.finish("exp-a.1", argo.AnalysisPhaseSuccessful)
	w.after(5 * time.Minute)
	if w.ex.Status.Phase != argo.AnalysisPhaseSuccessful || *w.set("baseline").Spec.Replicas != 0 {
		t.Errorf("%s with %d pods", w.ex.Status.Phase, *w.set("baseline").Spec.Replicas)
	}
}

func TestASpecThatCannotBeCarriedOutSaysWhyAndDoesNothing(t *testing.T) {
	t.Parallel()
	for message, change := range map[string]func(*argo.Experiment){
		"Rollout has missing field '.Spec.Templates[0].Selector'":                                func(ex *argo.Experiment) { ex.Spec.Templates[0].Selector = nil },
		"This experiment is selecting all pods at index 0. A non-empty selector is required.":    func(ex *argo.Experiment) { ex.Spec.Templates[0].Selector = &metav1.LabelSelector{} },
		"MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index 0":  func(ex *argo.Experiment) { ex.Spec.Templates[0].MinReadySeconds = 601 },
		"Experiment exp has empty template name at index 0":                                      func(ex *argo.Experiment) { ex.Spec.Templates[0].Name = "" },
		"Experiment exp has repeated template name 'baseline' in templates":                      func(ex *argo.Experiment) { ex.Spec.Templates = append(ex.Spec.Templates, ex.Spec.Templates[0]) },
		"Experiment exp has no templates; without pods its analyses would have nothing to judge": func(ex *argo.Experiment) { ex.Spec.Templates = nil },
		"spec.templates[0].selector does not match the labels of its own template":               func(ex *argo.Experiment) { ex.Spec.Templates[0].Template.Labels = nil },
		"spec.duration \"x\" is not a duration such as 30m":                                      func(ex *argo.Experiment) { ex.Spec.Duration = "x" },
		"spec.analyses[1]: there is another analysis \"a\"; give each a name of its own": func(ex *argo.Experiment) {
			ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false), analyse("a", true)}
		},
	} {
		w := newWorld(t, anExperiment(change))
		w.pass()
		c := condition(&w.ex.Status, argo.InvalidExperimentSpec)
		if c == nil || c.Message != message || c.Status != corev1.ConditionTrue || len(w.sets) != 0 {
			t.Errorf("%+v, want %q", c, message)
		}
		if before := w.writes; w.pass().IsZero() && w.writes != before {
			t.Errorf("%s: written again", message)
		}
		w.ex.Spec = anExperiment(nil).Spec
		w.pass()
		if condition(&w.ex.Status, argo.InvalidExperimentSpec) != nil || len(w.sets) != 1 {
			t.Errorf("%s: mended, but %+v", message, w.ex.Status)
		}
	}
}

// drawExperiment draws an Experiment of any sort.
func drawExperiment(t *rapid.T) *argo.Experiment {
	return anExperiment(func(ex *argo.Experiment) {
		if rapid.Bool().Draw(t, "two") {
			ex.Spec.Templates = append(ex.Spec.Templates, aTemplate("canary", func(x *argo.TemplateSpec) { x.Replicas = ptr.To(rapid.Int32Range(1, 3).Draw(t, "replicas")) }))
		}
		if rapid.Bool().Draw(t, "service") {
			ex.Spec.Templates[0].Service = &argo.TemplateService{}
		}
		if rapid.Bool().Draw(t, "ends") {
			ex.Spec.Duration = "2m"
		}
		ex.Spec.ScaleDownDelaySeconds = ptr.To(rapid.SampledFrom([]int32{0, 7, 30}).Draw(t, "delay"))
		for i := range rapid.IntRange(0, 2).Draw(t, "analyses") {
			ex.Spec.Analyses = append(ex.Spec.Analyses, analyse(fmt.Sprint("a", i), rapid.Bool().Draw(t, "required")))
		}
	})
}

// happen lets something happen in a world.
func happen(t *rapid.T, w *world) {
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		w.settle()
	case 1:
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
		w.pass()
	case 2:
		for _, name := range []string{"exp-a0", "exp-a1"} {
			if r := w.runs[name]; r != nil && !r.Status.Phase.Completed() && rapid.Bool().Draw(t, "ends") {
				r.Status.Phase = rapid.SampledFrom([]argo.AnalysisPhase{argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseFailed, argo.AnalysisPhaseInconclusive}).Draw(t, "phase")
			}
		}
		w.pass()
	case 3:
		w.broken = rapid.Bool().Draw(t, "broken")
		w.settle()
	case 4:
		w.pass()
	}
}

func TestTerminateAlwaysEndsAnExperiment(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, drawExperiment(t))
		for range rapid.IntRange(0, 8).Draw(t, "before") {
			happen(t, w)
		}
		w.ex.Spec.Terminate = true
		w.broken = false
		w.settle()
		for _, r := range w.runs {
			if r.Spec.Terminate && !r.Status.Phase.Completed() {
				r.Status.Phase = argo.AnalysisPhaseSuccessful
			}
		}
		w.after(2 * time.Minute)
		if !w.ex.Status.Phase.Completed() {
			t.Fatalf("goes on: %+v", w.ex.Status)
		}
		for name, rs := range w.sets {
			if *rs.Spec.Replicas != 0 {
				t.Fatalf("%s keeps %d pods", name, *rs.Spec.Replicas)
			}
		}
		if len(w.svcs) != 0 {
			t.Fatal("services stay")
		}
	})
}

func TestDecidingAgainOnItsOwnOutcomeDoesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, drawExperiment(t))
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			happen(t, w)
			if plan := Decide(w.snapshot(), w.now); len(plan.Ops) != 0 {
				t.Fatalf("wants %+v", plan.Ops[0])
			}
			if at := Decide(w.snapshot(), w.now).RequeueAt; !at.IsZero() && !at.After(w.now) {
				t.Fatalf("wants to look again at %v, at %v", at, w.now)
			}
		}
	})
}

func TestAControllerThatDiesAtAnyWriteComesToTheSameEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ex := drawExperiment(t)
		ex.Spec.Duration = "2m"
		verdict := rapid.SampledFrom([]argo.AnalysisPhase{argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseFailed}).Draw(t, "verdict")
		play := func(w *world) string {
			for range 6 {
				w.settle()
			}
			for _, r := range w.runs {
				r.Status.Phase = verdict
			}
			w.after(10 * time.Minute)
			names := []string{string(w.ex.Status.Phase)}
			for n, rs := range w.sets {
				names = append(names, fmt.Sprint(n, *rs.Spec.Replicas))
			}
			for n := range w.runs {
				names = append(names, n)
			}
			for n := range w.svcs {
				names = append(names, n)
			}
			slices.Sort(names)
			return strings.Join(names, " ")
		}
		whole, cut := newWorld(t, ex.DeepCopy()), newWorld(t, ex.DeepCopy())
		deaths := 0
		cut.dies = func() bool {
			if deaths < 8 && rapid.IntRange(0, 2).Draw(t, "dies") == 0 {
				deaths++
				return true
			}
			return false
		}
		if a, b := play(whole), play(cut); a != b {
			t.Fatalf("without deaths: %s; with: %s", a, b)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, anExperiment(func(ex *argo.Experiment) {
		ex.Spec.Analyses = []argo.ExperimentAnalysisTemplateRef{analyse("a", false)}
	}))
	w.settle()
	w.settle()
	s := w.snapshot()
	b.ReportAllocs()
	for b.Loop() {
		Decide(s, w.now)
	}
}
