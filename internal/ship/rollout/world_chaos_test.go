package rollout

import (
	"maps"
	"slices"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/api/rollouts"
)

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
		"go on": func(t *rapid.T) { w.user(func(ro *rollouts.Rollout) { ro.Spec.Paused = false }) },
		"next": func(t *rapid.T) { // promotes what is not paused, or what an inconclusive analysis holds
			w.user(func(ro *rollouts.Rollout) {
				if i := ro.Status.CurrentStepIndex; i != nil && ro.Spec.Strategy.Canary != nil && int(*i) < len(ro.Spec.Strategy.Canary.Steps) {
					ro.Status.PauseConditions, ro.Status.ControllerPause, ro.Status.CurrentStepIndex = nil, false, ptr(*i+1)
				}
			})
		},
		"steps": func(t *rapid.T) {
			if w.ro.Spec.Strategy.Canary == nil {
				t.Skip()
			}
			more := drawer{t}.steps(w.ro.Spec.Strategy.Canary, *w.ro.Spec.Replicas)
			w.user(func(ro *rollouts.Rollout) {
				c := ro.Spec.Strategy.Canary.DeepCopy()
				c.Steps = append(c.Steps, more...)
				ro.Spec.Strategy.Canary = c
			})
		},
		"node": func(t *rapid.T) { w.loseNode(rapid.IntRange(2, 4).Draw(t, "nodes")) },
		"router": func(t *rapid.T) { // its object goes, or comes back
			if !routed(w.ro) {
				t.Skip()
			}
			if w.lostRoute == nil {
				w.lostRoute = w.objects[routeRef]
				delete(w.objects, routeRef)
				return
			}
			w.restoreRoute()
		},
		"conflict": func(t *rapid.T) {
			w.conflict = rapid.IntRange(1, 4).Draw(t, "op")
			w.reconcile()
			w.conflict = 0
		},
		"remember": func(t *rapid.T) { w.past = ptr(w.snapshot()) },
		"stale": func(t *rapid.T) {
			if w.past == nil {
				t.Skip()
			}
			w.reconcileStale(*w.past)
		},
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

// loseNode takes every nth pod away.
func (w *world) loseNode(nodes int) {
	for _, name := range slices.Sorted(maps.Keys(w.sets)) {
		uid, left := w.sets[name].UID, []*corev1.Pod(nil)
		for i, p := range w.pods[uid] {
			if i%nodes != 0 {
				left = append(left, p)
			}
		}
		w.pods[uid] = left
	}
	w.count()
}

func (w *world) restoreRoute() {
	if w.lostRoute != nil {
		w.stamp(w.lostRoute)
		w.objects[routeRef], w.lostRoute = w.lostRoute, nil
	}
}

// reconcileStale decides on what was so a while ago. What is written then fails where its object has changed since; what is
// not, may be wrong now, and is put right later.
func (w *world) reconcileStale(past Snapshot) {
	watch, done := w.watch, w.done
	w.watch, w.done, w.behind = nil, nil, true
	w.carryOut(Decide(past, w.now))
	w.watch, w.done, w.behind = watch, done, false
}
