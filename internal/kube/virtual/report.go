package virtual

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Counters count what the engine did since it started.
type Counters struct {
	Decisions    int64
	StatusWrites int64
	Deletes      int64
	Merged       int64 // states left to the next write
	Conflicts    int64
	Failures     int64
	NodeWrites   int64
	LeaseWrites  int64
	Events       int64
	EventsLost   int64
}

// Counters returns a copy of the engine's counters.
func (e *Engine) Counters() Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counters
}

func (e *Engine) eventsWanted() bool { return e.opts.OnEvent != nil || e.opts.PodEvents != EventsNone }

// podEvent reports one event about a pod. The caller holds mu.
func (e *Engine) podEvent(r *podRecord, p *PodEvent) {
	ev := Event{Time: p.At, Kind: "Pod", Namespace: r.key.Namespace, Name: r.key.Name, UID: r.obj.UID,
		Container: p.Container, Node: r.obj.Spec.NodeName, Type: v1.EventTypeNormal, Reason: p.Reason, Message: p.Message}
	if p.Warning {
		ev.Type = v1.EventTypeWarning
	}
	if p.Container != "" {
		switch p.Kind {
		case KindInit, KindSidecar:
			ev.FieldPath = "spec.initContainers{" + p.Container + "}"
		case KindEphemeral:
			ev.FieldPath = "spec.ephemeralContainers{" + p.Container + "}"
		default:
			ev.FieldPath = "spec.containers{" + p.Container + "}"
		}
	}
	e.emit(ev)
}

func (e *Engine) nodeEvent(n *nodeRecord, now time.Time, kind, reason, message string) {
	e.emit(Event{Time: now, Kind: "Node", Name: n.name, UID: types.UID(n.name), Node: n.name, Type: kind, Reason: reason, Message: message})
}

func (e *Engine) emit(ev Event) {
	if e.opts.OnEvent != nil {
		e.opts.OnEvent(ev)
	}
	switch e.opts.PodEvents {
	case EventsNone:
		return
	case EventsWarnings:
		if ev.Type != v1.EventTypeWarning {
			return
		}
	}
	e.sink.add(e, ev)
}

// maxPendingEvents bounds the events that wait to be written; beyond it the oldest are worth less than memory.
const maxPendingEvents = 50000

// eventSink writes events in the order they were decided. Repeats of one event within a pod's life raise its count.
type eventSink struct {
	pending int
	seen    map[eventKey]*seenEvent
	order   []eventKey
}

type eventKey struct {
	uid                        types.UID
	fieldPath, reason, message string
}

type seenEvent struct {
	name  string
	count int32
	first time.Time
}

// maxSeenEvents bounds the memory of repeats; the oldest are forgotten and start a new Event object.
const maxSeenEvents = 4096

// eventJob is one event to write.
type eventJob struct {
	ev    Event
	name  string
	count int32
	first time.Time
}

func (s *eventSink) add(e *Engine, ev Event) {
	if s.pending >= maxPendingEvents {
		e.counters.EventsLost++
		return
	}
	if s.seen == nil {
		s.seen = map[eventKey]*seenEvent{}
	}
	k := eventKey{ev.UID, ev.FieldPath, ev.Reason, ev.Message}
	old := s.seen[k]
	if old == nil {
		if len(s.order) >= maxSeenEvents {
			delete(s.seen, s.order[0])
			s.order = s.order[1:]
		}
		old = &seenEvent{name: ev.Name + "." + hexID(e.opts.Seed, 16, string(ev.UID), ev.FieldPath, ev.Reason, ev.Message, ev.Time.UTC().Format(time.RFC3339Nano)), first: ev.Time}
		s.seen[k] = old
		s.order = append(s.order, k)
	}
	old.count++
	s.pending++
	e.queue.put(&eventJob{ev: ev, name: old.name, count: old.count, first: old.first})
}

func (j *eventJob) run(ctx context.Context, e *Engine) {
	ns := j.ev.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	events := e.opts.Client.CoreV1().Events(ns)
	var err error
	if j.count == 1 {
		_, err = events.Create(ctx, j.object(ns), metav1.CreateOptions{})
	} else {
		body := fmt.Sprintf(`{"count":%d,"lastTimestamp":%q}`, j.count, j.ev.Time.UTC().Format(time.RFC3339))
		_, err = events.Patch(ctx, j.name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sink.pending--
	if err != nil {
		e.counters.EventsLost++ // as in the kubelet, an event that cannot be written is dropped
		return
	}
	e.counters.Events++
}

func (j *eventJob) object(ns string) *v1.Event {
	ref := v1.ObjectReference{Kind: j.ev.Kind, APIVersion: "v1", Namespace: j.ev.Namespace, Name: j.ev.Name, UID: j.ev.UID, FieldPath: j.ev.FieldPath}
	return &v1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: j.name, Namespace: ns},
		InvolvedObject: ref, Reason: j.ev.Reason, Message: j.ev.Message, Type: j.ev.Type,
		Source:         v1.EventSource{Component: "kubelet", Host: j.ev.Node},
		FirstTimestamp: metav1.NewTime(j.first), LastTimestamp: metav1.NewTime(j.ev.Time), Count: j.count,
		ReportingController: "kubelet", ReportingInstance: j.ev.Node,
	}
}
