package rollout

import (
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func TestPingAndPongTakeTurns(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(2, argo.CanaryStrategy{PingPong: &argo.PingPongSpec{PingService: "ping", PongService: "pong"},
		TrafficRouting: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{}}, Steps: []argo.CanaryStep{weight(50), pauseFor("")}})
	w := newWorld(t, ro)
	w.settle()
	if w.ro.Status.Canary.StablePingPong != argo.PPPing || w.svcs["ping"].Spec.Selector[HashLabel] != hashOf("v1") {
		t.Fatalf("%+v, ping %v", w.ro.Status.Canary, w.svcs["ping"].Spec.Selector)
	}
	w.update("v2")
	w.settle()
	if w.svcs["pong"].Spec.Selector[HashLabel] != hashOf("v2") || w.svcs["ping"].Spec.Selector[HashLabel] != hashOf("v1") || w.weight() != 50 {
		t.Fatalf("pong %v, weight %d", w.svcs["pong"].Spec.Selector, w.weight())
	}
	w.user(promote)
	w.watch = func(o Op) {
		if u, ok := o.After.(*unstructured.Unstructured); ok {
			if canary, _, _ := unstructured.NestedString(u.Object, "spec", "canary"); canary == "ping" {
				if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "weight"); n > 0 {
					t.Fatalf("the revision before gets weight %d again when the two change places", n)
				}
			}
		}
	}
	w.settle()
	if w.ro.Status.Canary.StablePingPong != argo.PPPong || w.weight() != 0 {
		t.Fatalf("%+v, weight %d", w.ro.Status.Canary, w.weight())
	}
	spec := w.objects[routeRef].Object["spec"].(map[string]any)
	if spec["stable"] != "pong" || spec["canary"] != "ping" {
		t.Fatalf("%v", spec)
	}
}

func pingPongCanary(n int32, steps ...argo.CanaryStep) *rollouts.Rollout {
	return canaryRollout(n, argo.CanaryStrategy{PingPong: &argo.PingPongSpec{PingService: "ping", PongService: "pong"},
		TrafficRouting: &argo.RolloutTrafficRouting{ALB: &argo.ALBTrafficRouting{}}, Steps: steps})
}

// The one of ping and pong that is not in use goes on selecting a revision; that does not keep its pods.
func TestPodsBehindTheIdleOneOfPingAndPongGo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then func(w *world)
		gone string
	}{
		"after the update":                  {func(w *world) { w.user(promote) }, "v1"},
		"after going back in the middle":    {func(w *world) { w.update("v1") }, "v2"},
		"after an abort and going back":     {func(w *world) { w.user(abort); w.settle(); w.update("v1") }, "v2"},
		"after an abort with its own delay": {func(w *world) { w.user(abort) }, "v2"},
	} {
		w := newWorld(t, pingPongCanary(2, weight(50), pauseFor("")))
		w.mind()
		w.settle()
		w.update("v2")
		w.settle()
		c.then(w)
		w.settle()
		if n := *w.set(c.gone).Spec.Replicas; n == 0 {
			t.Fatalf("%s: %s goes before its delay", name, c.gone)
		}
		w.pass(31 * time.Second)
		if n := *w.set(c.gone).Spec.Replicas; n != 0 {
			t.Fatalf("%s: %s keeps %d pods: %+v", name, c.gone, n, w.plan.Why)
		}
	}
}

// The controller ends when it has promoted, before the routers know it; then the next update comes.
func TestPingAndPongAreNotTakenBeforeTheRoutersHaveExchangedThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pingPongCanary(2, pauseFor(""), weight(50)))
	w.mind()
	w.settle()
	w.update("v2")
	w.settle()
	w.user(wholly)
	for w.ro.Status.StableRS != hashOf("v2") { // one op at a time
		w.die = 1
		w.reconcile()
		for _, p := range w.pods[w.set("v2").UID] {
			w.setReady(p, true)
		}
		w.makePods(w.set("v2"))
	}
	w.die = 0
	w.update("v3")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if w.svcs["ping"].Spec.Selector[HashLabel] != hashOf("v3") || w.svcs["pong"].Spec.Selector[HashLabel] != hashOf("v2") {
		t.Fatalf("ping %v, pong %v", w.svcs["ping"].Spec.Selector, w.svcs["pong"].Spec.Selector)
	}
}

// The controller ends before it has recorded what is stable; then the next version comes, which is the first one now.
func TestTheFirstVersionBehindPingOrPongServesUntilTheNextOneCan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ops           int  // after which the controller ends; 0 = it goes on
		mine, managed bool // ping selects the first version already, and is marked as the Rollout's
		lost          bool // the routers' object
	}{
		"nothing was done but the ReplicaSet":          {ops: 2},
		"the routers' object is away":                  {ops: 2, lost: true},
		"ping was pointed to it":                       {ops: 2, mine: true, managed: true},
		"ping was pointed to it by somebody":           {ops: 2, mine: true},
		"ping was pointed to it, routers' object away": {ops: 2, mine: true, managed: true, lost: true},
		"all was recorded":                             {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, pingPongCanary(1))
			w.mind()
			w.die = c.ops
			w.reconcile()
			w.die = 0
			first := w.set("v1")
			w.makePods(first)
			w.setReady(w.pods[first.UID][0], true)
			if c.mine {
				w.svcs["ping"].Spec.Selector[HashLabel] = hashOf("v1")
			}
			if c.managed {
				w.svcs["ping"].Annotations = map[string]string{ManagedByAnnotation: "web"}
			}
			if c.lost {
				w.lostRoute = w.objects[routeRef]
				delete(w.objects, routeRef)
			}
			w.update("v2")
			w.reconcile()
			if h := w.svcs["ping"].Spec.Selector[HashLabel]; h == hashOf("v2") {
				t.Fatal("ping is pointed to the second version, which has no pods yet")
			}
			w.restoreRoute()
			w.pass(time.Minute)
			w.phase(argo.RolloutPhaseHealthy, "")
			_, stable := Services(w.ro)
			if h := w.svcs[stable].Spec.Selector[HashLabel]; h != hashOf("v2") {
				t.Fatalf("%s ends at %q", stable, h)
			}
			if rs := w.set("v1"); rs != nil && *rs.Spec.Replicas != 0 {
				t.Fatalf("the first version keeps %d pods", *rs.Spec.Replicas)
			}
		})
	}
}

// A Service that has users already is taken when all pods can serve them, be it as ping or pong.
func TestTheFirstVersionTakesPingWhenItIsAvailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pingPongCanary(2))
	w.reconcile()
	w.makePods(w.set("v1"))
	for i, want := range []string{"", hashOf("v1")} {
		w.setReady(w.pods[w.set("v1").UID][i], true)
		w.reconcile()
		if h := w.svcs["ping"].Spec.Selector[HashLabel]; h != want {
			t.Fatalf("ping selects %q with %d of 2 pods available, want %q", h, i+1, want)
		}
	}
}
