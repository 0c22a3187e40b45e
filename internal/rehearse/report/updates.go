package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// standing is where a Rollout stood at the end, in a few words.
func standing(w record.Workload) string {
	text := w.Strategy
	if all, passed := strings.CutSuffix(w.Step, " passed"); passed {
		text += ", steps passed: " + all
	} else if w.Step != "" {
		text += ", step " + w.Step
	}
	if w.Phase != "" {
		text += ", " + w.Phase
	}
	if w.Weight < 1 {
		text += ", " + percent(significant(w.Weight, 3)) + " of the traffic"
	}
	return text
}

// updateRows are the updates of the shown seed for the page.
func updateRows(r *Report) []viewUpdate {
	var rows []viewUpdate
	end := r.Scenario.Start.Add(time.Duration(r.Scenario.Seconds * float64(time.Second)))
	for _, u := range r.Updates[:min(pageRows, len(r.Updates))] {
		row := viewUpdate{At: r.clock(u.Began.Truncate(time.Second)), Name: shortName(u.Workload), Image: u.Image, Step: u.Step,
			Ended: cmp.Or(u.Outcome, "under way"), Class: map[string]string{record.UpdateHealthy: "good", record.UpdateAborted: "bad"}[u.Outcome]}
		if u.Message != "" {
			row.Ended += ": " + u.Message
		}
		until := u.Ended
		if until.IsZero() {
			until = end
		}
		row.Took = seconds(until.Sub(u.Began).Round(time.Second).Seconds())
		if strings.HasPrefix(u.Workload, "Rollout/") {
			row.Weight = percent(significant(u.WeightMax, 3))
		}
		rows = append(rows, row)
	}
	return rows
}

// markdownUpdatesMax bounds the rows in a comment.
const markdownUpdatesMax = 20

func markdownUpdates(b *strings.Builder, r *Report) {
	rows := updateRows(r)
	if len(rows) == 0 {
		return
	}
	b.WriteString("### Updates\n\n| time | workload | image | ended | after | most traffic | step |\n|---|---|---|---|--:|--:|---|\n")
	for _, u := range rows[:min(markdownUpdatesMax, len(rows))] {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", u.At, escape(u.Name), escape(u.Image), escape(u.Ended), u.Took, u.Weight, escape(u.Step))
	}
	b.WriteString("\n")
}
