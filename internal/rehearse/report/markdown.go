package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/fairway-dev/fairway/internal/rehearse/expect"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// markdownMax bounds the text, so that it fits a pull request comment (GitHub takes 65,536 characters).
const markdownMax = 60_000

// Markdown renders the report for a pull request or a step summary: verdict, expectations with reasons, figures, the
// timeline's important part, assumptions. Every string of the report is escaped; the text stays below 60 KB.
func Markdown(r *Report) string {
	var b strings.Builder
	mark := map[string]string{Pass: "✅", Fail: "❌", Incomplete: "⚠️", Invalid: "⚠️"}[r.Verdict.Result]
	fmt.Fprintf(&b, "## %s %s: %s\n\n%s\n\n", mark, escape(or(r.Scenario.Title, r.Scenario.Name)), r.Verdict.Result, escape(r.Verdict.Headline))
	for _, w := range r.Verdict.Warnings {
		fmt.Fprintf(&b, "> ⚠️ %s\n\n", escape(w))
	}
	markdownExpectations(&b, r)
	markdownFigures(&b, r)
	if list := important(r, 12); len(list) > 0 {
		b.WriteString("### What mattered most\n\n| time | what | why |\n|---|---|---|\n")
		for _, e := range list {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.clock(e.T), escape(e.text()), escape(e.Why))
		}
		b.WriteString("\n")
	}
	markdownUpdates(&b, r)
	if len(r.Assumptions) > 0 {
		fmt.Fprintf(&b, "<details><summary>%s</summary>\n\n| what | taken | because | to replace it |\n|---|---|---|---|\n", plural(len(r.Assumptions), "assumption"))
		for _, a := range r.Assumptions[:min(50, len(r.Assumptions))] {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", escape(a.What), escape(a.Value), escape(a.Because), escape(a.ReplaceBy))
		}
		b.WriteString("\n</details>\n\n")
	}
	fmt.Fprintf(&b, "%s\n\nScenario `%s`, %s, Fairway %s.\n", escape(r.Fidelity.Sentence), short(r.Scenario.SHA256), plural(len(r.Seeds), "seed"), escape(or(r.Provenance.Versions["fairway"], "unknown")))
	return shorten(b.String())
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func markdownExpectations(b *strings.Builder, r *Report) {
	if len(r.Verdict.Expectations) == 0 {
		return
	}
	b.WriteString("### Expectations\n\n| | expectation | value | wanted | seeds |\n|---|---|---|---|---|\n")
	for _, e := range r.Verdict.Expectations {
		mark := "✅"
		switch heldRank(e) {
		case 0:
			mark = "❌"
		case 1:
			mark = "⚠️"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d/%d |\n", mark, escape(e.Name), escape(e.Value), escape(e.Limit), e.HeldIn, e.Of)
	}
	b.WriteString("\n")
	for _, e := range r.Verdict.Expectations {
		if detail := failureDetail(r, e); !e.Held && detail != "" {
			fmt.Fprintf(b, "- **%s**: %s\n", escape(e.Name), escape(detail))
		}
	}
	b.WriteString("\n")
}

func markdownFigures(b *strings.Builder, r *Report) {
	b.WriteString("### Figures\n\n| | value |")
	if r.Baseline != nil {
		b.WriteString(" without | difference | |")
	}
	b.WriteString("\n|---|--:|")
	if r.Baseline != nil {
		b.WriteString("--:|--:|---|")
	}
	b.WriteString("\n")
	for _, h := range headlineMetrics {
		m, ok := r.Summary[h.name]
		if !ok || m.Value == 0 && (m.Baseline == nil || *m.Baseline == 0) {
			continue
		}
		fmt.Fprintf(b, "| %s | %s |", h.label, formatValue(float64(m.Value), m.Unit))
		if r.Baseline != nil {
			without, difference, verdict := "", "", ""
			if m.Baseline != nil {
				without, difference = formatValue(float64(*m.Baseline), m.Unit), signed(float64(*m.Difference), m.Unit)
			}
			for _, row := range r.Baseline.Rows {
				if row.Metric == h.name {
					verdict = row.Verdict
				}
			}
			fmt.Fprintf(b, " %s | %s | %s |", without, difference, verdict)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// escape makes text harmless in Markdown: no markup, no HTML, no line breaks, no mentions.
var markup = regexp.MustCompile("[\\\\`*_{}\\[\\]()#+!|<>&@~$]")

func escape(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return markup.ReplaceAllStringFunc(s, func(c string) string {
		switch c {
		case "<":
			return "&lt;"
		case ">":
			return "&gt;"
		case "&":
			return "&amp;"
		case "@":
			return "&#64;" // mentions nobody
		case "(", ")", "!", "+", "#", "$":
			return c
		}
		return "\\" + c
	})
}

// shorten cuts at a line end and says so.
func shorten(s string) string {
	if len(s) <= markdownMax {
		return s
	}
	cutAt := strings.LastIndexByte(s[:markdownMax-200], '\n')
	s = s[:cutAt+1]
	if strings.Count(s, "<details>") > strings.Count(s, "</details>") {
		s += "\n</details>\n"
	}
	return s + "\nCut here; the JSON and HTML reports have the rest.\n"
}

// GitHubAnnotations are workflow commands that mark failed expectations at their line in the scenario, or at the step
// that caused them.
func GitHubAnnotations(r *Report) string {
	var b strings.Builder
	for _, e := range r.Verdict.Expectations {
		if e.Held {
			continue
		}
		level := "error"
		if e.Severity == expect.SeverityWarn {
			level = "warning"
		}
		file, line := r.place(e)
		fmt.Fprintf(&b, "::%s", level)
		if file != "" {
			fmt.Fprintf(&b, " file=%s,line=%d,title=%s", command(file, true), max(1, line), command(e.Name, true))
		} else {
			fmt.Fprintf(&b, " title=%s", command(e.Name, true))
		}
		fmt.Fprintf(&b, "::%s\n", command(r.failureText(e), false))
	}
	return b.String()
}

// command escapes a workflow command's property or message.
func command(s string, property bool) string {
	s = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
	if property {
		s = strings.NewReplacer(":", "%3A", ",", "%2C").Replace(s)
	}
	return s
}

// place is where a failure can be mended: the step at the root of its chain, else the expectation itself.
func (r *Report) place(e expect.Result) (file string, line int) {
	for i := len(e.Why) - 1; i >= 0; i-- {
		for _, x := range r.Timeline {
			if x.ID != e.Why[i] || x.Seed != e.WorstSeed || x.Kind != record.KindStep {
				continue
			}
			for _, s := range r.Steps {
				if s.Name == x.Object && s.File != "" {
					return s.File, s.Line
				}
			}
		}
	}
	if e.File != "" {
		return e.File, e.Line
	}
	return r.Scenario.File, 0
}

// failureText is everything known about a failure in a few sentences.
func (r *Report) failureText(e expect.Result) string {
	text := fmt.Sprintf("%s: %s, wanted %s.", e.Name, or(e.Value, "no data"), e.Limit)
	if detail := failureDetail(r, e); detail != "" {
		text += "\n" + strings.ReplaceAll(detail, " · ", "\n")
	}
	for _, d := range e.Evidence {
		text += "\n- "
		if !d.Time.IsZero() {
			text += r.clock(d.Time) + " "
		}
		text += strings.TrimPrefix(d.Object+": "+d.What, ": ")
	}
	if e.Help != "" {
		text += "\nMay help: " + e.Help
	}
	return text
}
