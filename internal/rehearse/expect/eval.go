package expect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/causes"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// Kinds of results.
const (
	KindSLO        = "slo"
	KindReplicas   = "replicas"
	KindPending    = "pending"
	KindCost       = "cost"
	KindDisruption = "disruption"
	KindRollout    = "rollout"
	KindRecovery   = "recovery"
	KindNoWorse    = "noWorse"
	KindCEL        = "cel"
	KindSteps      = "steps" // every required step was done
	KindEnd        = "end"   // workloads end as available as they began
)

// Given is what expectations are evaluated with.
type Given struct {
	// Expectations of the scenario; empty means the defaults (see Defaults).
	Expectations []v1alpha1.Expectation
	// Location is the scenario's time zone, for times of day in conditions; nil is UTC.
	Location *time.Location

	views map[int64]*celenv.RecordView // by seed, made once for all conditions
}

// Eval decides every expectation over all seeds. runs and baseline are sorted by seed; a baseline run belongs to the run
// of the same seed. One expectation with several limits gives one Result each. Required steps that were not done are a
// failure of their own.
func Eval(given Given, runs, baseline []Observed) []Result {
	given.views = map[int64]*celenv.RecordView{}
	checks := given.checks(len(baseline) > 0)
	base := map[int64]*Observed{}
	for i := range baseline {
		base[baseline[i].Run.Start.Seed] = &baseline[i]
	}
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		if r, shown := c.over(runs, base); shown {
			results = append(results, r)
		}
	}
	return results
}

// check is one limit of one expectation.
type check struct {
	name, kind, limit string
	metric            string // for machines, with target; "" when the limit is no number
	target            float64
	severity          string
	share             float64 // of the seeds in which it must hold
	source            v1alpha1.Source
	subject           string            // as in Recovery, or "workload=…"
	data              map[string]string // evidence for the cause rules
	quiet             bool              // shown only when it fails
	eval              func(o Observed, base *Observed) outcome
}

// outcome is a check in one seed.
type outcome struct {
	held, noData bool
	value        string
	excess       float64 // how far beyond the limit, to find the worst seed; relative where possible
	firstAt      time.Time
	total        time.Duration
	evidence     []Evidence
	help         string
	entry        int               // of the timeline, when it is known which one the failure is
	subject      string            // when narrower than the check's
	data         map[string]string // evidence for the rules of causes
}

func noData(why string) outcome { return outcome{noData: true, value: "no data: " + why} }

// given a list of expectations, the checks; without any, the defaults.
func (g Given) checks(hasBaseline bool) []check {
	steps := check{name: "steps", kind: KindSteps, limit: "every required step done", eval: stepsDone, quiet: len(g.Expectations) > 0}
	list := []check{steps}
	expectations := g.Expectations
	if len(expectations) == 0 {
		expectations = Defaults(hasBaseline)
		list = append(list, check{name: "availability at the end", kind: KindEnd, limit: "no workload below its start", eval: endsAsItBegan})
	}
	for i, e := range expectations {
		for _, c := range g.parts(e) {
			c.severity = cmp.Or(e.Severity, SeverityError)
			c.source = e.Source
			c.share = 1
			if e.In != nil {
				c.share = float64(*e.In)
			}
			// A name the scenario made up says less than the limit's own.
			if _, about, _ := strings.Cut(c.subject, "="); e.Name != "" && e.Name != strings.TrimSpace(c.kind+" "+about) {
				c.name = e.Name
			}
			if c.name == "" {
				c.name = fmt.Sprintf("expectation %d", i+1)
			}
			list = append(list, c)
		}
	}
	distinguish(list)
	return list
}

// distinguish appends the limit to names that several checks share.
func distinguish(list []check) {
	times := map[string]int{}
	for _, c := range list {
		times[c.name]++
	}
	for i := range list {
		if times[list[i].name] > 1 {
			list[i].name += " (" + list[i].limit + ")"
		}
	}
}

// Defaults are the expectations of a scenario that has none: nothing pending for more than five minutes at the end, no
// disruption budget broken, and with a change neither availability nor p95 worse than without it. Eval adds that every
// step was done and that no workload ends below its starting availability.
func Defaults(hasBaseline bool) []v1alpha1.Expectation {
	kept, zero := true, int32(0)
	list := []v1alpha1.Expectation{
		{Name: "pending at the end", Pending: &v1alpha1.PendingExpectation{AtEnd: &zero}},
		{Name: "disruption budgets", Disruption: &v1alpha1.DisruptionExpectation{BudgetKept: &kept, Forced: ptr(int32(math.MaxInt32))}},
	}
	if hasBaseline {
		list = append(list, v1alpha1.Expectation{Name: "no worse than without the change", NoWorse: &v1alpha1.NoWorseExpectation{}})
	}
	return list
}

func ptr[T any](v T) *T { return &v }

func (g Given) parts(e v1alpha1.Expectation) []check {
	switch {
	case e.SLO != nil:
		return sloChecks(*e.SLO)
	case e.Replicas != nil:
		return replicaChecks(*e.Replicas)
	case e.Pending != nil:
		return pendingChecks(*e.Pending)
	case e.Cost != nil:
		return costChecks(*e.Cost)
	case e.Disruption != nil:
		return disruptionChecks(*e.Disruption)
	case e.Rollout != nil:
		return rolloutChecks(*e.Rollout)
	case e.Recovery != nil:
		return []check{recoveryCheck(*e.Recovery)}
	case e.NoWorse != nil:
		return noWorseChecks(*e.NoWorse)
	case e.CEL != "":
		return []check{g.celCheck(e)}
	}
	return []check{{kind: KindCEL, limit: "one kind of expectation", eval: func(Observed, *Observed) outcome { return noData("the expectation is empty") }}}
}

// over evaluates a check in every seed and joins the outcomes.
func (c check) over(runs []Observed, base map[int64]*Observed) (Result, bool) {
	r := Result{Name: c.name, Kind: c.kind, Severity: cmp.Or(c.severity, SeverityError), Limit: c.limit, Metric: c.metric, Target: c.target, Of: len(runs), Seeds: []SeedResult{},
		File: c.source.File, Line: c.source.Line, Value: "no data: nothing was run"}
	if c.subject != "" {
		r.Subjects = []string{c.subject}
	}
	worst := -1
	outcomes := make([]outcome, len(runs))
	for i, o := range runs {
		out := c.eval(o, base[o.Run.Start.Seed])
		if o.Run.End == nil || o.Run.End.Incomplete != "" {
			out.held = false // what did not finish cannot be said to have held
		}
		outcomes[i] = out
		if out.held && !out.noData {
			r.HeldIn++
		}
		r.NoData = r.NoData || out.noData
		r.Seeds = append(r.Seeds, SeedResult{Seed: o.Run.Start.Seed, Held: out.held && !out.noData, Value: out.value, TotalSeconds: out.total.Seconds()})
		if worst < 0 || out.worse(outcomes[worst]) {
			worst = i
		}
	}
	if worst < 0 {
		r.NoData = true
		return r, true
	}
	share := c.share
	if share == 0 {
		share = 1
	}
	r.Held = float64(r.HeldIn) >= share*float64(len(runs))-1e-9
	out := outcomes[worst]
	o := runs[worst]
	r.WorstSeed, r.Value, r.TotalSeconds = o.Run.Start.Seed, out.value, out.total.Seconds()
	if !r.Held || !out.held {
		r.FirstAt, r.Evidence, r.Help = out.firstAt, out.evidence, out.help
		switch {
		case out.entry > 0:
			r.Why = causes.Chain(o.Run.Timeline, out.entry)
		case !out.noData && !out.firstAt.IsZero() && (c.kind != KindCEL || out.subject != ""): // else nobody knows what the condition is about
			r.Why = o.why(out.firstAt, cmp.Or(out.subject, c.subject), merge(c.data, out.data))
		}
	}
	return r, !(c.quiet && r.Held)
}

func merge(a, b map[string]string) map[string]string {
	m := map[string]string{}
	for k, v := range a {
		m[k] = v
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}

// worse orders outcomes: broken before held, no data before broken, then by excess.
func (x outcome) worse(y outcome) bool {
	rank := func(o outcome) int {
		switch {
		case o.noData:
			return 2
		case !o.held:
			return 1
		}
		return 0
	}
	if a, b := rank(x), rank(y); a != b {
		return a > b
	}
	return x.excess > y.excess
}

func stepsDone(o Observed, _ *Observed) outcome {
	out := outcome{held: true, value: "all done"}
	bad := 0
	for _, s := range o.Run.Steps {
		if !s.Required || s.State != "failed" && s.State != "never reached" && s.State != "waiting" {
			continue
		}
		if out.held {
			out.held, out.firstAt = false, s.At
			out.data = map[string]string{"metric": "steps", "step": s.Name}
			out.value = fmt.Sprintf("%s: %s", s.Name, s.State)
			if s.Message != "" {
				out.value += ", " + s.Message
			}
		}
		bad++
		out.evidence = append(out.evidence, Evidence{Time: s.At, Object: s.Name, What: string(s.State) + ": " + s.Message})
	}
	if out.excess = float64(bad); bad > 1 {
		out.value += fmt.Sprintf(" (and %d more)", bad-1)
	}
	return out
}

func endsAsItBegan(o Observed, _ *Observed) outcome {
	if len(o.Run.Workloads) == 0 {
		return noData("no workload was recorded")
	}
	out := outcome{held: true, value: "all as at the start"}
	for _, w := range slices.SortedFunc(slices.Values(o.Run.Workloads), byObject) {
		missing := w.AvailabilityStart - w.AvailabilityEnd
		if missing <= 1e-9 {
			continue
		}
		if missing > out.excess {
			out.value, out.excess, out.subject = fmt.Sprintf("%s: %s of its replicas ready", w.Object, percentText(w.AvailabilityEnd)), missing, "workload="+w.Object
			out.firstAt = Until(o.Run)
		}
		out.held = false
		out.evidence = append(out.evidence, Evidence{Object: w.Object, What: fmt.Sprintf("%s ready at the end, %s at the start", percentText(w.AvailabilityEnd), percentText(w.AvailabilityStart))})
	}
	return out
}
