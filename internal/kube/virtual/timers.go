package virtual

import (
	"container/heap"
	"time"
)

// timer is one wake-up. Its owner keeps it and re-arms it; it is in the heap at most once.
type timer struct {
	at    time.Time
	node  string // ties are broken by node, key, kind: the order of decisions never depends on when a timer was armed
	key   string
	kind  timerKind
	index int // place in the heap + 1; 0 = not armed
	fire  func(now time.Time)
}

type timerKind uint8

const (
	timerLease timerKind = iota
	timerNode
	timerPull
	timerPod
	timerWrite
	timerEvict
	timerReturn
)

// timers is a heap of wake-ups in the order (time, node, key, kind).
type timers struct{ heap timerHeap }

// arm sets t to fire at the given time, or disarms it when the time is zero.
func (ts *timers) arm(t *timer, at time.Time) {
	switch {
	case at.IsZero():
		ts.disarm(t)
	case t.index == 0:
		t.at = at
		heap.Push(&ts.heap, t)
	case !t.at.Equal(at):
		t.at = at
		heap.Fix(&ts.heap, t.index-1)
	}
}

func (ts *timers) disarm(t *timer) {
	if t.index != 0 {
		heap.Remove(&ts.heap, t.index-1)
	}
}

// next returns when the first timer is due; ok is false when none is armed.
func (ts *timers) next() (time.Time, bool) {
	if len(ts.heap) == 0 {
		return time.Time{}, false
	}
	return ts.heap[0].at, true
}

// pop removes and returns the first timer due at now, or nil.
func (ts *timers) pop(now time.Time) *timer {
	if len(ts.heap) == 0 || ts.heap[0].at.After(now) {
		return nil
	}
	return heap.Pop(&ts.heap).(*timer)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	if a.node != b.node {
		return a.node < b.node
	}
	if a.key != b.key {
		return a.key < b.key
	}
	return a.kind < b.kind
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.index = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = 0
	return t
}
