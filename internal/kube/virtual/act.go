package virtual

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Retries of refused requests: the state is recomputed each time, so nothing is lost by waiting.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
	// conflictWait bounds the wait for the newer object that a conflict announces.
	conflictWait = time.Second
)

// job is one request to the API server.
type job interface {
	run(ctx context.Context, e *Engine)
}

// workQueue hands jobs to the workers in order. Its length is bounded by the number of pods and nodes: each is queued
// at most once.
type workQueue struct {
	mu     sync.Mutex
	ready  *sync.Cond
	jobs   []job
	head   int
	closed bool
}

func newWorkQueue() *workQueue {
	q := &workQueue{}
	q.ready = sync.NewCond(&q.mu)
	return q
}

func (q *workQueue) put(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.jobs = append(q.jobs, j)
	q.ready.Signal()
}

// take waits for a job; ok is false when the queue is closed.
func (q *workQueue) take() (j job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.jobs) && !q.closed {
		q.ready.Wait()
	}
	if q.closed {
		return nil, false
	}
	j = q.jobs[q.head]
	q.jobs[q.head] = nil
	if q.head++; q.head == len(q.jobs) {
		q.jobs, q.head = q.jobs[:0], 0
	}
	return j, true
}

func (q *workQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ready.Broadcast()
}

func (e *Engine) work(ctx context.Context) {
	for {
		j, ok := e.queue.take()
		if !ok {
			return
		}
		j.run(ctx, e)
	}
}

// run carries out the newest plan of a pod: one request, whose outcome is taken up before the next decision.
func (r *podRecord) run(ctx context.Context, e *Engine) {
	e.mu.Lock()
	r.queued = false
	write, remove := r.write, r.remove
	r.write, r.remove = false, false
	if r.gone || !write && !remove {
		e.mu.Unlock()
		return
	}
	r.busy, r.redo = true, false
	obj := *r.obj // shallow: the cached object is shared and stays as it is
	if write {
		obj.Status, r.want = r.want, v1.PodStatus{}
	}
	e.mu.Unlock()

	var version string
	var err error
	if remove {
		zero := int64(0)
		err = e.opts.Client.CoreV1().Pods(obj.Namespace).Delete(ctx, obj.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &obj.UID}})
	} else {
		updated, e2 := e.opts.Client.CoreV1().Pods(obj.Namespace).UpdateStatus(ctx, &obj, metav1.UpdateOptions{})
		if err = e2; err == nil {
			version = updated.ResourceVersion
		}
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	r.busy = false
	e.settle(ctx, r, obj.ResourceVersion, version, remove, err)
}

// settle takes up the outcome of a pod's request. The caller holds mu.
func (e *Engine) settle(ctx context.Context, r *podRecord, sent, version string, remove bool, err error) {
	now := time.Now()
	switch {
	case err == nil:
		r.retryDelay, r.retryAt, r.since = 0, time.Time{}, time.Time{}
		if remove {
			e.counters.Deletes++
			r.state.Removed = true
			return
		}
		e.counters.StatusWrites++
		if r.obj.ResourceVersion == sent && version != sent {
			r.await, r.ours = true, version // the echo will come
		} else if r.obj.ResourceVersion == version {
			r.ours = version
		}
		if !r.redo {
			return
		}
	case apierrors.IsNotFound(err) || apierrors.IsGone(err):
		if remove {
			r.state.Removed = true
		}
		return // the cache will tell
	case apierrors.IsConflict(err):
		e.counters.Conflicts++
		if remove || r.obj.ResourceVersion == sent {
			r.retryAt = now.Add(conflictWait) // or when the newer object arrives
		}
	default:
		if ctx.Err() != nil {
			return
		}
		e.counters.Failures++
		r.retryDelay = min(max(2*r.retryDelay, retryFirst), retryMost)
		r.retryAt = now.Add(r.retryDelay)
		e.log.Warn("pod request refused; will try again", "pod", r.key.String(), "delete", remove, "in", r.retryDelay, "error", err)
	}
	e.touch(r)
}
