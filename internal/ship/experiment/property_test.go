package experiment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

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
