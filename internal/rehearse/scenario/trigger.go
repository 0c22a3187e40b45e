package scenario

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/draw"
)

// trigger says when a step fires. Exactly one of its ways is set.
type trigger struct {
	once      bool      // at most one occurrence
	at        time.Time // first firing known from the start
	after     int       // index of the step waited for, or -1
	condition *celenv.Condition
	schedule  func(last time.Time, count int) time.Time // the firing after one; nil when there is none

	seed      int64
	name      string
	jitterMax time.Duration
}

// first is the first firing known by time alone; zero when it depends on other things.
func (t *trigger) first() time.Time { return t.at }

// following is the firing after the one given, which was number count.
func (t *trigger) following(last time.Time, count int) time.Time {
	if t.schedule == nil {
		return time.Time{}
	}
	return t.schedule(last, count)
}

// jitter is the delay of an occurrence, uniform from 0 up to the step's jitter.
func (t *trigger) jitter(occurrence int) time.Duration {
	if t.jitterMax <= 0 {
		return 0
	}
	return time.Duration(draw.Uniform(t.seed, "step-jitter", t.name, int64(occurrence)) * float64(t.jitterMax))
}

func newTrigger(s *v1alpha1.Step, start, end time.Time, seed int64) (trigger, error) {
	t := trigger{after: -1, seed: seed, name: s.Name, jitterMax: s.Jitter.Duration}
	switch {
	case s.At != "":
		m, err := v1alpha1.ParseMoment(s.At)
		if err != nil {
			return t, err
		}
		t.once, t.at = true, m.In(start)
	case s.After != nil && s.After.Step == "":
		t.once, t.at = true, start.Add(s.After.Plus.Duration)
	case s.After != nil:
		t.once = true
	case s.Every.Duration > 0:
		t.at = start.Add(s.Every.Duration)
		t.schedule = func(last time.Time, _ int) time.Time { return last.Add(s.Every.Duration) }
	case s.Cron != "":
		schedule, err := cron.ParseStandard(s.Cron)
		if err != nil {
			return t, fmt.Errorf("cron: %w", err)
		}
		t.at = schedule.Next(start.Add(-time.Nanosecond)) // the start itself may be the first
		t.schedule = func(last time.Time, _ int) time.Time { return schedule.Next(last) }
	case s.When != "":
		c, err := celenv.Live().Compile(s.When)
		if err != nil {
			return t, fmt.Errorf("when: %w", err)
		}
		t.condition, t.once = c, !s.Again
	case s.Rate != nil:
		return t.poisson(s, start, end)
	default:
		return t, fmt.Errorf("it does not say when")
	}
	return t, nil
}

// poisson makes a trigger of exponential gaps, from a stream of draws that belongs to this step alone. With between only
// the time inside that part of the day passes.
func (t trigger) poisson(s *v1alpha1.Step, start, end time.Time) (trigger, error) {
	from, to := time.Duration(0), 24*time.Hour
	if len(s.Between) == 2 {
		var err error
		if from, err = v1alpha1.TimeOfDay(s.Between[0]); err != nil {
			return t, err
		}
		if to, err = v1alpha1.TimeOfDay(s.Between[1]); err != nil {
			return t, err
		}
	}
	gap := func(last time.Time, count int) time.Time {
		wait := time.Duration(min(draw.Exponential(t.seed, "step-rate", t.name, int64(count))/float64(*s.Rate), end.Sub(start).Seconds()+1) * float64(time.Second))
		return within(last, wait, from, to, end)
	}
	t.at = gap(start, 0)
	t.schedule = gap
	return t, nil
}

// within moves on by wait, counting only the part of each day between two clock times; zero when that is past end.
func within(t time.Time, wait, from, to time.Duration, end time.Time) time.Time {
	for !t.After(end) {
		y, m, d := t.Date()
		open := time.Date(y, m, d, 0, 0, int(from/time.Second), 0, t.Location())
		shut := time.Date(y, m, d, 0, 0, int(to/time.Second), 0, t.Location())
		if t.Before(open) {
			t = open
		}
		if left := shut.Sub(t); left > 0 {
			if wait < left {
				return t.Add(wait)
			}
			wait -= left
		}
		t = time.Date(y, m, d+1, 0, 0, 0, 0, t.Location())
	}
	return time.Time{}
}

// Interruptions are the steps that the interruptions of spot pools amount to: one node at a time is reclaimed, as often
// as the pool's rate for each node says.
func Interruptions(spec *v1alpha1.ScenarioSpec) []v1alpha1.Step {
	var steps []v1alpha1.Step
	one, optional := int32(1), false
	for i := range spec.Cluster.Pools {
		p := &spec.Cluster.Pools[i]
		if p.Interruptions == nil || *p.Interruptions <= 0 || p.Size == nil || *p.Size < 1 {
			continue
		}
		rate := *p.Interruptions * v1alpha1.Rate(*p.Size)
		step := v1alpha1.Step{Name: "interruption of " + p.Name, Rate: &rate, Required: &optional, Source: p.Source}
		step.SpotReclaim = &v1alpha1.SpotReclaimAction{Pool: p.Name, Count: &one}
		defaultAction(&step.Action)
		steps = append(steps, step)
	}
	return steps
}
