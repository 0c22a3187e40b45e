package rollout

import (
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// settleDuration keeps the time of an update, and how much of it was spent waiting for somebody.
func (p *pass) settleDuration() {
	done := completed(&p.st) && p.fresh.available() >= replicasOf(p.ro)
	p.startDuration(done)
	d := p.duration
	if d == nil || d.RolloutStartedAt == nil || d.FinishedAt != nil {
		return
	}
	p.clockPause()
	switch {
	case p.st.Abort:
		p.finishDuration(rollouts.Aborted)
	case done:
		p.finishDuration(rollouts.Promoted)
	}
}

// startDuration when a change is not yet where it is to come to, or an aborted update is tried again. A change in the middle of
// an update that goes back is the same update, on its way back; another one takes its place.
func (p *pass) startDuration(done bool) {
	d := p.duration
	running := d != nil && d.RolloutStartedAt != nil && d.FinishedAt == nil
	switch {
	case p.changed || p.ro.Status.CurrentPodHash == "":
		if running && p.changed {
			if p.stable != nil && (p.stable == p.fresh || p.bornBefore(p.fresh, p.stable)) {
				if d.CompletionStatus == "" {
					back := rollouts.RolledBack
					if p.skipped || p.fastRollback() {
						back = rollouts.FastRolledBack
					}
					p.ownDuration().CompletionStatus = back
				}
				return
			}
			p.clockPause()
			p.finished = append(p.finished, finishedOf(p.duration, rollouts.Superseded, p.now))
			running = false
		}
		if !done && !running {
			now := p.stamp()
			p.duration = &rollouts.Duration{RolloutStartedAt: &now}
		}
	case d != nil && d.CompletionStatus == rollouts.Aborted && d.FinishedAt != nil && !p.st.Abort && !completed(&p.st):
		now := p.stamp()
		p.duration = &rollouts.Duration{RolloutStartedAt: &now}
	}
}

// ownDuration is a copy that may be changed.
func (p *pass) ownDuration() *rollouts.Duration {
	if p.duration == p.ro.Status.Duration {
		d := *p.duration
		p.duration = &d
	}
	return p.duration
}

// fastPromoted is how an update ends that was promoted in full.
func (p *pass) fastPromoted() {
	if d := p.duration; d != nil && d.FinishedAt == nil && d.CompletionStatus == "" {
		p.ownDuration().CompletionStatus = rollouts.FastPromoted
	}
}

func (p *pass) finishDuration(status rollouts.CompletionStatus) {
	d := p.ownDuration()
	if d.CompletionStatus == "" {
		d.CompletionStatus = status
	}
	if d.ManualPauseStartedAt != nil {
		d.TotalManualPauseDurationSeconds += seconds(d.ManualPauseStartedAt.Time, p.now)
		d.ManualPauseStartedAt = nil
	}
	now := p.stamp()
	d.FinishedAt = &now
	p.finished = append(p.finished, finishedOf(d, d.CompletionStatus, now.Time))
}

// clockPause starts and stops the clock of pauses that only somebody can end.
func (p *pass) clockPause() {
	waits := p.waitsForSomebody()
	switch d := p.duration; {
	case waits && d.ManualPauseStartedAt == nil:
		now := p.stamp()
		p.ownDuration().ManualPauseStartedAt = &now
	case !waits && d.ManualPauseStartedAt != nil:
		d := p.ownDuration()
		d.TotalManualPauseDurationSeconds += seconds(d.ManualPauseStartedAt.Time, p.now)
		d.ManualPauseStartedAt = nil
	}
}

func (p *pass) waitsForSomebody() bool {
	if p.ro.Spec.Paused {
		return true
	}
	for _, c := range p.st.PauseConditions {
		switch c.Reason {
		case argo.PauseReasonInconclusiveAnalysis, argo.PauseReasonInconclusiveExperiment:
			return true
		case argo.PauseReasonBlueGreenPause:
			if b := p.ro.Spec.Strategy.BlueGreen; b != nil && !autoPromotes(b) {
				return true
			}
		case argo.PauseReasonCanaryPauseStep:
			if i := int(orDefault(p.st.CurrentStepIndex, 0)); i < p.steps() {
				if s := p.ro.Spec.Strategy.Canary.Steps[i].Pause; s != nil && s.Duration == nil {
					return true
				}
			}
		}
	}
	return false
}

func seconds(from, to time.Time) int64 { return max(0, int64(to.Sub(from)/time.Second)) }

func finishedOf(d *rollouts.Duration, status rollouts.CompletionStatus, at time.Time) Finished {
	f := Finished{Status: string(status), Total: max(0, at.Sub(d.RolloutStartedAt.Time)),
		Paused: time.Duration(d.TotalManualPauseDurationSeconds) * time.Second}
	f.Active = max(0, f.Total-f.Paused)
	return f
}

func sameDuration(a, b *rollouts.Duration) bool {
	if a == b || a == nil || b == nil {
		return a == b
	}
	same := func(x, y *metav1.Time) bool { return x == y || x != nil && y != nil && x.Equal(y) }
	return same(a.RolloutStartedAt, b.RolloutStartedAt) && same(a.ManualPauseStartedAt, b.ManualPauseStartedAt) &&
		same(a.FinishedAt, b.FinishedAt) && a.TotalManualPauseDurationSeconds == b.TotalManualPauseDurationSeconds &&
		a.CompletionStatus == b.CompletionStatus
}
