package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// decide fills result and headline.
func (r *Report) decide(runs []expect.Observed, shown int) {
	v := &r.Verdict
	v.Result = Pass
	if len(runs) == 0 {
		v.Result, v.Headline = Invalid, "Nothing was run."
		return
	}
	failed := failures(v.Expectations)
	for _, s := range r.Seeds {
		if s.Result == Incomplete {
			v.Result = Incomplete
		}
	}
	switch {
	case v.Result == Incomplete:
		o := runs[shown]
		v.Headline = fmt.Sprintf("Stopped at %s in seed %d: %s. What is known until then follows.", r.clock(ended(o.Run)), o.Run.Start.Seed, strings.TrimSuffix(incomplete(o.Run), "."))
	case len(failed) > 0:
		v.Result = Fail
		v.Headline = r.failureHeadline(failed)
	default:
		v.Headline = r.passHeadline()
	}
}

// failures are the expectations that fail the rehearsal, worst first.
func failures(results []expect.Result) []expect.Result {
	var failed []expect.Result
	for _, e := range results {
		if !e.Held && e.Severity == expect.SeverityError {
			failed = append(failed, e)
		}
	}
	slices.SortStableFunc(failed, func(a, b expect.Result) int {
		return cmp.Or(cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)), cmp.Compare(a.HeldIn, b.HeldIn))
	})
	return failed
}

// kindRank orders failures by how directly users feel them.
func kindRank(kind string) int {
	order := []string{"slo", "recovery", "end", "pending", "replicas", "disruption", "noWorse", "steps", "cel", "cost"}
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

func (r *Report) failureHeadline(failed []expect.Result) string {
	e := failed[0]
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Name, judged(e))
	if !e.FirstAt.IsZero() {
		how := "first at"
		if e.Metric == "availability" {
			how = "lost at"
		}
		fmt.Fprintf(&b, ", %s %s", how, r.clock(e.FirstAt.Truncate(time.Second)))
	}
	if root := r.root(e.WorstSeed, e.Why); root != "" {
		fmt.Fprintf(&b, ", because of %s", root)
		if beside := r.beside(e.WorstSeed, e.Why); len(beside) > 0 {
			fmt.Fprintf(&b, " while %s", beside[0].What)
		}
	}
	if e.Of > 1 {
		fmt.Fprintf(&b, " (held in %d of %d seeds)", e.HeldIn, e.Of)
	}
	if n := len(failed) - 1; n > 0 {
		fmt.Fprintf(&b, "; %d more failed", n)
	}
	return upperFirst(b.String()) + "."
}

// root is the last entry of a cause chain in words.
func (r *Report) root(seed int64, chain []int) string {
	if len(chain) < 2 {
		return ""
	}
	for _, e := range r.Timeline {
		if e.ID == chain[len(chain)-1] && e.Seed == seed {
			if e.Kind == record.KindStep {
				return `"` + e.Object + `"`
			}
			return lowerFirst(e.text())
		}
	}
	return ""
}

func upperFirst(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' && !strings.Contains(strings.SplitN(s, " ", 2)[0], "/") {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] < 'A' || s[1] > 'Z') {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}

func (r *Report) passHeadline() string {
	var parts []string
	if n := len(r.Verdict.Expectations); n > 0 {
		held := 0
		for _, e := range r.Verdict.Expectations {
			if e.Held {
				held++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %d expectations held in %s", held, n, plural(len(r.Seeds), "seed")))
	}
	if a, ok := r.Summary["availability"]; ok && a.Value.Known() {
		parts = append(parts, formatValue(float64(a.Value), "ratio")+" of "+formatValue(float64(r.Summary["requests"].Value), "requests")+" requests served well")
	}
	if p, ok := r.Summary["latency_p95_seconds"]; ok && p.Value.Known() {
		parts = append(parts, "p95 "+formatValue(float64(p.Value), "s"))
	}
	if c, ok := r.Summary["cost_total"]; ok && c.Value.Known() {
		parts = append(parts, formatValue(float64(c.Value), c.Unit))
	}
	if len(parts) == 0 {
		return "The run finished; nothing was expected of it."
	}
	return strings.Join(parts, ", ") + "."
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
