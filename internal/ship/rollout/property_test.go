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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// anyRollout draws a strategy with everything that can be combined.
func anyRollout(t *rapid.T) *rollouts.Rollout {
	n := rapid.Int32Range(1, 6).Draw(t, "replicas")
	yes := func(name string) bool { return rapid.Bool().Draw(t, name) }
	if rapid.IntRange(0, 3).Draw(t, "strategy") == 0 {
		b := argo.BlueGreenStrategy{ActiveService: "active"}
		if yes("preview") {
			b.PreviewService = "preview"
		}
		if yes("manual") {
			b.AutoPromotionEnabled = ptr(false)
		} else if yes("auto") {
			b.AutoPromotionSeconds = 10
		}
		if yes("count") {
			b.PreviewReplicaCount = ptr(int32(1))
		}
		if yes("pre") {
			b.PrePromotionAnalysis = &argo.RolloutAnalysis{Templates: []argo.AnalysisTemplateRef{{TemplateName: "check"}}}
		}
		if yes("post") {
			b.PostPromotionAnalysis = &argo.RolloutAnalysis{Templates: []argo.AnalysisTemplateRef{{TemplateName: "check"}}}
		}
		return greenRollout(n, b)
	}
	c := argo.CanaryStrategy{MaxSurge: ptr(intstr.FromInt32(rapid.Int32Range(1, 2).Draw(t, "surge"))),
		MaxUnavailable: ptr(intstr.FromInt32(rapid.Int32Range(0, 2).Draw(t, "unavailable")))}
	if yes("services") {
		c.CanaryService, c.StableService = "canary", "stable"
	}
	if yes("routed") {
		c.CanaryService, c.StableService = "canary", "stable"
		c.TrafficRouting = &argo.RolloutTrafficRouting{SMI: &argo.SMITrafficRouting{}}
		c.DynamicStableScale = yes("dynamic")
		if yes("delayed") {
			c.AbortScaleDownDelaySeconds = ptr(rapid.Int32Range(0, 20).Draw(t, "delay"))
		}
		if yes("pairs") {
			c.MinPodsPerReplicaSet = ptr(int32(2))
		}
	}
	if yes("background") {
		c.Analysis = &argo.RolloutAnalysisBackground{RolloutAnalysis: argo.RolloutAnalysis{Templates: []argo.AnalysisTemplateRef{{TemplateName: "check"}}}}
	}
	for range rapid.IntRange(0, 5).Draw(t, "steps") {
		switch rapid.IntRange(0, 7).Draw(t, "step") {
		case 0, 1:
			c.Steps = append(c.Steps, weight(rapid.Int32Range(0, 100).Draw(t, "weight")))
		case 2:
			c.Steps = append(c.Steps, pauseFor(""))
		case 3:
			c.Steps = append(c.Steps, pauseFor("10s"))
		case 4:
			c.Steps = append(c.Steps, argo.CanaryStep{Analysis: &argo.RolloutAnalysis{Templates: []argo.AnalysisTemplateRef{{TemplateName: "check"}}}})
		case 6:
			c.Steps = append(c.Steps, argo.CanaryStep{Experiment: &argo.RolloutExperimentStep{Templates: []argo.RolloutExperimentTemplate{{Name: "a", SpecRef: argo.CanarySpecRef}}}})
		case 7:
			c.Steps = append(c.Steps, argo.CanaryStep{Plugin: &argo.PluginStep{Name: "works"}})
		case 5:
			if c.TrafficRouting != nil {
				c.Steps = append(c.Steps, argo.CanaryStep{SetCanaryScale: &argo.SetCanaryScale{Replicas: ptr(rapid.Int32Range(0, n).Draw(t, "scale"))}})
			}
		}
	}
	ro := canaryRollout(n, c)
	if yes("window") {
		ro.Spec.RollbackWindow = &argo.RollbackWindowSpec{Revisions: 2}
	}
	if yes("late") {
		ro.Spec.ProgressDeadlineAbort = true
	}
	return ro
}

func withTemplates(w *world) {
	w.tmpls = map[string]*argo.AnalysisTemplate{"check": {ObjectMeta: metav1.ObjectMeta{Name: "check", Namespace: "shop"},
		Spec: argo.AnalysisTemplateSpec{Metrics: []argo.Metric{{Name: "ok", Provider: argo.MetricProvider{Web: &argo.WebMetric{URL: "http://x"}}}}}}}
}

// never checks before each Op that it does nothing that must never be done.
func (w *world) never(o Op) {
	w.t.Helper()
	switch o.Verb {
	case Patch:
		switch b := o.Before.(type) {
		case *appsv1.ReplicaSet:
			w.neverStarve(w.sets[b.Name], *o.After.(*appsv1.ReplicaSet).Spec.Replicas)
		case *corev1.Service:
			w.neverDeaf(b, o.After.(*corev1.Service))
		case *unstructured.Unstructured:
			w.neverMislead(b, o.After.(*unstructured.Unstructured))
		}
	case Delete:
		if rs, ok := o.Before.(*appsv1.ReplicaSet); ok {
			h := rs.Labels[HashLabel]
			if h == w.ro.Status.StableRS || h == w.ro.Status.CurrentPodHash || *rs.Spec.Replicas > 0 {
				w.t.Fatalf("deletes %s, which is needed", rs.Name)
			}
		}
	case PatchStatus:
		w.neverForget(&o.Before.(*rollouts.Rollout).Status, &o.After.(*rollouts.Rollout).Status)
	}
}

// neverStarve: a canary without a router keeps enough pods, and no ReplicaSet is taken away that traffic comes to.
func (w *world) neverStarve(rs *appsv1.ReplicaSet, to int32) {
	w.t.Helper()
	if to >= *rs.Spec.Replicas {
		return
	}
	if w.ro.Spec.Strategy.Canary != nil && !routed(w.ro) {
		_, unavailable := surgeAndUnavailable(w.ro)
		was, is := int32(0), int32(0)
		for _, s := range w.sets {
			n := min(s.Status.AvailableReplicas, *s.Spec.Replicas)
			was += n
			if s == rs {
				n = min(n, to)
			}
			is += n
		}
		if is < min(was, *w.ro.Spec.Replicas-unavailable) {
			w.t.Fatalf("scaling %s from %d to %d leaves %d of %d pods available", rs.Name, *rs.Spec.Replicas, to, is, was)
		}
	}
	if to > 0 || *w.ro.Spec.Replicas == 0 {
		return
	}
	h := rs.Labels[HashLabel]
	for name, svc := range w.svcs {
		if name != "preview" && name != "canary" && svc.Spec.Selector[HashLabel] == h {
			for _, s := range w.sets {
				if s != rs && s.Status.AvailableReplicas > 0 && *s.Spec.Replicas > 0 {
					w.t.Fatalf("%s is scaled to 0 while the service %s selects it", rs.Name, name)
				}
			}
		}
	}
	if !routed(w.ro) {
		return
	}
	if canary, _, _ := unstructured.NestedString(w.objects[routeRef].Object, "spec", "canaryHash"); w.weight() > 0 && canary == h && rs.Status.AvailableReplicas > 0 {
		w.t.Fatalf("%s is scaled to 0 while it has weight %d", rs.Name, w.weight())
	}
}

// neverDeaf: a Service is not pointed to where nobody answers while somebody does elsewhere.
func (w *world) neverDeaf(before, after *corev1.Service) {
	w.t.Helper()
	to := after.Spec.Selector[HashLabel]
	if before.Name == "preview" || to == before.Spec.Selector[HashLabel] || to == "" || *w.ro.Spec.Replicas == 0 {
		return
	}
	for _, rs := range w.sets {
		if rs.Labels[HashLabel] == to && rs.Status.AvailableReplicas == 0 && before.Spec.Selector[HashLabel] != "" && before.Name != "canary" {
			w.t.Fatalf("service %s is switched to %s, which has no pods available", before.Name, rs.Name)
		}
	}
}

// neverMislead: no side gets more traffic, and none is pointed elsewhere with traffic on it, while it has no pods and the other
// has.
func (w *world) neverMislead(before, after *unstructured.Unstructured) {
	w.t.Helper()
	side := func(u *unstructured.Unstructured, name string) (share int64, hash string, pods int32) {
		share, _, _ = unstructured.NestedInt64(u.Object, "spec", "weight")
		if name == "stable" {
			share = 100 - share
		}
		hash, _, _ = unstructured.NestedString(u.Object, "spec", name+"Hash")
		for _, rs := range w.sets {
			if rs.Labels[HashLabel] == hash {
				pods = rs.Status.AvailableReplicas
			}
		}
		return share, hash, pods
	}
	for name, opposite := range map[string]string{"canary": "stable", "stable": "canary"} {
		was, wasHash, _ := side(before, name)
		is, hash, pods := side(after, name)
		_, _, others := side(after, opposite)
		if wasHash != "" && pods == 0 && others > 0 && is > 0 && (is > was || hash != wasHash) {
			w.t.Fatalf("the %s gets %d after %d (%s after %s), and has no pods", name, is, was, hash, wasHash)
		}
	}
}

// neverForget: pauses survive a change of size, and no inconclusive result is passed over.
func (w *world) neverForget(was, is *rollouts.RolloutStatus) {
	w.t.Helper()
	inconclusive := slices.ContainsFunc(was.PauseConditions, func(c argo.PauseCondition) bool { return c.Reason == argo.PauseReasonInconclusiveAnalysis })
	if inconclusive && is.StableRS != was.StableRS && !was.PromoteFull && is.CurrentPodHash == was.CurrentPodHash && w.ro.Spec.RollbackWindow == nil {
		w.t.Fatalf("promoted past an inconclusive result")
	}
	if len(was.PauseConditions) > 0 && len(is.PauseConditions) == 0 && is.CurrentPodHash == was.CurrentPodHash && is.CurrentStepHash == was.CurrentStepHash &&
		!is.Abort && !was.PromoteFull && is.StableRS == was.StableRS {
		timed := was.PauseConditions[0].Reason == argo.PauseReasonCanaryPauseStep || was.PauseConditions[0].Reason == argo.PauseReasonBlueGreenPause
		moved := was.CurrentStepIndex != nil && is.CurrentStepIndex != nil && *was.CurrentStepIndex != *is.CurrentStepIndex
		if !timed || !moved && w.ro.Spec.Strategy.Canary != nil {
			w.t.Fatalf("pauses %v are gone", was.PauseConditions)
		}
	}
}

// chaos is what users, pods and time do at any moment.
func (w *world) chaos(least int32) map[string]func(*rapid.T) {
	image := func(t *rapid.T) string { return rapid.SampledFrom([]string{"v1", "v2", "v3", "bad"}).Draw(t, "image") }
	anySet := func(t *rapid.T) *appsv1.ReplicaSet {
		names := slices.Sorted(maps.Keys(w.sets))
		if len(names) == 0 {
			t.Skip()
		}
		return w.sets[rapid.SampledFrom(names).Draw(t, "set")]
	}
	anyPod := func(t *rapid.T) *corev1.Pod {
		pods := w.pods[anySet(t).UID]
		if len(pods) == 0 {
			t.Skip()
		}
		return pods[rapid.IntRange(0, len(pods)-1).Draw(t, "pod")]
	}
	return map[string]func(*rapid.T){
		"reconcile": func(t *rapid.T) { w.reconcile() },
		"die": func(t *rapid.T) {
			w.die = rapid.IntRange(1, 4).Draw(t, "ops")
			w.reconcile()
			w.die = 0
		},
		"make":  func(t *rapid.T) { w.makePods(anySet(t)) },
		"make2": func(t *rapid.T) { w.makePods(anySet(t)) },
		"ready": func(t *rapid.T) {
			if p := anyPod(t); !strings.Contains(p.Spec.Containers[0].Image, "bad") {
				w.setReady(p, true)
			}
		},
		"all ready": func(t *rapid.T) {
			rs := anySet(t)
			w.makePods(rs)
			for _, p := range w.pods[rs.UID] {
				if !strings.Contains(p.Spec.Containers[0].Image, "bad") {
					w.setReady(p, true)
				}
			}
		},
		"fail": func(t *rapid.T) { w.setReady(anyPod(t), false) },
		"wait": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
		},
		"update": func(t *rapid.T) { w.update(image(t)) },
		"resize": func(t *rapid.T) {
			n := rapid.Int32Range(least, 8).Draw(t, "n")
			w.user(func(ro *rollouts.Rollout) { ro.Spec.Replicas = &n })
		},
		"promote": func(t *rapid.T) {
			w.user(func(ro *rollouts.Rollout) { ro.Status.PauseConditions, ro.Spec.Paused = nil, false })
		},
		"full": func(t *rapid.T) {
			w.user(func(ro *rollouts.Rollout) { ro.Status.PromoteFull = ro.Status.CurrentPodHash != ro.Status.StableRS })
		},
		"abort": func(t *rapid.T) { w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = true }) },
		"retry": func(t *rapid.T) { w.user(func(ro *rollouts.Rollout) { ro.Status.Abort = false }) },
		"pause": func(t *rapid.T) { w.user(func(ro *rollouts.Rollout) { ro.Spec.Paused = true }) },
		"restart": func(t *rapid.T) {
			w.user(func(ro *rollouts.Rollout) { ro.Spec.RestartAt = &metav1.Time{Time: w.now.Truncate(time.Second)} })
		},
		"try": func(t *rapid.T) {
			for _, e := range w.exps {
				if !e.Status.Phase.Completed() {
					e.Status.Phase = rapid.SampledFrom([]argo.AnalysisPhase{argo.AnalysisPhaseRunning, argo.AnalysisPhaseSuccessful,
						argo.AnalysisPhaseInconclusive, argo.AnalysisPhaseFailed}).Draw(t, "phase")
					w.stamp(e)
				}
			}
		},
		"judge": func(t *rapid.T) {
			if len(w.runs) == 0 {
				t.Skip()
			}
			r := w.runs[rapid.IntRange(0, len(w.runs)-1).Draw(t, "run")]
			if !r.Status.Phase.Completed() {
				r.Status.Phase = rapid.SampledFrom([]argo.AnalysisPhase{argo.AnalysisPhaseRunning, argo.AnalysisPhaseSuccessful,
					argo.AnalysisPhaseSuccessful, argo.AnalysisPhaseInconclusive, argo.AnalysisPhaseFailed}).Draw(t, "phase")
				w.stamp(r)
			}
		},
	}
}

func TestWhateverHappensNothingIsDoneThatMustNeverBe(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, anyRollout(t))
		withTemplates(w)
		w.watch = w.never
		settled := rapid.IntRange(0, 3).Draw(t, "settled") > 0
		if settled {
			w.settle()
		}
		if !settled {
			t.Repeat(w.chaos(0))
		} else { // without a stable revision that works there may be no way on within surge and unavailable
			t.Repeat(w.chaos(1))
			w.calmDown()
		}
	})
}

// calmDown lets the last template be a good one, all be promoted, and checks that this is what is reached.
func (w *world) calmDown() {
	w.t.Helper()
	w.user(func(ro *rollouts.Rollout) {
		ro.Spec.Template, ro.Spec.Paused, ro.Spec.Replicas = tmpl("v9"), false, ptr(max(*ro.Spec.Replicas, 1))
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
		if svc.Spec.Selector[HashLabel] != hashOf("v9") {
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
