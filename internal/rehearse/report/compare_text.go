package report

import (
	"fmt"
	"slices"
	"strings"
)

const comparedRows = 22

// Terminal renders a comparison in at most 40 lines: different inputs first, then the metrics that differ, then where
// the futures part.
func (c *Comparison) Terminal(width int) string {
	s := &screen{width: min(max(width, terminalMinWidth), terminalMaxWidth)}
	s.line("", fmt.Sprintf("%s against %s, %s", c.B, c.A, plural(len(c.Seeds), "pair")))
	for i, in := range c.Inputs {
		if i == 5 {
			s.line("", fmt.Sprintf("  %d more inputs differ", len(c.Inputs)-i))
			break
		}
		s.line("", "  differs: "+in)
	}
	for _, n := range c.Notes {
		s.wrapped("", "! ", n, 2)
	}
	s.line("", "")
	const label, cell = 30, 13
	s.line("", pad("", label)+right("first", cell)+right("second", cell)+right("difference", cell)+"  95 % interval")
	rows := c.telling()
	for _, r := range rows[:min(comparedRows, len(rows))] {
		text := pad(metricLabel(r.Metric), label) + right(formatValue(float64(r.A), r.Unit), cell) + right(formatValue(float64(r.B), r.Unit), cell) + right(signed(float64(r.Difference), r.Unit), cell)
		switch {
		case r.Low.Known():
			text += fmt.Sprintf("  %s … %s", signed(float64(r.Low), r.Unit), signed(float64(r.High), r.Unit))
		case r.Verdict == TooFew:
			text += "  " + c.pairs(r)
		}
		s.line("", text+"  "+r.Verdict)
	}
	same := len(c.Rows) - min(comparedRows, len(rows))
	if same > 0 {
		s.line("", fmt.Sprintf("%s without a difference that counts, or beyond this list", plural(same, "more metric")))
	}
	if len(c.Divergences) > 0 {
		s.line("", "")
		s.line("", "First difference in the timelines")
		for _, d := range c.Divergences[:min(3, len(c.Divergences))] {
			where := map[string]string{"a": "only in the first", "b": "only in the second", "both": "in both, but differently"}[d.OnlyIn]
			s.line("", fmt.Sprintf("  %s  %s (%s; %s)", d.T, d.What, where, plural(len(d.Seeds), "seed")))
		}
	}
	return strings.Join(s.lines[:min(terminalLines, len(s.lines))], "\n") + "\n"
}

// telling are the rows to print: those that differ, then the headline metrics, then, below five seeds, whatever moved.
func (c *Comparison) telling() []Row {
	rank := func(r Row) int {
		switch {
		case r.Verdict == Worse:
			return 0
		case r.Verdict == Better, r.Verdict == Different:
			return 1
		case r.Verdict != NoData && slices.ContainsFunc(headlineMetrics, func(h struct{ name, label string }) bool { return h.name == r.Metric }):
			return 2
		case r.Verdict == TooFew && r.Difference != 0:
			return 3
		}
		return 4
	}
	rows := slices.DeleteFunc(slices.Clone(c.Rows), func(r Row) bool { return rank(r) == 4 })
	slices.SortStableFunc(rows, func(a, b Row) int { return rank(a) - rank(b) })
	return rows
}

// pairs lists the differences of too few seeds.
func (c *Comparison) pairs(r Row) string {
	var parts []string
	for _, p := range r.Pairs {
		if p.Known() {
			parts = append(parts, signed(float64(p), r.Unit))
		}
	}
	return strings.Join(parts, ", ")
}
