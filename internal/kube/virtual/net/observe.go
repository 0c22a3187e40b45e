package vnet

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Informer is what [Tables.Observe] needs of an informer: those of client-go and of controller-runtime's cache fit.
type Informer interface {
	AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)
}

// Observe keeps the tables up from shared informers, one object an event. A nil informer is left out, for callers that
// feed that kind themselves. The registrations tell when the first lists have come through.
func (t *Tables) Observe(pods, nodes, services, endpointSlices Informer) ([]cache.ResourceEventHandlerRegistration, error) {
	var out []cache.ResourceEventHandlerRegistration
	for _, source := range []struct {
		name     string
		informer Informer
		handler  cache.ResourceEventHandler
	}{
		{"pods", pods, handler(t.SetPod, t.DeletePod)},
		{"nodes", nodes, handler(t.SetNode, t.DeleteNode)},
		{"services", services, handler(t.SetService, t.DeleteService)},
		{"endpointslices", endpointSlices, handler(t.SetSlice, t.DeleteSlice)},
	} {
		if source.informer == nil {
			continue
		}
		registration, err := source.informer.AddEventHandler(source.handler)
		if err != nil {
			return nil, fmt.Errorf("watch %s for the network's tables: %w", source.name, err)
		}
		out = append(out, registration)
	}
	return out, nil
}

func handler[T *corev1.Pod | *corev1.Node | *corev1.Service | *discoveryv1.EndpointSlice](set, remove func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if v, ok := o.(T); ok {
				set(v)
			}
		},
		UpdateFunc: func(_, o any) {
			if v, ok := o.(T); ok {
				set(v)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if v, ok := o.(T); ok {
				remove(v)
			}
		},
	}
}
