package virtual

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/kube/virtual/stage"
)

// Engine drives the nodes and pods of one cluster. All its state is guarded by mu; decisions are made by one goroutine,
// writes by Options.Workers.
type Engine struct {
	opts   Options
	timing Timing
	log    *slog.Logger

	nodes      corelisters.NodeLister
	configMaps corelisters.ConfigMapLister
	secrets    corelisters.SecretLister
	synced     []cache.InformerSynced

	mu        sync.Mutex
	started   bool
	timers    timers
	records   map[types.NamespacedName]*podRecord
	byNode    map[string]*nodeRecord
	groups    []*groupRecord
	dirty     []*podRecord // in the order they were seen
	spare     []*podRecord // the other half of the double buffer
	draws     map[string]int
	stuck     map[types.NamespacedName]*podRecord // wait for a ConfigMap, Secret or trust bundle
	indexes   []uint64                            // bit n: the nth /24 is taken
	nextIndex int                                 // where the search for a free one begins
	watchful  watchfulState
	leases    bool // nodes renew leases whether or not a fault is in force
	images    imageWorld
	zonesOut  map[string]bool
	storage   storage
	trust     trust
	stages    *stage.Set // nil: none
	counters  Counters
	late      time.Duration // of the latest batch

	wake  chan struct{}
	queue *workQueue
	sink  eventSink
}

// New prepares an engine. It registers its event handlers with the informer factory; call Run after starting that.
func New(o Options) (*Engine, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opts: o, timing: timingOf(o), log: slog.Default().With("component", "virtual"),
		records: map[types.NamespacedName]*podRecord{}, byNode: map[string]*nodeRecord{}, draws: map[string]int{}, stuck: map[types.NamespacedName]*podRecord{}, zonesOut: map[string]bool{},
		indexes: make([]uint64, maxNodeIndex/64), wake: make(chan struct{}, 1), queue: newWorkQueue(),
	}
	if o.Usage == nil {
		e.opts.Usage = ModelUsage{}
	}
	e.initImages()
	e.compileStages()
	features, err := declaredFeatures(o.KubeletVersion)
	if err != nil {
		return nil, err
	}
	for i := range o.NodeGroups {
		g, err := o.NodeGroups[i].withDefaults()
		if err != nil {
			return nil, err
		}
		if e.group(g.Name) != nil {
			return nil, fmt.Errorf("virtual: node group %q is given twice; names must differ", g.Name)
		}
		e.groups = append(e.groups, &groupRecord{spec: g, want: g.Size, features: features})
	}
	if err := e.observe(); err != nil {
		return nil, err
	}
	return e, nil
}

// Run drives the cluster until ctx ends. It waits for the informers first, takes up what the API shows (nodes keep their
// addresses, running pods go on), brings every group to its size, and returns when its workers have stopped.
func (e *Engine) Run(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), e.synced...) {
		return fmt.Errorf("virtual: caches did not fill: %w", context.Cause(ctx))
	}
	e.adopt()
	if e.opts.DefaultClass {
		e.mu.Lock()
		e.after("install class", 0, func(ctx context.Context, e *Engine) error { return e.installStorage(ctx) })
		e.mu.Unlock()
	}
	var workers sync.WaitGroup
	for range e.opts.Workers {
		workers.Go(func() { e.work(ctx) })
	}
	e.loop(ctx)
	e.queue.close()
	workers.Wait()
	return nil
}

// loop sleeps until something is due or seen, and decides it.
func (e *Engine) loop(ctx context.Context) {
	sleeper := time.NewTimer(time.Hour)
	defer sleeper.Stop()
	for {
		next, any := e.turn()
		if any {
			sleeper.Reset(max(time.Until(next), 0))
		} else {
			sleeper.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		case <-sleeper.C:
		}
	}
}

// turn decides everything that is due or was seen, and returns when to wake up next.
func (e *Engine) turn() (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.lateness(now)
	for {
		for t := e.timers.pop(now); t != nil; t = e.timers.pop(now) {
			t.fire(now)
		}
		if len(e.dirty) == 0 {
			break
		}
		batch := e.dirty
		e.dirty = e.spare[:0]
		for i, r := range batch {
			r.dirty = false
			e.decide(r, now)
			batch[i] = nil
		}
		e.spare = batch
	}
	return e.timers.next()
}

// suspendedAfter is how late a wake-up must be for the machine to have slept or the clock to have jumped.
const suspendedAfter = 10 * time.Second

// lateness notes how late the first due timer is. After a suspension every lease is renewed before anything else.
func (e *Engine) lateness(now time.Time) {
	due, ok := e.timers.next()
	if !ok || due.After(now) {
		return
	}
	e.late = now.Sub(due)
	if e.late > time.Second {
		e.log.Warn("engine is late", "by", e.late)
	}
	if e.late > suspendedAfter && e.leasing() {
		for _, n := range e.sortedNodes() {
			if n.obj != nil {
				e.renew(n, now)
			}
		}
	}
}

// poke wakes the loop.
func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// touch marks a pod for decision. The caller holds mu.
func (e *Engine) touch(r *podRecord) {
	if r.dirty || r.gone {
		return
	}
	r.dirty = true
	e.dirty = append(e.dirty, r)
	e.poke()
}

// grain rounds a wake-up up to the grid.
func (e *Engine) grain(t time.Time) time.Time {
	g := e.opts.TimeGrain
	if g <= 0 || t.IsZero() {
		return t
	}
	if r := t.Truncate(g); r.Before(t) {
		return r.Add(g)
	}
	return t
}

// podRecord is one pod bound to one of our nodes.
type podRecord struct {
	key   types.NamespacedName
	obj   *v1.Pod // newest cached object
	node  *nodeRecord
	state *PodState

	timer      timer
	dirty      bool // waits for a decision
	gone       bool // the object was removed
	busy       bool // a request is in flight
	queued     bool
	ours       string // resourceVersion of our latest write, whose echo tells nothing new
	await      bool   // our write is not in the cache yet
	held       bool   // a decision was made meanwhile, so its echo needs another
	want       v1.PodStatus
	write      bool // want is to be written
	remove     bool // the object is to be deleted
	since      time.Time
	retryAt    time.Time // after a failed request
	retryDelay time.Duration
	redo       bool // a decision was made while a request was in flight
	stage      staged
	volumes    []string // persistent volumes in use
	released   bool     // its address and resources were given back
}

// decide moves one pod to now and plans its write. The caller holds mu.
func (e *Engine) decide(r *podRecord, now time.Time) {
	if r.gone || r.node == nil || r.node.silent {
		return
	}
	e.takeUp(r, now)
	if handled, wake := e.stagePod(r, now); handled {
		e.timers.arm(&r.timer, e.grain(wake))
		return
	}
	in := e.inputs(r)
	plan := DecidePod(r.state, &in, now)
	e.counters.Decisions++
	e.tell(r, &plan)
	if plan.Freed {
		e.freed(r, now)
	}
	if plan.Started && !r.node.evictArmed() {
		e.grew(r.node, now)
	}
	if r.busy {
		r.redo = true
	}
	at := e.grain(plan.Wake)
	if w := e.planWrite(r, &in, plan, now); !w.IsZero() && (at.IsZero() || w.Before(at)) {
		at = w
	}
	e.timers.arm(&r.timer, at)
}

func (e *Engine) inputs(r *podRecord) Inputs {
	return Inputs{Pod: r.obj, Node: r.node.view, Timing: e.timing, Seed: e.opts.Seed, Behaviour: e.opts.Behaviour,
		Usage: e.opts.Usage, Around: around{e, r}, Events: e.eventsWanted(), Hooks: e.opts.OnHook != nil}
}

// tell passes on what a decision has to say to others. The caller holds mu.
func (e *Engine) tell(r *podRecord, plan *Plan) {
	for i := range plan.Events {
		e.podEvent(r, &plan.Events[i])
	}
	for i := range plan.Exited {
		e.countPast(r.node, &plan.Exited[i])
	}
	for _, h := range plan.Hooks {
		pod, container := h.Pod, h.Container.Name
		h.Answer = func(err error) { e.hookAnswered(pod, container, h.Kind, err) }
		e.opts.OnHook(h)
	}
}

// hookAnswered goes on with the container whose hook's request has ended.
func (e *Engine) hookAnswered(pod *v1.Pod, container string, kind HookKind, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.record(pod.Namespace, pod.Name)
	if r == nil || r.state == nil || r.node == nil || r.obj.UID != pod.UID {
		return
	}
	in := e.inputs(r)
	d := decider{s: r.state, in: &in, pod: r.obj}
	for i := range d.s.Containers {
		if c := &d.s.Containers[i]; c.spec(d.pod).Name == container {
			d.answered(c, kind, time.Now(), err)
		}
	}
	e.tell(r, &d.plan)
	e.touch(r)
}

// planWrite compares what should be shown with what is, and queues a request or says when to look again.
func (e *Engine) planWrite(r *podRecord, in *Inputs, plan Plan, now time.Time) time.Time {
	r.write, r.remove = false, false
	if r.held = r.await; r.await || r.state.Removed {
		return time.Time{}
	}
	if now.Before(r.retryAt) {
		return r.retryAt
	}
	ended := !r.state.Ended.IsZero()
	if ended && r.obj.DeletionTimestamp != nil && (terminalPhase(r.obj.Status.Phase) || removable(e.opts.PodWrites, r.obj)) {
		r.remove = true
		e.enqueue(r)
		return time.Time{}
	}
	if terminalPhase(r.obj.Status.Phase) && r.state.Refused {
		return time.Time{}
	}
	status := podStatus(r.state, in, now, e.opts.PodWrites != WritesLean)
	diff := compare(&r.obj.Status, &status)
	if !diff.Any {
		r.since = time.Time{}
		return time.Time{}
	}
	if r.since.IsZero() {
		r.since = now
	}
	write, at := merge(e.opts.PodWrites, diff, r.obj, r.state, plan.Hold, plan.Wake, r.since, now)
	if !write {
		e.counters.Merged++
		return at
	}
	r.want, r.write = status, true
	e.enqueue(r)
	return time.Time{}
}

// enqueue hands a pod to the workers, unless they have it already: they look at the newest plan.
func (e *Engine) enqueue(r *podRecord) {
	if r.queued || r.busy {
		return
	}
	r.queued = true
	e.queue.put(r)
}

// freed returns what an ended pod held.
func (e *Engine) freed(r *podRecord, now time.Time) {
	if r.released || r.node == nil {
		return
	}
	r.released = true
	if r.state.IP != "" && !r.obj.Spec.HostNetwork {
		r.node.ips.free(r.state.IP, now)
	}
	e.detach(r, now)
	r.node.ledger.release(r.key)
	delete(r.node.deferred, r.key)
	e.retryResizes(r.node, now)
}

// sortedRecords returns the node's pods in name order.
func (n *nodeRecord) sortedRecords() []*podRecord {
	out := make([]*podRecord, 0, len(n.pods))
	for _, r := range n.pods {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *podRecord) int { return compareKeys(a.key, b.key) })
	return out
}

func sortKeys(keys []types.NamespacedName) { slices.SortFunc(keys, compareKeys) }

// sortedNodes returns all nodes in name order.
func (e *Engine) sortedNodes() []*nodeRecord {
	out := make([]*nodeRecord, 0, len(e.byNode))
	for _, n := range e.byNode {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *nodeRecord) int { return strings.Compare(a.name, b.name) })
	return out
}

func (e *Engine) record(namespace, name string) *podRecord {
	return e.records[types.NamespacedName{Namespace: namespace, Name: name}]
}

func compareKeys(a, b types.NamespacedName) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (e *Engine) group(name string) *groupRecord {
	for _, g := range e.groups {
		if g.spec.Name == name {
			return g
		}
	}
	return nil
}
