// Package podlife answers analyses about the pods of a revision: how often their containers restarted or were killed for
// want of memory, how often they stopped being ready, how long they took to start. In: the events of the process's one
// cache of pods. Out: answers, over a window before now. Only what happened is kept, for analysis.PodHistory: a pod that
// starts once and runs on costs one short entry. What was before the process began to watch is known as far as the pods
// themselves tell it (the last end of each container), and an answer says so.
package podlife

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	// eventsMax bounds what is remembered of all revisions together, at some 100 bytes each. Beyond it the older half goes,
	// and answers say that their window is not covered.
	eventsMax = 100_000
	// sweepEvery is how often, at the next event, what has become too old is forgotten.
	sweepEvery = 5 * time.Minute
)

// Store remembers what happened to pods. Its methods may be called at once.
type Store struct {
	hashOf func(*corev1.Pod) string
	most   int // events

	mu     sync.Mutex
	since  time.Time // from when on everything was seen
	swept  time.Time
	events map[revision][]event
	count  int
}

// revision of the pods of a namespace.
type revision struct{ namespace, hash string }

type kind uint8

const (
	restarted kind = iota
	killed         // for want of memory
	flapped        // was ready and is not
	started        // became ready for the first time
)

// event in the life of a pod.
type event struct {
	at    time.Time
	pod   types.UID
	kind  kind
	count int           // of restarts
	took  time.Duration // to start
}

// NewStore returns a store that sees everything from now on. hashOf tells the hash of a pod's template; "" = it has none, and
// nothing of it is kept.
func NewStore(hashOf func(*corev1.Pod) string, now time.Time) *Store {
	return &Store{hashOf: hashOf, most: eventsMax, since: now, swept: now, events: map[revision][]event{}}
}

// Found takes in a pod that was there when the watch began. What happened to it before is known in part: the last end of
// each container with its time; earlier restarts count from the pod's creation.
func (s *Store) Found(pod *corev1.Pod, now time.Time) {
	hash := s.hashOf(pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = now
	if hash == "" {
		return
	}
	for i := range statuses(pod) {
		for _, end := range ends(i) {
			if end.Reason == reasonOOMKilled {
				s.addLocked(pod, hash, event{at: end.FinishedAt.Time, kind: killed, count: 1}, now)
			}
		}
		if n := int(i.RestartCount); n > 0 {
			last := pod.CreationTimestamp.Time
			if end := i.LastTerminationState.Terminated; end != nil {
				last = end.FinishedAt.Time
			}
			s.addLocked(pod, hash, event{at: last, kind: restarted, count: 1}, now)
			if n > 1 {
				s.addLocked(pod, hash, event{at: pod.CreationTimestamp.Time, kind: restarted, count: n - 1}, now)
			}
		}
	}
}

// Changed takes in what became of a pod; before is nil for one that is new.
func (s *Store) Changed(before, pod *corev1.Pod, now time.Time) {
	hash := s.hashOf(pod)
	if hash == "" {
		return
	}
	if before == nil || before.UID != pod.UID {
		before = &corev1.Pod{}
	}
	restarts, kills := newEnds(before, pod)
	was, is := ready(before), ready(pod)
	flaps := was.Status == corev1.ConditionTrue && (is.Status != corev1.ConditionTrue || is.LastTransitionTime.After(was.LastTransitionTime.Time)) && alive(pod)
	begins := was.Status != corev1.ConditionTrue && is.Status == corev1.ConditionTrue
	if restarts+kills == 0 && !flaps && !begins {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if restarts > 0 {
		s.addLocked(pod, hash, event{at: now, kind: restarted, count: restarts}, now)
	}
	if kills > 0 {
		s.addLocked(pod, hash, event{at: now, kind: killed, count: kills}, now)
	}
	if flaps {
		s.addLocked(pod, hash, event{at: now, kind: flapped, count: 1}, now)
	}
	// Whether a pod that was there before was ready before is not known.
	if begins && !pod.CreationTimestamp.Time.Before(s.since.Truncate(time.Second)) && !s.hadLocked(pod, hash) {
		s.addLocked(pod, hash, event{at: now, kind: started, count: 1, took: readyAfter(pod)}, now)
	}
}

// hadLocked reports whether a pod has been ready before, as far as is remembered.
func (s *Store) hadLocked(pod *corev1.Pod, hash string) bool {
	return slices.ContainsFunc(s.events[revision{pod.Namespace, hash}], func(e event) bool {
		return e.pod == pod.UID && (e.kind == started || e.kind == flapped)
	})
}

func (s *Store) addLocked(pod *corev1.Pod, hash string, e event, now time.Time) {
	e.pod = pod.UID
	if now.Sub(e.at) > analysis.PodHistory {
		return
	}
	key := revision{pod.Namespace, hash}
	s.events[key] = append(s.events[key], e)
	s.count++
	switch {
	case s.count > s.most:
		s.forgetLocked(s.middleLocked())
	case now.Sub(s.swept) >= sweepEvery:
		s.swept = now
		s.forgetLocked(now.Add(-analysis.PodHistory))
	}
}

// middleLocked is a time that half of the events are older than. What is before it will not be known.
func (s *Store) middleLocked() time.Time {
	times := make([]time.Time, 0, s.count)
	for _, list := range s.events {
		for i := range list {
			times = append(times, list[i].at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	middle := times[len(times)/2].Add(1) // those of one moment go together, or there might be no end
	if s.since.Before(middle) {
		s.since = middle
	}
	return middle
}

// forgetLocked forgets what happened before a time.
func (s *Store) forgetLocked(before time.Time) {
	s.count = 0
	for key, list := range s.events {
		list = slices.DeleteFunc(list, func(e event) bool { return e.at.Before(before) })
		if len(list) == 0 {
			delete(s.events, key)
			continue
		}
		s.events[key] = slices.Clip(list)
		s.count += len(list)
	}
}
