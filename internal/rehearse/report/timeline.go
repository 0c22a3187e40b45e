package report

import (
	"fmt"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// timelineMax bounds the entries that are printed; the JSON report and the page have all.
const timelineMax = 200

// Timeline renders what happened in the shown seed, an entry a line of at most width columns (60 to 120): what is notable or
// worse, and each step, weight and analysis of a release. The reason of what is a warning or worse follows it. Plain text.
func Timeline(r *Report, width int) string {
	s := &screen{width: min(max(width, terminalMinWidth), terminalMaxWidth)}
	left, why := 0, ""
	for i := range r.Timeline {
		e := &r.Timeline[i]
		if e.Seed != r.Verdict.ShownSeed || !timely(e) {
			continue
		}
		if left > 0 || len(s.lines) >= timelineMax {
			left++
			continue
		}
		at := fmt.Sprintf("%-9s ", r.clock(e.T))
		what := e.What
		if e.Count > 1 {
			what += fmt.Sprintf(" (×%d)", e.Count)
		}
		s.wrapped("", at, what, 2)
		if (e.Severity == record.Warning || e.Severity == record.Severe) && e.Why != "" && (why == "" || !strings.HasSuffix(e.Why, why)) {
			s.wrapped("", strings.Repeat(" ", len(at)+2), e.Why, 4)
			why = e.Why // what follows from it says it again, in words of its own
		}
	}
	if left > 0 {
		s.line("", fmt.Sprintf("and %d more entries: --json or --html FILE has all", left))
	}
	if len(s.lines) == 0 {
		return "Nothing happened that is worth an entry.\n"
	}
	return strings.Join(s.lines, "\n") + "\n"
}

// timely tells whether an entry is printed.
func timely(e *Entry) bool {
	return e.Severity != record.Info || e.Kind == record.KindRollout || e.Kind == record.KindAnalysis
}
