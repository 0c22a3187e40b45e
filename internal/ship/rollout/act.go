package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-dev/fairway/api/rollouts"
	"github.com/fairway-dev/fairway/internal/ship/traffic"
)

// errStale says that an object has changed since it was decided on: decide anew.
var errStale = errors.New("the object has changed since it was decided on")

// Plugins of other programs that steps and traffic routers may call.
type Plugins interface {
	// Ask a plugin. It may take long; ctx ends with the process. The Rollout is not to be changed.
	Ask(ctx context.Context, ro *rollouts.Rollout, c Call) CallResult
}

// actor carries Plans out. It writes and never reads.
type actor struct {
	client  client.Client
	stores  *stores
	written *written
	reports *reporter
	owner   client.FieldOwner
	log     *slog.Logger
	// dataPath is told of weights before they are written; nil = there is none.
	dataPath traffic.DataPath
	// ask a plugin in the background; the answer wakes the Rollout.
	ask func(ro *rollouts.Rollout, c Call)
	// refused notes that a budget refused to let a pod go.
	refused func(ro *rollouts.Rollout, pod types.UID, at time.Time)
}

// run is one carrying out of a Plan.
type run struct {
	*actor
	ctx    context.Context
	ro     *rollouts.Rollout
	latest map[types.UID]string // resourceVersions of what this run has written
	asked  bool
}

// do the Ops of a Plan in order, up to the first error or Barrier. Each Op's Events are told when it is done. asked says that
// a plugin was asked, so that nothing more can be decided before it answers.
func (a *actor) do(ctx context.Context, ro *rollouts.Rollout, p Plan) (asked bool, err error) {
	r := run{actor: a, ctx: ctx, ro: ro, latest: map[types.UID]string{}}
	for i := range p.Ops {
		op := &p.Ops[i]
		if err := r.op(op); err != nil {
			return r.asked, err
		}
		for _, e := range op.Events {
			a.reports.event(ro, e)
		}
		if op.Barrier {
			return r.asked, nil
		}
	}
	for _, f := range p.Metrics {
		a.reports.finished(ro, f)
	}
	return r.asked, nil
}

func (r *run) op(op *Op) error {
	switch op.Verb {
	case Create:
		return r.create(op)
	case Patch:
		return r.patch(op, "")
	case PatchStatus:
		return r.patch(op, "status")
	case Delete:
		return r.delete(op)
	case Evict:
		return r.evict(op)
	case Scale:
		return r.scale(op)
	case Ask:
		r.asked = true
		r.ask(r.ro, *op.Call)
	}
	return nil
}

// wrap says what was being done to which object.
func wrap(verb string, obj client.Object, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err) && verb != "making":
		return fmt.Errorf("%s %s %s/%s: %w: %w", verb, kindOf(obj).Kind, obj.GetNamespace(), obj.GetName(), errStale, err)
	}
	return fmt.Errorf("%s %s %s/%s: %w", verb, kindOf(obj).Kind, obj.GetNamespace(), obj.GetName(), err)
}

// keep what the API server answered, as the caches would have it.
func (r *run) keep(obj client.Object, how wrote) {
	if ro, ok := obj.(*rollouts.Rollout); ok {
		_, _ = KeepPeerWrites(ro) // it has no errors
	} else {
		obj.SetManagedFields(nil)
	}
	r.latest[obj.GetUID()] = obj.GetResourceVersion()
	r.written.add(obj, how, r.stores.have(kindOf(obj)))
}

func (r *run) create(op *Op) error {
	obj := op.After.DeepCopyObject().(client.Object)
	r.reports.wrote(obj, "create")
	err := r.client.Create(r.ctx, obj, r.owner)
	if apierrors.IsAlreadyExists(err) {
		// Made by an earlier pass whose end nobody saw, or by somebody else: the cache will show which.
		return fmt.Errorf("making %s %s/%s: %w: %w", kindOf(obj).Kind, obj.GetNamespace(), obj.GetName(), errStale, err)
	}
	if rs, ok := obj.(*appsv1.ReplicaSet); ok && err != nil && !apierrors.IsConflict(err) {
		return &unmade{rs, err}
	}
	if err != nil {
		return wrap("making", obj, err)
	}
	r.keep(obj, changed)
	return nil
}

// unmade is a ReplicaSet that the API server did not let be made.
type unmade struct {
	rs    *appsv1.ReplicaSet
	cause error
}

func (e *unmade) Error() string {
	return fmt.Sprintf("making ReplicaSet %s/%s: %v", e.rs.Namespace, e.rs.Name, e.cause)
}

func (e *unmade) Unwrap() error { return e.cause }

// patch writes what differs, on condition that the object is as it was decided on.
func (r *run) patch(op *Op, subresource string) error {
	body, err := difference(op.Before, op.After)
	if err != nil || len(body) == 0 {
		return wrap("patching", op.Before, err)
	}
	version := op.Before.GetResourceVersion()
	if v, ok := r.latest[op.Before.GetUID()]; ok {
		version = v
	}
	meta, _ := body["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		body["metadata"] = meta
	}
	meta["resourceVersion"] = version
	raw, err := json.Marshal(body)
	if err != nil {
		return wrap("patching", op.Before, err)
	}
	obj := newObject(kindOf(op.Before))
	obj.SetNamespace(op.Before.GetNamespace())
	obj.SetName(op.Before.GetName())
	patch := client.RawPatch(types.MergePatchType, raw)
	r.reports.wrote(obj, "patch")
	written := r.steer(op)
	if subresource != "" {
		err = r.client.SubResource(subresource).Patch(r.ctx, obj, patch, r.owner)
	} else {
		err = r.client.Patch(r.ctx, obj, patch, r.owner)
	}
	written(obj.GetResourceVersion(), err)
	if err != nil {
		return wrap("patching", op.Before, err)
	}
	r.keep(obj, changed)
	return nil
}

// steer tells a data path of the weights that are about to be written. What it returns is to be told how the write ended. A
// write that meets a change of the object is decided anew: till then the weights hold, for they are what is wanted.
func (r *run) steer(op *Op) func(version string, err error) {
	if r.dataPath == nil || op.Steer == nil {
		return func(string, error) {}
	}
	s := op.Steer
	written, err := r.dataPath.SetWeights(r.ctx, s.Route, s.Rule, s.CanaryService, s.StableService, s.Weights)
	if err != nil { // it does not serve the route
		return func(string, error) {}
	}
	return func(version string, err error) {
		if apierrors.IsConflict(err) {
			version, err = op.Before.GetResourceVersion(), nil
		}
		written(version, err)
	}
}

// difference is the JSON merge patch (RFC 7386) from one object to another; empty = none.
func difference(before, after client.Object) (map[string]any, error) {
	raw, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return nil, err
	}
	var body map[string]any
	return body, json.Unmarshal(raw, &body)
}

func (r *run) delete(op *Op) error {
	uid := op.Before.GetUID()
	r.reports.wrote(op.Before, "delete")
	err := r.client.Delete(r.ctx, op.Before, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return wrap("deleting", op.Before, err)
	}
	gone := op.Before.DeepCopyObject().(client.Object)
	r.keep(gone, deleted)
	return nil
}

func (r *run) evict(op *Op) error {
	uid := op.Before.GetUID()
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: op.Before.GetNamespace(), Name: op.Before.GetName()},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}}
	r.reports.wrote(op.Before, "evict")
	err := r.client.SubResource("eviction").Create(r.ctx, op.Before, eviction)
	switch {
	case apierrors.IsTooManyRequests(err):
		r.refused(r.ro, uid, time.Now())
		return nil
	case err != nil && !apierrors.IsNotFound(err):
		return wrap("evicting", op.Before, err)
	}
	gone := op.Before.DeepCopyObject().(client.Object)
	now := metav1.Now()
	gone.SetDeletionTimestamp(&now)
	r.keep(gone, leaving)
	return nil
}

func (r *run) scale(op *Op) error {
	body, err := json.Marshal(map[string]any{"spec": map[string]any{"replicas": op.Replicas}})
	if err != nil {
		return wrap("scaling", op.Before, err)
	}
	r.reports.wrote(op.Before, "scale")
	obj := op.Before.DeepCopyObject().(client.Object)
	scale := &autoscalingv1.Scale{}
	err = r.client.SubResource("scale").Patch(r.ctx, obj, client.RawPatch(types.MergePatchType, body), client.WithSubResourceBody(scale), r.owner)
	if err != nil {
		return wrap("scaling", op.Before, err)
	}
	obj.SetResourceVersion(scale.ResourceVersion)
	switch o := obj.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &op.Replicas
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &op.Replicas
	}
	r.keep(obj, changed)
	return nil
}
