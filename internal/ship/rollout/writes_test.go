package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// record keeps what is written, Events apart: the verb, the subresource and the Go type.
func (w *world) record() *[]string {
	all := &[]string{}
	w.done = func(o Op) {
		obj := func(o client.Object) string { return strings.TrimPrefix(fmt.Sprintf("%T", o), "*") }
		switch o.Verb {
		case Create:
			*all = append(*all, "create "+obj(o.After))
		case Patch:
			*all = append(*all, "patch "+obj(o.Before))
		case PatchStatus:
			*all = append(*all, "patch status "+obj(o.Before))
		case Delete, Evict, Scale:
			*all = append(*all, fmt.Sprintf("%d %s", o.Verb, obj(o.Before)))
		}
	}
	return all
}

// What 1,000 Rollouts patched at once cost the API server is this list a thousand times over.
func TestUpdateOfOneReplicaTakesSixWritesHoweverLongItsPodTakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ make, start time.Duration }{{0, 0}, {0, 2 * time.Second}, {0, 9 * time.Second}, {12 * time.Second, 9 * time.Second}} {
		w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{}))
		w.settle()
		got := w.record()
		w.update("v2")
		w.reconcile()
		wait := func(d time.Duration) {
			for range 10 { // it is looked at again and again meanwhile
				w.now = w.now.Add(d / 10)
				w.reconcile()
			}
		}
		wait(c.make)
		w.makePods(w.set("v2"))
		wait(c.start)
		w.pass(0)
		w.phase(argo.RolloutPhaseHealthy, "")
		want := []string{
			"patch rollouts.Rollout",        // its revision, before anything is made
			"create v1.ReplicaSet",          // at its size
			"patch status rollouts.Rollout", // the update is under way
			"patch v1.ReplicaSet",           // the new pod serves: the old one goes
			"patch status rollouts.Rollout", // what is stable now
			"patch status rollouts.Rollout", // the old pod is gone, all is well
		}
		if !slices.Equal(*got, want) {
			t.Errorf("with a pod that is made after %s and takes %s the update is written as\n %s\nwant\n %s", c.make, c.start, strings.Join(*got, "\n "), strings.Join(want, "\n "))
		}
	}
}

// A pod that does not become ready is on record before long, and the sooner the less time the update has.
func TestPodsThatWereMadeAreCountedSoonAlthoughTheyAreNotReady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		deadline int32
		want     time.Duration
	}{{600, madeLag}, {40, 4 * time.Second}} {
		ro := canaryRollout(1, argo.CanaryStrategy{})
		ro.Spec.ProgressDeadlineSeconds = &c.deadline
		w := newWorld(t, ro)
		w.settle()
		w.update("bad")
		began := w.now
		w.settle()
		if w.ro.Status.UpdatedReplicas != 0 || !w.plan.RequeueAt.Equal(began.Add(c.want)) {
			t.Errorf("deadline %d s: %d updated at once; looked at again after %s, want %s", c.deadline, w.ro.Status.UpdatedReplicas, w.plan.RequeueAt.Sub(began), c.want)
		}
		w.pass(c.want)
		if st := w.ro.Status; st.UpdatedReplicas != 1 || st.Replicas != 2 || st.Message != "old replicas are pending termination" {
			t.Errorf("deadline %d s: after %s %d updated of %d, %q", c.deadline, c.want, st.UpdatedReplicas, st.Replicas, st.Message)
		}
	}
}

// Between a promotion and the weight there is nothing but one write: that of the weight.
func TestAPromotedPauseGivesTheNextWeightBeforeItIsOnRecord(t *testing.T) {
	t.Parallel()
	one := int32(1)
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable", TrafficRouting: &argo.RolloutTrafficRouting{Nginx: &argo.NginxTrafficRouting{StableIngress: "x"}},
		Steps: []argo.CanaryStep{{SetCanaryScale: &argo.SetCanaryScale{Replicas: &one}}, weight(5), pauseFor(""), weight(50), pauseFor(""), weight(60)}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	got, told := w.record(), len(w.told)
	w.user(promote)
	w.reconcile()
	if want := []string{"patch unstructured.Unstructured", "patch status rollouts.Rollout"}; !slices.Equal(*got, want) {
		t.Errorf("a promotion is written as %v, want %v", *got, want)
	}
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if i := *w.ro.Status.CurrentStepIndex; i != 4 || w.weight() != 50 {
		t.Errorf("at step %d, weight %d", i, w.weight())
	}
	var events []string
	for _, e := range w.told[told:] {
		events = append(events, e.Message)
	}
	if want := []string{"Rollout step 3/6 completed (pause)", "Traffic weight updated from 5 to 50", "Rollout step 4/6 completed (setWeight: 50)", "Rollout is paused (CanaryPauseStep)"}; !slices.Equal(events, want) {
		t.Errorf("told %q, want %q", events, want)
	}
}

// Nothing is written before the weight, by which an abort takes effect.
func TestAnAbortWritesTheWeightFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	got := w.record()
	w.user(abort)
	w.settle()
	want := []string{
		"patch unstructured.Unstructured", // the weight
		"patch v1.Service",                // the canary's, to the stable revision
		"patch v1.ReplicaSet",             // when the canary's pods go
		"patch status rollouts.Rollout",
	}
	if !slices.Equal(*got, want) {
		t.Errorf("an abort is written as\n %s\nwant\n %s", strings.Join(*got, "\n "), strings.Join(want, "\n "))
	}
}
