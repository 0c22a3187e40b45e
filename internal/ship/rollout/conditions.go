package rollout

import (
	"fmt"
	"slices"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

func conditionOf(st *argo.RolloutStatus, t argo.RolloutConditionType) *argo.RolloutCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

func reasonOf(st *argo.RolloutStatus, t argo.RolloutConditionType) string {
	if c := conditionOf(st, t); c != nil {
		return c.Reason
	}
	return ""
}

// condition is set unless it has that status and reason already; then it stays as it is, whatever its message.
func (p *pass) condition(st *argo.RolloutStatus, t argo.RolloutConditionType, status corev1.ConditionStatus, reason, message string) bool {
	if c := conditionOf(st, t); c != nil && c.Status == status && c.Reason == reason {
		return false
	}
	now := p.stamp()
	p.replace(st, argo.RolloutCondition{Type: t, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now})
	return true
}

// replace a condition. When its status was last another one is kept.
func (p *pass) replace(st *argo.RolloutStatus, c argo.RolloutCondition) {
	if old := conditionOf(st, c.Type); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	st.Conditions = append(without(st.Conditions, c.Type), c)
}

func without(list []argo.RolloutCondition, t argo.RolloutConditionType) []argo.RolloutCondition {
	out := make([]argo.RolloutCondition, 0, len(list)+1)
	for _, c := range list {
		if c.Type != t {
			out = append(out, c)
		}
	}
	return out
}

func (p *pass) remove(t argo.RolloutConditionType) {
	if conditionOf(&p.st, t) != nil {
		p.st.Conditions = slices.Clip(without(p.st.Conditions, t))
	}
}

// completed is whether the template is what is stable.
func completed(st *argo.RolloutStatus) bool {
	return st.StableRS != "" && st.StableRS == st.CurrentPodHash
}

// noteIncomplete when an update begins.
func (p *pass) noteIncomplete() {
	if p.changed && !completed(&p.was) && p.condition(&p.st, argo.RolloutCompleted, corev1.ConditionFalse, reasonCompleted, reasonCompleted) {
		e := Event{Reason: reasonNotCompleted,
			Message: fmt.Sprintf("Rollout not completed, started update to revision %d (%s)", p.fresh.revision(), p.fresh.hash)}
		if p.fresh.was == nil {
			p.event(e) // that it has been made says so
		} else {
			p.later(e)
		}
	}
}

// settleConditions after the rest of the status.
func (p *pass) settleConditions() {
	st := &p.st
	paused := len(st.PauseConditions) > 0 || p.ro.Spec.Paused
	healthy := p.healthy()
	fell := p.settleHealthy(healthy && !paused)
	p.settleProgress(paused, healthy, fell)
	if c := conditionOf(st, argo.RolloutPaused); paused != (c != nil && c.Status == corev1.ConditionTrue) {
		status := corev1.ConditionFalse
		if paused {
			status = corev1.ConditionTrue
		}
		p.condition(st, argo.RolloutPaused, status, reasonPaused, messagePaused)
	}
	if p.isAvailable() {
		p.condition(st, argo.RolloutAvailable, corev1.ConditionTrue, reasonAvailable, "Rollout has minimum availability")
	} else {
		p.condition(st, argo.RolloutAvailable, corev1.ConditionFalse, reasonAvailable, messageNotAvailable)
	}
	if f := p.replicaFailure(); f != nil {
		p.condition(st, argo.RolloutReplicaFailure, f.Status, f.Reason, f.Message)
	} else {
		p.remove(argo.RolloutReplicaFailure)
	}
	if completed(st) {
		p.condition(st, argo.RolloutCompleted, corev1.ConditionTrue, reasonCompleted, reasonCompleted)
	} else {
		p.condition(st, argo.RolloutCompleted, corev1.ConditionFalse, reasonCompleted, reasonCompleted)
	}
}

// settleHealthy says whether a Rollout that was healthy no longer is.
func (p *pass) settleHealthy(healthy bool) (fell bool) {
	if healthy {
		p.condition(&p.st, argo.RolloutHealthy, corev1.ConditionTrue, reasonHealthy, "Rollout is healthy")
		return false
	}
	return conditionOf(&p.st, argo.RolloutHealthy) != nil &&
		p.condition(&p.st, argo.RolloutHealthy, corev1.ConditionFalse, reasonHealthy, "Rollout is not healthy")
}

// settleProgress says how the update is getting on.
func (p *pass) settleProgress(paused, healthy, fell bool) {
	st := &p.st
	set := func(status corev1.ConditionStatus, reason, message string) bool {
		return p.condition(st, argo.RolloutProgressing, status, reason, message)
	}
	reason := reasonOf(st, argo.RolloutProgressing)
	if !st.Abort && reason == reasonAborted {
		set(corev1.ConditionUnknown, reasonRetry, "Retrying Rollout after abort")
	}
	if !paused && reason == reasonPaused && !completed(st) {
		set(corev1.ConditionUnknown, reasonResumed, messageResumed)
	}
	name := p.fresh.is.Name
	switch {
	case st.Abort:
		message := fmt.Sprintf("Rollout aborted update to revision %d", p.fresh.revision())
		if p.abortMessage != "" {
			message += ": " + p.abortMessage
		}
		if set(corev1.ConditionFalse, reasonAborted, message) {
			p.later(Event{Warning: true, Reason: reasonAborted, Message: message})
		}
	case paused && !completed(st):
		set(corev1.ConditionUnknown, reasonPaused, messagePaused)
	case healthy:
		set(corev1.ConditionTrue, reasonSetAvailable, fmt.Sprintf("ReplicaSet %q has successfully progressed.", name))
	case p.progressed() || fell:
		reason, message := reasonSetUpdated, fmt.Sprintf("ReplicaSet %q is progressing.", name)
		if completed(st) && fell {
			reason, message = reasonSetMissing, messageNotAvailable
		}
		now := p.stamp()
		p.replace(st, argo.RolloutCondition{Type: argo.RolloutProgressing, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			LastUpdateTime: now, LastTransitionTime: now})
	case !p.untimed() && p.timedOut():
		set(corev1.ConditionFalse, reasonTimedOut, p.timeoutMessage())
	}
}

func (p *pass) timeoutMessage() string {
	return fmt.Sprintf("ReplicaSet %q has timed out progressing.", p.fresh.is.Name)
}

// healthy is whether all pods are of the template, available, and in charge.
func (p *pass) healthy() bool {
	n, st := replicasOf(p.ro), &p.st
	if st.UpdatedReplicas != n || st.AvailableReplicas != n {
		return false
	}
	if b := p.ro.Spec.Strategy.BlueGreen; b != nil {
		return st.BlueGreen.ActiveSelector == st.CurrentPodHash && (b.PreviewService == "" || st.BlueGreen.PreviewSelector == st.CurrentPodHash)
	}
	steps := p.steps() == 0 || st.CurrentStepIndex == nil || int(*st.CurrentStepIndex) == p.steps()
	return steps && completed(st) && st.Replicas == n
}

// progressed is whether this pass found the update further than the last.
func (p *pass) progressed() bool {
	was, is := &p.ro.Status.RolloutStatus, &p.st
	switch {
	case p.ro.Spec.Strategy.BlueGreen != nil:
		if was.BlueGreen.ActiveSelector != is.BlueGreen.ActiveSelector || was.BlueGreen.PreviewSelector != is.BlueGreen.PreviewSelector {
			return true
		}
	case was.StableRS != is.StableRS || was.CurrentStepHash != is.CurrentStepHash ||
		was.CurrentStepIndex != nil && is.CurrentStepIndex != nil && *was.CurrentStepIndex != *is.CurrentStepIndex:
		return true
	}
	return is.UpdatedReplicas != was.UpdatedReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		is.ReadyReplicas > was.ReadyReplicas || is.AvailableReplicas > was.AvailableReplicas
}

// untimed is whether the deadline for progress does not count now: in a step that may take any time, or while old pods wait
// for their delay.
func (p *pass) untimed() bool {
	if s := p.currentStep(); s != nil && (s.Experiment != nil || s.Analysis != nil || s.Pause != nil) {
		return true
	}
	if len(p.st.PauseConditions) > 0 || p.ro.Spec.Paused {
		return true
	}
	for i := range p.sets {
		if rs := &p.sets[i]; p.other(rs) && rs.deadline() != "" {
			return true
		}
	}
	return false
}

// timedOut is whether there has been no progress for longer than the deadline.
func (p *pass) timedOut() bool {
	c := conditionOf(&p.st, argo.RolloutProgressing)
	if c == nil || c.Reason == reasonAborted || c.Reason == reasonPaused {
		return false
	}
	return c.Reason == reasonTimedOut || !p.now.Before(c.LastUpdateTime.Add(progressDeadline(p.ro)))
}

// abortLate aborts an update that makes no progress, where the spec wants that; not one that somebody has promoted in full.
func (p *pass) abortLate() {
	if !p.ro.Spec.ProgressDeadlineAbort || p.aborted() || p.unabort || completed(&p.st) || p.progressed() || p.untimed() || !p.timedOut() {
		return
	}
	p.abort(p.timeoutMessage())
	p.later(Event{Warning: true, Reason: reasonAborted, Message: p.abortMessage})
}

// isAvailable is whether as many pods serve as the Rollout is to have.
func (p *pass) isAvailable() bool {
	if p.ro.Spec.Strategy.BlueGreen != nil {
		rs := p.withHash(p.st.BlueGreen.ActiveSelector)
		return rs != nil && p.saturated(rs)
	}
	return p.st.AvailableReplicas >= replicasOf(p.ro)
}

func (p *pass) withHash(hash string) *replicaSet {
	for i := range p.sets {
		if hash != "" && p.sets[i].hash == hash {
			return &p.sets[i]
		}
	}
	return nil
}

// replicaFailure of the new ReplicaSet or, failing that, of any.
func (p *pass) replicaFailure() *appsv1.ReplicaSetCondition {
	failure := func(rs *replicaSet) *appsv1.ReplicaSetCondition {
		for i := range rs.is.Status.Conditions {
			if c := &rs.is.Status.Conditions[i]; c.Type == appsv1.ReplicaSetReplicaFailure {
				return c
			}
		}
		return nil
	}
	if f := failure(p.fresh); f != nil {
		return f
	}
	for i := range p.sets {
		if f := failure(&p.sets[i]); f != nil {
			return f
		}
	}
	return nil
}

// CreateFailed is what is to be recorded and told when the Create of a Plan could not make a new ReplicaSet, as when a quota or
// a webhook refuses it. The next Decide tries again.
func CreateFailed(ro *rollouts.Rollout, rs *appsv1.ReplicaSet, err error, now time.Time) Plan {
	p := pass{s: &Snapshot{Rollout: ro}, now: now, ro: ro, was: ro.Status.RolloutStatus, st: ro.Status.RolloutStatus, duration: ro.Status.Duration}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
	p.condition(&p.st, argo.RolloutProgressing, corev1.ConditionFalse, reasonCreateError, message)
	p.st.Phase, p.st.Message = phase(&ro.Spec, &p.st)
	p.writeStatus()
	p.event(Event{Warning: true, Reason: reasonCreateError, Message: message})
	p.because(reasonCreateError, message)
	return p.plan()
}

// standAside while another controller acts on the Rollout.
func (p *pass) standAside() {
	if c := conditionOf(&p.st, ConditionConflict); c == nil || c.Message != p.s.Peer.What {
		now := p.stamp()
		p.replace(&p.st, argo.RolloutCondition{Type: ConditionConflict, Status: corev1.ConditionTrue, Reason: reasonConflict, Message: p.s.Peer.What,
			LastUpdateTime: now, LastTransitionTime: now})
	}
	p.writeStatus()
	p.wakeAt(p.s.Peer.Until, "it is looked at again whether the other controller is still there")
	p.why = Why{Code: "Conflict", Reason: "another controller acts on this Rollout", Evidence: []string{p.s.Peer.What}}
}

// refuse a spec that is not valid, and look at it again soon: what it refers to may come.
func (p *pass) refuse(problems []Problem) {
	message := fmt.Sprintf("The Rollout %q is invalid: %s", p.ro.Name, problems[0])
	if n := len(problems) - 1; n > 0 {
		message += fmt.Sprintf(" (and %d more)", n)
	}
	if c := conditionOf(&p.st, argo.InvalidSpec); c == nil || c.Message != message {
		now := p.stamp()
		p.replace(&p.st, argo.RolloutCondition{Type: argo.InvalidSpec, Status: corev1.ConditionTrue, Reason: reasonInvalid, Message: message,
			LastUpdateTime: now, LastTransitionTime: metav1.Time{Time: now.Time}})
	}
	p.remove(ConditionConflict)
	p.observe()
	p.writeStatus()
	p.wakeAt(p.now.Add(invalidRetry), "the spec is checked again")
	p.why = Why{Code: reasonInvalid, Reason: message}
	for _, problem := range problems {
		p.why.Evidence = append(p.why.Evidence, problem.String())
	}
}
