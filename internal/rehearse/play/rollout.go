package play

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// templated notes that a workload has another pod template, and so rolls out.
func (c *cluster) templated(w *workload, generation int64, t *corev1.PodTemplateSpec) {
	if w.generation == generation {
		return
	}
	w.generation = generation
	template := fingerprint(t)
	if len(t.Spec.Containers) > 0 {
		w.image = t.Spec.Containers[0].Image
	}
	if w.template == template {
		return
	}
	first := w.template == ""
	w.template = template
	w.rolling, w.startedAt, w.back, w.told = true, time.Now(), w.known[template], ""
	if w.known == nil {
		w.known = map[string]bool{}
	}
	w.known[template] = true
	if first {
		return
	}
	c.begins(w)
}

// begins notes that an update has begun.
func (c *cluster) begins(w *workload) {
	if w.referred {
		return
	}
	w.revisions++
	c.updateEnds(w, record.UpdateSuperseded, "")
	w.update = &record.Update{Workload: w.object, Image: w.image, Began: time.Now().UTC()}
	what := short(w.object) + " rolls out a new revision"
	if w.back {
		what = short(w.object) + " goes back to an earlier revision"
	}
	if w.serving != nil && w.image != "" {
		what += ", " + w.image
	}
	c.r.entry(record.Entry{Kind: record.KindRollout, Object: w.object, Owner: w.object, What: what, Severity: record.Notable,
		Data: map[string]string{"workload": w.object, "state": "begins"}})
}

// rolled notes how the rollout under way stands.
func (c *cluster) rolled(w *workload, done bool, stalled string) {
	if !w.rolling {
		return
	}
	w.stalled = stalled
	if done {
		w.rolling, w.stalled = false, ""
		c.updateEnds(w, record.UpdateHealthy, "")
		if w.revisions > 0 {
			c.r.entry(record.Entry{Kind: record.KindRollout, Object: w.object, Owner: w.object, What: short(w.object) + " " + rolledOut(w.back, time.Since(w.startedAt)), Severity: record.Notable,
				Data: map[string]string{"workload": w.object, "state": "ends"}})
		}
		return
	}
	if stalled != "" && w.told != w.template {
		w.told = w.template
		c.r.entry(record.Entry{Kind: record.KindRollout, Object: w.object, Owner: w.object, What: "the rollout of " + short(w.object) + " does not progress", Why: stalled, Severity: record.Warning,
			Data: map[string]string{"workload": w.object, "state": "stalls"}})
	}
}

// rolledOut says that a rollout is through. One back to a revision whose pods all still run is through at once.
func rolledOut(back bool, took time.Duration) string {
	text := "has rolled out"
	if back {
		text = "is back at the earlier revision"
	}
	if took < time.Second {
		return text + " at once"
	}
	return fmt.Sprintf("%s after %s", text, round(took))
}

// updateEnds writes down how the update under way ended. What began before measuring is no part of the run.
func (c *cluster) updateEnds(w *workload, outcome, message string) {
	u := w.update
	if u == nil {
		return
	}
	w.update = nil
	u.Ended, u.Outcome, u.Message = time.Now().UTC(), outcome, message
	if w.revisions > 0 {
		c.r.out.event(record.Event{Update: u})
	}
}
