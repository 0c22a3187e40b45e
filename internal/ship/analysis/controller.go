package analysis

import (
	"context"
	"log/slog"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairway-dev/fairway/api/rollouts"
)

const (
	// InstanceLabel shards objects among controllers.
	InstanceLabel = argo.LabelKeyControllerInstanceID
	// workersDefault is how many runs are looked at at once; no measurement is waited for.
	workersDefault = 10
	// roundsMax bounds how often one look at a run goes from deciding to acting; two are what a Job that is ended takes.
	roundsMax = 4
	// againAfter is when a run is looked at again whose write met a newer version, or for which the pool had no room.
	againAfter = 20 * time.Millisecond
	fullAfter  = time.Second
	// retryFirst and retryMost bound the wait after a failure; it doubles between them.
	retryFirst = 5 * time.Millisecond
	retryMost  = 20 * time.Second
)

// Controller carries AnalysisRuns out. Fill in the fields, then call SetUp.
type Controller struct {
	// Client reads from the cache and writes; Reader reads from the API server itself.
	Client client.Client
	Reader client.Reader
	// Providers by Kind, or by the name of a plugin of this process: provider.All makes them.
	Providers map[string]Provider
	// External plugins; nil = none.
	External External
	// Recorder of Events on runs.
	Recorder record.EventRecorder
	// InstanceID chooses the runs to carry out by InstanceLabel; "" = those without it.
	InstanceID string
	// FieldOwner of what the controller writes.
	FieldOwner string
	Log        *slog.Logger
	// Aside says until when another controller acts on an object, which is left alone till then; nil or zero = none does.
	Aside func(ctx context.Context, o client.Object) (until time.Time, err error)
	// Workers look at runs at once; 0 = 10.
	Workers int

	meter   meter
	pool    *pool
	written written
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	metrics *runMetrics
}

// Rules are the rights a Controller needs.
func Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{rollouts.GroupVersion.Group}, Resources: []string{"analysisruns"}, Verbs: []string{"list", "watch", "patch", "delete"}},
		{APIGroups: []string{rollouts.GroupVersion.Group}, Resources: []string{"analysisruns/finalizers"}, Verbs: []string{"update"}},
		{APIGroups: []string{rollouts.GroupVersion.Group}, Resources: []string{"analysistemplates", "clusteranalysistemplates"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get", "list", "watch", "create", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
	}
}

// SetUp registers the controller and its pool of measurements with a manager, which owns their goroutines.
func (c *Controller) SetUp(_ context.Context, m manager.Manager) error {
	if c.Workers == 0 {
		c.Workers = workersDefault
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.meter = meter{secrets: Secrets(c.Reader), providers: c.Providers, external: c.External}
	c.pool = &pool{max: underWayMax, wake: func(run types.NamespacedName) { c.queue.Add(reconcile.Request{NamespacedName: run}) }}
	c.metrics = newRunMetrics(c.Client)
	if err := m.Add(c.pool); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(m).Named("analysisrun").
		For(&argo.AnalysisRun{}, builder.WithPredicates(predicate.NewPredicateFuncs(c.ours))).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(runOfJob), builder.WithPredicates(predicate.NewPredicateFuncs(ofRun))).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(c.runOfPod), builder.WithPredicates(predicate.NewPredicateFuncs(stuckPod))).
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			c.queue = q // measurements come back by it; none begins before the controller runs
			return nil
		})).
		WithOptions(controller.Options{MaxConcurrentReconciles: c.Workers, UsePriorityQueue: ptr.To(false), // that one wakes twice a second
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryMost)}).
		Complete(c)
}

// ours says whether this instance carries a run out.
func (c *Controller) ours(o client.Object) bool { return o.GetLabels()[InstanceLabel] == c.InstanceID }

// ofRun chooses the Jobs of metrics.
func ofRun(o client.Object) bool { return o.GetLabels()[JobRunUIDLabel] != "" }

// stuckPod chooses the pods of metrics' Jobs whose images do not come. All else that pods do shows in their Job.
func stuckPod(o client.Object) bool {
	pod, ok := o.(*corev1.Pod)
	return ok && ofRun(o) && stuck([]corev1.Pod{*pod}) != ""
}

func runOfJob(_ context.Context, o client.Object) []reconcile.Request {
	a := o.GetAnnotations()
	if a[jobRunNameAnnotation] == "" {
		return nil
	}
	namespace := a[jobNamespaceAnnotation]
	if namespace == "" {
		namespace = o.GetNamespace()
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: a[jobRunNameAnnotation]}}}
}

func (c *Controller) runOfPod(ctx context.Context, o client.Object) []reconcile.Request {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != "Job" {
		return nil
	}
	job, err := c.job(ctx, o.GetNamespace(), owner.Name)
	if err != nil || job == nil {
		return nil
	}
	return runOfJob(ctx, job)
}

// Reconcile looks at one run: observe, decide, act, and look again as long as acting changed something.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	started := time.Now()
	result, err := c.look(ctx, request.NamespacedName)
	c.metrics.looked(request.NamespacedName, time.Since(started), err)
	return result, err
}

func (c *Controller) look(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	cached := &argo.AnalysisRun{}
	if err := c.Client.Get(ctx, key, cached); apierrors.IsNotFound(err) {
		c.forget(key)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	run := c.written.over(cached)
	if !run.DeletionTimestamp.IsZero() || !c.ours(run) {
		c.pool.drop(key)
		return reconcile.Result{}, nil
	}
	if c.Aside != nil && !run.Status.Phase.Completed() {
		until, err := c.Aside(ctx, run)
		if err != nil {
			return reconcile.Result{}, err
		}
		if wait := time.Until(until); wait > 0 {
			c.pool.drop(key)
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	return c.carryOut(ctx, run)
}

func (c *Controller) forget(key types.NamespacedName) {
	c.pool.drop(key)
	c.written.forget(key)
	c.metrics.forget(key)
}

// carryOut records what has been measured, judges, begins what is due and stores the outcome in one write.
func (c *Controller) carryOut(ctx context.Context, before *argo.AnalysisRun) (reconcile.Result, error) {
	run := before.DeepCopy()
	results := c.pool.results(run.UID)
	var events []Event
	var dropped []argo.Measurement
	var plan Plan
	var wanted map[workKey]bool
	full := false
	for range roundsMax {
		now := time.Now()
		v := verdict(run, results, now)
		run.Status = v.Status
		events, dropped = append(events, v.Events...), append(dropped, v.Dropped...)
		plan = Next(run, now)
		var err error
		if results, wanted, full, err = c.do(ctx, run, plan.Tasks); err != nil {
			return reconcile.Result{}, err
		}
		if len(results) == 0 {
			break
		}
	}
	if plan.Delete {
		c.Log.Info("deleting an analysis run that has outlived its ttlStrategy", "namespace", run.Namespace, "analysisrun", run.Name)
		return reconcile.Result{}, client.IgnoreNotFound(c.Client.Delete(ctx, run, client.Preconditions{UID: &run.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	}
	if !equality.Semantic.DeepEqual(before.Status, run.Status) {
		if err := c.write(ctx, before, run); apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: againAfter}, nil
		} else if err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		c.tell(run, events)
		if err := c.clean(ctx, client.ObjectKeyFromObject(run), dropped); err != nil {
			c.Log.Warn("deleting Jobs of old measurements; they go with their run", "namespace", run.Namespace, "analysisrun", run.Name, "err", err)
		}
	}
	c.pool.settle(run.UID, wanted) // not before the write: a result that was not stored is needed again
	return reconcile.Result{RequeueAfter: waiting(plan.RequeueAt, full, len(results) > 0)}, nil
}

// waiting is how long until the run is to be looked at again; 0 = until something changes.
func waiting(at time.Time, full, unfinished bool) time.Duration {
	wait := time.Duration(0)
	if !at.IsZero() {
		wait = max(time.Until(at), time.Nanosecond)
	}
	if full && (wait == 0 || wait > fullAfter) {
		wait = fullAfter
	}
	if unfinished {
		wait = time.Nanosecond
	}
	return wait
}

// verdict records results and judges, or ends the run for what cannot be mended.
func verdict(run *argo.AnalysisRun, results []Result, now time.Time) Verdict {
	for i := range results {
		if results[i].Fatal != "" {
			return Abandon(run, results[i].Fatal, now)
		}
	}
	judged := *run
	judged.Status = Record(run, results)
	return Assess(&judged, now)
}
