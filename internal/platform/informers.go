package platform

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// sharedInformers lends the informers of a client-go factory to the manager's cache, so that the virtual nodes, the
// in-process network and the capabilities hold one copy of each pod and decode each event once.
type sharedInformers struct {
	factory informers.SharedInformerFactory
	stop    <-chan struct{} // ends the factory's informers; later than the manager, which only borrows them
}

// informerFor returns the factory's informer for a kind that the embedded cluster watches anyway, or nil.
func (s sharedInformers) informerFor(obj runtime.Object) cache.SharedIndexInformer {
	core := s.factory.Core().V1()
	switch obj.(type) {
	case *corev1.Pod:
		return core.Pods().Informer()
	case *corev1.Node:
		return core.Nodes().Informer()
	case *corev1.Service:
		return core.Services().Informer()
	case *corev1.ConfigMap:
		return core.ConfigMaps().Informer()
	case *corev1.PersistentVolumeClaim:
		return core.PersistentVolumeClaims().Informer()
	case *corev1.PersistentVolume:
		return core.PersistentVolumes().Informer()
	case *discoveryv1.EndpointSlice:
		return s.factory.Discovery().V1().EndpointSlices().Informer()
	case *appsv1.Deployment:
		return s.factory.Apps().V1().Deployments().Informer()
	case *batchv1.Job:
		return s.factory.Batch().V1().Jobs().Informer()
	case *appsv1.ReplicaSet:
		return s.factory.Apps().V1().ReplicaSets().Informer()
	}
	return nil
}

// newInformer is the manager's cache's way to make an informer.
func (s sharedInformers) newInformer(lw cache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
	i := s.informerFor(obj)
	if i == nil {
		return cache.NewSharedIndexInformer(lw, obj, resync, indexers)
	}
	missing := cache.Indexers{}
	have := i.GetIndexer().GetIndexers()
	for name, f := range indexers {
		if have[name] == nil {
			missing[name] = f
		}
	}
	if len(missing) > 0 {
		if err := i.AddIndexers(missing); err != nil {
			return cache.NewSharedIndexInformer(lw, obj, resync, indexers)
		}
	}
	return borrowed{SharedIndexInformer: i, from: s}
}

// borrowed is an informer that its factory runs and stops.
type borrowed struct {
	cache.SharedIndexInformer
	from sharedInformers
}

// Run implements cache.SharedInformer.
func (b borrowed) Run(stop <-chan struct{}) {
	b.from.factory.Start(b.from.stop)
	<-stop
}

// RunWithContext implements cache.SharedInformer.
func (b borrowed) RunWithContext(ctx context.Context) { b.Run(ctx.Done()) }

// SetTransform implements cache.SharedInformer; the factory has set its own.
func (b borrowed) SetTransform(cache.TransformFunc) error { return nil }

// SetWatchErrorHandler implements cache.SharedInformer; the factory has set its own.
func (b borrowed) SetWatchErrorHandler(cache.WatchErrorHandler) error { return nil }

// SetWatchErrorHandlerWithContext implements cache.SharedInformer; the factory has set its own.
func (b borrowed) SetWatchErrorHandlerWithContext(cache.WatchErrorHandlerWithContext) error {
	return nil
}
