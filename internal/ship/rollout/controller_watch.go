package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// Cached is what the manager's cache has to know: of Rollouts it keeps whether Argo Rollouts' controller writes them, and of
// Leases it watches that controller's alone, of the instance.
func Cached(instanceID string) map[client.Object]ctrlcache.ByObject {
	return map[client.Object]ctrlcache.ByObject{
		&rollouts.Rollout{}:     {Transform: KeepPeerWrites},
		&coordinationv1.Lease{}: {Field: fields.OneTermEqualSelector("metadata.name", PeerLease(instanceID))},
	}
}

// watch opens the caches and lets their events wake Rollouts.
func (c *Controller) watch(ctx context.Context, m manager.Manager, ctrl controller.Controller) error {
	s := c.observer.stores
	informers := m.GetCache()
	s.open = func(ctx context.Context, kind schema.GroupVersionKind) (cache.Indexer, error) {
		i, err := informers.GetInformer(ctx, newObject(kind), ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return nil, err
		}
		ix, err := c.listen(kind, i)
		if err != nil {
			return nil, err
		}
		if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			return nil, fmt.Errorf("its cache did not fill within %v; may Fairway list and watch it?", fillWithin)
		}
		return ix, nil
	}
	for _, kind := range always {
		i, err := informers.GetInformer(ctx, newObject(kind), ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %s: %w", kind.Kind, err)
		}
		ix, err := c.listen(kind, i)
		if err != nil {
			return fmt.Errorf("watching %s: %w", kind.Kind, err)
		}
		s.put(kind, ix)
	}
	err := m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		c.asking.Wait()
		return nil
	}))
	if err != nil {
		return err
	}
	return ctrl.Watch(source.Func(func(life context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		c.mu.Lock()
		c.life, c.queue = life, q
		c.mu.Unlock()
		for _, kind := range [...]schema.GroupVersionKind{Kind, serviceKind} { // those that came before there was a queue
			for _, obj := range s.have(kind).List() {
				c.heard(obj.(client.Object), false)
			}
		}
		return nil
	}))
}

// listen to an informer, and give its cache the indexes of its kind.
func (c *Controller) listen(kind schema.GroupVersionKind, i ctrlcache.Informer) (cache.Indexer, error) {
	indexed, ok := i.(cache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("the cache of %s is of type %T, which has no indexes: several namespaces cannot be watched one by one", kind.Kind, i)
	}
	ix, missing := indexed.GetIndexer(), cache.Indexers{}
	for name, f := range indexers(kind) {
		if _, there := ix.GetIndexers()[name]; !there {
			missing[name] = f
		}
	}
	if len(missing) > 0 {
		if err := indexed.AddIndexers(missing); err != nil {
			return nil, err
		}
	}
	_, err := i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(obj any, _ bool) { c.heardOf(nil, obj) },
		UpdateFunc: c.heardOf,
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if o, ok := obj.(client.Object); ok {
				c.heard(o, true)
			}
		},
	})
	return ix, err
}

// heardOf an object that was added or has changed.
func (c *Controller) heardOf(before, after any) {
	obj, ok := after.(client.Object)
	if !ok {
		return
	}
	old, changed := before.(client.Object)
	if changed && old.GetResourceVersion() == obj.GetResourceVersion() {
		return
	}
	if l, ok := obj.(*coordinationv1.Lease); ok {
		if was, ok := before.(*coordinationv1.Lease); !ok || otherHolder(was, l) {
			c.wakeAll()
		}
		return
	}
	if changed {
		c.wakeOwner(old) // it may have another one now
	}
	c.heard(obj, false)
}

// otherHolder is whether a Lease has passed from one to another, or had lapsed in between.
func otherHolder(was, is *coordinationv1.Lease) bool {
	if was.Spec.HolderIdentity == nil || is.Spec.HolderIdentity == nil || *was.Spec.HolderIdentity != *is.Spec.HolderIdentity {
		return true
	}
	if was.Spec.RenewTime == nil || is.Spec.RenewTime == nil || was.Spec.LeaseDurationSeconds == nil {
		return true
	}
	return is.Spec.RenewTime.Sub(was.Spec.RenewTime.Time).Seconds() > float64(*was.Spec.LeaseDurationSeconds)
}

// heard wakes the Rollouts that an object concerns.
func (c *Controller) heard(obj client.Object, gone bool) {
	c.observer.written.seen(obj, gone)
	namespace, name := obj.GetNamespace(), obj.GetName()
	switch o := obj.(type) {
	case *rollouts.Rollout:
		c.wake(types.NamespacedName{Namespace: namespace, Name: name})
		return
	case *coordinationv1.Lease:
		c.wakeAll()
		return
	case *corev1.Pod:
		if owner := metav1.GetControllerOfNoCopy(o); owner != nil && owner.Kind == replicaSetKind.Kind {
			c.wakeInterested(id{podKind, namespace, owner.Name})
		}
		return
	case *corev1.Service:
		if mark := o.Annotations[ManagedByAnnotation]; mark != "" {
			c.wake(types.NamespacedName{Namespace: namespace, Name: mark})
		}
	}
	c.wakeOwner(obj)
	c.wakeInterested(idOf(obj))
}

// wakeOwner wakes the Rollout that controls an object; a ReplicaSet that nobody controls wakes those that may adopt it.
func (c *Controller) wakeOwner(obj client.Object) {
	owner := metav1.GetControllerOfNoCopy(obj)
	switch {
	case owner != nil && owner.Kind == Kind.Kind && owner.APIVersion == rollouts.GroupVersion.String():
		c.wake(types.NamespacedName{Namespace: obj.GetNamespace(), Name: owner.Name})
	case owner == nil && kindOf(obj) == replicaSetKind && obj.GetLabels()[HashLabel] != "":
		c.wakeNamespace(obj.GetNamespace())
	}
}

func (c *Controller) wakeInterested(key id) {
	for _, name := range c.interests.who(key) {
		c.wake(name)
	}
}

func (c *Controller) wakeNamespace(namespace string) {
	ix := c.observer.stores.have(Kind)
	if ix == nil {
		return
	}
	all, err := ix.ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return
	}
	c.wakeEach(all)
}

func (c *Controller) wakeAll() {
	if ix := c.observer.stores.have(Kind); ix != nil {
		c.wakeEach(ix.List())
	}
}

func (c *Controller) wakeEach(all []any) {
	names := make([]string, 0, len(all))
	for _, o := range all {
		if ro, ok := o.(*rollouts.Rollout); ok {
			names = append(names, ro.Namespace+"/"+ro.Name)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		namespace, name, _ := strings.Cut(n, "/")
		c.wake(types.NamespacedName{Namespace: namespace, Name: name})
	}
}

// wake a Rollout: look at it as soon as a worker is free.
func (c *Controller) wake(name types.NamespacedName) {
	if q := c.work(); q != nil {
		q.Add(reconcile.Request{NamespacedName: name})
	}
}

func (c *Controller) work() workqueue.TypedRateLimitingInterface[reconcile.Request] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue
}
