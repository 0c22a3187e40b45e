package gateway

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// AddToScheme adds the kinds that are read.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{gw.Install, gwx.Install, fairway.AddToScheme} {
		if err := add(s); err != nil {
			return err
		}
	}
	return nil
}

// ForeignKinds are the objects of other controllers that are read when their definitions exist.
var ForeignKinds = []schema.GroupVersionKind{
	{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"},
	{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"},
	{Group: "split.smi-spec.io", Version: "v1alpha2", Kind: "TrafficSplit"},
}

// stores are the caches of all kinds. One that is nil has no objects: its definition does not exist, or nothing refers to it.
type stores struct {
	classes, gateways, listenerSets, http, grpc, tls, tcp, udp, grants, trust, traffic, externals, policies cache.Indexer
	ingresses, ingressClasses, services, namespaces, secrets, configMaps                                    cache.Indexer
	slices, pods                                                                                            cache.Indexer
	foreign                                                                                                 map[schema.GroupVersionKind]cache.Indexer
}

// open the informers; each event of a kind that is compiled calls changed.
func (c *Controller) open(ctx context.Context, m manager.Manager) error {
	s := &c.stores
	for _, k := range []struct {
		object client.Object
		into   *cache.Indexer
	}{
		{&gw.GatewayClass{}, &s.classes}, {&gw.Gateway{}, &s.gateways}, {&gw.ListenerSet{}, &s.listenerSets}, {&gw.HTTPRoute{}, &s.http},
		{&gw.GRPCRoute{}, &s.grpc}, {&gw.TLSRoute{}, &s.tls}, {&gw.TCPRoute{}, &s.tcp}, {&gw.UDPRoute{}, &s.udp}, {&gw.ReferenceGrant{}, &s.grants},
		{&gw.BackendTLSPolicy{}, &s.trust}, {&gwx.XBackendTrafficPolicy{}, &s.traffic}, {&gwx.XBackend{}, &s.externals}, {&fairway.BackendPolicy{}, &s.policies},
		{&networkingv1.Ingress{}, &s.ingresses}, {&networkingv1.IngressClass{}, &s.ingressClasses}, {&corev1.Service{}, &s.services}, {&corev1.Namespace{}, &s.namespaces},
	} {
		indexer, err := watch(ctx, m, k.object, changes{c.changed})
		if err != nil {
			return fmt.Errorf("watching %T: %w", k.object, err)
		}
		*k.into = indexer
	}
	var err error
	if s.pods, err = watch(ctx, m, &corev1.Pod{}, arrivals{&c.endpoints}); err != nil {
		return err
	}
	s.slices, err = watch(ctx, m, &discoveryv1.EndpointSlice{}, &c.endpoints)
	return err
}

// watch returns the cache of a kind; handler, if not nil, is told of its events.
func watch(ctx context.Context, m manager.Manager, object client.Object, handler cache.ResourceEventHandler) (cache.Indexer, error) {
	i, err := m.GetCache().GetInformer(ctx, object)
	if err != nil {
		return nil, err
	}
	shared, ok := i.(cache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("the informer of %T is a %T, without a cache to read", object, i)
	}
	if handler != nil {
		if _, err := i.AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	return shared.GetIndexer(), nil
}

// openWhatIsNeeded opens the caches of kinds that are read only when something refers to them: Secrets with certificates,
// and ConfigMaps with CAs. It reports whether it opened any.
func (c *Controller) openWhatIsNeeded(ctx context.Context, n compile.Needs) (opened bool) {
	s := &c.stores
	for _, k := range []struct {
		needed bool
		object client.Object
		into   *cache.Indexer
	}{{len(n.Secrets) > 0, &corev1.Secret{}, &s.secrets}, {len(n.ConfigMaps) > 0, &corev1.ConfigMap{}, &s.configMaps}} {
		if !k.needed || *k.into != nil {
			continue
		}
		indexer, err := watch(ctx, c.manager, k.object, changes{c.changed})
		if err != nil {
			c.log.Warn("reading what routes and Gateways refer to", "kind", fmt.Sprintf("%T", k.object), "error", err)
			continue
		}
		*k.into = indexer
		opened = true
	}
	return opened
}

// openForeign opens the caches of foreign kinds whose definitions exist by now. It reports whether all do.
func (c *Controller) openForeign(ctx context.Context) bool {
	served := map[string]error{}
	for _, kind := range ForeignKinds {
		if c.stores.foreign[kind] != nil {
			continue
		}
		if _, asked := served[kind.Group]; !asked {
			served[kind.Group] = c.groupServed(ctx, kind.Group)
		}
		err := served[kind.Group]
		if apierrors.IsNotFound(err) {
			continue
		}
		var mapping *meta.RESTMapping
		if err == nil {
			mapping, err = c.manager.GetRESTMapper().RESTMapping(kind.GroupKind())
		}
		if meta.IsNoMatchError(err) {
			continue
		}
		object := &unstructured.Unstructured{}
		if err == nil {
			object.SetGroupVersionKind(mapping.GroupVersionKind)
			var indexer cache.Indexer
			if indexer, err = watch(ctx, c.manager, object, changes{c.changed}); err == nil {
				c.mu.Lock() // whoever tells of a route reads it
				c.stores.foreign[kind] = indexer
				c.mu.Unlock()
				c.changed()
			}
		}
		if err != nil {
			c.log.Warn("reading objects of another router", "kind", kind.Kind, "error", err)
		}
	}
	return len(c.stores.foreign) == len(ForeignKinds)
}

// changes calls a function at each event.
type changes struct{ call func() }

func (h changes) OnAdd(any, bool) { h.call() }
func (h changes) OnDelete(any)    { h.call() }
func (h changes) OnUpdate(old, now any) {
	before, ok := old.(client.Object)
	after, fine := now.(client.Object)
	if ok && fine && before.GetResourceVersion() == after.GetResourceVersion() {
		return // a resync
	}
	h.call()
}

// all objects of a cache.
func all[T any](i cache.Indexer) []T {
	if i == nil {
		return nil
	}
	list := i.List()
	out := make([]T, 0, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// input is the state of the cluster as the compiler takes it.
func (c *Controller) input() compile.Input {
	s := &c.stores
	in := compile.Input{
		Classes: all[*gw.GatewayClass](s.classes), Gateways: all[*gw.Gateway](s.gateways), ListenerSets: all[*gw.ListenerSet](s.listenerSets),
		HTTPRoutes: all[*gw.HTTPRoute](s.http), GRPCRoutes: all[*gw.GRPCRoute](s.grpc), TLSRoutes: all[*gw.TLSRoute](s.tls),
		TCPRoutes: all[*gw.TCPRoute](s.tcp), UDPRoutes: all[*gw.UDPRoute](s.udp), ReferenceGrants: all[*gw.ReferenceGrant](s.grants),
		BackendTLSPolicies: all[*gw.BackendTLSPolicy](s.trust), TrafficPolicies: all[*gwx.XBackendTrafficPolicy](s.traffic),
		XBackends: all[*gwx.XBackend](s.externals), BackendPolicies: all[*fairway.BackendPolicy](s.policies),
		Ingresses: all[*networkingv1.Ingress](s.ingresses), IngressClasses: all[*networkingv1.IngressClass](s.ingressClasses),
		Services: all[*corev1.Service](s.services), Namespaces: all[*corev1.Namespace](s.namespaces),
		Secrets: all[*corev1.Secret](s.secrets), ConfigMaps: all[*corev1.ConfigMap](s.configMaps),
		ForeignClasses: c.options.ForeignClasses, Unavailable: c.unavailable, Previous: c.last,
	}
	for _, kind := range ForeignKinds {
		in.Foreign = append(in.Foreign, all[*unstructured.Unstructured](s.foreign[kind])...)
	}
	return in
}

func nameOf(o client.Object) config.Name {
	return config.Name{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// groupServed is an error, NotFound among others, unless the API server serves a group. The manager's mapper would read all
// groups and kinds anew for each kind that it does not find.
func (c *Controller) groupServed(ctx context.Context, group string) error {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(c.manager.GetConfig(), c.manager.GetHTTPClient())
	if err != nil {
		return err
	}
	return d.RESTClient().Get().AbsPath("/apis", group).Do(ctx).Error()
}
