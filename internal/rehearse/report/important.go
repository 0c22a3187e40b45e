package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

func (s *screen) events(r *Report) {
	list := important(r, s.room.events)
	if len(list) == 0 {
		return
	}
	s.line("", "")
	s.line(s.ink.faint, "What mattered most")
	explained := r.explained()
	for _, e := range list {
		colour := map[record.Severity]string{record.Severe: s.ink.bad, record.Warning: s.ink.warn}[e.Severity]
		text := e.text()
		if root := r.rootOf(e); root.ID != e.ID && !explained[e.ID] && !slices.ContainsFunc(list, func(x Entry) bool { return x.ID == root.ID }) {
			text += " ← " + root.text() // the chains of failures stand above
		}
		s.wrapped(colour, pad(r.clock(e.T.Truncate(time.Second)), len(r.clock(r.Scenario.Start.Truncate(time.Minute)))+5), text, 2)
	}
}

// explained are the entries of the shown seed in the cause chains of failed expectations, with what kept them from being
// mended.
func (r *Report) explained() map[int]bool {
	list := map[int]bool{}
	for _, e := range r.Verdict.Expectations {
		if e.Held || e.WorstSeed != r.Verdict.ShownSeed {
			continue
		}
		for _, id := range e.Why {
			list[id] = true
		}
		for _, x := range r.beside(e.WorstSeed, e.Why) {
			list[x.ID] = true
		}
	}
	return list
}

// rootOf is the end of an entry's chain of causes; the entry itself when it has none.
func (r *Report) rootOf(e Entry) Entry {
	for range r.Timeline { // causes point back, so this ends; the bound is for reports that were edited
		if len(e.Causes) == 0 {
			break
		}
		cause, ok := r.find(e.Seed, e.Causes[0])
		if !ok {
			break
		}
		e = cause
	}
	return e
}

// symptomsOf is how many of n important entries may have the same root, so that a fault with many effects does not hide
// another.
func symptomsOf(n int) int { return max(2, n/3) }

// important picks the entries to read first (expectations stand above already): those that explain failures, then steps and
// the most severe, in time order.
func important(r *Report, n int) []Entry {
	explains := r.explained()
	var list []Entry
	for _, e := range r.Timeline {
		if e.Seed == r.Verdict.ShownSeed && e.Kind != record.KindExpectation && (e.Severity != record.Info || e.Kind == record.KindStep || explains[e.ID]) {
			list = append(list, e)
		}
	}
	rank := func(e Entry) int {
		switch {
		case explains[e.ID] && (e.Kind == record.KindStep || e.Kind == record.KindRefused):
			return 0
		case explains[e.ID]:
			return 1
		case e.Severity == record.Severe:
			return 2
		case e.Kind == record.KindStep && e.Data["state"] != "ends":
			return 3
		}
		return 3 + severityRank(e.Severity)
	}
	lasts := lasting(r)
	slices.SortStableFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(lasts[b.ID], lasts[a.ID]))
	})
	said, symptoms := map[string]bool{}, map[int]int{}
	list = slices.DeleteFunc(list, func(e Entry) bool {
		key := e.Kind + " " + e.Object + " " + e.Data["state"]
		again := said[key] && e.Kind != record.KindStep // the same thing at another time tells nothing new
		said[key] = true
		if again || explains[e.ID] {
			return again
		}
		root := r.rootOf(e).ID
		symptoms[root]++
		return symptoms[root] > symptomsOf(n)
	})
	list = list[:min(n, len(list))]
	slices.SortStableFunc(list, func(a, b Entry) int { return cmp.Or(a.T.Compare(b.T), cmp.Compare(a.ID, b.ID)) })
	return list
}

// lasting is how long the conditions of a seed held, by entry: from the one that begins to the one that ends it.
func lasting(r *Report) map[int]time.Duration {
	out, open := map[int]time.Duration{}, map[string]Entry{}
	for _, e := range r.Timeline {
		key := e.Kind + " " + e.Object
		switch {
		case e.Seed != r.Verdict.ShownSeed:
		case e.Data["state"] == "begins":
			open[key] = e
		case e.Data["state"] == "ends":
			if b, ok := open[key]; ok {
				out[b.ID] = e.T.Sub(b.T)
				delete(open, key)
			}
		}
	}
	end := r.Scenario.Start.Add(time.Duration(r.Scenario.Seconds * float64(time.Second)))
	for _, b := range open {
		out[b.ID] = end.Sub(b.T)
	}
	return out
}
