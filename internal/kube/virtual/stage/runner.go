package stage

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// Retries of what the API server refused.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
	// immediateMost bounds the stages that follow one another at once (immediateNextStage); a loop of them waits then.
	immediateMost = 16
	// fieldManager names the runner's server-side applies.
	fieldManager = "fairway-stages"
)

// RunnerOptions configure a Runner. Set and Client are required.
type RunnerOptions struct {
	Set    *Set
	Client func(user string) dynamic.Interface // "" = the engine's own user
	// Mine reports whether the runner moves the object; nil = every object of an observed kind. The engine answers for
	// pods and nodes, by [Set.Mode].
	Mine func(gvk schema.GroupVersionKind, object metav1.Object) bool
	// Identity names an object stably between runs; nil = namespace/name.
	Identity func(gvk schema.GroupVersionKind, object metav1.Object) string
	// OnEvent records an event of a stage, or the failure of one; nil drops them. It must not call the runner.
	OnEvent func(gvk schema.GroupVersionKind, object metav1.Object, e Event)
	Log     *slog.Logger // nil = the default one
}

// Runner moves objects through their stages: one goroutine, one timer, requests one after another in the order of time
// and name.
type Runner struct {
	o    RunnerOptions
	wake chan struct{}

	mu      sync.Mutex
	objects map[objectKey]*tracked
	due     queue
	seen    []*tracked // changed since they were last looked at, in order
}

type objectKey struct {
	kind schema.GroupVersionKind
	name types.NamespacedName
}

// tracked is one object and its next move.
type tracked struct {
	key     objectKey
	gvr     schema.GroupVersionResource
	object  metav1.Object // newest seen; shared, not to be changed
	move    Move
	at      time.Time
	index   int // in the heap; -1 = not there
	moves   int // made so far
	changed bool
	backoff time.Duration
	chain   int // immediate stages in a row
}

// NewRunner returns a runner; register what it moves with Observe, then Run it.
func NewRunner(o RunnerOptions) (*Runner, error) {
	if o.Set == nil || o.Client == nil {
		return nil, errors.New("stage: RunnerOptions.Set and Client are required")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Log = o.Log.With("component", "stages")
	return &Runner{o: o, wake: make(chan struct{}, 1), objects: map[objectKey]*tracked{}}, nil
}

// Observe has the runner move the objects of an informer: typed ones for pods and nodes, unstructured ones for others.
func (r *Runner) Observe(gvk schema.GroupVersionKind, gvr schema.GroupVersionResource, informer interface {
	AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)
}) (cache.ResourceEventHandlerRegistration, error) {
	see := func(o any) {
		if object, ok := o.(metav1.Object); ok {
			r.see(gvk, gvr, object)
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(_, o any) { see(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if object, ok := o.(metav1.Object); ok {
				r.lose(keyOf(gvk, object), object.GetUID())
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s for their stages: %w", gvr.Resource, err)
	}
	return registration, nil
}

func keyOf(gvk schema.GroupVersionKind, o metav1.Object) objectKey {
	return objectKey{gvk, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

func (r *Runner) see(gvk schema.GroupVersionKind, gvr schema.GroupVersionResource, object metav1.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := keyOf(gvk, object)
	t := r.objects[key]
	if t != nil && t.object.GetUID() != object.GetUID() {
		r.forget(t)
		t = nil
	}
	if t == nil {
		t = &tracked{key: key, gvr: gvr, index: -1}
		r.objects[key] = t
	}
	t.object, t.chain = object, 0
	if !t.changed {
		t.changed = true
		r.seen = append(r.seen, t)
	}
	r.poke()
}

func (r *Runner) lose(key objectKey, uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.objects[key]; t != nil && t.object.GetUID() == uid {
		r.forget(t)
	}
}

func (r *Runner) forget(t *tracked) {
	delete(r.objects, t.key)
	if t.index >= 0 {
		heap.Remove(&r.due, t.index)
	}
}

func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run moves objects until ctx ends. Nothing runs while no move is due.
func (r *Runner) Run(ctx context.Context) {
	sleeper := time.NewTimer(time.Hour)
	defer sleeper.Stop()
	for ctx.Err() == nil {
		r.look(ctx)
		t, next := r.next(time.Now())
		if t != nil {
			r.carryOut(ctx, t)
			continue
		}
		if next.IsZero() {
			sleeper.Stop()
		} else {
			sleeper.Reset(max(time.Until(next), 0))
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-sleeper.C:
		}
	}
}

// look decides the next move of every object that has changed.
func (r *Runner) look(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.seen {
		t.changed = false
		if r.objects[t.key] == t {
			r.plan(ctx, t, time.Now())
		}
	}
	r.seen = nil
}

// plan sets the object's next move. A move that was planned before and is still the next one keeps its time.
func (r *Runner) plan(ctx context.Context, t *tracked, now time.Time) {
	gvk := t.key.kind
	mine := r.o.Mine == nil || r.o.Mine(gvk, t.object)
	var m Move
	var ok bool
	if mine {
		var err error
		if m, ok, err = r.o.Set.Next(ctx, t.object, gvk, r.identity(t), t.moves, now); err != nil {
			r.failed(t, t.object, err)
		}
	}
	if !ok {
		if t.index >= 0 {
			heap.Remove(&r.due, t.index)
		}
		return
	}
	if t.index >= 0 && t.move.Stage == m.Stage {
		t.move = m
		return
	}
	t.move, t.at = m, now.Add(m.After)
	if t.index >= 0 {
		heap.Fix(&r.due, t.index)
	} else {
		heap.Push(&r.due, t)
	}
}

func (r *Runner) identity(t *tracked) string {
	if r.o.Identity != nil {
		return r.o.Identity(t.key.kind, t.object)
	}
	return t.key.kind.Kind + " " + t.key.name.String()
}

// next takes the object whose move is due, or says when the first will be.
func (r *Runner) next(now time.Time) (*tracked, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.due) == 0 || len(r.seen) > 0 {
		return nil, time.Time{}
	}
	if first := r.due[0]; first.at.After(now) {
		return nil, first.at
	}
	return heap.Pop(&r.due).(*tracked), time.Time{}
}

// carryOut renders a due move and sends it.
func (r *Runner) carryOut(ctx context.Context, t *tracked) {
	r.mu.Lock()
	object, move := t.object, t.move
	t.moves++
	r.mu.Unlock()
	effects, err := move.Effects(object)
	if err != nil {
		r.failed(t, object, err)
		return
	}
	var newest *unstructured.Unstructured
	for i := range effects {
		result, err := r.apply(ctx, t, object, &effects[i])
		if apierrors.IsNotFound(err) || ctx.Err() != nil {
			return // the informer will tell, or nobody asks any more
		}
		if err != nil {
			r.again(t, fmt.Errorf("stage %s: %w", move.Stage, err))
			return
		}
		if result != nil {
			newest = result
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.backoff = 0
	if newest == nil || !move.Immediate || t.chain >= immediateMost || r.objects[t.key] != t || t.object != object {
		return
	}
	next, err := typed(t.key.kind, newest)
	if err != nil {
		r.failed(t, object, err)
		return
	}
	t.chain++
	t.object = next
	r.plan(ctx, t, time.Now())
}

// apply sends one effect; only the object whose stage it is may be touched, never a successor of the same name.
func (r *Runner) apply(ctx context.Context, t *tracked, object metav1.Object, e *Effect) (*unstructured.Unstructured, error) {
	uid := object.GetUID()
	switch {
	case e.Event != nil:
		if r.o.OnEvent != nil {
			r.o.OnEvent(t.key.kind, object, *e.Event)
		}
		return nil, nil
	case e.Delete:
		zero := int64(0)
		return nil, r.client(t, "").Delete(ctx, t.key.name.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	var subresources []string
	if e.Patch.Subresource != "" {
		subresources = []string{e.Patch.Subresource}
	}
	data, err := guarded(e.Patch, t.key.kind, object)
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{}
	if e.Patch.Type == types.ApplyPatchType {
		force := true
		options.FieldManager, options.Force = fieldManager, &force
	}
	return r.client(t, e.Patch.User).Patch(ctx, t.key.name.Name, e.Patch.Type, data, options, subresources...)
}

func (r *Runner) client(t *tracked, user string) dynamic.ResourceInterface {
	c := r.o.Client(user).Resource(t.gvr)
	if t.key.name.Namespace == "" {
		return c
	}
	return c.Namespace(t.key.name.Namespace)
}

// again plans the same move later: what was refused is rendered anew then.
func (r *Runner) again(t *tracked, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.backoff = min(max(2*t.backoff, retryFirst), retryMost)
	r.o.Log.Warn("a stage was refused; it will be tried again", "object", t.key.name.String(), "kind", t.key.kind.Kind, "in", t.backoff, "error", err)
	if r.objects[t.key] != t || t.index >= 0 {
		return
	}
	t.at = time.Now().Add(t.backoff)
	heap.Push(&r.due, t)
}

// failed reports a stage that cannot work on an object; the object stays as it is until it changes.
func (r *Runner) failed(t *tracked, object metav1.Object, err error) {
	r.o.Log.Warn("a stage failed", "object", t.key.name.String(), "kind", t.key.kind.Kind, "error", err)
	if r.o.OnEvent != nil {
		r.o.OnEvent(t.key.kind, object, Event{Type: "Warning", Reason: "StageFailed", Message: err.Error()})
	}
}

// queue is a heap of objects by the time of their move, then kind and name.
type queue []*tracked

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.key.kind.String(), b.key.kind.String()), cmp.Compare(a.key.name.String(), b.key.name.String())) < 0
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	t := x.(*tracked)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	t.index = -1
	return t
}
