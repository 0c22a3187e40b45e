package gateway

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// endpoints keeps the endpoints of backends in step with EndpointSlices. Events go straight to the data path; a compilation
// only says which Services there are backends of.
type endpoints struct {
	pods     func() cache.Indexer
	services func() cache.Indexer
	set      func(config.BackendKey, []config.Endpoint)
	revision func(*corev1.Pod) string

	mu       sync.Mutex
	slices   map[config.Name]map[string]*discoveryv1.EndpointSlice // by Service, then by the slice's name
	backends map[config.Name][]*config.Backend                     // by Service
	missing  map[string]config.Name                                // Services of pods whose labels are not known yet, by namespace/name
}

// follow takes the backends there are now, and gives each its endpoints.
func (e *endpoints) follow(backends []*config.Backend) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.backends
	e.backends = map[config.Name][]*config.Backend{}
	for _, b := range backends {
		if b != nil && b.Key.Kind != config.ExternalBackend && b.Key.Name != (config.Name{}) {
			e.backends[b.Key.Name] = append(e.backends[b.Key.Name], b)
		}
	}
	for service, list := range e.backends {
		if !slices.Equal(before[service], list) {
			e.tell(service)
		}
	}
}

func (e *endpoints) OnAdd(obj any, _ bool) { e.change(obj, true) }
func (e *endpoints) OnUpdate(_, obj any)   { e.change(obj, true) }

func (e *endpoints) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	e.change(obj, false)
}

func (e *endpoints) change(obj any, there bool) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	service := config.Name{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.slices == nil {
		e.slices = map[config.Name]map[string]*discoveryv1.EndpointSlice{}
	}
	of := e.slices[service]
	if of == nil {
		of = map[string]*discoveryv1.EndpointSlice{}
		e.slices[service] = of
	}
	if there {
		of[s.Name] = s
	} else if delete(of, s.Name); len(of) == 0 {
		delete(e.slices, service)
	}
	e.tell(service)
}

// tell the data path the endpoints of a Service's backends.
func (e *endpoints) tell(service config.Name) {
	for _, b := range e.backends[service] {
		e.set(b.Key, e.of(b))
	}
}

// of a backend: what its slices say of the port with the name that the Service's port has.
func (e *endpoints) of(b *config.Backend) (out []config.Endpoint) {
	obj, found, _ := e.services().GetByKey(b.Key.Name.String())
	svc, ok := obj.(*corev1.Service)
	if !found || !ok {
		return nil
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == b.Key.Port })
	if at < 0 {
		return nil
	}
	known := e.slices[b.Key.Name]
	for _, name := range slices.Sorted(maps.Keys(known)) {
		s := known[name]
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != svc.Spec.Ports[at].Name || p.Name == nil && svc.Spec.Ports[at].Name != "" {
				continue
			}
			for i := range s.Endpoints {
				out = e.add(out, b, &s.Endpoints[i], *p.Port, s.Namespace)
			}
		}
	}
	return out
}

func (e *endpoints) add(out []config.Endpoint, b *config.Backend, from *discoveryv1.Endpoint, port int32, namespace string) []config.Endpoint {
	is := func(condition *bool, unset bool) bool {
		if condition == nil {
			return unset
		}
		return *condition
	}
	ready := is(from.Conditions.Ready, true)
	if len(from.Addresses) == 0 || !is(from.Conditions.Serving, ready) {
		return out
	}
	one := config.Endpoint{Address: from.Addresses[0], Port: port, Terminating: is(from.Conditions.Terminating, false)}
	if from.Zone != nil {
		one.Zone = *from.Zone
	}
	var labels map[string]string
	if ref := from.TargetRef; ref != nil && ref.Kind == "Pod" {
		one.Pod, one.UID = ref.Name, string(ref.UID)
		obj, _, _ := e.pods().GetByKey(namespace + "/" + ref.Name)
		if pod, ok := obj.(*corev1.Pod); ok && pod.UID == ref.UID {
			one.Revision, labels = e.revision(pod), pod.Labels
		} else {
			if e.missing == nil {
				e.missing = map[string]config.Name{}
			}
			e.missing[namespace+"/"+ref.Name] = b.Key.Name
		}
	}
	for k, v := range b.Labels {
		if labels[k] != v {
			return out
		}
	}
	return append(out, one)
}

// arrivals hears of pods that their EndpointSlices were ahead of.
type arrivals struct{ of *endpoints }

func (a arrivals) OnAdd(obj any, _ bool) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	key := pod.Namespace + "/" + pod.Name
	if service, waits := a.of.missing[key]; waits {
		delete(a.of.missing, key)
		a.of.tell(service)
	}
}

func (a arrivals) OnUpdate(any, any) {}

func (a arrivals) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		a.of.mu.Lock()
		delete(a.of.missing, pod.Namespace+"/"+pod.Name)
		a.of.mu.Unlock()
	}
}
