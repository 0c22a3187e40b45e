package experiment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
	"github.com/fairway-dev/fairway/internal/ship/rollout"
)

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
