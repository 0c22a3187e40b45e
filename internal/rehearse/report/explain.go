package report

import (
	"fmt"
	"slices"
	"strings"
)

// Explain writes the cause chain of a timeline entry of the shown seed, symptom first, one line each with its reason and
// its object. ok is false when there is no such entry.
func Explain(r *Report, id int) (text string, ok bool) {
	find := func(id int) int {
		return slices.IndexFunc(r.Timeline, func(e Entry) bool { return e.ID == id && e.Seed == r.Verdict.ShownSeed })
	}
	at := find(id)
	if at < 0 {
		return "", false
	}
	var b strings.Builder
	seen := map[int]bool{}
	for depth := 0; at >= 0 && !seen[r.Timeline[at].ID]; depth++ {
		e := r.Timeline[at]
		seen[e.ID] = true
		arrow := ""
		if depth > 0 {
			arrow = strings.Repeat("  ", depth-1) + "← "
		}
		fmt.Fprintf(&b, "%s%s %s", arrow, r.clock(e.T), e.text())
		if e.Why != "" {
			fmt.Fprintf(&b, " (%s)", e.Why)
		}
		fmt.Fprintf(&b, "  [%d, %s]\n", e.ID, e.Object)
		if len(e.Causes) == 0 {
			if e.Unknown {
				fmt.Fprintf(&b, "%s← cause unknown\n", strings.Repeat("  ", depth))
			}
			break
		}
		at = find(e.Causes[0])
	}
	return b.String(), true
}
