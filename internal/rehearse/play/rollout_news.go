package play

import (
	"fmt"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// rolloutNews are the entries about what changed between two standings of a Rollout, in the order in which it comes about. The
// beginning and the end of an update are told elsewhere: they are alike for all workloads.
func rolloutNews(name string, was, is *standing) []record.Entry {
	var list []record.Entry
	add := func(state, what, why string, severity record.Severity) {
		list = append(list, record.Entry{Kind: record.KindRollout, What: what, Why: why, Severity: severity, Data: map[string]string{"state": state, "revision": is.current}})
	}
	if is.invalid != "" && is.invalid != was.invalid {
		add("stalls", name+" is not carried out: its spec is invalid", is.invalid, record.Warning)
	}
	if is.current == is.stable && was.current == was.stable && !is.aborted {
		return clean(list) // no update
	}
	retried := was.aborted && !is.aborted && is.current == was.current
	if retried {
		add("begins", name+" begins its aborted update anew", "", record.Notable)
	}
	if is.full && !was.full {
		add("promoted", name+" is promoted in full: the steps left are skipped", "", record.Notable)
	}
	moved := is.current == was.current && is.step != was.step && !is.aborted && !retried
	waits := is.paused != "" && was.paused == ""
	switch {
	case waits && !is.aborted:
		what := name + " pauses"
		if place := is.place(); place != "" {
			what += " at step " + place
		}
		add("pauses", what, is.paused, record.Notable)
	case moved && is.step > was.step:
		add("step", name+" reaches step "+is.place(), "", record.Notable)
		if is.step >= is.steps {
			list[len(list)-1].What = fmt.Sprintf("%s has passed all %d steps", name, is.steps)
		}
	case is.paused == "" && was.paused != "" && !is.aborted && is.current == was.current:
		add("goes on", name+" goes on", "", record.Notable)
	}
	if is.routed && is.told != was.told && is.current == was.current {
		add("weight", fmt.Sprintf("the router of %s sends %d %% to the new revision", name, is.told), "", record.Info)
	}
	if is.active != was.active && was.active != "" {
		what := name + " switches its active Service to the new revision"
		if is.active == is.stable && is.current != is.stable {
			what = name + " switches its active Service back to the stable revision"
		}
		add("switched", what, "", record.Notable)
	}
	if is.stalled != "" && was.stalled == "" && !is.aborted {
		add("stalls", "the update of "+name+" does not progress", is.stalled, record.Warning)
	}
	if is.aborted && !was.aborted {
		what := "the update of " + name + " is aborted"
		if place := was.place(); place != "" {
			what += " at step " + place
		}
		add("aborts", what, is.why(), record.Severe)
	}
	if is.aborted && was.aborted && is.updated == 0 && was.updated > 0 {
		add("reverted", "no pod of the aborted revision of "+name+" is left", "", record.Info)
	}
	return clean(list)
}

// clean drops evidence that says nothing.
func clean(list []record.Entry) []record.Entry {
	for i := range list {
		for k, v := range list[i].Data {
			if v == "" {
				delete(list[i].Data, k)
			}
		}
	}
	return list
}
