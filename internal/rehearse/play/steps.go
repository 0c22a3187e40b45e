package play

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// stepRunner carries out the scenario's steps when package scenario says they are due.
type stepRunner struct {
	r     *run
	plan  *scenario.Plan
	undos map[string]undo // by step and occurrence
	marks map[string]record.Step
}

// quiet is how long the cluster is left alone before a step acts: what happens at the same instant happens before it.
const quiet = time.Millisecond

// conflictTries is how often a write that met a newer version is tried again.
const conflictTries = 5

func newStepRunner(r *run) (*stepRunner, error) {
	p, err := scenario.NewPlan(&r.doc.Scenario.Spec, r.doc.Seed)
	if err != nil {
		return nil, err
	}
	return &stepRunner{r: r, plan: p, undos: map[string]undo{}, marks: map[string]record.Step{}}, nil
}

// turn does what is due and returns when to look again.
func (s *stepRunner) turn(ctx context.Context, now time.Time) (time.Time, error) {
	for {
		acts, next := s.plan.Due(s, now)
		for _, a := range acts {
			s.do(ctx, a)
		}
		if len(acts) == 0 {
			return next, nil
		}
		now = time.Now() // what was done may have made other steps due
	}
}

func (s *stepRunner) do(ctx context.Context, a scenario.Act) {
	began := time.Now()
	time.Sleep(quiet)
	key := fmt.Sprint(a.Step, "/", a.Occurrence)
	name := scenario.ActionName(a.Action)
	var err error
	var o outcome
	switch {
	case a.Undo:
		if u := s.undos[key]; u != nil {
			err = u(ctx)
		}
		delete(s.undos, key)
	case a.Action.Assert != "":
		var held bool
		if held, err = s.Holds(s.plan.Assert(a.Step)); err == nil && !held {
			err = fmt.Errorf("%s is not true: %s", a.Action.Assert, operands(s.plan.Assert(a.Step), s.view()))
		}
		o.what = "assert " + a.Action.Assert
	default:
		for try := 0; try < conflictTries; try++ {
			if o, err = s.r.act(ctx, a.Action); !apierrors.IsConflict(err) {
				break
			}
		}
		if err == nil && o.undo != nil {
			s.undos[key] = o.undo
		}
	}
	s.plan.Finished(a, time.Now(), err)
	s.tell(a, began, name, o, err)
}

// tell writes the step's entry and state. The entry comes from the moment before the step acted, and so before all that it
// caused.
func (s *stepRunner) tell(a scenario.Act, began time.Time, action string, o outcome, err error) {
	e := record.Entry{Time: began, Kind: record.KindStep, Object: a.Name, What: fmt.Sprintf("%s: %s", a.Name, o.what), Severity: record.Notable, Actor: userSteps,
		Data: map[string]string{"step": a.Name, "action": action, "target": strings.Join(o.targets, ",")}}
	for k, v := range o.data {
		if v != "" {
			e.Data[k] = v
		}
	}
	if action == "note" {
		e.Kind = record.KindNote
	}
	if a.Undo {
		e.What, e.Data["state"] = a.Name+" ends", "ends"
	}
	if err != nil {
		e.What, e.Why, e.Severity = a.Name+" failed", err.Error(), record.Warning
	}
	s.r.entry(e)
	s.mark(a.Step)
}

// mark writes where the occurrences of a step stand, as far as that changed.
func (s *stepRunner) mark(step int) {
	for _, o := range s.plan.Progress(step).Occurrences {
		m := s.plan.Record(step, o.Number)
		m.At, m.Undone = m.At.UTC(), m.Undone.UTC()
		if key := fmt.Sprint(step, "/", o.Number); s.marks[key] != m {
			s.marks[key] = m
			s.r.out.event(record.Event{Step: &m})
		}
	}
}

// finish tells of the steps that never came.
func (s *stepRunner) finish() {
	s.plan.End(s.view())
	for i := range s.plan.Steps() {
		s.mark(i)
	}
}

// Holds implements scenario.Observation.
func (s *stepRunner) Holds(c *celenv.Condition) (bool, error) { return c.Eval(s.view()) }

func (s *stepRunner) view() celenv.View {
	return celenv.LiveView{Start: s.r.start, Now: time.Now().In(s.r.start.Location()), Observer: observer{s.r}}
}

func operands(c *celenv.Condition, v celenv.View) string {
	var parts []string
	for _, o := range c.Operands(v) {
		parts = append(parts, o.Text+" = "+o.Value)
	}
	return strings.Join(parts, ", ")
}

// warn notes that something the scenario asked for went wrong after its step had begun.
func (r *run) warn(what string, err error) {
	r.entry(record.Entry{Kind: record.KindStep, Object: what, What: what + " failed", Why: err.Error(), Severity: record.Warning, Actor: userSteps})
}
