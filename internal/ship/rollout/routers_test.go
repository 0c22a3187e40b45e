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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

func TestHeaderRoutesAreInForceUntilAStepTakesThemAway(t *testing.T) {
	t.Parallel()
	set := func(match ...argo.HeaderRoutingMatch) argo.CanaryStep {
		return argo.CanaryStep{SetHeaderRoute: &argo.SetHeaderRoute{Name: "beta", Match: match}}
	}
	routing := &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}, ManagedRoutes: []argo.MangedRoutes{{Name: "beta"}}}
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{TrafficRouting: routing, Steps: []argo.CanaryStep{
		weight(50), set(argo.HeaderRoutingMatch{HeaderName: "x"}), pauseFor(""), set(), pauseFor("")}}))
	headers := func() int64 { return w.objects[routeRef].Object["spec"].(map[string]any)["headers"].(int64) }
	w.settle()
	w.update("v2")
	w.settle()
	if headers() != 1 {
		t.Fatalf("%d header routes", headers())
	}
	w.user(promote)
	w.settle()
	if headers() != 0 {
		t.Fatalf("%d header routes after they were taken away", headers())
	}
}

func TestAnAbortPointsTheCanaryServiceBackAlthoughItsRouterCannotFollow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	delete(w.objects, routeRef)
	w.user(abort)
	w.reconcile()
	if w.plan.Why.Code != "TrafficRoutingError" || w.svcs["canary"].Spec.Selector[HashLabel] != hashOf("v1") {
		t.Errorf("%+v, the canary Service selects %v", w.plan.Why, w.svcs["canary"].Spec.Selector)
	}
}

func TestARouterWithoutItsObjectKeepsEverythingAndSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	route := w.objects[routeRef]
	delete(w.objects, routeRef)
	w.user(promote)
	w.reconcile()
	if w.plan.Why.Code != "TrafficRoutingError" || len(w.plan.Warnings) != 1 || w.ro.Status.Canary.Weights.Canary.Weight != 50 {
		t.Fatalf("%+v, warnings %v", w.plan.Why, w.plan.Warnings)
	}
	if at := w.now.Add(verifyRetry); !w.plan.RequeueAt.Equal(at) {
		t.Fatalf("requeue at %s, want %s", w.plan.RequeueAt, at)
	}
	w.objects[routeRef] = route
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestATrafficPluginIsAskedOnceForEachIntent(t *testing.T) {
	t.Parallel()
	ro := routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}})
	ro.Spec.Strategy.Canary.TrafficRouting = &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{"example/router": json.RawMessage(`{}`)}}
	w := newWorld(t, ro)
	w.routers = nil
	n := 0
	w.done = func(o Op) {
		if o.Verb == Ask && o.Call.Kind == RouterPlugin {
			n++
		}
	}
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if wt := w.ro.Status.Canary.Weights; wt == nil || wt.Canary.Weight != 50 {
		t.Fatalf("%+v", wt)
	}
	if n < 2 || n > 5 {
		t.Errorf("the plugin was asked %d times", n)
	}
}

// With Istio subsets the hashes are in one object and the weights in another: never has a subset weight that selects pods of a
// revision that is not ready for it.
func TestIstioSubsetsHaveTheirHashBeforeTheirWeight(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(3, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(40), pauseFor("")}, TrafficRouting: &argo.RolloutTrafficRouting{
		Istio: &argo.IstioTrafficRouting{VirtualService: &argo.IstioVirtualService{Name: "vs"},
			DestinationRule: &argo.IstioDestinationRule{Name: "dr", CanarySubsetName: "canary", StableSubsetName: "stable"}}}})
	w := newWorld(t, ro)
	routers, err := traffic.For("shop", ro.Spec.Strategy.Canary.TrafficRouting)
	if err != nil {
		t.Fatal(err)
	}
	w.routers = routers
	object := func(s string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(s), u); err != nil {
			t.Fatal(err)
		}
		w.stamp(u)
		w.objects[refOf(u)] = u
		return u
	}
	vs := refOf(object(`{"apiVersion":"networking.istio.io/v1alpha3","kind":"VirtualService","metadata":{"namespace":"shop","name":"vs"},"spec":{"hosts":["web"],"http":[{"route":[
		{"destination":{"host":"web","subset":"stable"},"weight":100},{"destination":{"host":"web","subset":"canary"},"weight":0}]}]}}`))
	dr := refOf(object(`{"apiVersion":"networking.istio.io/v1alpha3","kind":"DestinationRule","metadata":{"namespace":"shop","name":"dr"},"spec":{"host":"web","subsets":[
		{"name":"stable","labels":{"app":"web"}},{"name":"canary","labels":{"app":"web"}}]}}`))
	state := func() (canary, stable string, weight int64) {
		for _, s := range w.objects[dr].Object["spec"].(map[string]any)["subsets"].([]any) {
			m := s.(map[string]any)
			h, _, _ := unstructured.NestedString(m, "labels", HashLabel)
			if m["name"] == "canary" {
				canary = h
			} else {
				stable = h
			}
		}
		for _, h := range w.objects[vs].Object["spec"].(map[string]any)["http"].([]any) {
			for _, d := range h.(map[string]any)["route"].([]any) {
				if subset, _, _ := unstructured.NestedString(d.(map[string]any), "destination", "subset"); subset == "canary" {
					weight, _, _ = unstructured.NestedInt64(d.(map[string]any), "weight")
				}
			}
		}
		return canary, stable, weight
	}
	w.watch = func(o Op) {
		w.never(o)
		canary, stable, weight := state()
		for hash, share := range map[string]int64{canary: weight, stable: 100 - weight} {
			for _, rs := range w.sets {
				if hash != "" && rs.Labels[HashLabel] == hash && share > 0 && canary != stable && rs.Status.AvailableReplicas == 0 {
					t.Fatalf("weight %d of %s, which has no pods", share, rs.Name)
				}
			}
		}
	}
	w.settle()
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	if canary, stable, weight := state(); canary != hashOf("v2") || stable != hashOf("v1") || weight != 40 {
		t.Fatalf("%s %s %d", canary, stable, weight)
	}
	w.update("v3")
	w.still()
	if canary, _, weight := state(); canary != hashOf("v2") && weight != 0 || weight != 0 {
		t.Fatalf("%s %d", canary, weight)
	}
	w.settle()
	if canary, stable, weight := state(); canary != hashOf("v3") || stable != hashOf("v1") || weight != 40 {
		t.Fatalf("%s %s %d", canary, stable, weight)
	}
	w.user(promote)
	w.pass(time.Hour)
	w.phase(argo.RolloutPhaseHealthy, "")
	if canary, stable, weight := state(); canary != hashOf("v3") || stable != hashOf("v3") || weight != 0 {
		t.Fatalf("%s %s %d", canary, stable, weight)
	}
	w.sized("v1", 0)
	w.sized("v2", 0)
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Template = tmpl("v1") })
	w.settle()
	w.user(abort)
	w.pass(time.Hour)
	if _, stable, weight := state(); stable != hashOf("v3") || weight != 0 {
		t.Fatalf("%s %d", stable, weight)
	}
	w.sized("v1", 0)
}

// slowRouter follows when it is told to.
type slowRouter struct {
	fakeRouter
	follows *bool
}

func (r slowRouter) Translate(in traffic.Intent, o traffic.Objects) (traffic.Result, error) {
	res, err := r.fakeRouter.Translate(in, o)
	res.Verified, res.Message = ptr(*r.follows), "not loaded yet"
	return res, err
}

func TestAStepWaitsUntilTheRouterFollowsItsWeight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), weight(100)}}))
	follows := true
	w.routers = []traffic.Router{slowRouter{follows: &follows}}
	w.settle()
	w.update("v2")
	follows = false
	w.settle()
	if *w.ro.Status.CurrentStepIndex != 0 || w.weight() != 50 || w.plan.Why.Code != "WeightNotVerified" {
		t.Fatalf("step %d, weight %d, %+v", *w.ro.Status.CurrentStepIndex, w.weight(), w.plan.Why)
	}
	if v := w.ro.Status.Canary.Weights.Verified; v == nil || *v {
		t.Fatal("it is verified")
	}
	if at := w.now.Add(verifyRetry); !w.plan.RequeueAt.Equal(at) {
		t.Fatalf("requeue at %s, want %s", w.plan.RequeueAt, at)
	}
	follows = true
	w.reconcile()
	follows = false
	w.pass(time.Minute)
	if w.weight() != 100 || w.ro.Status.StableRS != hashOf("v1") {
		t.Fatalf("weight %d, stable %s: nothing may be promoted that the router has not loaded", w.weight(), w.ro.Status.StableRS)
	}
	w.sized("v1", 2)
	follows = true
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAPromotionAndAnAbortReachTheRouterInOneReconcile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{{SetCanaryScale: &argo.SetCanaryScale{Replicas: ptr(int32(2))}},
		weight(10), pauseFor(""), weight(40), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.user(promote)
	w.reconcile()
	if w.weight() != 40 {
		t.Fatalf("weight %d after a promotion", w.weight())
	}
	w.user(abort)
	w.reconcile()
	if w.weight() != 0 {
		t.Fatalf("weight %d after an abort", w.weight())
	}
}

func TestATrafficPluginIsToldToTakeARouteAway(t *testing.T) {
	t.Parallel()
	set := func(match ...argo.HeaderRoutingMatch) argo.CanaryStep {
		return argo.CanaryStep{SetHeaderRoute: &argo.SetHeaderRoute{Name: "beta", Match: match}}
	}
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), set(argo.HeaderRoutingMatch{HeaderName: "x"}), pauseFor(""), set(), pauseFor("")},
		TrafficRouting: &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{"example/router": json.RawMessage(`{}`)}, ManagedRoutes: []argo.MangedRoutes{{Name: "beta"}}}}))
	w.routers = nil
	var last traffic.Intent
	w.watch = func(o Op) {
		if o.Verb == Ask {
			last = *o.Call.Intent
		}
	}
	w.settle()
	w.update("v2")
	w.settle()
	if len(last.Headers) != 1 || len(last.Headers[0].Match) != 1 {
		t.Fatalf("%+v", last.Headers)
	}
	w.user(promote)
	w.settle()
	if len(last.Headers) != 1 || len(last.Headers[0].Match) != 0 {
		t.Fatalf("%+v", last.Headers)
	}
}

// The Service of an experiment is in the route while it runs, at the port of its pods, and not afterwards.
func TestAnExperimentIsTakenOutOfTheRouteWhenItIsOver(t *testing.T) {
	t.Parallel()
	ro := routedCanary(2, argo.CanaryStrategy{
		TrafficRouting: &argo.RolloutTrafficRouting{Plugins: map[string]json.RawMessage{traffic.GatewayAPIPlugin: json.RawMessage(`{"httpRoute": "web", "namespace": "shop"}`)}},
		Steps:          []argo.CanaryStep{weight(20), {Experiment: &argo.RolloutExperimentStep{Templates: []argo.RolloutExperimentTemplate{{Name: "a", SpecRef: argo.CanarySpecRef, Weight: ptr(int32(5))}}}}, pauseFor("")}})
	ro.Spec.Template = tmpl("v1")
	port := func(t *corev1.PodTemplateSpec) {
		t.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}}
	}
	port(&ro.Spec.Template)
	w := newWorld(t, ro)
	var err error
	if w.routers, err = traffic.For("shop", ro.Spec.Strategy.Canary.TrafficRouting); err != nil {
		t.Fatal(err)
	}
	route := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"namespace":"shop","name":"web"},"spec":{"rules":[{"backendRefs":[
		{"name":"stable","port":80},{"name":"canary","port":80}]}]},"status":{"parents":[{"conditions":[{"type":"Accepted","status":"True"}]}]}}`), route); err != nil {
		t.Fatal(err)
	}
	w.stamp(route)
	w.objects[refOf(route)] = route
	backends := func() map[string]string {
		out := map[string]string{}
		rules, _, _ := unstructured.NestedSlice(w.objects[refOf(route)].Object, "spec", "rules")
		refs, _, _ := unstructured.NestedSlice(rules[0].(map[string]any), "backendRefs")
		for _, r := range refs {
			m := r.(map[string]any)
			out[fmt.Sprint(m["name"])] = fmt.Sprint(m["weight"], " at ", m["port"])
		}
		return out
	}
	w.settle()
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Template = tmpl("v2"); port(&ro.Spec.Template) })
	w.settle()
	e := w.exps[0]
	e.Status.Phase, e.Status.TemplateStatuses = argo.AnalysisPhaseRunning, []argo.TemplateStatus{{Name: "a", ServiceName: "web-a", PodTemplateHash: "x"}}
	w.stamp(e)
	w.settle()
	if got, want := backends(), map[string]string{"stable": "75 at 80", "canary": "20 at 80", "web-a": "5 at 8080"}; !maps.Equal(got, want) {
		t.Fatalf("backends %v, want %v", got, want)
	}
	e.Status.Phase = argo.AnalysisPhaseSuccessful
	w.stamp(e)
	w.settle()
	if got, want := backends(), map[string]string{"stable": "80 at 80", "canary": "20 at 80"}; !maps.Equal(got, want) {
		t.Fatalf("backends %v, want %v", got, want)
	}
}

// Steps that are done as soon as they begin pass in one reconcile; each is told in its turn, and its weight before it.
func TestEventsOfStepsThatPassAtOnceComeInTheirOrder(t *testing.T) {
	t.Parallel()
	one := argo.CanaryStep{SetCanaryScale: &argo.SetCanaryScale{Replicas: ptr(int32(1))}}
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{one, weight(10), weight(20), weight(20), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.reconcile()
	w.makePods(w.set("v2"))
	w.told = nil
	for _, p := range w.pods[w.set("v2").UID] {
		w.setReady(p, true)
	}
	w.reconcile()
	var got []string
	for _, e := range w.told {
		got = append(got, e.Reason+": "+e.Message)
	}
	want := []string{
		fmt.Sprintf("SwitchService: Switched selector for service 'canary' from '%s' to '%s'", hashOf("v1"), hashOf("v2")),
		"RolloutStepCompleted: Rollout step 1/5 completed (setCanaryScale{replicas: 1})",
		"TrafficWeightUpdated: Traffic weight updated from 0 to 10",
		"RolloutStepCompleted: Rollout step 2/5 completed (setWeight: 10)",
		"TrafficWeightUpdated: Traffic weight updated from 10 to 20",
		"RolloutStepCompleted: Rollout step 3/5 completed (setWeight: 20)",
		"RolloutStepCompleted: Rollout step 4/5 completed (setWeight: 20)",
		"RolloutPaused: Rollout is paused (CanaryPauseStep)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// deaf does not follow.
type deaf struct{ traffic.Router }

func (d deaf) Translate(in traffic.Intent, objects traffic.Objects) (traffic.Result, error) {
	r, err := d.Router.Translate(in, objects)
	r.Verified = ptr(false)
	return r, err
}

func TestADataPathThatDoesNotFollowIsAskedSoonAndThenEverMoreRarely(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.routers = []traffic.Router{deaf{w.routers[0]}}
	w.update("v2")
	w.settle()
	s, now := w.snapshot(), w.now
	if at := Decide(s, now).RequeueAt; !at.Equal(now.Add(verifyRetry)) {
		t.Errorf("a router of another process is looked at again at %s, want %s", at, now.Add(verifyRetry))
	}
	s.Loaded = map[traffic.Ref][]traffic.RuleWeights{routeRef: {{}}}
	for _, c := range []struct{ waited, again time.Duration }{{0, loadedRetry}, {time.Second, time.Second}, {time.Minute, verifyRetry}} {
		at := now.Add(c.waited)
		p := Decide(s, at)
		if !p.RequeueAt.Equal(at.Add(c.again)) {
			t.Errorf("after %s without following it is looked again after %s, want %s", c.waited, p.RequeueAt.Sub(at), c.again)
		}
		s.Unfollowed = p.Unfollowed
	}
	s.Routers = []traffic.Router{w.routers[0].(deaf).Router}
	if p := Decide(s, now); !p.Unfollowed.IsZero() {
		t.Errorf("it follows, and is remembered as not following since %s", p.Unfollowed)
	}
}
