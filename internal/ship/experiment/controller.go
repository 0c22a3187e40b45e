package experiment

import (
	"context"
	"errors"
	"log/slog"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

const (
	workersDefault = 4
	// roundsMax bounds how often one look goes from deciding to acting: pods, times, analyses, the end, and as much again.
	roundsMax = 10
	// againAfter is when an Experiment is looked at again for which the cache was behind.
	againAfter = 20 * time.Millisecond
	// retryFirst and retryMost bound the wait after a failure; it doubles between them.
	retryFirst = 5 * time.Millisecond
	retryMost  = 20 * time.Second
)

// Controller carries Experiments out. Fill in the fields, then call SetUp.
type Controller struct {
	// Client reads from the cache and writes; Reader reads from the API server itself what the cache lacks: an Experiment must
	// not end because a cache is behind.
	Client client.Client
	Reader client.Reader
	// Recorder of Events on Experiments and on the Rollouts that own them.
	Recorder record.EventRecorder
	// InstanceID chooses the Experiments to carry out by analysis.InstanceLabel; "" = those without it.
	InstanceID string
	// FieldOwner of what the controller writes.
	FieldOwner string
	Log        *slog.Logger
	// Aside says until when another controller acts on an object, which is left alone till then; nil or zero = none does.
	Aside func(ctx context.Context, o client.Object) (until time.Time, err error)
	// Workers look at Experiments at once; 0 = 4.
	Workers int

	written written
	refused refusals
	metrics *experimentMetrics
}

// Rules are the rights a Controller needs.
func Rules() []rbacv1.PolicyRule {
	group := rollouts.GroupVersion.Group
	return []rbacv1.PolicyRule{
		{APIGroups: []string{group}, Resources: []string{"experiments"}, Verbs: []string{"list", "watch", "patch"}},
		{APIGroups: []string{group}, Resources: []string{"experiments/finalizers"}, Verbs: []string{"update"}},
		{APIGroups: []string{group}, Resources: []string{"analysisruns"}, Verbs: []string{"get", "list", "watch", "create", "patch"}},
		{APIGroups: []string{group}, Resources: []string{"analysistemplates", "clusteranalysistemplates"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{group}, Resources: []string{"rollouts"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"list", "watch", "create", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch", "create", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
	}
}

// SetUp registers the controller with a manager.
func (c *Controller) SetUp(ctx context.Context, m manager.Manager) error {
	if c.Workers == 0 {
		c.Workers = workersDefault
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.metrics = newExperimentMetrics(c.Client)
	for _, o := range []client.Object{&appsv1.ReplicaSet{}, &corev1.Service{}, &argo.AnalysisRun{}} {
		if err := m.GetFieldIndexer().IndexField(ctx, o, ownerIndex, byOwner); err != nil {
			return err
		}
	}
	return ctrl.NewControllerManagedBy(m).Named("experiment").
		For(&argo.Experiment{}, builder.WithPredicates(predicate.NewPredicateFuncs(c.ours))).
		Owns(&appsv1.ReplicaSet{}, builder.WithPredicates(onlyUpdates(replicasChanged))).
		Owns(&corev1.Service{}, builder.WithPredicates(onlyUpdates(func(_, _ client.Object) bool { return false }))).
		Owns(&argo.AnalysisRun{}, builder.WithPredicates(onlyUpdates(phaseChanged))).
		WithOptions(controller.Options{MaxConcurrentReconciles: c.Workers, UsePriorityQueue: ptr.To(false), // that one wakes twice a second
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryMost)}).
		Complete(c)
}

func (c *Controller) ours(o client.Object) bool {
	return o.GetLabels()[analysis.InstanceLabel] == c.InstanceID
}

// onlyUpdates lets through that an object came or went, and such changes of it as matter.
func onlyUpdates(matter func(before, after client.Object) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return matter(e.ObjectOld, e.ObjectNew) }}
}

func replicasChanged(before, after client.Object) bool {
	a, okA := before.(*appsv1.ReplicaSet)
	b, okB := after.(*appsv1.ReplicaSet)
	return okA && okB && (ptr.Deref(a.Spec.Replicas, 1) != ptr.Deref(b.Spec.Replicas, 1) || a.Status.Replicas != b.Status.Replicas ||
		a.Status.ReadyReplicas != b.Status.ReadyReplicas || a.Status.AvailableReplicas != b.Status.AvailableReplicas)
}

func phaseChanged(before, after client.Object) bool {
	a, okA := before.(*argo.AnalysisRun)
	b, okB := after.(*argo.AnalysisRun)
	return okA && okB && (a.Status.Phase != b.Status.Phase || a.Status.Message != b.Status.Message || a.Spec.Terminate != b.Spec.Terminate)
}

// Reconcile looks at one Experiment: observe, decide, act, and look again until there is nothing to do.
func (c *Controller) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	started := time.Now()
	result, err := c.look(ctx, request.NamespacedName)
	c.metrics.looked(request.NamespacedName, time.Since(started), err)
	return result, err
}

func (c *Controller) look(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	for range roundsMax {
		ex := &argo.Experiment{}
		if err := c.Client.Get(ctx, key, ex); apierrors.IsNotFound(err) {
			c.metrics.forget(key)
			return reconcile.Result{}, nil
		} else if err != nil {
			return reconcile.Result{}, err
		}
		ex = c.written.over(ex).(*argo.Experiment)
		if !ex.DeletionTimestamp.IsZero() || !c.ours(ex) {
			c.refused.forget(ex.UID)
			return reconcile.Result{}, nil
		}
		if c.Aside != nil {
			until, err := c.Aside(ctx, ex)
			if err != nil {
				return reconcile.Result{}, err
			}
			if wait := time.Until(until); wait > 0 {
				return reconcile.Result{RequeueAfter: wait}, nil
			}
		}
		if ex.Status.Phase.Completed() {
			c.refused.forget(ex.UID)
		}
		snapshot, err := c.observe(ctx, ex)
		if err != nil {
			return reconcile.Result{}, err
		}
		plan := Decide(snapshot, time.Now())
		if len(plan.Ops) == 0 {
			return reconcile.Result{RequeueAfter: waiting(plan.RequeueAt)}, nil
		}
		if err := c.act(ctx, ex, plan); errors.Is(err, errStale) {
			return reconcile.Result{RequeueAfter: againAfter}, nil
		} else if err != nil {
			return reconcile.Result{}, err
		}
	}
	c.Log.Warn("an experiment asks for writes without end; it is looked at again in a second", "namespace", key.Namespace, "experiment", key.Name)
	return reconcile.Result{RequeueAfter: time.Second}, nil
}

// waiting is how long until a time; 0 = for ever.
func waiting(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(time.Until(at), time.Nanosecond)
}
