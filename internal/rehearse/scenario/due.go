package scenario

import (
	"fmt"
	"sort"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// ConditionPeriod is how often conditions (when, until) are looked at.
const ConditionPeriod = 10 * time.Second

// occurrencesMax bounds how often one step may happen in a run, against a schedule that was never meant.
const occurrencesMax = 10_000

// Observation is what conditions see. Holds says whether a condition is true now; an error (no data yet, for example)
// counts as not true and is kept for the step's message.
type Observation interface {
	Holds(c *celenv.Condition) (bool, error)
}

// Act is something to do now: a step's action, or its undoing.
type Act struct {
	Step       int    // index in the scenario's steps
	Name       string // of the step
	Occurrence int    // from 1
	Undo       bool
	At         time.Time // when it was due
	Action     *v1alpha1.Action
}

// Occurrence is one time a step happens.
type Occurrence struct {
	Number int
	State  State
	Due    time.Time // when it is to act
	Began  time.Time // when it came into force
	UndoAt time.Time // when it is to be undone; zero when nothing but a condition or nothing at all ends it
	Ended  time.Time // when it was done, undone or failed
	// Message says why it failed.
	Message string
}

// State of one occurrence of a step:
//
//	waiting ──▶ acting ──▶ done                      the action took effect and there is nothing to undo
//	   │                  │  └───▶ in force ──▶ undoing ──▶ undone
//	   │                  └──────▶ failed ◀─────────┘        the action or its undoing was refused
//	   └─────────────────────────▶ never reached             the run ended, or the time to come true has passed
type State string

// States.
const (
	Waiting      State = "waiting"
	Acting       State = "acting"
	InForce      State = "in force"
	Undoing      State = "undoing"
	Undone       State = "undone"
	Done         State = "done"
	Failed       State = "failed"
	NeverReached State = "never reached"
)

// Progress is where a step stands.
type Progress struct {
	Occurrences []Occurrence
	// next is when the trigger fires again; zero when it will not by time alone.
	next  time.Time
	count int  // firings of the trigger so far
	held  bool // last value of the when condition
	// spent is set when no further occurrence can come.
	spent  bool
	reason string // why, when the step was never reached
	fault  string // last fault of its condition
}

// Plan is a scenario's steps made ready, and how far they have come. All its methods are deterministic functions of
// what they are given; the instant is always an argument.
type Plan struct {
	steps    []v1alpha1.Step
	triggers []trigger
	until    []*celenv.Condition
	asserts  []*celenv.Condition
	progress []Progress
	start    time.Time
	end      time.Time
}

// NewPlan prepares the steps of a scenario with its defaults filled in, for one seed.
func NewPlan(spec *v1alpha1.ScenarioSpec, seed int64) (*Plan, error) {
	start, err := StartTime(spec)
	if err != nil {
		return nil, err
	}
	p := &Plan{start: start, end: start.Add(spec.Duration.Duration)}
	p.steps = append(append(p.steps, spec.Steps...), Interruptions(spec)...)
	p.progress = make([]Progress, len(p.steps))
	for i := range p.steps {
		s := &p.steps[i]
		t, err := newTrigger(s, p.start, p.end, seed)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", s.Name, err)
		}
		until, err := compile(s.Until)
		if err != nil {
			return nil, fmt.Errorf("step %s: until: %w", s.Name, err)
		}
		assert, err := compile(s.Assert)
		if err != nil {
			return nil, fmt.Errorf("step %s: assert: %w", s.Name, err)
		}
		if s.After != nil && s.After.Step != "" {
			if t.after = indexOf(p.steps, s.After.Step); t.after < 0 {
				return nil, fmt.Errorf("step %s: there is no step %q to wait for", s.Name, s.After.Step)
			}
		}
		p.triggers, p.until, p.asserts = append(p.triggers, t), append(p.until, until), append(p.asserts, assert)
		p.progress[i].next = t.first()
	}
	return p, nil
}

func indexOf(steps []v1alpha1.Step, name string) int {
	for i := range steps {
		if steps[i].Name == name {
			return i
		}
	}
	return -1
}

func compile(text string) (*celenv.Condition, error) {
	if text == "" {
		return nil, nil
	}
	return celenv.Live().Compile(text)
}

// Steps are the steps of the plan: the scenario's, then those its pools imply. Act.Step is an index into them.
func (p *Plan) Steps() []v1alpha1.Step { return p.steps }

// Progress tells where the step of an index stands.
func (p *Plan) Progress(step int) Progress { return p.progress[step] }

// Assert is the compiled condition of an assert action; nil for others.
func (p *Plan) Assert(step int) *celenv.Condition { return p.asserts[step] }

// Due gives what is to be done now, in the order of time and then of the file, and the instant to ask again at the
// latest: zero when nothing will ever come. Every Act must be answered by Finished, once.
func (p *Plan) Due(o Observation, now time.Time) ([]Act, time.Time) {
	var acts []Act
	for i := range p.steps {
		p.fire(i, o, now)
		acts = append(acts, p.begin(i, now)...)
		acts = append(acts, p.undo(i, o, now)...)
	}
	sort.SliceStable(acts, func(a, b int) bool { return acts[a].At.Before(acts[b].At) })
	return acts, p.next(now)
}

// fire adds the occurrences whose trigger has fired by now.
func (p *Plan) fire(i int, o Observation, now time.Time) {
	s, t, g := &p.steps[i], p.triggers[i], &p.progress[i]
	if g.spent || now.After(p.end) {
		return
	}
	if t.condition != nil {
		p.watch(i, o, now)
	}
	if t.after >= 0 && g.next.IsZero() {
		p.follow(i)
	}
	for !g.next.IsZero() && !g.next.After(now) && !g.spent {
		g.count++
		g.Occurrences = append(g.Occurrences, Occurrence{Number: g.count, State: Waiting, Due: g.next.Add(t.jitter(g.count))})
		g.next = t.following(g.next, g.count)
		if s.Times > 0 && g.count >= int(s.Times) || g.count >= occurrencesMax || t.once {
			g.spent, g.next = true, time.Time{}
		}
	}
}

// watch looks at the condition of a when step: it fires on becoming true, and again only after having been false.
func (p *Plan) watch(i int, o Observation, now time.Time) {
	s, t, g := &p.steps[i], p.triggers[i], &p.progress[i]
	if !g.next.IsZero() { // became true, plus is running
		return
	}
	if by := s.By.Duration; by > 0 && g.count == 0 && now.After(p.start.Add(by)) {
		g.spent, g.reason = true, fmt.Sprintf("%q was not true by +%s", s.When, s.By)
		return
	}
	held, err := o.Holds(t.condition)
	if g.fault = ""; err != nil {
		g.fault = err.Error()
	}
	if held && !g.held {
		g.next = now.Add(s.Plus.Duration)
	}
	g.held = held
}

// follow sets the time of a step that waits for another, once that has come into force; or gives it up when that never
// will.
func (p *Plan) follow(i int) {
	t, g := p.triggers[i], &p.progress[i]
	other := &p.progress[t.after]
	for _, o := range other.Occurrences {
		if !o.Began.IsZero() {
			g.next = o.Began.Add(p.steps[i].After.Plus.Duration)
			return
		}
	}
	if !other.spent {
		return
	}
	for _, o := range other.Occurrences {
		if o.State != Failed && o.State != NeverReached {
			return
		}
	}
	g.spent, g.reason = true, fmt.Sprintf("the step %q, which it waits for, never came into force", p.steps[t.after].Name)
}

// begin gives the occurrences whose time has come.
func (p *Plan) begin(i int, now time.Time) []Act {
	var acts []Act
	for k := range p.progress[i].Occurrences {
		o := &p.progress[i].Occurrences[k]
		if o.State == Waiting && !o.Due.After(now) {
			o.State = Acting
			acts = append(acts, Act{i, p.steps[i].Name, o.Number, false, o.Due, &p.steps[i].Action})
		}
	}
	return acts
}

// undo gives the occurrences in force whose end has come.
func (p *Plan) undo(i int, observation Observation, now time.Time) []Act {
	var acts []Act
	for k := range p.progress[i].Occurrences {
		o := &p.progress[i].Occurrences[k]
		if o.State != InForce {
			continue
		}
		at := o.UndoAt
		if c := p.until[i]; c != nil && (at.IsZero() || at.After(now)) {
			if held, err := observation.Holds(c); err == nil && held {
				at = now
			}
		}
		if at.IsZero() || at.After(now) {
			continue
		}
		o.State = Undoing
		acts = append(acts, Act{i, p.steps[i].Name, o.Number, true, at, &p.steps[i].Action})
	}
	return acts
}

// Finished answers an Act: when it had taken effect, or why it was refused.
func (p *Plan) Finished(a Act, at time.Time, err error) {
	s := &p.steps[a.Step]
	o := &p.progress[a.Step].Occurrences[a.Occurrence-1]
	switch {
	case err != nil:
		o.State, o.Ended, o.Message = Failed, at, err.Error()
	case a.Undo:
		o.State, o.Ended = Undone, at
	case s.For.Duration > 0 || s.Until != "":
		o.State, o.Began = InForce, at
		if s.For.Duration > 0 {
			o.UndoAt = at.Add(s.For.Duration)
		}
	default:
		o.State, o.Began, o.Ended = Done, at, at
	}
}

// next is the earliest instant at which anything can become due.
func (p *Plan) next(now time.Time) time.Time {
	var first time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	for i := range p.steps {
		g := &p.progress[i]
		if !g.spent {
			earlier(g.next)
			if p.triggers[i].condition != nil && g.next.IsZero() {
				earlier(now.Add(ConditionPeriod))
			}
		}
		for _, o := range g.Occurrences {
			switch o.State {
			case Waiting:
				earlier(o.Due)
			case InForce:
				earlier(o.UndoAt)
				if p.until[i] != nil {
					earlier(now.Add(ConditionPeriod))
				}
			}
		}
	}
	if !first.IsZero() && !first.After(now) { // a step whose predecessor came into force in this very instant
		first = now.Add(time.Nanosecond)
	}
	if first.After(p.end) {
		return time.Time{}
	}
	return first
}

// End closes the plan at the end of the run. Steps that have not happened become never reached; the operands say what
// the conditions they waited for saw last.
func (p *Plan) End(view celenv.View) {
	for i := range p.steps {
		g := &p.progress[i]
		for k := range g.Occurrences {
			if o := &g.Occurrences[k]; o.State == Waiting {
				o.State = NeverReached
			}
		}
		if len(g.Occurrences) > 0 {
			continue
		}
		message := g.reason
		if c := p.triggers[i].condition; c != nil {
			if message == "" {
				message = fmt.Sprintf("%q was never true", c)
			}
			for _, operand := range c.Operands(view) {
				message += fmt.Sprintf("; %s was %s", operand.Text, operand.Value)
			}
			if g.fault != "" {
				message += "; " + g.fault
			}
		}
		g.Occurrences = append(g.Occurrences, Occurrence{Number: 1, State: NeverReached, Message: message})
	}
}

// Record is an occurrence as the record of the run keeps it.
func (p *Plan) Record(step, occurrence int) record.Step {
	s, o := &p.steps[step], p.progress[step].Occurrences[occurrence-1]
	r := record.Step{
		Name: s.Name, Occurrence: o.Number, At: o.Began, Action: ActionName(&s.Action), Message: o.Message,
		Required: s.IsRequired(), File: s.Source.File, Line: s.Source.Line, State: recorded[o.State],
	}
	if r.At.IsZero() && o.State != NeverReached {
		r.At = o.Due
	}
	if o.State == Undone {
		r.Undone = o.Ended
	}
	return r
}

// recorded maps states to those the record knows: it has no use for the moments between.
var recorded = map[State]record.StepState{
	Waiting: record.StepWaiting, Acting: record.StepWaiting, InForce: record.StepInForce,
	Undoing: record.StepInForce, Undone: record.StepUndone, Done: record.StepDone, Failed: record.StepFailed,
	NeverReached: record.StepNeverReached,
}
