package rollout

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// stories are updates from the first deploy to the end, whose every write may be the last of a process.
var stories = map[string]func(t tester) (*world, func(w *world)){
	"canary": func(t tester) (*world, func(w *world)) {
		w := newWorld(t, canaryRollout(3, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable",
			Steps: []argo.CanaryStep{weight(34), pauseFor("10s"), weight(67), checkStep()}}))
		return w, func(w *world) { w.update("v2"); w.pass(time.Minute); w.judgeAll(); w.pass(time.Minute) }
	},
	"routed": func(t tester) (*world, func(w *world)) {
		w := newWorld(t, canaryRollout(4, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable", DynamicStableScale: true,
			TrafficRouting: &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}}, Steps: []argo.CanaryStep{weight(25), pauseFor(""), weight(75)}}))
		return w, func(w *world) {
			w.update("v2")
			w.pass(time.Minute)
			w.user(func(ro *rollouts.Rollout) { ro.Status.PauseConditions = nil })
			w.pass(time.Minute)
		}
	},
	"aborted": func(t tester) (*world, func(w *world)) {
		w := newWorld(t, canaryRollout(4, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable",
			TrafficRouting: &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}}, Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
		return w, func(w *world) {
			w.update("v2")
			w.pass(time.Minute)
			w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = true })
			w.pass(time.Minute)
		}
	},
	"blueGreen": func(t tester) (*world, func(w *world)) {
		w := newWorld(t, greenRollout(3, argo.BlueGreenStrategy{ActiveService: "active", PreviewService: "preview", PreviewReplicaCount: ptr(int32(1)),
			AutoPromotionSeconds: 10, PrePromotionAnalysis: check()}))
		return w, func(w *world) { w.update("v2"); w.settle(); w.judgeAll(); w.pass(2 * time.Minute) }
	},
	"experiment and plugin": func(t tester) (*world, func(w *world)) {
		w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{
			{Experiment: &argo.RolloutExperimentStep{Templates: []argo.RolloutExperimentTemplate{{Name: "a", SpecRef: argo.CanarySpecRef}}}},
			{Plugin: &argo.PluginStep{Name: "works"}}}}))
		return w, func(w *world) { w.update("v2"); w.settle(); w.judgeAll(); w.pass(2 * time.Minute) }
	},
}

func check() *argo.RolloutAnalysis {
	return &argo.RolloutAnalysis{Templates: []argo.AnalysisTemplateRef{{TemplateName: "check"}}}
}

func checkStep() argo.CanaryStep { return argo.CanaryStep{Analysis: check()} }

// judgeAll ends all runs and experiments well.
func (w *world) judgeAll() {
	for _, r := range w.runs {
		if !r.Status.Phase.Completed() {
			r.Status.Phase = argo.AnalysisPhaseSuccessful
			w.stamp(r)
		}
	}
	for _, e := range w.exps {
		if !e.Status.Phase.Completed() {
			e.Status.Phase = argo.AnalysisPhaseSuccessful
			w.stamp(e)
		}
	}
}

// end is what a story comes to, without what time and versions have to do with it.
func (w *world) end() string {
	st := asJSON(w.ro.Status)
	for _, k := range []string{"duration", "abortedAt"} {
		delete(st, k)
	}
	conditions, _ := st["conditions"].([]any)
	byType := map[string]string{}
	for _, c := range conditions {
		m := c.(map[string]any)
		byType[fmt.Sprint(m["type"])] = fmt.Sprint(m["status"], m["reason"], m["message"])
	}
	st["conditions"] = byType
	sets := map[string]string{}
	for _, rs := range w.sets {
		sets[rs.Name] = fmt.Sprintf("%d of %d, revision %s, waiting %t", rs.Status.AvailableReplicas, *rs.Spec.Replicas,
			rs.Annotations[RevisionAnnotation], rs.Annotations[DeadlineAnnotation] != "")
	}
	svcs := map[string]any{}
	for name, s := range w.svcs {
		svcs[name] = []any{s.Spec.Selector, s.Annotations}
	}
	var runs []string
	for _, r := range w.runs {
		runs = append(runs, r.Name)
	}
	for _, e := range w.exps {
		runs = append(runs, e.Name)
	}
	b, _ := json.MarshalIndent([]any{st, sets, svcs, runs, w.weightOrNone()}, "", " ")
	return string(b)
}

func (w *world) weightOrNone() int64 {
	if routed(w.ro) {
		return w.weight()
	}
	return -1
}

func TestAProcessThatDiesAfterAnyWriteComesToTheSameEnd(t *testing.T) {
	t.Parallel()
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(die int) (string, int) {
				w, play := story(t)
				withTemplates(w)
				count, crash := 0, die
				w.watch = func(o Op) {
					w.never(o)
					if count++; count == crash {
						w.die = 1
					}
				}
				w.settle()
				play(w)
				return w.end(), count
			}
			want, n := run(0)
			if n < 8 {
				t.Fatalf("only %d writes", n)
			}
			for die := 1; die <= n; die++ {
				if got, _ := run(die); got != want {
					t.Fatalf("dying after write %d ends\n%s\nwant\n%s", die, got, want)
				}
			}
			t.Logf("%d boundaries", n)
		})
	}
}

func TestDecidingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	for name, story := range stories {
		w, play := story(t)
		withTemplates(w)
		w.settle()
		play(w)
		for range 2 {
			if p := Decide(w.snapshot(), w.now); len(p.Ops) > 0 {
				t.Errorf("%s: %s", name, describe(p.Ops[0]))
			}
		}
	}
}
