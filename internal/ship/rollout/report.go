package rollout

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
)

const (
	// eventLanes write Events side by side. Those about one object are in one lane, and so keep their order.
	eventLanes = 4
	// laneMax bounds the Events that wait in a lane; beyond it they are counted and dropped.
	laneMax = 4096
	// lastEvents is how long Events that wait at the end are still written.
	lastEvents = time.Second
	// component is what Events name as their source.
	component = "fairway-rollouts"
)

// Events writes Kubernetes Events in the order in which they were told, one after the other for each object, and every one
// of them: the sequence of a Rollout's Events is read by tools. (client-go's own recorder keeps 25 of an object and then one
// in five minutes.) It implements record.EventRecorder. It is to be run by a manager.
type Events struct {
	client client.Client
	scheme *runtime.Scheme
	owner  client.FieldOwner
	log    *slog.Logger
	lanes  [eventLanes]chan *corev1.Event

	mu      sync.Mutex
	last    int64 // the names of Events are times, each later than the one before
	dropped uint64
}

// NewEvents returns a recorder that writes by the client.
func NewEvents(c client.Client, owner string, log *slog.Logger) *Events {
	e := &Events{client: c, scheme: c.Scheme(), owner: client.FieldOwner(owner), log: log}
	for i := range e.lanes {
		e.lanes[i] = make(chan *corev1.Event, laneMax)
	}
	return e
}

// Event implements record.EventRecorder.
func (e *Events) Event(obj runtime.Object, kind, reason, message string) {
	e.tell(obj, nil, kind, reason, message)
}

// Eventf implements record.EventRecorder.
func (e *Events) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	e.tell(obj, nil, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf implements record.EventRecorder.
func (e *Events) AnnotatedEventf(obj runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	e.tell(obj, annotations, kind, reason, fmt.Sprintf(format, args...))
}

func (e *Events) tell(obj runtime.Object, annotations map[string]string, kind, reason, message string) {
	about, err := reference.GetReference(e.scheme, obj)
	if err != nil {
		e.log.Error("an Event about an object of an unknown kind is lost", "reason", reason, "error", err)
		return
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	e.mu.Lock()
	at := time.Now()
	e.last = max(e.last+1, at.UnixNano())
	name := fmt.Sprintf("%s.%x", about.Name, e.last)
	e.mu.Unlock()
	ev := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		InvolvedObject: *about, Type: kind, Reason: reason, Message: message, Count: 1,
		FirstTimestamp: metav1.Time{Time: at}, LastTimestamp: metav1.Time{Time: at},
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	}
	h := fnv.New32a()
	h.Write([]byte(about.Namespace + "/" + about.Name))
	select {
	case e.lanes[h.Sum32()%eventLanes] <- ev:
	default:
		e.mu.Lock()
		e.dropped++
		e.mu.Unlock()
	}
}

// Dropped is how many Events were not written because too many waited.
func (e *Events) Dropped() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dropped
}

// Start implements manager.Runnable.
func (e *Events) Start(ctx context.Context) error {
	var lanes sync.WaitGroup
	for _, lane := range e.lanes {
		lanes.Go(func() {
			for {
				select {
				case ev := <-lane:
					e.write(ctx, ev)
				case <-ctx.Done():
					e.flush(context.WithoutCancel(ctx), lane)
					return
				}
			}
		})
	}
	lanes.Wait()
	return nil
}

// flush writes what waits in a lane.
func (e *Events) flush(ctx context.Context, lane <-chan *corev1.Event) {
	ctx, cancel := context.WithTimeout(ctx, lastEvents)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case ev := <-lane:
			e.write(ctx, ev)
		default:
			return
		}
	}
}

// write one Event. Its loss is no reason to hold anything up: a namespace may be going, the API server away.
func (e *Events) write(ctx context.Context, ev *corev1.Event) {
	if err := e.client.Create(ctx, ev, e.owner); err != nil && ctx.Err() == nil {
		e.log.Debug("an Event was not written", "namespace", ev.Namespace, "object", ev.InvolvedObject.Name, "reason", ev.Reason, "error", err)
	}
}

// reporter tells what was done to Rollouts: as Events, as metrics and in the log.
type reporter struct {
	events  *Events
	metrics *metrics
	log     *slog.Logger
}

func (r *reporter) event(ro *rollouts.Rollout, e Event) {
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
		r.log.Warn(e.Message, "reason", e.Reason, "namespace", ro.Namespace, "rollout", ro.Name)
	}
	r.events.Event(ro, kind, e.Reason, e.Message)
	r.metrics.told(ro, kind, e.Reason)
}

func (r *reporter) wrote(obj client.Object, verb string) { r.metrics.wrote(kindOf(obj).Kind, verb) }

func (r *reporter) finished(ro *rollouts.Rollout, f Finished) { r.metrics.finished(ro, f) }
