package expect

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// rolloutChecks are how the newest update of a workload must end, and how much traffic a faulty revision may have had.
func rolloutChecks(e v1alpha1.RolloutExpectation) []check {
	verdict := cmp.Or(e.Verdict, v1alpha1.VerdictHealthy)
	about := string(e.Workload)
	if e.Image != "" {
		about += " to " + e.Image
	}
	limit := verdict
	if e.Within.Duration > 0 {
		limit += " within " + durationText(e.Within.Duration)
	}
	c := check{name: "update of " + about, kind: KindRollout, limit: limit, subject: "workload=" + string(e.Workload), data: map[string]string{"metric": "rollout"},
		eval: func(o Observed, _ *Observed) outcome { return updateEnds(o, e, verdict) }}
	if e.MaxWeight == nil {
		return []check{c}
	}
	most := float64(*e.MaxWeight)
	return []check{c, {name: "traffic of an aborted update of " + about, kind: KindRollout, limit: "≤ " + percentText(most), metric: record.MetricNewWeight, target: most,
		subject: "workload=" + string(e.Workload), data: map[string]string{"metric": "rollout"}, eval: func(o Observed, _ *Observed) outcome { return faultyWeight(o, e, most) }}}
}

// updates are those of a workload to an image, in the order they began.
func updates(o Observed, e v1alpha1.RolloutExpectation) []record.Update {
	var list []record.Update
	for _, u := range o.Run.Updates {
		if isWorkload(u.Workload, e.Workload) && (e.Image == "" || matchesImage(e.Image, u.Image)) {
			list = append(list, u)
		}
	}
	return list
}

// matchesImage holds a glob against an image with and without its registry and path, as entries of services do.
func matchesImage(glob, image string) bool {
	image, _, _ = strings.Cut(image, "@")
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x01") } // * crosses slashes
	for {
		if ok, err := path.Match(flat(glob), flat(image)); err == nil && ok {
			return true
		}
		_, rest, more := strings.Cut(image, "/")
		if !more {
			return false
		}
		image = rest
	}
}

func updateEnds(o Observed, e v1alpha1.RolloutExpectation, verdict string) outcome {
	list := updates(o, e)
	if len(list) == 0 {
		return noData("no update of " + string(e.Workload) + " began in the measured time")
	}
	u := list[len(list)-1]
	end := u.Ended
	if end.IsZero() {
		end = Until(o.Run)
	}
	took := end.Sub(u.Began)
	out := outcome{subject: "workload=" + u.Workload, total: took, held: u.Outcome == verdict}
	out.value = fmt.Sprintf("%s after %s", cmp.Or(u.Outcome, "under way"), durationText(took.Round(time.Second)))
	late := e.Within.Duration > 0 && took > e.Within.Duration
	if e.Within.Duration > 0 { // negative as long as there is time left: of seeds that hold the longest is shown
		out.excess = float64(took)/float64(e.Within.Duration) - 1
	}
	switch {
	case u.Outcome == verdict && late:
		out.held, out.firstAt = false, u.Began.Add(e.Within.Duration)
	case u.Outcome == verdict:
		return out
	case u.Outcome == "" && late:
		out.firstAt, out.excess = u.Began.Add(e.Within.Duration), 1
	default:
		out.firstAt, out.excess = end, 2 // another end is further from it than a late one
	}
	out.entry = entryOf(o, u, out.firstAt)
	text := cmp.Or(u.Outcome, "under way")
	if u.Step != "" {
		text += ", step " + u.Step
	}
	if u.Message != "" {
		text += ": " + u.Message
	}
	out.evidence = append(out.evidence, Evidence{Time: u.Began, Object: u.Workload, What: strings.TrimSpace("the update began " + u.Image)}, Evidence{Time: out.firstAt, Object: u.Workload, What: text})
	return out
}

// entryOf is the latest entry about an update until a moment, which its causes lead on from; 0 when there is none.
func entryOf(o Observed, u record.Update, until time.Time) int {
	id := 0
	for _, x := range o.Run.Timeline {
		if x.Kind == record.KindRollout && x.Object == u.Workload && x.Data["state"] != "reverted" && !x.Time.Before(u.Began.Add(-time.Second)) && !x.Time.After(until) {
			id = x.ID
		}
	}
	return id
}

func faultyWeight(o Observed, e v1alpha1.RolloutExpectation, most float64) outcome {
	list := updates(o, e)
	if len(list) == 0 {
		return noData("no update of " + string(e.Workload) + " began in the measured time")
	}
	out := outcome{held: true, value: "no update was aborted"}
	worst := -1.0
	for _, u := range list {
		if u.Outcome != record.UpdateAborted || u.WeightMax <= worst {
			continue
		}
		worst = u.WeightMax
		out = outcome{held: u.WeightMax <= most+1e-9, value: percentText(u.WeightMax), excess: u.WeightMax - most, subject: "workload=" + u.Workload}
		if !out.held {
			out.firstAt = u.WeightMaxAt
			out.entry = entryOf(o, u, u.WeightMaxAt)
			out.evidence = []Evidence{{Time: u.WeightMaxAt, Object: u.Workload, What: fmt.Sprintf("revision %s had %s of the traffic", u.Revision, percentText(u.WeightMax))}}
			if u.Step != "" {
				out.evidence[0].What += "; aborted at step " + u.Step
			}
		}
	}
	return out
}
