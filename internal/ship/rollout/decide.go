package rollout

import (
	"math"
	"slices"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Decide what is to be done for a Rollout at a moment. It is complete for one pass: carried out, and decided anew on what came
// of it, it reaches a plan without Ops, whatever happened in between. The order of what it does, and the events it tells, are
// those of Argo Rollouts, which takes a pass of its own for each step of what is one pass here.
func Decide(s Snapshot, now time.Time) Plan {
	p := pass{s: &s, now: now, ro: s.Rollout, was: s.Rollout.Status.RolloutStatus, st: s.Rollout.Status.RolloutStatus,
		duration: s.Rollout.Status.Duration}
	if p.ro.DeletionTimestamp != nil {
		return Plan{Why: Why{Code: "Deleted", Reason: "the Rollout is being deleted"}}
	}
	switch {
	case s.Peer != nil:
		p.standAside()
	case len(s.Problems) > 0:
		p.refuse(s.Problems)
	case p.ro.Spec.Strategy.Canary == nil && p.ro.Spec.Strategy.BlueGreen == nil:
		p.refuse([]Problem{{"spec.strategy", "there is none; set canary or blueGreen"}})
	case p.ro.Spec.Replicas == nil:
		p.defaultReplicas()
	case s.New == nil && s.NameTaken:
		p.collide()
	default:
		p.advance()
	}
	return p.plan()
}

// pass is the work of one Decide: what was, what is to be, and the Ops between.
type pass struct {
	s   *Snapshot
	now time.Time
	ro  *rollouts.Rollout
	// was is the status the pass starts from: that of the Rollout, or what became of it when its template or steps changed.
	// st is the status as it is to be.
	was, st  argo.RolloutStatus
	duration *rollouts.Duration

	sets          []replicaSet
	fresh, stable *replicaSet // of the template, and of status.stableRS; nil when there is none
	withinDelay   bool        // fresh is still waiting for being scaled down after an earlier update
	active        string      // hash of the active service after this pass's switch
	preview       string
	switched      map[string]string // Services in this pass, and to which hash

	changed bool // the template or the steps
	skipped bool // the steps, with the change
	scaling bool // only the number of replicas
	resized bool // some ReplicaSet, in this pass
	stuck   bool // nothing may go on

	adding, removing []argo.PauseReason
	unpause          bool
	aborting         bool
	unabort          bool
	abortMessage     string

	runs    currentRuns
	exp     *argo.Experiment
	plugins *[]argo.StepPluginStatus // after this pass; nil = unchanged

	ops      []Op
	events   []pending
	warnings []Event
	finished []Finished
	wake     time.Time
	waiting  time.Time // since when numbers of pods alone have not been written down
	// unfollowed is since when a data path of this process has not followed the weight.
	unfollowed time.Time
	next       string // what happens at wake
	why        Why
}

// pending is an Event to be told when Op after has been done.
type pending struct {
	Event
	after int
}

// replicaSet is a ReplicaSet and what is to become of it.
type replicaSet struct {
	was  *appsv1.ReplicaSet // nil when it is to be created
	is   *appsv1.ReplicaSet // was, or a copy that is to be
	own  bool               // is may be changed in place
	gone bool               // it is deleted in this pass
	hash string
	size int32 // that it is to have
}

func (r *replicaSet) sizes() size { return size{r.size, r.created(), r.available()} }

func (r *replicaSet) created() int32 {
	if r.was == nil {
		return 0
	}
	return r.was.Status.Replicas
}

func (r *replicaSet) available() int32 {
	if r.was == nil {
		return 0
	}
	return r.was.Status.AvailableReplicas
}

// lasting pods are available and not about to go.
func (r *replicaSet) lasting() int32 { return min(r.available(), r.size) }

func (r *replicaSet) revision() int64 { return revisionOf(r.is.Annotations) }

func (r *replicaSet) deadline() string { return r.is.Annotations[DeadlineAnnotation] }

// advance is a pass over a Rollout that is as it should be.
func (p *pass) advance() {
	p.lookAtSets()
	p.syncRevision()
	p.notice()
	switch {
	case p.rescaled():
		p.rescale()
	case p.ro.Spec.Strategy.BlueGreen != nil:
		p.blueGreen()
	default:
		p.canary()
	}
}

// lookAtSets makes the views of the ReplicaSets, with the new one when there is none yet.
func (p *pass) lookAtSets() {
	p.sets = make([]replicaSet, len(p.s.ReplicaSets), len(p.s.ReplicaSets)+1)
	for i, rs := range p.s.ReplicaSets {
		p.sets[i] = replicaSet{was: rs, is: rs, hash: rs.Labels[HashLabel], size: orDefault(rs.Spec.Replicas, defaultReplicas)}
		if rs == p.s.New || p.s.New != nil && rs.Name == p.s.New.Name {
			p.fresh = &p.sets[i]
		}
	}
	if p.fresh == nil {
		p.create()
	}
	p.findStable()
	p.withinDelay = p.timeLeft(p.fresh)
}

func (p *pass) findStable() {
	p.stable = nil
	if p.was.StableRS == "" {
		return
	}
	if p.fresh.hash == p.was.StableRS {
		p.stable = p.fresh
		return
	}
	for i := range p.sets {
		if p.sets[i].hash == p.was.StableRS {
			p.stable = &p.sets[i]
			return
		}
	}
}

// promoted is whether the template is what is stable, that is: no update is under way.
func (p *pass) promoted() bool { return p.was.StableRS == p.was.CurrentPodHash }

func (p *pass) distinctStable() bool { return p.stable != nil && p.stable != p.fresh }

// other is whether rs is neither new nor stable.
func (p *pass) other(rs *replicaSet) bool { return rs != p.fresh && rs != p.stable }

// notice a change of the template or of the steps, and begin anew.
func (p *pass) notice() {
	canary := p.ro.Spec.Strategy.Canary
	steps := ""
	if canary != nil {
		if steps = p.s.StepsHash; steps == "" {
			steps = StepsHash(canary.Steps)
		}
	}
	p.changed = p.was.CurrentPodHash != "" && p.was.CurrentPodHash != p.fresh.hash || p.was.CurrentStepHash != steps
	was := &p.was
	if canary != nil { // what another strategy has left is no longer so
		was.BlueGreen = argo.BlueGreenStatus{}
	} else {
		was.Canary = argo.CanaryStatus{}
	}
	again := was.AbortedAt != nil && !was.Abort // somebody retries
	if p.changed || again {
		was.Canary.CurrentStepAnalysisRunStatus, was.Canary.CurrentBackgroundAnalysisRunStatus = nil, nil
		was.Canary.StepPluginStatuses, was.Canary.CurrentExperiment = nil, ""
		was.BlueGreen.PrePromotionAnalysisRunStatus, was.BlueGreen.PostPromotionAnalysisRunStatus = nil, nil
		was.BlueGreen.ScaleUpPreviewCheckPoint = false
	}
	if p.changed {
		was.PauseConditions, was.ControllerPause, was.Abort, was.AbortedAt, was.PromoteFull = nil, false, false, nil, false
		p.beginSteps()
	}
	was.CurrentPodHash, was.CurrentStepHash = p.fresh.hash, steps
	switch i := was.CurrentStepIndex; {
	case canary == nil:
		was.CurrentStepIndex = nil
	case i != nil && (*i < 0 || int(*i) > p.steps()): // clients write it too
		n := min(max(*i, 0), int32(p.steps()))
		was.CurrentStepIndex = &n
	}
	p.st = p.was
	if p.was.Abort && p.promoted() {
		p.unabort = true
	}
}

// beginSteps at the first, or behind the last where there is nothing to try out.
func (p *pass) beginSteps() {
	n := int32(p.steps())
	p.was.CurrentStepIndex = nil
	if n == 0 {
		return
	}
	first := int32(0)
	p.was.CurrentStepIndex = &first
	switch {
	case p.was.StableRS == p.fresh.hash:
		p.later(Event{Reason: "SkipSteps", Message: "Rollback to stable ReplicaSets"})
	case p.withinWindow() && p.fresh.size > 0:
		p.later(Event{Reason: "SkipSteps", Message: "Rollback to active ReplicaSets within RollbackWindow"})
	default:
		return
	}
	p.skipped = true
	p.was.CurrentStepIndex = &n
}

// born is where in the order of their making a ReplicaSet stands: by time and, within a second, by its first revision.
func (p *pass) bornBefore(a, b *replicaSet) bool {
	if a.was == nil || b.was == nil {
		return a.was != nil && b.was == nil
	}
	x, y := a.was.CreationTimestamp, b.was.CreationTimestamp
	if !x.Equal(&y) {
		return x.Before(&y)
	}
	return firstRevision(a.was.Annotations) < firstRevision(b.was.Annotations)
}

// withinWindow is whether the template goes back to a revision before the stable one, with fewer revisions between them than
// the rollback window has.
func (p *pass) withinWindow() bool {
	w := p.ro.Spec.RollbackWindow
	if w == nil || w.Revisions <= 0 || p.stable == nil || !p.bornBefore(p.fresh, p.stable) {
		return false
	}
	between := int32(0)
	for i := range p.sets {
		rs := &p.sets[i]
		if rs.is.Annotations[argo.ExperimentNameAnnotationKey] == "" && p.bornBefore(rs, p.stable) && p.bornBefore(p.fresh, rs) {
			between++
		}
	}
	return between < w.Revisions
}

// fastRollback is whether the template goes back to where nothing has to be tried out: to the stable revision, to one within
// the window, or (blue-green) to one whose pods are still there.
func (p *pass) fastRollback() bool {
	if p.stable == nil {
		return false
	}
	back := p.was.StableRS == p.fresh.hash
	if !back && !p.bornBefore(p.fresh, p.stable) {
		return false
	}
	return back || p.withinWindow() || p.withinDelay && p.ro.Spec.Strategy.BlueGreen != nil
}

// halted is why nothing may go on for now; "" = it may.
func (p *pass) halted() string {
	switch {
	case p.ro.Spec.Paused:
		return "user paused"
	case p.pausedFor(argo.PauseReasonInconclusiveAnalysis) != nil:
		return "inconclusive analysis"
	}
	return ""
}

// op appends an Op and returns where it stands.
func (p *pass) op(o Op) int {
	p.ops = append(p.ops, o)
	return len(p.ops) - 1
}

// event is told when the last Op so far has been done.
func (p *pass) event(e Event) { p.events = append(p.events, pending{e, len(p.ops) - 1}) }

// later is for what is not so before the status says it: the Event is told when the last Op of all has been done.
func (p *pass) later(e Event) { p.events = append(p.events, pending{e, math.MaxInt}) }

func (p *pass) warn(e Event) {
	e.Warning = true
	p.warnings = append(p.warnings, e)
}

// wakeAt is no later than t, when something happens without anybody's doing.
func (p *pass) wakeAt(t time.Time, what string) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.wake, p.next = t, what
	}
}

// stamp is now as the API keeps it.
func (p *pass) stamp() metav1.Time { return metav1.Time{Time: p.now.Truncate(time.Second)} }

// plan gathers the pass's results. Each event goes to the Op it waits for.
func (p *pass) plan() Plan {
	if len(p.events) > 0 && len(p.ops) == 0 {
		p.op(Op{Verb: Tell})
	}
	last := 0 // the order stays
	for _, e := range p.events {
		last = min(max(last, e.after), len(p.ops)-1)
		p.ops[last].Events = append(p.ops[last].Events, e.Event)
	}
	return Plan{Ops: p.ops, Warnings: p.warnings, RequeueAt: p.wake, Uncounted: p.waiting, Unfollowed: p.unfollowed, Why: p.explained(), Metrics: p.finished}
}

// defaultReplicas are written down, for autoscalers read them.
func (p *pass) defaultReplicas() {
	after := *p.ro
	n := int32(defaultReplicas)
	after.Spec.Replicas = &n
	p.op(Op{Verb: Patch, Before: p.ro, After: &after, Barrier: true})
	p.why = Why{Code: "Defaulting", Reason: "spec.replicas is being set to 1"}
}

// collide counts that the new ReplicaSet's name is taken, which gives it another.
func (p *pass) collide() {
	n := orDefault(p.was.CollisionCount, 0) + 1
	p.st.CollisionCount = &n
	p.writeStatus()
	p.ops[len(p.ops)-1].Barrier = true
	p.why = Why{Code: "NameTaken", Reason: "the name " + p.ro.Name + "-" + p.s.Hash + " is taken by another ReplicaSet; another hash is taken"}
}

// patchRollout changes annotations of the Rollout; one Op for all of them.
func (p *pass) annotateRollout(key, value string) bool {
	if p.ro.Annotations[key] == value {
		return false
	}
	for i := range p.ops {
		if p.ops[i].Verb == Patch && p.ops[i].Before == client.Object(p.ro) {
			p.ops[i].After.GetAnnotations()[key] = value
			return true
		}
	}
	after := *p.ro
	after.Annotations = cloned(p.ro.Annotations)
	after.Annotations[key] = value
	p.op(Op{Verb: Patch, Before: p.ro, After: &after})
	return true
}

func revisionOf(annotations map[string]string) int64 {
	n, err := strconv.ParseInt(annotations[RevisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// firstRevision that a ReplicaSet has been, before it was used again.
func firstRevision(annotations map[string]string) int64 {
	h := annotations[RevisionHistoryAnnotation]
	for i := range h {
		if h[i] == ',' {
			h = h[:i]
			break
		}
	}
	if n, err := strconv.ParseInt(h, 10, 64); err == nil {
		return n
	}
	return revisionOf(annotations)
}

func (p *pass) pausedFor(reason argo.PauseReason) *argo.PauseCondition {
	i := slices.IndexFunc(p.was.PauseConditions, func(c argo.PauseCondition) bool { return c.Reason == reason })
	if i < 0 {
		return nil
	}
	return &p.was.PauseConditions[i]
}

// aborted now, be it by what this pass has found out.
func (p *pass) aborted() bool { return !p.unabort && (p.aborting || p.was.Abort) }

func (p *pass) abort(message string) { p.aborting, p.abortMessage = true, message }
