package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// What fits on a terminal that somebody reads at night.
const (
	terminalLines    = 40
	terminalMinWidth = 60
	terminalMaxWidth = 120
	shownFailures    = 4
)

// room is how much of each part is shown: expectations that held, figures, events, failures told in detail, and lines of
// each detail. Parts shrink until the whole fits.
type room struct{ held, figures, events, detailed, detail int }

func (r room) smaller() (room, bool) {
	switch {
	case r.held > 2:
		r.held--
	case r.figures > 5:
		r.figures--
	case r.events > 3:
		r.events--
	case r.detail > 2:
		r.detail--
	case r.figures > 2:
		r.figures--
	case r.detailed > 1:
		r.detailed--
	case r.detail > 1:
		r.detail--
	case r.events > 1:
		r.events--
	case r.held > 0:
		r.held--
	default:
		return r, false
	}
	return r, true
}

// Terminal renders the report in at most 40 lines of at most width columns (60 to 120): verdict, expectations, the
// figures that matter with the baseline beside them, the five entries to look at, and what to do next. Plain text.
func Terminal(r *Report, width int) string { return terminal(r, width, ink{}) }

// TerminalInColour is Terminal with ANSI colours.
func TerminalInColour(r *Report, width int) string {
	return terminal(r, width, ink{bold: "\x1b[1m", good: "\x1b[32m", bad: "\x1b[31m", warn: "\x1b[33m", faint: "\x1b[2m", off: "\x1b[0m"})
}

// ink holds escape sequences; the zero value writes plain text.
type ink struct{ bold, good, bad, warn, faint, off string }

func (i ink) in(colour, text string) string {
	if colour == "" {
		return text
	}
	return colour + text + i.off
}

type screen struct {
	lines []string
	width int
	ink   ink
	room  room
}

func terminal(r *Report, width int, colours ink) string {
	fits := true
	for shown := (room{held: 6, figures: 8, events: 6, detailed: 3, detail: 3}); ; {
		s := &screen{width: min(max(width, terminalMinWidth), terminalMaxWidth), ink: colours, room: shown}
		s.head(r)
		if r.Series.Steps > 0 { // else the run broke off before anything was measured
			s.expectations(r)
			s.figures(r)
			s.events(r)
			s.foot(r)
		}
		if len(s.lines) <= terminalLines || !fits {
			return strings.Join(s.lines[:min(terminalLines, len(s.lines))], "\n") + "\n"
		}
		shown, fits = shown.smaller()
	}
}

func (s *screen) line(colour, text string) {
	s.lines = append(s.lines, s.ink.in(colour, clip(text, s.width)))
}

// wrapped writes text over up to n lines with an indent.
func (s *screen) wrapped(colour, indent, text string, n int) {
	for i, l := range wrap(text, s.width-len(indent), n) {
		if i > 0 && strings.TrimSpace(indent) != "" {
			indent = strings.Repeat(" ", utf8.RuneCountInString(indent))
		}
		s.line(colour, indent+l)
	}
}

func (s *screen) head(r *Report) {
	word, colour := strings.ToUpper(r.Verdict.Result), s.ink.bad
	if r.Verdict.Result == Pass {
		colour = s.ink.good
	}
	s.line(colour, fmt.Sprintf("%s  %s", word, cmp.Or(r.Scenario.Title, r.Scenario.Name)))
	if len(r.Seeds) > 0 {
		end := r.Scenario.Start.Add(time.Duration(r.Scenario.Seconds * float64(time.Second))).In(r.location())
		s.line(s.ink.faint, fmt.Sprintf("%s to %s %s (%s) · %s", r.Scenario.Start.In(r.location()).Format("Mon 2 Jan 2006 15:04"), end.Format("Mon 15:04"),
			r.Scenario.TimeZone, seconds(r.Scenario.Seconds), seedNames(r)))
	}
	s.line("", "")
	s.wrapped(s.ink.bold, "", r.Verdict.Headline, 3)
	for i, w := range r.Verdict.Warnings {
		if i == 2 {
			s.line(s.ink.warn, fmt.Sprintf("! %d more warnings in the report", len(r.Verdict.Warnings)-i))
			break
		}
		s.wrapped(s.ink.warn, "! ", w, 2)
	}
}

func seedNames(r *Report) string {
	if n := len(r.Seeds); n > 1 {
		return fmt.Sprintf("%d seeds, shown: %d", n, r.Verdict.ShownSeed)
	}
	return fmt.Sprintf("seed %d", r.Verdict.ShownSeed)
}

func (s *screen) expectations(r *Report) {
	if len(r.Verdict.Expectations) == 0 {
		return
	}
	s.line("", "")
	var failed, held []expect.Result
	for _, e := range r.Verdict.Expectations {
		if e.Held {
			held = append(held, e)
		} else {
			failed = append(failed, e)
		}
	}
	width := 0
	for _, e := range r.Verdict.Expectations {
		width = min(max(width, utf8.RuneCountInString(e.Name)), s.width/2-8)
	}
	told := map[string]bool{}
	for i, e := range failed {
		if i == shownFailures {
			s.line(s.ink.bad, fmt.Sprintf("✘ %d more failed", len(failed)-i))
			break
		}
		mark, colour := "✘", s.ink.bad
		if e.Severity == expect.SeverityWarn {
			mark, colour = "!", s.ink.warn
		}
		s.expectation(colour, mark, width, e)
		if i < s.room.detailed {
			s.details(failureDetails(r, e), told)
		}
		if e.Help != "" && i == 0 {
			s.wrapped("", "    ", "may help: "+e.Help, 2)
		}
	}
	for i, e := range held {
		if i == s.room.held && len(held) > s.room.held+1 {
			s.line(s.ink.good, fmt.Sprintf("✔ %d more held", len(held)-i))
			break
		}
		s.expectation(s.ink.good, "✔", width, e)
	}
}

// details writes why an expectation failed; what was told of another one is not repeated.
func (s *screen) details(lines []string, told map[string]bool) {
	for _, text := range lines {
		whole := text
		for _, before := range slices.Sorted(maps.Keys(told)) {
			// Where the chain joins one that was told, it ends.
			if tail := strings.TrimPrefix(before, "why: "); tail != before && strings.HasSuffix(whole, " ← "+tail) {
				first, _, _ := strings.Cut(tail, " ← ")
				text = strings.TrimSuffix(whole, tail) + first + " (as above)"
			}
		}
		switch {
		case told[text] && strings.HasPrefix(text, "why: "):
			s.wrapped("", "    ", "why: as above", 1)
		case told[text] && strings.HasPrefix(text, "and: "):
		default:
			s.wrapped("", "    ", text, s.room.detail)
		}
		told[whole] = true
	}
}

// expectation writes one expectation, its value and limit, over two lines if it must.
func (s *screen) expectation(colour, mark string, width int, e expect.Result) {
	s.wrapped(colour, mark+" "+pad(e.Name, width)+"  ", judged(e), 2)
}

// judged sets what was measured beside what was wanted. A condition's text is in the scenario; its name says what it means.
func judged(e expect.Result) string {
	value := cmp.Or(e.Value, "no data")
	if e.Kind == expect.KindCEL && !e.NoData {
		if e.Held {
			return "yes"
		}
		return strings.Replace("no: "+value, "no: false", "no", 1)
	}
	return value + ", wanted " + e.Limit
}

// failureDetail is failureDetails in one line.
func failureDetail(r *Report, e expect.Result) string {
	return strings.Join(failureDetails(r, e), " · ")
}

// failureDetails says when an expectation failed, how long and in how many seeds; then why.
func failureDetails(r *Report, e expect.Result) []string {
	var when, lines []string
	switch {
	case e.FirstAt.IsZero():
	case e.Metric == "availability":
		when = append(when, "lost at "+r.clock(e.FirstAt))
	case e.Kind == expect.KindRecovery:
		when = append(when, "due by "+r.clock(e.FirstAt.Truncate(time.Second)))
	default:
		when = append(when, "first at "+r.clock(e.FirstAt.Truncate(time.Second)))
	}
	switch {
	case e.TotalSeconds <= 0 || e.Kind == expect.KindRecovery:
	case e.Kind == expect.KindSLO:
		when = append(when, "missed for "+seconds(e.TotalSeconds)+" in all")
	default:
		when = append(when, seconds(e.TotalSeconds)+" in all")
	}
	if e.Of > 1 {
		when = append(when, fmt.Sprintf("held in %s of %d seeds, worst in seed %d", noneOr(e.HeldIn), e.Of, e.WorstSeed))
	}
	if len(when) > 0 {
		lines = append(lines, strings.Join(when, ", "))
	}
	if chain := r.chain(e.WorstSeed, e.Why); chain != "" {
		lines = append(lines, "why: "+chain)
	}
	if !strings.Contains(strings.Join(lines, ""), "why: ") && e.Kind == expect.KindPending && len(e.Evidence) > 0 {
		lines = append(lines, "why: "+r.waiting(e.Evidence[0]))
	}
	if beside := r.beside(e.WorstSeed, e.Why); len(beside) > 0 {
		lines = append(lines, "and: "+since(r, beside[0]))
	}
	return lines
}

// waiting says what a pod waits for, in the scheduler's words, and the smallest node that would take it.
func (r *Report) waiting(e expect.Evidence) string {
	text := strings.TrimPrefix(e.Object, "Pod/") + ": " + e.What
	for _, p := range r.Pending {
		if "Pod/"+p.Pod == e.Object && p.Fits != "" {
			return strings.TrimSuffix(text, ".") + "; the smallest node that fits is " + p.Fits
		}
	}
	return text
}

// find returns an entry of a seed.
func (r *Report) find(seed int64, id int) (Entry, bool) {
	i := slices.IndexFunc(r.Timeline, func(e Entry) bool { return e.ID == id && e.Seed == seed })
	if i < 0 {
		return Entry{}, false
	}
	return r.Timeline[i], true
}

// chain writes a cause chain, symptom first. That the expectation failed is no cause of its failure.
func (r *Report) chain(seed int64, ids []int) string {
	var parts []string
	for _, id := range ids {
		if e, ok := r.find(seed, id); ok && e.Kind != record.KindExpectation {
			parts = append(parts, e.text())
		}
	}
	return strings.Join(parts, " ← ")
}

// beside are the second causes along a chain, deepest first: what set nothing off but kept it from being mended.
func (r *Report) beside(seed int64, ids []int) []Entry {
	var list []Entry
	for _, id := range slices.Backward(ids) {
		e, _ := r.find(seed, id)
		for _, c := range e.Causes[min(1, len(e.Causes)):] {
			also, ok := r.find(seed, c)
			known := slices.Contains(ids, c) || slices.ContainsFunc(list, func(x Entry) bool { return x.ID == c })
			if ok && also.Kind == record.KindRefused && !known {
				list = append(list, also)
			}
		}
	}
	return list
}

func since(r *Report, e Entry) string {
	return e.What + ", since " + r.clock(e.T.Truncate(time.Minute))
}

// headlineMetrics are the rows of the short summary, in order; a trailing colon means the worst of the family.
var headlineMetrics = []struct{ name, label string }{
	{"availability", "served well"}, {"failed", "failed requests"}, {"latency_p95_seconds", "p95 latency"},
	{"cost_total", "cost"}, {"cost_idle_share", "idle share of nodes"}, {"node_hours", "node hours"},
	{"pending_max_seconds", "longest pending"}, {"evictions", "evictions"}, {"restarts", "restarts"},
	{"oom_kills", "out-of-memory kills"}, {"budget_breaks", "broken budgets"}, {"scale_reversals", "scaling reversals"},
	{"throttled_minutes", "CPU throttled"},
}

func (s *screen) figures(r *Report) {
	s.line("", "")
	const label, cell = 22, 13
	head := pad("", label) + right(meanOr(r), cell)
	if r.Baseline != nil {
		head += right("without", cell) + right("difference", cell)
	}
	if strings.TrimSpace(head) != "" {
		s.line(s.ink.faint, head)
	}
	shown := 0
	for _, h := range headlineMetrics {
		m, ok := r.Summary[h.name]
		quiet := m.Value == 0 && (m.Baseline == nil || *m.Baseline == 0)
		if !ok || shown == s.room.figures || quiet && shown >= 3 {
			continue
		}
		shown++
		text := pad(h.label, label) + right(formatValue(float64(m.Value), m.Unit), cell)
		colour := ""
		if r.Baseline != nil && m.Baseline != nil {
			text += right(formatValue(float64(*m.Baseline), m.Unit), cell) + right(signed(float64(*m.Difference), m.Unit), cell)
			if i := slices.IndexFunc(r.Baseline.Rows, func(x Row) bool { return x.Metric == h.name }); i >= 0 {
				text += "  " + r.Baseline.Rows[i].Verdict
				colour = map[string]string{Better: s.ink.good, Worse: s.ink.bad}[r.Baseline.Rows[i].Verdict]
			}
		}
		s.line(colour, text)
		if by := r.bySeed(); h.name == "availability" && by != "" {
			s.line(s.ink.faint, "  by seed   "+by)
		}
	}
}

func noneOr(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

// bySeed is the share served well in every seed, when there are few enough for a line.
func (r *Report) bySeed() string {
	if len(r.Seeds) < 2 || len(r.Seeds) > seedsInLine {
		return ""
	}
	var parts []string
	for _, s := range r.Seeds {
		parts = append(parts, fmt.Sprintf("%d: %s", s.Seed, formatValue(float64(s.Availability), "ratio")))
	}
	return strings.Join(parts, "  ")
}

// seedsInLine is how many seeds fit a line of 100 columns.
const seedsInLine = 6

func meanOr(r *Report) string {
	if n := len(r.Seeds); n > 1 {
		return fmt.Sprintf("mean of %d", n)
	}
	if r.Baseline != nil {
		return "with"
	}
	return ""
}

func (s *screen) foot(r *Report) {
	s.line("", "")
	text := r.Fidelity.Sentence
	if n := len(r.Assumptions); n > 0 {
		such := "such as"
		if r.Assumptions[0].CPUShare > 0 {
			such = "the biggest:"
		}
		text = fmt.Sprintf("%s, %s %s = %s. ", plural(n, "assumption"), such, r.Assumptions[0].What, r.Assumptions[0].Value) + text
	}
	s.wrapped(s.ink.faint, "", text, 3)
	s.wrapped("", "Next: ", r.next(), 2)
}

// next is the command that helps most now.
func (r *Report) next() string {
	asked := cmp.Or(r.Asked.Scenario, r.Scenario.File, "SCENARIO")
	for _, e := range r.Verdict.Expectations {
		switch {
		case e.Held || len(e.Why) == 0 || e.WorstSeed != r.Verdict.ShownSeed:
		case r.Asked.HTML != "":
			return fmt.Sprintf("open %s in a browser", r.Asked.HTML)
		case r.Asked.JSON != "":
			return fmt.Sprintf("fairway rehearse report %s --explain %d", r.Asked.JSON, e.Why[0])
		default:
			return fmt.Sprintf("fairway rehearse %s --seed %d --html report.html", asked, e.WorstSeed)
		}
	}
	if len(r.Seeds) < fewSeeds {
		return fmt.Sprintf("fairway rehearse %s --seeds %d, to see whether chance decided this", asked, fewSeeds)
	}
	return fmt.Sprintf("fairway rehearse %s --html report.html", asked)
}

func pad(s string, n int) string {
	s = clip(s, n)
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

func right(s string, n int) string {
	return strings.Repeat(" ", max(1, n-utf8.RuneCountInString(s))) + s
}

// clip shortens a text to n columns.
func clip(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// wrap breaks text at spaces into at most n lines; the last is clipped.
func wrap(text string, width, n int) []string {
	var lines []string
	current := ""
	for _, word := range strings.Fields(text) {
		switch {
		case current == "":
			current = word
		case len(lines) == n-1 || utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) <= width:
			current += " " + word
		default:
			lines = append(lines, current)
			current = word
		}
	}
	return append(lines, clip(current, width))
}
