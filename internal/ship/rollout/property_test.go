package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func TestWhateverHappensNothingIsDoneThatMustNeverBe(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, anyRollout(t))
		withTemplates(w)
		w.mind()
		settled := rapid.IntRange(0, 3).Draw(t, "settled") > 0
		if settled {
			w.settle()
		}
		if !settled {
			t.Repeat(w.chaos(0))
		} else { // without a stable revision that works there may be no way on within surge and unavailable
			t.Repeat(w.chaos(1))
			if d := (drawer{t}); d.seldom("ends aborted") {
				w.endAborted()
			} else {
				w.calmDown()
			}
			w.rests()
		}
	})
}

// mind what must never be done, at each Op.
func (w *world) mind() {
	before := int64(0)
	w.watch = func(o Op) {
		before = w.lost()
		w.never(o)
	}
	w.done = func(o Op) {
		rs, ok := o.After.(*appsv1.ReplicaSet)
		more := ok && o.Verb == Patch && *rs.Spec.Replicas > *o.Before.(*appsv1.ReplicaSet).Spec.Replicas // brings somebody who could serve
		if is := w.lost(); is > before && !more {
			w.t.Fatalf("%d %% of the traffic comes to nobody after %d %% before: %s", is, before, describe(o))
		}
	}
}

// rests checks that nothing is written any more, whenever it is looked again.
func (w *world) rests() {
	w.t.Helper()
	writes := w.writes
	for range 5 {
		w.now = w.now.Add(15 * time.Minute)
		w.reconcile()
	}
	if w.writes != writes {
		w.t.Fatalf("%d writes to a Rollout at rest; the last plan: %+v", w.writes-writes, w.plan)
	}
}

// endAborted lets an update of a good template be aborted, and checks that all is back at what was stable.
func (w *world) endAborted() {
	w.t.Helper()
	w.restoreRoute()
	w.calmDown()
	stable := w.ro.Status.StableRS
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Template, ro.Spec.RollbackWindow = tmpl("v10"), nil })
	w.reconcile()
	w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = true })
	w.pass(10 * time.Minute)
	w.judgeAll()
	w.pass(10 * time.Minute)
	if phase, message := Phase(w.ro); phase != argo.RolloutPhaseDegraded || !strings.HasPrefix(message, "RolloutAborted") {
		w.t.Fatalf("ends %s %q", phase, message)
	}
	if w.ro.Status.StableRS != stable || *w.set("v9").Spec.Replicas != *w.ro.Spec.Replicas || w.set("v9").Status.AvailableReplicas != *w.ro.Spec.Replicas {
		w.t.Fatalf("stable is %s, was %s: %+v", w.ro.Status.StableRS, stable, w.set("v9").Status)
	}
	if _, never, _ := abortDelay(w.ro); !never && *w.set("v10").Spec.Replicas != 0 {
		w.t.Fatalf("the aborted revision keeps %d pods: %+v", *w.set("v10").Spec.Replicas, w.plan.Why)
	}
	for name, svc := range w.svcs {
		if h := svc.Spec.Selector[HashLabel]; name != "preview" && h != stable && !(w.ro.Spec.Strategy.Canary != nil && w.ro.Spec.Strategy.Canary.PingPong != nil && !w.main(name)) {
			w.t.Fatalf("service %s ends at %s", name, h)
		}
	}
	if routed(w.ro) && w.weight() != 0 {
		w.t.Fatalf("ends with weight %d", w.weight())
	}
}

// calmDown lets the last template be a good one, all be promoted, and checks that this is what is reached.
func (w *world) calmDown() {
	w.t.Helper()
	w.restoreRoute()
	w.user(func(ro *rollouts.Rollout) {
		ro.Spec.Template, ro.Spec.Paused, ro.Spec.Replicas = tmpl("v9"), false, ptr(max(*ro.Spec.Replicas, 1))
		ro.Spec.ProgressDeadlineAbort = false // analyses take longer here
	})
	for range 40 {
		w.pass(time.Minute)
		if phase, _ := Phase(w.ro); phase == argo.RolloutPhaseHealthy {
			break
		}
		w.judgeAll()
		w.user(func(ro *rollouts.Rollout) { ro.Status.PauseConditions = nil })
		if w.ro.Status.Abort {
			w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = false })
		}
	}
	w.pass(time.Minute)
	if phase, message := Phase(w.ro); phase != argo.RolloutPhaseHealthy {
		b, _ := json.Marshal(w.ro.Status)
		var sets []string
		for _, rs := range w.sets {
			sets = append(sets, fmt.Sprintf("%s %d/%d %v", rs.Name, rs.Status.AvailableReplicas, *rs.Spec.Replicas, rs.Annotations))
		}
		w.t.Fatalf("ends %s %q: %s\n%s\n%+v", phase, message, b, strings.Join(sets, "\n"), w.plan.Why)
	}
	for image, want := range map[string]int32{"v9": *w.ro.Spec.Replicas, "v1": 0, "v2": 0, "v3": 0, "bad": 0} {
		if rs := w.set(image); rs != nil && *rs.Spec.Replicas != want {
			w.t.Fatalf("%s ends with %d pods, want %d", image, *rs.Spec.Replicas, want)
		}
	}
	for name, svc := range w.svcs {
		idle := !w.main(name) && routed(w.ro) && w.ro.Spec.Strategy.Canary.PingPong != nil
		if svc.Spec.Selector[HashLabel] != hashOf("v9") && !idle {
			w.t.Fatalf("service %s ends at %v", name, svc.Spec.Selector)
		}
	}
	if routed(w.ro) && w.weight() != 0 {
		w.t.Fatalf("ends with weight %d", w.weight())
	}
}

// Whatever users and other programs wrote into the objects, a decision is made of it.
func TestNoStateOfTheObjectsIsTooStrange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, anyRollout(t))
		withTemplates(w)
		w.settle()
		w.update("v2")
		w.settle()
		hash := func(name string) string {
			return rapid.SampledFrom([]string{"", "gone", hashOf("v1"), hashOf("v2")}).Draw(t, name)
		}
		yes := func(name string) bool { return rapid.Bool().Draw(t, name) }
		w.user(func(ro *rollouts.Rollout) {
			st := &ro.Status
			st.StableRS, st.CurrentPodHash, st.BlueGreen.ActiveSelector = hash("stable"), hash("current"), hash("active")
			if yes("index") {
				st.CurrentStepIndex = ptr(rapid.Int32Range(-2, 9).Draw(t, "i"))
			}
			if yes("weights") {
				st.Canary.Weights = &argo.TrafficWeights{Canary: argo.WeightDestination{Weight: rapid.Int32Range(-5, 200).Draw(t, "w"), PodTemplateHash: hash("canary")}}
			}
			st.Abort, st.PromoteFull, st.ControllerPause = yes("abort"), yes("full"), yes("pause")
			if yes("no conditions") {
				st.Conditions, st.PauseConditions = nil, nil
			}
			if yes("no duration") {
				st.Duration = nil
			}
			if yes("other strategy") {
				ro.Spec.Strategy = anyRollout(t).Spec.Strategy
			}
			if yes("no annotations") {
				ro.Annotations = nil
			}
		})
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			if rs := w.sets[name]; yes("strip " + name) {
				rs.Annotations = map[string]string{DeadlineAnnotation: "soon", RevisionAnnotation: "first", EphemeralMetadataAnnotation: "{"}
			} else if yes("lose " + name) {
				delete(w.sets, name)
			}
		}
		if yes("no runs") {
			w.runs, w.exps = nil, nil
		}
		if yes("no services") {
			w.svcs = nil
		}
		w.settle()
	})
}
