package experiment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// errStale says that the cache is behind what was met: decide anew when it has caught up.
var errStale = errors.New("the object has changed since it was decided on")

// refusals are what the API server refused for good, by Experiment and template. Lost with the process: it is then refused
// again.
type refusals struct {
	mu  sync.Mutex
	all map[types.UID]map[string]string
}

func (r *refusals) of(ex types.UID) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.all[ex])
}

func (r *refusals) note(ex types.UID, template, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[types.UID]map[string]string{}
	}
	if r.all[ex] == nil {
		r.all[ex] = map[string]string{}
	}
	r.all[ex][template] = why
}

func (r *refusals) forget(ex types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, ex)
}

// act carries the Ops of a plan out in order, up to the first error.
func (c *Controller) act(ctx context.Context, ex *argo.Experiment, plan Plan) error {
	for i := range plan.Ops {
		op := &plan.Ops[i]
		done, err := c.op(ctx, ex, op)
		if err != nil {
			return err
		}
		if done {
			c.tell(ctx, ex, op.Events)
		}
	}
	return nil
}

// op carries out one Op. done is false when it was refused for good, which the next decision takes into account.
func (c *Controller) op(ctx context.Context, ex *argo.Experiment, op *Op) (done bool, err error) {
	switch op.Verb {
	case Create:
		return c.create(ctx, ex, op)
	case Patch:
		after := op.After.DeepCopyObject().(client.Object)
		err = c.Client.Patch(ctx, after, client.MergeFromWithOptions(op.Before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(c.FieldOwner))
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return false, fmt.Errorf("patching %s: %w: %w", describe(op.Before), errStale, err)
		}
		if err != nil {
			return false, fmt.Errorf("patching %s: %w", describe(op.Before), err)
		}
		c.written.keep(after, false)
	case Delete:
		uid := op.Before.GetUID()
		err = c.Client.Delete(ctx, op.Before, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("deleting %s: %w", describe(op.Before), err)
		}
		c.written.keep(op.Before, true)
	}
	return true, nil
}

func (c *Controller) create(ctx context.Context, ex *argo.Experiment, op *Op) (bool, error) {
	o := op.After.DeepCopyObject().(client.Object)
	err := c.Client.Create(ctx, o, client.FieldOwner(c.FieldOwner))
	switch {
	case err == nil:
		c.written.keep(o, false)
		return true, nil
	case apierrors.IsAlreadyExists(err):
		// Made by a pass whose end nobody saw, or by somebody else: the cache will show which.
		return false, fmt.Errorf("making %s: %w: %w", describe(o), errStale, err)
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		c.refused.note(ex.UID, op.Template, refusal(op, o, err))
		if _, ok := o.(*appsv1.ReplicaSet); ok {
			c.tell(ctx, ex, []Event{{Warning: true, Reason: "ReplicaSetCreateError", Message: fmt.Sprintf("Failed to create new replica set %q: %v", o.GetName(), err)}})
		}
		return false, nil
	}
	return false, fmt.Errorf("making %s: %w", describe(o), err)
}

// refusal says in the peer's words what could not be made.
func refusal(op *Op, o client.Object, err error) string {
	switch o.(type) {
	case *appsv1.ReplicaSet:
		return fmt.Sprintf("Failed to create ReplicaSet for template '%s': %v", op.Template, err)
	case *corev1.Service:
		return fmt.Sprintf("Failed to create Service %s for template '%s': %v", o.GetName(), op.Template, err)
	}
	return err.Error()
}

func describe(o client.Object) string {
	return fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
}
