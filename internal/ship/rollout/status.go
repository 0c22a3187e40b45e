package rollout

import (
	"reflect"
	"slices"
	"strconv"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// finish settles the status after everything else of the pass, and writes it when it has changed.
func (p *pass) finish() {
	for i := range p.sets {
		p.flush(&p.sets[i])
	}
	p.count()
	p.st.PromoteFull = p.st.PromoteFull && !completed(&p.st)
	if p.plugins != nil {
		p.st.Canary.StepPluginStatuses = *p.plugins
	}
	p.abortLate()
	p.settlePause()
	p.remove(argo.InvalidSpec)
	p.remove(ConditionConflict)
	p.settleConditions()
	p.settleDuration()
	p.observe()
	p.tellPause()
	if !p.countsOnly() {
		p.writeStatus()
	}
	p.wakeForProgress()
	p.explain()
}

// count the pods.
func (p *pass) count() {
	st := &p.st
	st.CurrentPodHash, st.CurrentStepHash = p.was.CurrentPodHash, p.was.CurrentStepHash
	st.Replicas, st.ReadyReplicas, st.AvailableReplicas = 0, 0, 0
	for i := range p.sets {
		if rs := p.sets[i].was; rs != nil {
			st.Replicas += rs.Status.Replicas
			st.ReadyReplicas += rs.Status.ReadyReplicas
			st.AvailableReplicas += rs.Status.AvailableReplicas
		}
	}
	st.UpdatedReplicas = p.fresh.created()
	st.HPAReplicas = st.Replicas
	selector := p.ro.Spec.Selector
	if p.ro.Spec.Strategy.BlueGreen != nil {
		st.BlueGreen.ActiveSelector, st.BlueGreen.PreviewSelector = p.active, p.preview
		if a := p.withHash(p.active); a != nil && a.was != nil {
			s := &a.was.Status
			st.HPAReplicas, st.AvailableReplicas, st.ReadyReplicas = s.Replicas, s.AvailableReplicas, s.ReadyReplicas
			selector = a.was.Spec.Selector
		}
	}
	st.Selector = selectorString(selector)
}

// selectorString is a label selector as the scale subresource wants it. The usual one, of a single label, needs no parsing.
func selectorString(s *metav1.LabelSelector) string {
	if s != nil && len(s.MatchExpressions) == 0 && len(s.MatchLabels) == 1 {
		for k, v := range s.MatchLabels {
			return k + "=" + v
		}
	}
	return metav1.FormatLabelSelector(s)
}

// observe the generations, and say which phase that makes.
func (p *pass) observe() {
	if g := p.ro.Generation; p.st.ObservedGeneration == "" || !isNumber(p.st.ObservedGeneration, g) {
		p.st.ObservedGeneration = strconv.FormatInt(g, 10)
	}
	if w := p.s.Workload; w != nil {
		p.st.WorkloadObservedGeneration = strconv.FormatInt(w.Generation, 10)
	} else if p.ro.Spec.WorkloadRef == nil {
		p.st.WorkloadObservedGeneration = ""
	}
	p.st.Phase, p.st.Message = phase(&p.ro.Spec, &p.st)
}

func isNumber(s string, n int64) bool {
	got, err := strconv.ParseInt(s, 10, 64)
	return err == nil && got == n
}

// tellPause tells that the Rollout was paused, or resumed.
func (p *pass) tellPause() {
	was, is := p.was.PauseConditions, p.st.PauseConditions
	switch {
	case len(was) == 0 && len(is) > 0:
		p.later(Event{Reason: reasonPaused, Message: messagePaused + " (" + string(is[0].Reason) + ")"})
	case len(was) > 0 && len(is) == 0 && p.st.AbortedAt == nil:
		p.later(Event{Reason: reasonResumed, Message: messageResumed})
	}
}

// countsOnly is whether nothing has changed but how many pods there are or are ready, with the update still waiting for more of
// them: that can wait for a while.
func (p *pass) countsOnly() bool {
	was := &p.ro.Status
	if len(p.ops)+len(p.events) > 0 || p.st.Phase != argo.RolloutPhaseProgressing || was.Phase != p.st.Phase ||
		p.st.AvailableReplicas < was.AvailableReplicas || p.st.AvailableReplicas > was.AvailableReplicas && p.fresh.available() >= p.fresh.size {
		return false
	}
	lag := countsLag
	if p.st.ReadyReplicas == was.ReadyReplicas && p.st.AvailableReplicas == was.AvailableReplicas {
		lag = madeLag
	}
	since := p.s.Uncounted
	if since.IsZero() {
		since = p.now
	}
	due := since.Add(min(lag, progressDeadline(p.ro)/lagShare))
	if !p.now.Before(due) {
		return false
	}
	alike := p.st
	alike.Replicas, alike.UpdatedReplicas, alike.ReadyReplicas, alike.HPAReplicas = was.Replicas, was.UpdatedReplicas, was.ReadyReplicas, was.HPAReplicas
	alike.AvailableReplicas, alike.Message, alike.Conditions = was.AvailableReplicas, was.Message, was.Conditions
	if reflect.DeepEqual(&p.st, &was.RolloutStatus) || !reflect.DeepEqual(&alike, &was.RolloutStatus) || !sameDuration(p.duration, was.Duration) ||
		!onlyProgress(p.st.Conditions, was.Conditions) {
		return false
	}
	p.waiting = since
	p.wakeAt(due, "the numbers of pods are written down")
	return true
}

// onlyProgress is whether conditions differ in nothing but when there was progress.
func onlyProgress(a, b []argo.RolloutCondition) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		j := slices.IndexFunc(b, func(c argo.RolloutCondition) bool { return c.Type == a[i].Type })
		if j < 0 || a[i].Status != b[j].Status || a[i].Reason != b[j].Reason {
			return false
		}
	}
	return true
}

// writeStatus if it is another one.
func (p *pass) writeStatus() {
	was := &p.ro.Status
	if reflect.DeepEqual(&p.st, &was.RolloutStatus) && sameDuration(p.duration, was.Duration) {
		return
	}
	after := *p.ro
	after.Status = rollouts.RolloutStatus{RolloutStatus: p.st, Duration: p.duration}
	p.op(Op{Verb: PatchStatus, Before: p.ro, After: &after})
}

// wakeForProgress when the deadline for progress is over.
func (p *pass) wakeForProgress() {
	c := conditionOf(&p.st, argo.RolloutProgressing)
	if c == nil || p.st.Abort || c.Reason == reasonTimedOut || c.Reason == reasonPaused || c.Reason == reasonSetAvailable || p.healthy() || p.untimed() {
		return
	}
	if at := c.LastUpdateTime.Add(progressDeadline(p.ro)); at.After(p.now) {
		p.wakeAt(at, "the update is late unless it makes progress")
	} else {
		p.wakeAt(p.now.Add(time.Second), "the update is late unless it makes progress")
	}
}
