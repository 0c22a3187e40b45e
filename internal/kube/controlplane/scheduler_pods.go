package controlplane

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core"
	coreinformersv1 "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// schedulerFactory is the shared factory as the scheduler needs it: upstream's scheduler watches pods without those that
// have ended, and takes every pod it hears of to use its node. Here one informer holds all pods, so that the end of a pod is
// told to the scheduler as its deletion.
type schedulerFactory struct {
	informers.SharedInformerFactory
}

func (f schedulerFactory) Core() coreinformers.Interface {
	return schedulerCore{f.SharedInformerFactory.Core()}
}

type schedulerCore struct{ coreinformers.Interface }

func (c schedulerCore) V1() coreinformersv1.Interface { return schedulerCoreV1{c.Interface.V1()} }

type schedulerCoreV1 struct{ coreinformersv1.Interface }

func (c schedulerCoreV1) Pods() coreinformersv1.TypedPodInformer {
	pods := c.Interface.Pods()
	return coreinformersv1.ToTypedPodInformer(podInformer{pods, unendedPods{pods.Informer()}})
}

// unendedPods tells its handlers of pods that have not ended.
type unendedPods struct{ cache.SharedIndexInformer }

func (i unendedPods) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandler(withoutEnded(h))
}

func (i unendedPods) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(withoutEnded(h), resync)
}

func (i unendedPods) AddEventHandlerWithOptions(h cache.ResourceEventHandler, o cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithOptions(withoutEnded(h), o)
}

func withoutEnded(h cache.ResourceEventHandler) cache.ResourceEventHandler {
	return cache.FilteringResourceEventHandler{Handler: h, FilterFunc: func(o any) bool {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		p, ok := o.(*corev1.Pod)
		return !ok || p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
	}}
}
