package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func routedCanary(n int32, c argo.CanaryStrategy) *rollouts.Rollout {
	c.CanaryService, c.StableService = "canary", "stable"
	if c.TrafficRouting == nil {
		c.TrafficRouting = &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}}
	}
	return canaryRollout(n, c)
}

func promote(ro *rollouts.Rollout) { ro.Status.PauseConditions, ro.Spec.Paused = nil, false }
func abort(ro *rollouts.Rollout)   { ro.Status.Abort = true }
func retry(ro *rollouts.Rollout)   { ro.Status.Abort = false }
func wholly(ro *rollouts.Rollout)  { ro.Status.PromoteFull = true }

func (w *world) ready(image string, n int) {
	w.t.Helper()
	rs := w.set(image)
	w.makePods(rs)
	for _, p := range slices.Clone(w.pods[rs.UID]) {
		if n > 0 && !ready(p) {
			w.setReady(p, true)
			n--
		}
	}
	w.reconcile()
}

// still lets ReplicaSets make pods, none of which become ready.
func (w *world) still() {
	w.t.Helper()
	for range 12 {
		w.reconcile()
		for _, name := range slices.Sorted(maps.Keys(w.sets)) {
			w.makePods(w.sets[name])
		}
	}
}

func TestARoutedCanaryFollowsItsWeightsAndLeavesTheOldPodsForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(25), pauseFor(""), weight(75), pauseFor("1m")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.sized("v1", 4)
	w.sized("v2", 1)
	if w.weight() != 25 || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v2") || w.svcs["stable"].Spec.Selector[HashLabel] != hashOf("v1") {
		t.Fatalf("weight %d, services %v %v", w.weight(), w.svcs["canary"].Spec.Selector, w.svcs["stable"].Spec.Selector)
	}
	w.user(promote)
	w.settle()
	w.sized("v2", 3)
	if w.weight() != 75 {
		t.Fatalf("weight %d", w.weight())
	}
	if at := w.ro.Status.PauseConditions[0].StartTime.Add(time.Minute); !w.plan.RequeueAt.Equal(at) || w.plan.Why.Code != "CanaryPauseStep" {
		t.Fatalf("requeue at %s, want %s; %+v", w.plan.RequeueAt, at, w.plan.Why)
	}
	w.pass(time.Minute)
	w.phase(argo.RolloutPhaseHealthy, "")
	if w.weight() != 0 || w.svcs["stable"].Spec.Selector[HashLabel] != hashOf("v2") {
		t.Fatalf("weight %d, stable %v", w.weight(), w.svcs["stable"].Spec.Selector)
	}
	w.sized("v1", 4)
	w.pass(30 * time.Second)
	w.sized("v1", 0)
	if w.set("v1").Annotations[DeadlineAnnotation] != "" {
		t.Error("the deadline stays on a ReplicaSet that is scaled down")
	}
}

func TestAbortTakesAllTrafficFromTheCanaryBeforeItsPods(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]*int32{"after 30 s": nil, "after 5 s": ptr(int32(5)), "never": ptr(int32(0))} {
		w := newWorld(t, routedCanary(4, argo.CanaryStrategy{AbortScaleDownDelaySeconds: delay, Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
		w.settle()
		w.update("v2")
		w.settle()
		w.user(abort)
		w.settle()
		w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2")
		if w.weight() != 0 || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v1") || *w.ro.Status.CurrentStepIndex != 0 {
			t.Fatalf("%s: weight %d, canary %v", name, w.weight(), w.svcs["canary"].Spec.Selector)
		}
		if name == "never" {
			w.pass(time.Hour)
			w.sized("v2", 2)
			continue
		}
		w.sized("v2", 2)
		wait := 30 * time.Second
		if delay != nil {
			wait = time.Duration(*delay) * time.Second
		}
		w.pass(wait - time.Second)
		w.sized("v2", 2)
		w.pass(time.Second)
		w.sized("v2", 0)
		w.user(retry)
		w.settle()
		w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
		w.sized("v2", 2)
		if w.weight() != 50 {
			t.Fatalf("%s: weight %d after retry", name, w.weight())
		}
	}
}

func TestACanaryThatLosesAllPodsLosesItsTrafficFirst(t *testing.T) {
	t.Parallel()
	for _, dynamic := range []bool{false, true} {
		w := newWorld(t, routedCanary(4, argo.CanaryStrategy{DynamicStableScale: dynamic, Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
		w.settle()
		w.update("v2")
		w.settle()
		for _, p := range w.pods[w.set("v2").UID] {
			w.setReady(p, false)
		}
		first := true
		w.watch = func(o Op) {
			if _, ok := o.After.(*unstructured.Unstructured); first && !ok {
				t.Errorf("dynamic %t: before the weight goes, %s", dynamic, describe(o))
			}
			first = false
		}
		w.reconcile()
		if w.weight() != 0 {
			t.Errorf("dynamic %t: weight %d with no pods", dynamic, w.weight())
		}
	}
}

// The story is that of Argo Rollouts' end-to-end test TestCanaryDynamicStableScale.
func TestADynamicStableShrinksAsTheCanaryGrowsAndTheOtherWayRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{DynamicStableScale: true, Steps: []argo.CanaryStep{weight(25), pauseFor(""), weight(75), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.still()
	w.sized("v1", 4)
	w.ready("v2", 1)
	w.still()
	w.sized("v1", 3)
	w.sized("v2", 1)
	w.user(promote)
	w.still()
	w.sized("v1", 3)
	w.ready("v2", 2)
	w.still()
	w.sized("v1", 1)
	w.sized("v2", 3)
	w.user(abort)
	w.still()
	if w.weight() != 75 {
		t.Fatalf("weight %d before the stable can carry more", w.weight())
	}
	w.ready("v1", 2)
	w.still()
	w.sized("v2", 1)
	w.sized("v1", 4)
	if w.weight() != 25 || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v2") {
		t.Fatalf("weight %d, canary %v", w.weight(), w.svcs["canary"].Spec.Selector)
	}
	w.ready("v1", 1)
	w.still()
	w.sized("v2", 0)
	if w.weight() != 0 || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v1") {
		t.Fatalf("weight %d, canary %v", w.weight(), w.svcs["canary"].Spec.Selector)
	}
}

// The story is that of Argo Rollouts' end-to-end test TestCanaryDynamicStableScaleRollbackToStable.
func TestADynamicStableGetsItsTrafficBackOnlyWhenItCanCarryIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{DynamicStableScale: true, Steps: []argo.CanaryStep{weight(25), pauseFor(""), weight(75), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.update("v1")
	w.still()
	w.sized("v1", 4)
	w.sized("v2", 1)
	weights := w.ro.Status.Canary.Weights
	if w.weight() != 25 || weights.Canary.PodTemplateHash != hashOf("v2") || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v2") {
		t.Fatalf("weight %d, %+v, canary %v", w.weight(), weights, w.svcs["canary"].Spec.Selector)
	}
	w.ready("v1", 1)
	w.still()
	w.sized("v2", 0)
	w.phase(argo.RolloutPhaseHealthy, "")
	if w.weight() != 0 || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v1") || w.ro.Annotations[RevisionAnnotation] != "3" ||
		w.set("v1").Annotations[RevisionHistoryAnnotation] != "1" {
		t.Fatalf("weight %d, canary %v, revision %v", w.weight(), w.svcs["canary"].Spec.Selector, w.set("v1").Annotations)
	}
}

func TestAThirdRevisionInTheMiddleOfAnUpdateReplacesTheSecondAsSoonAsItServes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.update("v3")
	w.still()
	w.sized("v2", 2) // the canary Service still selects it
	w.sized("v3", 2)
	if w.weight() != 0 {
		t.Fatalf("weight %d while the third has no pods", w.weight())
	}
	w.settle()
	w.sized("v2", 0)
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if w.weight() != 50 || w.ro.Status.Canary.Weights.Canary.PodTemplateHash != hashOf("v3") {
		t.Fatalf("weight %d, %+v", w.weight(), w.ro.Status.Canary.Weights)
	}
}

func TestCanaryScaleSetsPodsApartFromTraffic(t *testing.T) {
	t.Parallel()
	scale := func(s argo.SetCanaryScale) argo.CanaryStep { return argo.CanaryStep{SetCanaryScale: &s} }
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{MinPodsPerReplicaSet: ptr(int32(2)), Steps: []argo.CanaryStep{
		scale(argo.SetCanaryScale{Replicas: ptr(int32(3))}), pauseFor(""), weight(50), pauseFor(""), scale(argo.SetCanaryScale{Weight: ptr(int32(25))}), pauseFor(""),
		scale(argo.SetCanaryScale{MatchTrafficWeight: true}), weight(1), pauseFor("")}}))
	w.settle()
	w.update("v2")
	for _, want := range []struct {
		pods   int32
		weight int64
	}{{3, 0}, {3, 50}, {2, 50}, {2, 1}} {
		w.settle()
		w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
		w.sized("v2", want.pods)
		if w.weight() != want.weight {
			t.Fatalf("weight %d, want %+v", w.weight(), want)
		}
		w.user(promote)
	}
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

// The canary keeps half of the pods, and the stable revision needs more than the other half for a smaller weight.
func TestAStepDownWithADynamicStableBringsThePodsItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(8, argo.CanaryStrategy{DynamicStableScale: true, Steps: []argo.CanaryStep{weight(66),
		{SetCanaryScale: &argo.SetCanaryScale{Weight: ptr(int32(50))}}, pauseFor(""), weight(5), pauseFor("")}}))
	w.mind()
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.sized("v1", 4)
	w.sized("v2", 4)
	w.user(promote)
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if w.weight() != 5 || *w.ro.Status.CurrentStepIndex != 4 {
		t.Fatalf("weight %d at step %d: %+v", w.weight(), *w.ro.Status.CurrentStepIndex, w.plan.Why)
	}
	w.sized("v1", 8)
	w.sized("v2", 4)
}

// No weight is on record, as when a Rollout gets its router and its next image at once.
func TestADynamicStableKeepsItsPodsUntilItsWeightIsOnRecord(t *testing.T) {
	t.Parallel()
	for name, ro := range map[string]*rollouts.Rollout{"services": routedCanary(3, argo.CanaryStrategy{}), "ping-pong": pingPongCanary(3)} {
		ro.Spec.Strategy.Canary.DynamicStableScale = true
		w := newWorld(t, ro)
		w.mind()
		w.settle()
		w.user(func(ro *rollouts.Rollout) { ro.Status.Canary.Weights, ro.Spec.Template = nil, tmpl("v2") })
		w.watch = func(o Op) {
			if rs, ok := o.After.(*appsv1.ReplicaSet); ok && rs.Name == w.set("v1").Name && *rs.Spec.Replicas < 3 {
				t.Fatalf("%s: the stable revision is scaled to %d", name, *rs.Spec.Replicas)
			}
		}
		w.still()
		w.user(func(ro *rollouts.Rollout) { ro.Status.Canary.Weights, ro.Status.Abort = nil, true })
		for _, p := range w.pods[w.set("v1").UID] {
			w.setReady(p, false)
		}
		w.reconcile()
		if w.weight() != 0 {
			t.Fatalf("%s: weight %d after an abort, and no pods", name, w.weight())
		}
		w.watch = nil
		w.user(retry)
		w.settle()
		w.phase(argo.RolloutPhaseHealthy, "")
	}
}

// The old pods are about to go when their revision is promoted again.
func TestPodsThatAreAboutToGoGetNoTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{DynamicStableScale: true, Steps: []argo.CanaryStep{pauseFor(""), weight(20)}}))
	w.mind()
	w.settle()
	w.update("v2")
	w.settle()
	w.user(wholly)
	w.reconcile()
	for _, p := range w.pods[w.set("v2").UID] {
		w.setReady(p, true)
	}
	w.makePods(w.set("v2"))
	w.ready("v2", 2)
	if *w.set("v1").Spec.Replicas != 0 || w.set("v1").Status.AvailableReplicas == 0 {
		t.Fatalf("%d %+v", *w.set("v1").Spec.Replicas, w.set("v1").Status)
	}
	w.update("v1")
	w.reconcile()
	w.user(wholly)
	w.watch = func(o Op) {
		if u, ok := o.After.(*unstructured.Unstructured); ok && *w.set("v1").Spec.Replicas == 0 {
			if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "weight"); n > 0 {
				t.Fatalf("weight %d", n)
			}
		}
	}
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestEveryEventAboutTrafficSaysWhatHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.user(promote)
	w.settle()
	var said []string
	for _, e := range w.told {
		if e.Reason == "TrafficWeightUpdated" {
			said = append(said, strings.TrimPrefix(e.Message, "Traffic weight updated "))
		}
	}
	both := func(canary, stable string) string {
		return fmt.Sprintf("at 0: canary %s, stable %s", hashOf(canary), hashOf(stable))
	}
	if want := []string{"to 0", both("v2", "v1"), "from 0 to 50", "from 50 to 100", "from 100 to 0"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestWeightsMayBeFinerThanPercent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{TrafficRouting: &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}, MaxTrafficWeight: ptr(int32(1000))},
		Steps: []argo.CanaryStep{weight(5), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.sized("v2", 1)
	if wt := w.ro.Status.Canary.Weights; wt.Canary.Weight != 5 || wt.Stable.Weight != 995 {
		t.Fatalf("%+v", wt)
	}
}

func TestAThresholdLetsTheUpdateGoOnWithFewerPods(t *testing.T) {
	t.Parallel()
	for name, threshold := range map[string]argo.ReplicaProgressThreshold{"percent": {Type: argo.ProgressTypePercentage, Value: 50}, "pods": {Type: argo.ProgressTypePods, Value: 2}} {
		w := newWorld(t, routedCanary(4, argo.CanaryStrategy{ReplicaProgressThreshold: &threshold, Steps: []argo.CanaryStep{weight(100), pauseFor("")}}))
		w.settle()
		w.update("v2")
		w.still()
		w.ready("v2", 1)
		if w.weight() != 0 {
			t.Fatalf("%s: weight %d with one of four pods", name, w.weight())
		}
		w.ready("v2", 1)
		if w.weight() != 100 {
			t.Fatalf("%s: weight %d with two of four pods", name, w.weight())
		}
		w.user(promote)
		w.reconcile()
		if w.ro.Status.StableRS != hashOf("v2") {
			t.Fatalf("%s: %+v", name, w.plan.Why)
		}
	}
}

func TestOldCanariesWaitNoLongerThanTheLimitLets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(1, argo.CanaryStrategy{ScaleDownDelaySeconds: ptr(int32(600)), ScaleDownDelayRevisionLimit: ptr(int32(1))}))
	w.settle()
	for _, image := range []string{"v2", "v3"} {
		w.update(image)
		w.settle()
	}
	w.sized("v1", 0)
	w.sized("v2", 1)
	w.update("v2") // used again
	w.settle()
	if rs := w.set("v2"); rs.Annotations[DeadlineAnnotation] != "" || *rs.Spec.Replicas != 1 {
		t.Fatalf("%v", rs.Annotations)
	}
}

func TestAStepWaitsForAStableThatCannotCarryItsShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(25), pauseFor("")}}))
	w.settle()
	for _, p := range w.pods[w.set("v1").UID][:2] {
		w.setReady(p, false)
	}
	w.update("v2")
	w.still()
	w.ready("v2", 1)
	if *w.ro.Status.CurrentStepIndex != 0 || w.plan.Why.Code != "StableNotReady" {
		t.Fatalf("step %d, %+v", *w.ro.Status.CurrentStepIndex, w.plan.Why)
	}
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if w.weight() != 25 {
		t.Fatalf("weight %d", w.weight())
	}
}

// The controller ends when it has promoted, before the routers know it; the pods of the version before go, and it comes back.
func TestWeightComesBackToTheRevisionThatIsStableNow(t *testing.T) {
	t.Parallel()
	for _, n := range []int32{1, 2} {
		w := newWorld(t, routedCanary(n, argo.CanaryStrategy{DynamicStableScale: true, Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
		w.mind()
		w.settle()
		w.update("v2")
		w.settle()
		w.user(wholly)
		for w.ro.Status.StableRS != hashOf("v2") { // one op at a time
			w.die = 1
			w.reconcile()
			w.makePods(w.set("v2"))
			for _, p := range w.pods[w.set("v2").UID] {
				w.setReady(p, true)
			}
		}
		w.die = 0
		if w.weight() != 100 {
			t.Fatalf("the weight is %d, want that of the canary that was promoted", w.weight())
		}
		w.makePods(w.set("v1"))
		for _, p := range w.pods[w.set("v1").UID] {
			w.setReady(p, false)
		}
		w.watch = func(o Op) {
			if u, ok := o.After.(*unstructured.Unstructured); ok {
				spec := u.Object["spec"].(map[string]any)
				if spec["weight"].(int64) < 100 && spec["stableHash"] != hashOf("v2") {
					t.Errorf("weight %d with the stable at %v, which has no pods", spec["weight"], spec["stableHash"])
				}
			}
		}
		w.update("v1")
		w.reconcile()
		if w.weight() != 0 {
			t.Errorf("weight %d", w.weight())
		}
	}
}
