package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func TestPausesLastAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		duration intstr.IntOrString
		want     time.Duration
	}{{intstr.FromInt32(60), time.Minute}, {intstr.FromString("60"), time.Minute}, {intstr.FromString("30s"), 30 * time.Second},
		{intstr.FromString("5m"), 5 * time.Minute}, {intstr.FromString("1h"), time.Hour}, {intstr.FromInt32(0), 0}} {
		if d, ok := PauseDuration(&argo.RolloutPause{Duration: &c.duration}); !ok || d != c.want {
			t.Errorf("%v: %s %t", c.duration, d, ok)
		}
	}
	if _, ok := PauseDuration(&argo.RolloutPause{}); ok {
		t.Error("a pause without a duration ends by itself")
	}
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{pauseFor("1m")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.pass(59 * time.Second)
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.pass(time.Second)
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAManualPauseHoldsTheStepsButNotTheSize(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(25), pauseFor(""), weight(50)}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Paused = true })
	w.settle()
	w.phase(argo.RolloutPhasePaused, "manually paused")
	n := int32(8)
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Replicas = &n })
	w.settle()
	w.sized("v1", 6)
	w.sized("v2", 2)
	if len(w.ro.Status.PauseConditions) != 1 || *w.ro.Status.CurrentStepIndex != 1 {
		t.Fatalf("%+v", w.ro.Status)
	}
	// a client that promotes changes the status first: it must not get lost while spec.paused is still set
	w.user(func(ro *rollouts.Rollout) { ro.Status.PauseConditions = nil })
	w.settle()
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Paused = false })
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAPausedRolloutStartsNoPodsOfANewTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(4, argo.CanaryStrategy{}))
	w.settle()
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Paused, ro.Spec.Template = true, tmpl("v2") })
	w.settle()
	w.sized("v2", 0)
	n := int32(6)
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Replicas = &n })
	w.settle()
	w.sized("v2", 0)
	w.sized("v1", 6)
}

func TestUndoGoesBackAtOnceWithinTheWindowAndByStepsBeyond(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}})
	ro.Spec.RollbackWindow = &argo.RollbackWindowSpec{Revisions: 1}
	w := newWorld(t, ro)
	w.settle()
	for _, image := range []string{"v2", "v3"} { // all within a second: the revisions break the tie
		w.update(image)
		w.settle()
		w.user(promote)
		w.settle()
		w.phase(argo.RolloutPhaseHealthy, "")
	}
	w.update("v1")
	w.settle()
	w.phase(argo.RolloutPhasePaused, "CanaryPauseStep")
	w.update("v2")
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	if d := w.ro.Status.Duration; d == nil || d.CompletionStatus != rollouts.FastRolledBack {
		t.Errorf("duration %+v", d)
	}
	last := w.told[len(w.told)-1]
	if i := slices.IndexFunc(w.told, func(e Event) bool { return strings.HasSuffix(e.Message, ": Rollback within window") }); i < 0 {
		t.Errorf("the last event is %+v", last)
	}
}

func TestGoingBackToTheStableSkipsTheSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.update("v1")
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
	if !slices.Contains(w.events, "SkipSteps") || *w.ro.Status.CurrentStepIndex != 2 || w.ro.Annotations[RevisionAnnotation] != "3" {
		t.Errorf("%v %+v", w.events, w.ro.Status)
	}
	if d := w.ro.Status.Duration; d.CompletionStatus != rollouts.FastRolledBack || d.FinishedAt == nil {
		t.Errorf("duration %+v", d)
	}
}

func TestARestartReplacesAllOldPodsAFewAtATime(t *testing.T) {
	t.Parallel()
	for name, ro := range map[string]*rollouts.Rollout{"canary": canaryRollout(5, argo.CanaryStrategy{MaxUnavailable: ptr(intstr.FromInt32(2))}),
		"blueGreen": greenRollout(5, argo.BlueGreenStrategy{ActiveService: "active", MaxUnavailable: ptr(intstr.FromInt32(2))})} {
		w := newWorld(t, ro)
		w.settle()
		before := slices.Clone(w.pods[w.set("v1").UID])
		w.now = w.now.Add(time.Minute)
		at := metav1.Time{Time: w.now.Truncate(time.Second)}
		w.user(func(ro *rollouts.Rollout) { ro.Spec.RestartAt = &at })
		least := 5
		w.watch = func(o Op) {
			if o.Verb == Evict {
				n := -1
				for _, p := range w.pods[w.set("v1").UID] {
					if ready(p) {
						n++
					}
				}
				least = min(least, n)
			}
		}
		w.reconcile()
		w.phase(argo.RolloutPhaseProgressing, "rollout is restarting")
		w.pass(5 * time.Minute)
		w.phase(argo.RolloutPhaseHealthy, "")
		for _, p := range w.pods[w.set("v1").UID] {
			if slices.Contains(before, p) {
				t.Errorf("%s: %s is still there", name, p.Name)
			}
		}
		if least < 3 || w.ro.Status.RestartedAt == nil || !w.ro.Status.RestartedAt.Equal(&at) {
			t.Errorf("%s: as few as %d pods were ready; restarted at %v", name, least, w.ro.Status.RestartedAt)
		}
	}
}

func TestARestartWaitsWhereABudgetRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{}))
	w.settle()
	w.now = w.now.Add(time.Minute)
	w.refuse = true
	w.user(func(ro *rollouts.Rollout) { ro.Spec.RestartAt = &metav1.Time{Time: w.now.Truncate(time.Second)} })
	w.reconcile()
	if at := w.now.Add(restartRetry); !w.plan.RequeueAt.Equal(at) || w.plan.Why.Code != "Restarting" {
		t.Fatalf("requeue at %s, want %s: %+v", w.plan.RequeueAt, at, w.plan.Why)
	}
	w.refuse = false
	w.pass(5 * time.Minute)
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAReferencedWorkloadIsScaledDownAsItsReplacementComesUp(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int32{argo.ScaleDownNever: 3, argo.ScaleDownOnSuccess: 0, argo.ScaleDownProgressively: 0} {
		ro := canaryRollout(3, argo.CanaryStrategy{})
		ro.Spec.WorkloadRef = &argo.ObjectRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", ScaleDown: mode}
		w := newWorld(t, ro)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Generation: 4}}
		w.stamp(d)
		w.work = &Workload{Object: d, Replicas: ptr(int32(3)), Generation: 4}
		w.reconcile()
		w.makePods(w.set("v1"))
		w.ready("v1", 2)
		if mode == argo.ScaleDownProgressively && *w.work.Replicas != 1 {
			t.Errorf("%s: %d pods stay while 2 of 3 are ready", mode, *w.work.Replicas)
		}
		w.settle()
		w.settle()
		if *w.work.Replicas != want {
			t.Errorf("%s: %d pods stay, want %d", mode, *w.work.Replicas, want)
		}
		if w.ro.Annotations[WorkloadGenerationAnnotation] != "4" || w.ro.Status.WorkloadObservedGeneration != "4" {
			t.Errorf("%s: %v %s", mode, w.ro.Annotations, w.ro.Status.WorkloadObservedGeneration)
		}
	}
}

func TestAnInvalidSpecIsNotActedUpon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{}))
	s := w.snapshot()
	s.Problems = []Problem{{"spec.strategy.canary.steps[0].setWeight", "is 200; use 0 to 100"}, {"", "another"}}
	p := Decide(s, w.now)
	if len(p.Ops) != 1 || p.Ops[0].Verb != PatchStatus || !p.RequeueAt.Equal(w.now.Add(20*time.Second)) {
		t.Fatalf("%+v", p)
	}
	w.carryOut(p)
	w.phase(argo.RolloutPhaseDegraded, `InvalidSpec: The Rollout "web" is invalid: spec.strategy.canary.steps[0].setWeight: is 200; use 0 to 100 (and 1 more)`)
	s = w.snapshot()
	s.Problems = []Problem{{"spec.strategy.canary.steps[0].setWeight", "is 200; use 0 to 100"}, {"", "another"}}
	if p := Decide(s, w.now); len(p.Ops) != 0 {
		t.Fatalf("again: %+v", p.Ops)
	}
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestItStandsAsideForAnotherController(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{}))
	until := w.now.Add(time.Minute)
	s := w.snapshot()
	s.Peer = &Peer{What: "field manager rollouts-controller wrote the status", Until: until}
	p := Decide(s, w.now)
	if len(p.Ops) != 1 || p.Ops[0].Verb != PatchStatus || !p.RequeueAt.Equal(until) || p.Why.Code != "Conflict" {
		t.Fatalf("%+v", p)
	}
	w.carryOut(p)
	if c := conditionOf(&w.ro.Status.RolloutStatus, ConditionConflict); c == nil || c.Status != corev1.ConditionTrue {
		t.Fatalf("%+v", w.ro.Status.Conditions)
	}
	w.settle()
	if c := conditionOf(&w.ro.Status.RolloutStatus, ConditionConflict); c != nil {
		t.Fatalf("%+v", c)
	}
}

func TestReplicasAreWrittenDownWhenThereAreNone(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(1, argo.CanaryStrategy{})
	ro.Spec.Replicas = nil
	w := newWorld(t, ro)
	w.settle()
	if w.ro.Spec.Replicas == nil || *w.ro.Spec.Replicas != 1 {
		t.Fatal("no replicas")
	}
}

func TestATakenNameMakesAnotherHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{}))
	s := w.snapshot()
	s.NameTaken = true
	p := Decide(s, w.now)
	w.carryOut(p)
	if c := w.ro.Status.CollisionCount; c == nil || *c != 1 || len(w.sets) != 0 {
		t.Fatalf("%+v", p.Ops)
	}
	w.settle()
	if w.sets["web-"+Hash(&w.ro.Spec.Template, ptr(int32(1)))] == nil {
		t.Fatal("no ReplicaSet of the other hash")
	}
}

func TestAnUpdateWithoutProgressIsLateAndAbortedWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	for _, aborts := range []bool{false, true} {
		ro := canaryRollout(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50)}})
		ro.Spec.ProgressDeadlineSeconds, ro.Spec.ProgressDeadlineAbort = ptr(int32(60)), aborts
		w := newWorld(t, ro)
		w.settle()
		w.update("bad")
		w.pass(time.Minute / lagShare)
		c := conditionOf(&w.ro.Status.RolloutStatus, argo.RolloutProgressing)
		if at := c.LastUpdateTime.Add(time.Minute); !w.plan.RequeueAt.Equal(at) {
			t.Fatalf("requeue at %s, want %s", w.plan.RequeueAt, at)
		}
		w.pass(time.Minute)
		want := `ReplicaSet "web-` + hashOf("bad") + `" has timed out progressing.`
		if aborts {
			w.phase(argo.RolloutPhaseDegraded, "RolloutAborted: Rollout aborted update to revision 2: "+want)
			w.sized("bad", 0)
			w.sized("v1", 2)
		} else {
			w.phase(argo.RolloutPhaseDegraded, "ProgressDeadlineExceeded: "+want)
		}
		w.update("v3")
		w.settle()
		w.phase(argo.RolloutPhaseHealthy, "")
	}
}

func TestPodsBearTheMetadataOfTheirPart(t *testing.T) {
	t.Parallel()
	role := func(s string) *argo.PodTemplateMetadata {
		return &argo.PodTemplateMetadata{Labels: map[string]string{"role": s}, Annotations: map[string]string{s: "yes"}}
	}
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{CanaryMetadata: role("canary"), StableMetadata: role("stable"), Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	check := func(image, want string) {
		t.Helper()
		rs := w.set(image)
		for _, m := range append([]metav1.ObjectMeta{rs.Spec.Template.ObjectMeta}, metas(w.pods[rs.UID])...) {
			if m.Labels["role"] != want || want != "" && m.Annotations[want] != "yes" || len(m.Annotations) > 1 || m.Labels["app"] != "web" {
				t.Fatalf("%s: labels %v, annotations %v", image, m.Labels, m.Annotations)
			}
		}
	}
	w.settle()
	check("v1", "stable")
	w.update("v2")
	w.settle()
	check("v1", "stable")
	check("v2", "canary")
	w.user(promote)
	w.settle()
	check("v2", "stable")
	check("v1", "")
	if w.phase(argo.RolloutPhaseHealthy, ""); len(w.sets) != 2 {
		t.Error("metadata made another revision")
	}
}

func metas(pods []*corev1.Pod) (out []metav1.ObjectMeta) {
	for _, p := range pods {
		out = append(out, p.ObjectMeta)
	}
	return out
}

func TestNewPodsStayOffTheNodesOfTheStableOnes(t *testing.T) {
	t.Parallel()
	for _, preferred := range []bool{false, true} {
		anti := &argo.AntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &argo.RequiredDuringSchedulingIgnoredDuringExecution{}}
		if preferred {
			anti = &argo.AntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: &argo.PreferredDuringSchedulingIgnoredDuringExecution{Weight: 7}}
		}
		w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{AntiAffinity: anti, Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
		w.settle()
		if w.set("v1").Spec.Template.Spec.Affinity != nil {
			t.Fatal("the first revision has nothing to stay away from")
		}
		w.update("v2")
		w.settle()
		if h := injectedHash(w.set("v2").Spec.Template.Spec.Affinity); h != hashOf("v1") {
			t.Fatalf("it stays away from %q", h)
		}
		w.user(promote)
		w.settle()
		w.phase(argo.RolloutPhaseHealthy, "")
	}
}

// A ReplicaSet as the peer leaves it in the middle of an update is gone on with as it is.
func TestALivePeersRolloutIsTakenOverWithoutTouchingAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(4, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor("")}}))
	w.settle()
	w.update("v2")
	w.settle()
	w.ro.Status.Duration = nil // which the peer does not keep
	uids := func() (out []types.UID) {
		for _, pods := range w.pods {
			for _, p := range pods {
				out = append(out, p.UID)
			}
		}
		slices.Sort(out)
		return out
	}
	pods, writes := uids(), w.writes
	w.pass(time.Hour)
	if got := uids(); !slices.Equal(got, pods) || w.writes != writes {
		t.Fatalf("%d writes, pods %v, want %v", w.writes-writes, got, pods)
	}
	w.user(promote)
	w.settle()
	w.phase(argo.RolloutPhaseHealthy, "")
}

func TestAServiceThatIsNamedNoMoreIsReleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable"}))
	w.settle()
	w.user(func(ro *rollouts.Rollout) { ro.Spec.Strategy.Canary.CanaryService = "" })
	w.settle()
	svc := w.svcs["canary"]
	if svc.Spec.Selector[HashLabel] != "" || svc.Annotations[ManagedByAnnotation] != "" || svc.Spec.Selector["app"] != "web" {
		t.Fatalf("%v %v", svc.Spec.Selector, svc.Annotations)
	}
	w.serves("stable", "v1")
}

func TestAServiceIsAdoptedOnlyByAFullReplicaSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(2, argo.CanaryStrategy{StableService: "stable"}))
	w.reconcile()
	w.ready("v1", 1)
	if w.svcs["stable"].Spec.Selector[HashLabel] != "" {
		t.Fatal("adopted with one of two pods")
	}
	w.ready("v1", 1)
	w.serves("stable", "v1")
}

func TestAnnotationsOfTheRolloutAreCopiedSaveItsBooks(t *testing.T) {
	t.Parallel()
	ro := canaryRollout(1, argo.CanaryStrategy{})
	ro.Annotations = map[string]string{"team": "shop", corev1.LastAppliedConfigAnnotation: "{}", "fairway.dev/x": "y", "notified.notifications.argoproj.io": "z"}
	ro.Labels = map[string]string{argo.LabelKeyControllerInstanceID: "one"}
	w := newWorld(t, ro)
	w.settle()
	rs := w.set("v1")
	want := map[string]string{"team": "shop", RevisionAnnotation: "1", DesiredReplicasAnnotation: "1"}
	if len(rs.Annotations) != len(want) || rs.Annotations["team"] != "shop" || rs.Labels[argo.LabelKeyControllerInstanceID] != "one" {
		t.Fatalf("%v %v", rs.Annotations, rs.Labels)
	}
	w.user(func(ro *rollouts.Rollout) { ro.Annotations["team"] = "cart" })
	w.settle()
	if rs := w.set("v1"); rs.Annotations["team"] != "cart" || rs.Annotations[RevisionHistoryAnnotation] != "" {
		t.Fatalf("%v", rs.Annotations)
	}
}

func TestDurationKeepsTheTimeOfAnUpdateAndItsManualPauses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, canaryRollout(1, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50), pauseFor(""), pauseFor("10s")}}))
	var finished []Finished
	w.settle()
	start := w.now.Add(time.Minute)
	w.now = start
	w.update("v2")
	w.settle()
	d := w.ro.Status.Duration
	if d == nil || !d.RolloutStartedAt.Time.Equal(start) || d.ManualPauseStartedAt == nil || d.FinishedAt != nil {
		t.Fatalf("%+v", d)
	}
	w.pass(40 * time.Second)
	w.user(promote)
	w.settle()
	if d = w.ro.Status.Duration; d.TotalManualPauseDurationSeconds != 40 || d.ManualPauseStartedAt != nil {
		t.Fatalf("%+v", d)
	}
	w.now = w.now.Add(10 * time.Second)
	finished = append(finished, Decide(w.snapshot(), w.now).Metrics...)
	w.settle()
	d = w.ro.Status.Duration
	if d.CompletionStatus != rollouts.Promoted || !d.FinishedAt.Time.Equal(start.Add(50*time.Second)) {
		t.Fatalf("%+v %v", d, finished)
	}
	w.update("v3")
	w.settle()
	w.update("v4")
	p := Decide(w.snapshot(), w.now)
	if len(p.Metrics) != 1 || p.Metrics[0].Status != string(rollouts.Superseded) {
		t.Fatalf("%+v", p.Metrics)
	}
	w.settle()
	w.user(abort)
	w.settle()
	if d = w.ro.Status.Duration; d.CompletionStatus != rollouts.Aborted || d.FinishedAt == nil {
		t.Fatalf("%+v", d)
	}
	w.user(retry)
	w.settle()
	if d = w.ro.Status.Duration; d.CompletionStatus != "" || d.FinishedAt != nil {
		t.Fatalf("%+v", d)
	}
}

// Revisions that were hashed in another way, by an older peer or an older Kubernetes, are the same revisions.
func TestAReplicaSetOfAStrangeHashIsTakenOverWithItsPods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, routedCanary(2, argo.CanaryStrategy{Steps: []argo.CanaryStep{weight(50)}}))
	w.settle()
	rs, strange := w.set("v1"), "5d4f8c7b9"
	rs.Labels[HashLabel], rs.Spec.Template.Labels[HashLabel], rs.Spec.Selector.MatchLabels[HashLabel] = strange, strange, strange
	defaulted := corev1.PodTemplate{Template: rs.Spec.Template} // as the API server does
	corev1defaults.SetObjectDefaults_PodTemplate(&defaulted)
	rs.Spec.Template = defaulted.Template
	w.ro.Status.StableRS, w.ro.Status.CurrentPodHash = strange, strange
	w.ro.Status.Canary.Weights.Canary.PodTemplateHash, w.ro.Status.Canary.Weights.Stable.PodTemplateHash = strange, strange
	for _, svc := range w.svcs {
		svc.Spec.Selector[HashLabel] = strange
	}
	spec := w.objects[routeRef].Object["spec"].(map[string]any)
	spec["canaryHash"], spec["stableHash"] = strange, strange
	pods, writes := w.pods[rs.UID], w.writes
	w.pass(time.Hour)
	if len(w.sets) != 1 || w.writes != writes || !slices.Equal(w.pods[rs.UID], pods) {
		t.Fatalf("%d ReplicaSets, %d writes", len(w.sets), w.writes-writes)
	}
	w.update("v2")
	w.pass(time.Hour)
	w.phase(argo.RolloutPhaseHealthy, "")
}
