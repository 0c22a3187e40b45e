package rollout

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

const (
	// workersDefault Rollouts are looked at at once, as in Argo Rollouts.
	workersDefault = 10
	// resyncDefault is when a Rollout is looked at although nothing has told of a change.
	resyncDefault = 15 * time.Minute
	// resyncSpread is the part of that time, as its divisor, over which Rollouts are spread.
	resyncSpread = 10
	// passesMax bounds how often one look goes from deciding to acting, beside once for each step, for steps may be done as soon
	// as they begin. A plan that never comes to rest is a mistake of ours, and must not become a storm of writes.
	passesMax = 24
	// retryFirst and retryMost bound the wait after a failure; it doubles between them.
	retryFirst = 5 * time.Millisecond
	retryMost  = 20 * time.Second
	// retryGone is the wait before what a Rollout has left behind is taken away once more.
	retryGone = 20 * time.Millisecond
	// callsMax bounds the answers of plugins that are remembered for a Rollout.
	callsMax = 128
)

// Controller carries Rollouts out. Fill in the fields, then call SetUp.
type Controller struct {
	// Events takes the Events on Rollouts.
	Events *Events
	// Plugins answers for programs that steps and traffic routers call; nil = there are none.
	Plugins Plugins
	// Balancers tell whether load balancers follow; nil = nobody asks, and weights are taken as they are written.
	Balancers LoadBalancers
	// DataPath is a gateway in this process; nil = there is none.
	DataPath traffic.DataPath
	// Versions of the API of routers' objects.
	Versions traffic.Versions
	// InstanceID chooses the Rollouts by the label argo-rollouts.argoproj.io/controller-instance-id; "" = those without it.
	InstanceID string
	// FieldOwner of what the controller writes.
	FieldOwner string
	// Workers look at Rollouts at once; 0 = 10.
	Workers int
	// Resync is when a Rollout is looked at although nothing has told of a change; 0 = 15 minutes.
	Resync time.Duration
	Log    *slog.Logger

	observer  observer
	interests interests
	actor     actor
	metrics   *metrics
	asking    sync.WaitGroup

	mu     sync.Mutex
	states map[types.NamespacedName]*state
	queue  workqueue.TypedRateLimitingInterface[reconcile.Request] // nil until it leads
	life   context.Context
}

// state is what is remembered of a Rollout between two looks. Nothing hangs on it: it saves work and repetition.
type state struct {
	uid      types.UID
	warnings []Event // of the plan before
	refused  map[types.UID]time.Time
	calls    map[string]CallResult
	asked    map[string]bool
	// uncounted is since when numbers of pods wait to be written down.
	uncounted time.Time
	// unfollowed is since when the data path has not followed the weight.
	unfollowed time.Time
	mute       bool // it was told that its notifications are not sent
	stale      int  // looks in a row that met something newer
}

// SetUp registers the controller with a manager, which owns its goroutines.
func (c *Controller) SetUp(ctx context.Context, m manager.Manager) error {
	if c.Workers == 0 {
		c.Workers = workersDefault
	}
	if c.Resync == 0 {
		c.Resync = resyncDefault
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.states = map[types.NamespacedName]*state{}
	s, w := &stores{}, &written{}
	c.observer = observer{stores: s, written: w, versions: c.Versions, dataPath: c.DataPath, instanceID: c.InstanceID}
	c.metrics = newMetrics(s, c.Events)
	c.actor = actor{client: m.GetClient(), stores: s, written: w, owner: client.FieldOwner(c.FieldOwner), log: c.Log, dataPath: c.DataPath,
		reports: &reporter{events: c.Events, metrics: c.metrics, log: c.Log}, ask: c.ask, refused: c.refused}
	off := false
	ctrl, err := controller.New("rollout", m, controller.Options{
		Reconciler: c, MaxConcurrentReconciles: c.Workers,
		RateLimiter:      workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryMost),
		UsePriorityQueue: &off, // it wakes twice a second although nothing happens
	})
	if err != nil {
		return err
	}
	return c.watch(ctx, m, ctrl)
}

// Collectors are the metrics. They are there after SetUp.
func (c *Controller) Collectors() []prometheus.Collector { return c.metrics.collectors() }

// Reconcile looks at one Rollout.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	name := request.NamespacedName
	ro := c.observer.rollout(name)
	if ro == nil {
		again, err := c.gone(ctx, name)
		if errors.Is(err, errStale) {
			return reconcile.Result{RequeueAfter: retryGone}, nil
		}
		return reconcile.Result{RequeueAfter: again}, err
	}
	if ro.Labels[argo.LabelKeyControllerInstanceID] != c.InstanceID {
		return reconcile.Result{}, nil
	}
	began := time.Now()
	next, err := c.look(ctx, name)
	c.metrics.reconciled(name, time.Since(began), realError(err))
	if wait := c.stale(name, err); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	wait := c.resync(name)
	if !next.IsZero() {
		wait = min(wait, max(time.Until(next), time.Millisecond))
	}
	return reconcile.Result{RequeueAfter: wait}, nil
}

// resync is when to look at a Rollout of which nothing is heard. Rollouts made together are not looked at together.
func (c *Controller) resync(name types.NamespacedName) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name.String()))
	return c.Resync - c.Resync/resyncSpread*time.Duration(h.Sum32()%1024)/1024
}

// stale is how long to wait after having met something newer than what was decided on: the change is on its way. 0 = that is
// not what happened.
func (c *Controller) stale(name types.NamespacedName, err error) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.states[name]
	if st == nil {
		return 0
	}
	if !errors.Is(err, errStale) {
		st.stale = 0
		return 0
	}
	st.stale++
	return min(retryFirst<<min(st.stale-1, 16), retryMost)
}

// realError is an error that is not only a look at something older than it is.
func realError(err error) error {
	if errors.Is(err, errStale) {
		return nil
	}
	return err
}

// look goes from observing to deciding to acting until nothing is left to do, and returns when to look again.
func (c *Controller) look(ctx context.Context, name types.NamespacedName) (next time.Time, err error) {
	passes := passesMax
	for n := 0; n < passes; n++ {
		ro := c.observer.rollout(name)
		if ro == nil {
			return time.Time{}, nil // the deletion will be told
		}
		passes = passesMax + steps(ro)
		st := c.state(name, ro)
		c.subscribed(ro, st)
		if err := c.adopt(ctx, ro); err != nil {
			return time.Time{}, err
		}
		now := time.Now()
		s, ids, err := c.observer.observe(ctx, ro, now)
		if c.interests.set(name, ids) && err == nil {
			// What changed before it was known to concern the Rollout woke nobody: look once more.
			s, ids, err = c.observer.observe(ctx, ro, now)
			c.interests.set(name, ids)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("rollout %s: %w", name, err)
		}
		c.remember(st, &s)
		s.Uncounted, s.Unfollowed = st.uncounted, st.unfollowed
		plan := Decide(s, now)
		st.uncounted, st.unfollowed = plan.Uncounted, plan.Unfollowed // only the Rollout's worker reads them
		c.warn(ro, st, plan)
		asked, err := c.actor.do(ctx, s.Rollout, plan)
		if u := (*unmade)(nil); errors.As(err, &u) {
			_, told := c.actor.do(ctx, s.Rollout, CreateFailed(s.Rollout, u.rs, u.cause, now))
			err = errors.Join(err, told)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("rollout %s: %w", name, err)
		}
		if len(plan.Ops) == 0 {
			return plan.RequeueAt, c.release(ctx, &s)
		}
		if asked {
			return plan.RequeueAt, nil // the answer wakes it
		}
	}
	return time.Time{}, fmt.Errorf("rollout %s: %d rounds of deciding and acting have not come to an end; it is looked at again later", name, passes)
}

// state of a Rollout. It is new when the Rollout is; one that nobody has looked at yet is greeted.
func (c *Controller) state(name types.NamespacedName, ro *rollouts.Rollout) *state {
	c.mu.Lock()
	st := c.states[name]
	fresh := st == nil || st.uid != ro.UID
	if fresh {
		st = &state{uid: ro.UID}
		c.states[name] = st
	}
	c.mu.Unlock()
	if fresh && ro.Status.ObservedGeneration == "" {
		c.actor.reports.event(ro, Event{Reason: "RolloutAddedToInformer", Message: "Rollout resource added to informer: " + name.String()})
	}
	return st
}

// subscription begins the annotations by which a Rollout asks for notifications.
const subscription = "notifications.argoproj.io/subscribe."

// subscribed tells a Rollout that asks for notifications, once in a process, that none are sent.
func (c *Controller) subscribed(ro *rollouts.Rollout, st *state) {
	for key := range ro.Annotations {
		if !st.mute && strings.HasPrefix(key, subscription) {
			st.mute = true // only the Rollout's worker reads it
			c.actor.reports.event(ro, Event{Warning: true, Reason: "NotificationsNotSent",
				Message: "The Rollout subscribes to notifications (annotations " + subscription + "…), which Fairway does not send: let alerts watch its Events or metrics"})
		}
	}
}

// remember puts into a Snapshot what only memory knows.
func (c *Controller) remember(st *state, s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Refused, s.Calls, s.Asked, s.Balanced = maps.Clone(st.refused), maps.Clone(st.calls), maps.Clone(st.asked), c.Balancers != nil
}

// warn of what the plan before did not warn of.
func (c *Controller) warn(ro *rollouts.Rollout, st *state, p Plan) {
	c.mu.Lock()
	before := st.warnings
	st.warnings = p.Warnings
	c.mu.Unlock()
	for _, e := range p.Warnings {
		if !slices.Contains(before, e) {
			c.actor.reports.event(ro, e)
		}
	}
}

// adopt ReplicaSets that were left behind by a Rollout of the same selector.
func (c *Controller) adopt(ctx context.Context, ro *rollouts.Rollout) error {
	orphans := c.observer.orphans(ro)
	if len(orphans) == 0 || c.observer.peer(ro, time.Now()) != nil {
		return nil
	}
	p := Plan{}
	for _, rs := range orphans {
		after := *rs
		after.OwnerReferences = append(slices.Clone(rs.OwnerReferences), *metav1.NewControllerRef(ro, Kind))
		p.Ops = append(p.Ops, Op{Verb: Patch, Before: rs, After: &after})
	}
	_, err := c.actor.do(ctx, ro, p)
	return err
}

// release routers' objects that bear the Rollout's mark although it refers to them no more.
func (c *Controller) release(ctx context.Context, s *Snapshot) error {
	if len(s.Problems) > 0 || s.Peer != nil {
		return nil // what is refused says nothing about what is wanted; and another controller is in charge
	}
	ro := s.Rollout
	return c.releaseAll(ctx, ro, types.NamespacedName{Namespace: ro.Namespace, Name: ro.Name}, func(u *unstructured.Unstructured) bool {
		return s.Objects[traffic.Ref{GroupVersionKind: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName()}] != nil
	})
}

func (c *Controller) releaseAll(ctx context.Context, ro *rollouts.Rollout, name types.NamespacedName, keep func(*unstructured.Unstructured) bool) error {
	p := Plan{}
	for _, kind := range c.observer.stores.opened() {
		for _, obj := range c.observer.marked(kind, name.Namespace, name.Name) {
			u, ok := c.observer.written.over(idOf(obj), obj).(*unstructured.Unstructured)
			if !ok || keep != nil && keep(u) {
				continue
			}
			change, err := traffic.Release(u, name.Name)
			if err != nil {
				return err
			}
			if change != nil {
				p.Ops = append(p.Ops, Op{Verb: Patch, Before: change.Before, After: change.After})
			}
		}
	}
	if len(p.Ops) == 0 {
		return nil
	}
	_, err := c.actor.do(ctx, ro, p)
	return err
}

// gone takes away what a Rollout that is no more has left on Services and on routers' objects; not while another controller
// is in charge, and then it says when to look again.
func (c *Controller) gone(ctx context.Context, name types.NamespacedName) (again time.Duration, err error) {
	c.mu.Lock()
	st := c.states[name]
	delete(c.states, name)
	c.mu.Unlock()
	if st != nil {
		c.observer.forget(st.uid)
	}
	c.interests.set(name, nil)
	c.metrics.forget(name)
	ro := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	if peer := c.observer.peer(ro, time.Now()); peer != nil {
		return max(time.Until(peer.Until), time.Millisecond), nil
	}
	p := Plan{}
	for _, obj := range c.observer.marked(serviceKind, name.Namespace, name.Name) {
		svc, ok := c.observer.written.over(idOf(obj), obj).(*corev1.Service)
		if !ok {
			continue
		}
		if after, ok := Release(svc); ok {
			p.Ops = append(p.Ops, Op{Verb: Patch, Before: svc, After: after})
		}
	}
	if _, err = c.actor.do(ctx, ro, p); err == nil {
		err = c.releaseAll(ctx, ro, name, nil)
	}
	return 0, err
}

func (c *Controller) refused(ro *rollouts.Rollout, pod types.UID, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.states[types.NamespacedName{Namespace: ro.Namespace, Name: ro.Name}]
	if st == nil {
		return
	}
	if st.refused == nil {
		st.refused = map[types.UID]time.Time{}
	}
	maps.DeleteFunc(st.refused, func(_ types.UID, t time.Time) bool { return at.Sub(t) > restartRetry })
	st.refused[pod] = at
}

// ask a plugin in the background. Its answer wakes the Rollout.
func (c *Controller) ask(ro *rollouts.Rollout, call Call) {
	name := types.NamespacedName{Namespace: ro.Namespace, Name: ro.Name}
	c.mu.Lock()
	st := c.states[name]
	if st == nil || st.asked[call.Key] {
		c.mu.Unlock()
		return
	}
	if st.asked == nil {
		st.asked = map[string]bool{}
	}
	st.asked[call.Key] = true
	life := c.life
	c.mu.Unlock()
	c.asking.Go(func() {
		answer := CallResult{Err: fmt.Sprintf("the %s plugin %q is not configured here", call.Kind, call.Plugin)}
		switch {
		case call.Kind == Balancer && c.Balancers != nil:
			answer = answerOf(life, c.Balancers, ro.Namespace, call)
		case c.Plugins != nil:
			answer = c.Plugins.Ask(life, ro, call)
		}
		if answer.At.IsZero() {
			answer.At = time.Now()
		}
		answer.Of = call.Of
		c.mu.Lock()
		delete(st.asked, call.Key)
		if st.calls == nil {
			st.calls = map[string]CallResult{}
		}
		st.calls[call.Key] = answer
		for len(st.calls) > callsMax {
			delete(st.calls, oldest(st.calls))
		}
		c.mu.Unlock()
		c.wake(name)
	})
}

// oldest answer's key.
func oldest(calls map[string]CallResult) string {
	return slices.MinFunc(slices.Sorted(maps.Keys(calls)), func(a, b string) int { return calls[a].At.Compare(calls[b].At) })
}
