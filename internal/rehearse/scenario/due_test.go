package scenario

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// world is a run in which workload("shop/web").ready is whatever the test says.
type world struct {
	ready int64
}

func (w *world) Holds(c *celenv.Condition) (bool, error) { return c.Eval(w.view()) }
func (w *world) view() celenv.LiveView {
	return celenv.LiveView{Start: time.Unix(0, 0), Now: time.Unix(0, 0), Observer: w}
}
func (w *world) Columns(string, map[string]string) []celenv.Column { return nil }
func (w *world) Workload(string) (celenv.Workload, bool) {
	return celenv.Workload{Ready: w.ready}, true
}
func (w *world) Rollout(string) (celenv.Rollout, bool) { return celenv.Rollout{}, false }
func (w *world) Pods() []celenv.Pod                    { return nil }
func (w *world) Nodes() []celenv.Node                  { return nil }
func (w *world) Timeline() []record.Entry              { return nil }
func (w *world) Steps() []record.Step                  { return nil }

func plan(t testing.TB, fragment string, seed int64) *Plan {
	t.Helper()
	s, diags := Parse(in(fragment), "s.yaml")
	if HasErrors(diags) {
		t.Fatal(diags)
	}
	Default(&s)
	p, err := NewPlan(&s.Spec, seed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// play asks the plan whenever it wants to be asked, and says when each act happened, as "01-05 09:00 name".
func play(p *Plan, w *world, at func(time.Time), fail map[string]bool) []string {
	var log []string
	for now := p.start; !now.IsZero() && !now.After(p.end); {
		if at != nil {
			at(now)
		}
		acts, next := p.Due(w, now)
		for _, a := range acts {
			name := a.Name
			if a.Undo {
				name = "undo " + name
			}
			log = append(log, now.Format("01-02 15:04:05 ")+name)
			var err error
			if fail[a.Name] {
				err = errors.New("refused")
			}
			p.Finished(a, now, err)
		}
		if len(acts) > 0 {
			_, next = p.Due(w, now)
			if !next.After(now) {
				next = now.Add(1)
			}
		}
		now = next
	}
	p.End(w.view())
	return log
}

func TestStepsAreDueWhenTheirTriggersSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, fragment, want string }{
		{"clock time, undone after a while", "  steps: [{name: z, at: '09:00', for: 30m, registry: down}]", "01-05 09:00:00 z|01-05 09:30:00 undo z"},
		{"days and offsets", "  duration: 3d\n  steps: [{name: b, at: day 3 01:00, note: x}, {name: a, at: +90s, note: x}]", "01-05 00:01:30 a|01-07 01:00:00 b"},
		{"after the start", "  steps: [{name: a, after: 2h, note: x}]", "01-05 02:00:00 a"},
		{"after another step, in force order", "  steps: [{name: b, after: {step: a, plus: 5m}, note: x}, {name: a, at: '01:00', note: x}]", "01-05 01:00:00 a|01-05 01:05:00 b"},
		{"every, limited", "  steps: [{name: e, every: 6h, times: 2, note: x}]", "01-05 06:00:00 e|01-05 12:00:00 e"},
		{"cron in the time zone, on summer time's day", "  start: 2026-03-28T00:00:00\n  timeZone: Europe/Berlin\n  duration: 2d\n  steps: [{name: c, cron: '30 9 * * *', note: x}]", "03-28 09:30:00 c|03-29 09:30:00 c"},
		{"file order at one instant", "  steps: [{name: b, at: '01:00', note: x}, {name: a, at: '01:00', note: x}]", "01-05 01:00:00 b|01-05 01:00:00 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(play(plan(t, c.fragment, 1), &world{}, nil, nil), "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestConditionsFireOnBecomingTrue(t *testing.T) {
	t.Parallel()
	when := `when: 'workload("shop/web").ready < 3'`
	dips := func(w *world) func(time.Time) { // below 3 from 01:00 to 01:10, and from 02:00 on
		return func(now time.Time) {
			w.ready = 3
			if m := now.Hour()*60 + now.Minute(); m >= 60 && m < 70 || m >= 120 {
				w.ready = 2
			}
		}
	}
	for _, c := range []struct{ name, step, want string }{
		{"once", when, "01-05 01:00:00 w"},
		{"later by plus", when + ", plus: 5m", "01-05 01:05:00 w"},
		{"again", when + ", again: true", "01-05 01:00:00 w|01-05 02:00:00 w"},
		{"again, limited", when + ", again: true, times: 1", "01-05 01:00:00 w"},
		{"not by then", when + ", by: 30m", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{}
			p := plan(t, "  duration: 3h\n  steps: [{name: w, note: x, "+c.step+"}]", 1)
			if got := strings.Join(play(p, w, dips(w), nil), "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestUntilUndoesAtTheFirstLookAtWhichItHolds(t *testing.T) {
	t.Parallel()
	w := &world{}
	p := plan(t, `  duration: 3h`+"\n"+`  steps: [{name: u, at: '01:00', until: 'workload("shop/web").ready >= 3', registry: down}]`, 1)
	got := strings.Join(play(p, w, func(now time.Time) {
		if w.ready = 0; now.Hour() >= 2 {
			w.ready = 3
		}
	}, nil), "|")
	if want := "01-05 01:00:00 u|01-05 02:00:00 undo u"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if r := p.Record(0, 1); r.State != record.StepUndone || r.Undone.Hour() != 2 {
		t.Errorf("recorded %+v", r)
	}
}

func TestAConditionThatNeverComesTrueSaysWhatItSaw(t *testing.T) {
	t.Parallel()
	w := &world{ready: 7}
	p := plan(t, `  duration: 1h`+"\n"+`  steps: [{name: n, when: 'workload("shop/web").ready < 3', required: true, note: x}]`, 1)
	play(p, w, nil, nil)
	r := p.Record(0, 1)
	if r.State != record.StepNeverReached || !strings.Contains(r.Message, `workload("shop/web").ready was 7`) || !r.Required {
		t.Errorf("recorded %+v", r)
	}
}

func TestAStepAfterOneThatFailedIsNeverReached(t *testing.T) {
	t.Parallel()
	p := plan(t, "  steps: [{name: a, at: '01:00', note: x}, {name: b, after: {step: a}, note: x}, {name: c, after: {step: b}, note: x}]", 1)
	if got := play(p, &world{}, nil, map[string]bool{"a": true}); len(got) != 1 {
		t.Errorf("acts %v", got)
	}
	if r := p.Record(0, 1); r.State != record.StepFailed || r.Message != "refused" {
		t.Errorf("a: %+v", r)
	}
	for _, i := range []int{1, 2} {
		if r := p.Record(i, 1); r.State != record.StepNeverReached || !strings.Contains(r.Message, "never came into force") {
			t.Errorf("%+v", r)
		}
	}
}

func TestPoissonStepsKeepTheirRateTheirHoursAndTheirSeed(t *testing.T) {
	t.Parallel()
	fragment := "  duration: 60d\n  timeZone: Europe/Berlin\n  steps: [{name: p, rate: 0.5/h, between: ['10:00', '16:00'], note: x}]"
	got := play(plan(t, fragment, 7), &world{}, nil, nil)
	if n := len(got); n < 130 || n > 235 { // 60 days × 6 h × 0.5 = 180, four standard deviations of 13.4
		t.Errorf("%d occurrences; 180 are expected", n)
	}
	for _, line := range got {
		if h := line[6:8]; h < "10" || h >= "16" {
			t.Errorf("%s lies outside its hours", line)
		}
	}
	if again := play(plan(t, fragment, 7), &world{}, nil, nil); strings.Join(again, "") != strings.Join(got, "") {
		t.Error("the same seed gave other times")
	}
	if other := play(plan(t, fragment, 8), &world{}, nil, nil); strings.Join(other, "") == strings.Join(got, "") {
		t.Error("another seed gave the same times")
	}
}

func TestAnUnrelatedStepChangesNoDraw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Int64().Draw(r, "seed")
		step := "{name: p, rate: 1/h, jitter: 5m, note: x}"
		alone := play(plan(t, "  steps: ["+step+"]", seed), &world{}, nil, nil)
		var beside []string
		for _, line := range play(plan(t, "  steps: [{name: q, rate: 3/h, note: y}, "+step+"]", seed), &world{}, nil, nil) {
			if strings.HasSuffix(line, " p") {
				beside = append(beside, line)
			}
		}
		if fmt.Sprint(alone) != fmt.Sprint(beside) {
			r.Errorf("alone  %v\nbeside %v", alone, beside)
		}
	})
}

func TestInterruptionsOfASpotPoolBecomeSteps(t *testing.T) {
	t.Parallel()
	p := plan(t, "  duration: 10d\n  cluster: {pools: [{name: spot, type: m5.large, capacityType: spot, size: 10, interruptions: 0.02/h}]}", 1)
	if n := len(play(p, &world{}, nil, nil)); n < 20 || n > 80 { // 240 h × 10 × 0.02 = 48
		t.Errorf("%d interruptions; 48 are expected", n)
	}
}
