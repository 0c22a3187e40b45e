package analysis

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"pgregory.net/rapid"
)

// drawRun draws a run with metrics of all sorts and the scripts they follow.
func drawRun(t *rapid.T) (*argo.AnalysisRun, map[string]string) {
	run, scripts := aRun(), map[string]string{}
	for i := range rapid.IntRange(1, 4).Draw(t, "metrics") {
		name := fmt.Sprint("m", i)
		m := web(name, nil)
		if rapid.Bool().Draw(t, "interval") {
			m.Interval = argo.DurationString(rapid.SampledFrom([]string{"100ms", "1s", "7s", "1m"}).Draw(t, "every"))
		}
		if m.Interval != "" && rapid.Bool().Draw(t, "has count") {
			m.Count = num(rapid.IntRange(1, 12).Draw(t, "count"))
			m.FailureLimit = num(rapid.IntRange(0, m.Count.IntValue()).Draw(t, "failures"))
			m.InconclusiveLimit = num(rapid.IntRange(0, m.Count.IntValue()).Draw(t, "inconclusives"))
		}
		if rapid.Bool().Draw(t, "delayed") {
			m.InitialDelay = "5s"
		}
		if rapid.IntRange(0, 3).Draw(t, "dry") == 0 {
			run.Spec.DryRun = append(run.Spec.DryRun, argo.DryRun{MetricName: "^" + name + "$"})
		}
		run.Spec.Metrics = append(run.Spec.Metrics, m)
		scripts[name] = rapid.StringMatching(`[sssfier]{1,12}`).Draw(t, "script")
	}
	return run, scripts
}

func TestTheVerdictIsNeverBetterThanTheWorstMetricThatCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		run, scripts := drawRun(t)
		p := play(t, run, scripts)
		p.until(noon.Add(10 * time.Minute))
		s := p.run.Status
		if !s.Phase.Completed() {
			return
		}
		for _, r := range s.MetricResults {
			if !r.Phase.Completed() {
				t.Fatalf("the run is %s while %s is %s", s.Phase, r.Name, r.Phase)
			}
			if !r.DryRun && Worse(s.Phase, r.Phase) {
				t.Fatalf("the run is %s, better than %s with %s", s.Phase, r.Name, r.Phase)
			}
		}
		if s.RunSummary.Count+s.DryRunSummary.Count != int32(len(run.Spec.Metrics)) {
			t.Fatalf("summaries %+v and %+v of %d metrics", s.RunSummary, s.DryRunSummary, len(run.Spec.Metrics))
		}
	})
}

func TestTerminateAlwaysEndsARunWithinOnePass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		run, scripts := drawRun(t)
		p := play(t, run, scripts)
		p.until(noon.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second))
		p.run = stored(t, p.run)
		p.run.Spec.Terminate = true
		p.pass()
		if !p.run.Status.Phase.Completed() {
			t.Fatalf("the run goes on: %+v", p.run.Status)
		}
	})
}

func TestJudgingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		run, scripts := drawRun(t)
		p := play(t, run, scripts)
		p.until(noon.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second))
		before, _ := json.Marshal(p.run.Status)
		v := Assess(p.run, p.now)
		after, _ := json.Marshal(v.Status)
		if string(before) != string(after) || len(v.Events) > 0 || len(v.Dropped) > 0 {
			t.Fatalf("from\n%s\nto\n%s\nwith %v", before, after, v.Events)
		}
	})
}

func TestARestartAtAnyPointComesToTheSameEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		run, scripts := drawRun(t)
		whole := play(t, run.DeepCopy(), scripts)
		whole.until(noon.Add(5 * time.Minute))
		cut := play(t, run.DeepCopy(), scripts)
		// A controller that dies between the beginning of measurements and the writing of their results starts from the
		// object as it was stored before.
		for range 100000 {
			kept := stored(t, cut.run)
			at := cut.pass()
			if rapid.IntRange(0, 4).Draw(t, "die") == 0 {
				cut.run = kept
				continue
			}
			if cut.run = stored(t, cut.run); cut.run.Status.Phase.Completed() || at.IsZero() || at.After(noon.Add(5*time.Minute)) {
				break
			}
			cut.now = at
		}
		a, _ := json.Marshal(stored(t, whole.run).Status)
		b, _ := json.Marshal(cut.run.Status)
		if string(a) != string(b) {
			t.Fatalf("without a restart\n%s\nwith restarts\n%s", a, b)
		}
	})
}
