package controlplane

import (
	"errors"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/kubernetes/pkg/controller/deployment"
)

// Upstream's Deployment controller looks again at once at a Deployment that was complete when it last rolled out and now
// lacks an available replica (a quota refuses a pod, no node has room, a probe fails): its progress deadline is long over,
// and each look, having nothing to write, asks for the next. That is ten looks a second for as long as it lasts, none of
// which does anything; in a rehearsed evening they cost more than everything else. In rehearsal they come less and less
// often, and at once when anything of the Deployment changes.
const (
	secondLook = time.Second // a deadline that passes within a second is noticed no later than this
	looksApart = time.Minute
)

// pacedQueue is the controller's queue. A key that is added again while it is worked on, by work that then succeeds, comes
// back after a pause that doubles; a key whose work failed is retried as upstream does.
type pacedQueue struct {
	workqueue.TypedRateLimitingInterface[string]

	mu    sync.Mutex
	again map[string]bool          // asked for while being worked on
	pause map[string]time.Duration // before the next look
}

// paceStuckDeployments puts the queue into a controller that has not started.
func paceStuckDeployments(dc *deployment.DeploymentController) error {
	field := reflect.ValueOf(dc).Elem().FieldByName("queue")
	if !field.IsValid() || field.Type() != reflect.TypeFor[workqueue.TypedRateLimitingInterface[string]]() {
		return errors.New("the Deployment controller of this Kubernetes has no queue of the known shape; see deployment_pace.go")
	}
	queue := (*workqueue.TypedRateLimitingInterface[string])(unsafe.Pointer(field.UnsafeAddr()))
	*queue = newPacedQueue(*queue)
	return nil
}

func newPacedQueue(q workqueue.TypedRateLimitingInterface[string]) *pacedQueue {
	return &pacedQueue{TypedRateLimitingInterface: q, again: map[string]bool{}, pause: map[string]time.Duration{}}
}

// AddRateLimited waits for how the work ends.
func (q *pacedQueue) AddRateLimited(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.again[key] = true
}

// Forget is called when the work succeeded, or is given up.
func (q *pacedQueue) Forget(key string) {
	q.TypedRateLimitingInterface.Forget(key)
	q.mu.Lock()
	again, pause := q.again[key], max(secondLook, q.pause[key])
	delete(q.again, key)
	delete(q.pause, key)
	if again {
		q.pause[key] = min(2*pause, looksApart)
	}
	q.mu.Unlock()
	if again {
		q.AddAfter(key, pause)
	}
}

// Done ends the work on a key; one that is to be tried again and was not forgotten has failed.
func (q *pacedQueue) Done(key string) {
	q.mu.Lock()
	failed := q.again[key]
	delete(q.again, key)
	q.mu.Unlock()
	if failed {
		q.TypedRateLimitingInterface.AddRateLimited(key)
	}
	q.TypedRateLimitingInterface.Done(key)
}
