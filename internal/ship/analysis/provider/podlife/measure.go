package podlife

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// Measure answers a question about the pods of a revision; pods are those that its namespace has now. Without a pod of the
// revision there is an error, for nothing that happened and nothing that was there to happen to look alike.
func (s *Store) Measure(q analysis.Question, pods []*corev1.Pod, now time.Time) (analysis.Answer, error) {
	l := look{from: now.Add(-q.Window), now: now}
	for _, p := range pods {
		if p.Namespace == q.Namespace && s.hashOf(p) == q.Hash && alive(p) {
			l.pods = append(l.pods, p)
		}
	}
	s.mu.Lock()
	l.since = s.since
	l.events = slices.Clone(s.events[revision{q.Namespace, q.Hash}])
	s.mu.Unlock()
	if len(l.pods) == 0 {
		return analysis.Answer{}, fmt.Errorf("revision %s has no pod in namespace %s: nothing can be said of it; is it scaled to 0, or the hash of another?", q.Hash, q.Namespace)
	}
	switch q.Metric {
	case analysis.Restarts:
		return l.total(restarted), nil
	case analysis.OOMKills:
		return l.total(killed), nil
	case analysis.ReadinessFlaps:
		return l.total(flapped), nil
	case analysis.PodStartP95:
		return l.starts(q.Hash)
	}
	return analysis.Answer{}, fmt.Errorf("%s knows no metric %q", analysis.KubeEvidence, q.Metric)
}

// look at the pods of a revision.
type look struct {
	from, now time.Time // the window
	since     time.Time // from when on everything was seen
	pods      []*corev1.Pod
	events    []event
}

// total of what happened within the window.
func (l *look) total(k kind) analysis.Answer {
	a := analysis.Answer{Count: uint64(len(l.pods)), Message: l.unseen()}
	for _, e := range l.events {
		if e.kind == k && !e.at.Before(l.from) {
			a.Value += float64(e.count)
		}
	}
	return a
}

// unseen says which part of the window was not watched, if there were pods in it.
func (l *look) unseen() string {
	if !l.since.After(l.from) || !slices.ContainsFunc(l.pods, l.older) {
		return ""
	}
	return fmt.Sprintf("only the last %s of the window were watched (since %s); of before, only the last end of each container is known",
		l.now.Sub(l.since).Round(time.Second), l.since.UTC().Format(time.RFC3339))
}

// older pods than the watch: what was before is not known.
func (l *look) older(p *corev1.Pod) bool {
	return p.CreationTimestamp.Time.Before(l.since.Truncate(time.Second))
}

// starts is the 95th percentile, by nearest rank, of the time from scheduled to Ready of the pods that became ready within
// the window, or if none did, of those that are ready. Pods that are starting for longer than that count with what they took
// so far: else a revision whose pods do not start would do well.
func (l *look) starts(hash string) (analysis.Answer, error) {
	seen := map[types.UID]event{}
	var within, before, waiting []time.Duration
	for _, e := range l.events {
		if e.kind == started || e.kind == flapped && seen[e.pod].kind != started {
			seen[e.pod] = e
		}
		if e.kind == started && !e.at.Before(l.from) {
			within = append(within, e.took)
		}
	}
	guessed := 0
	for _, p := range l.pods {
		e, known := seen[p.UID]
		c := ready(p)
		switch {
		case c.Status != corev1.ConditionTrue && !known:
			if from, ok := startedFrom(p); ok {
				waiting = append(waiting, l.now.Sub(from))
			}
		case c.Status != corev1.ConditionTrue: // it has started, and is unwell
		case known && e.kind == started:
			before = append(before, e.took)
		case known: // it was ready again after it was not: that is no start
		case !c.LastTransitionTime.Time.Before(l.from):
			within, guessed = append(within, readyAfter(p)), guessed+1
		default:
			before, guessed = append(before, readyAfter(p)), guessed+1
		}
	}
	var notes []string
	took := within
	if len(took) == 0 {
		took = before
		notes = append(notes, "no pod became ready within the window: these are the starts of those that are ready")
	}
	if len(took) == 0 {
		return analysis.Answer{}, fmt.Errorf("no start of a pod of revision %s is known: of the %d that it has, %d are starting, the longest for %s",
			hash, len(l.pods), len(waiting), longest(waiting).Round(time.Second))
	}
	if guessed > 0 {
		notes = append(notes, fmt.Sprintf("%d of the pods were there before they were watched (since %s): when they were last ready counts", guessed, l.since.UTC().Format(time.RFC3339)))
	}
	p95 := percentile(took)
	late := slices.DeleteFunc(waiting, func(d time.Duration) bool { return d <= p95 })
	if len(late) > 0 {
		notes = append(notes, fmt.Sprintf("%d pods that are not ready yet count, the longest with %s", len(late), longest(late).Round(time.Second)))
	}
	took = append(slices.Clone(took), late...)
	return analysis.Answer{Value: percentile(took).Seconds(), Count: uint64(len(took)), Message: strings.Join(notes, "; ")}, nil
}

func longest(list []time.Duration) time.Duration {
	return slices.MaxFunc(append(list, 0), cmp.Compare)
}

// percentile 95 by nearest rank.
func percentile(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[int(math.Ceil(0.95*float64(len(list))))-1]
}
