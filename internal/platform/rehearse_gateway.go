package platform

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/flowpath"
	"github.com/fairway-dev/fairway/internal/kube/controlplane"
	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/kube/virtual/program"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// rehearsalEntrance is where Ingresses and foreign objects are served in a rehearsal, and rehearsalPool where Gateways get
// addresses from: names only, nothing listens.
var (
	rehearsalEntrance = gateway.Entrance(gateway.DefaultPool)
	rehearsalPool     = netip.MustParseAddr("127.32.0.1")
)

// gatewayNames are groups whose objects need the gateway.
var gatewayNames = []string{"gateway.networking.k8s.io/", "gateway.networking.x-k8s.io/", `"kind":"BackendPolicy"`}

// routedDocument tells whether a run needs the gateway: it has its objects, or loads that come through it.
func routedDocument(doc *play.Document) bool {
	for i := range doc.Scenario.Spec.Load {
		if _, routed := model.Through(doc.Scenario.Spec.Load[i].To); routed {
			return true
		}
	}
	return slices.ContainsFunc(gatewayNames, doc.Names)
}

// flowGateway is the gateway of a rehearsal: what the API server holds, compiled at each change, and carried out on rates.
type flowGateway struct {
	rerouted func()
	objects  map[string]cache.Indexer // by kind

	mu        sync.Mutex
	table     *flowpath.Table
	last      *compile.Output
	dirty     bool // objects have changed since they were compiled
	version   uint64
	evidence  *evidence.Store
	addresses map[config.Name]netip.Addr
}

// routedKinds are those that routes are made of.
var routedKinds = []struct {
	name   string
	object client.Object
}{
	{"classes", &gw.GatewayClass{}}, {"gateways", &gw.Gateway{}}, {"sets", &gw.ListenerSet{}}, {"http", &gw.HTTPRoute{}}, {"grpc", &gw.GRPCRoute{}},
	{"grants", &gw.ReferenceGrant{}}, {"trust", &gw.BackendTLSPolicy{}}, {"traffic", &gwx.XBackendTrafficPolicy{}}, {"externals", &gwx.XBackend{}},
	{"policies", &fairway.BackendPolicy{}}, {"ingresses", &networkingv1.Ingress{}}, {"ingressClasses", &networkingv1.IngressClass{}},
	{"services", &corev1.Service{}}, {"namespaces", &corev1.Namespace{}}, {"secrets", &corev1.Secret{}}, {"configMaps", &corev1.ConfigMap{}},
	{"slices", &discoveryv1.EndpointSlice{}}, {"pods", &corev1.Pod{}},
}

// newFlowGateway watches what routes are made of.
func newFlowGateway(ctx context.Context, plane *controlplane.ControlPlane, on []Capability, o play.HouseOptions) (*flowGateway, error) {
	g := &flowGateway{rerouted: o.Rerouted, objects: map[string]cache.Indexer{}, table: flowpath.New(o.Document.Seed), dirty: true,
		addresses: map[config.Name]netip.Addr{}}
	cfg := plane.ConfigAs(userName(Namespace), "system:masters")
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{addKubernetes, apiextensionsv1.AddToScheme, gateway.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	web, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	mapper, err := newMapper(on)(cfg, web)
	if err != nil {
		return nil, err
	}
	watched, err := ctrlcache.New(cfg, ctrlcache.Options{Scheme: scheme, HTTPClient: web, Mapper: mapper, NewInformer: sharedInformers{plane.Informers(), ctx.Done()}.newInformer})
	if err != nil {
		return nil, err
	}
	for _, k := range routedKinds {
		informer, err := watched.GetInformer(ctx, k.object, ctrlcache.BlockUntilSynced(false))
		if err == nil {
			err = g.follow(k.name, informer)
		}
		if err != nil {
			return nil, fmt.Errorf("watching %T: %w", k.object, err)
		}
	}
	if slices.ContainsFunc(gateway.ForeignKinds, func(k schema.GroupVersionKind) bool { return o.Document.Names(k.Group) }) {
		definitions, err := watched.GetInformer(ctx, &apiextensionsv1.CustomResourceDefinition{}, ctrlcache.BlockUntilSynced(false))
		if err != nil {
			return nil, err
		}
		if _, err := definitions.AddEventHandler(foreignDefinitions{ctx, g, watched}); err != nil {
			return nil, err
		}
	}
	go func() { _ = watched.Start(ctx) }() // ends with ctx, and has no other error
	return g, nil
}

// follow the objects of a kind.
func (g *flowGateway) follow(name string, informer ctrlcache.Informer) error {
	shared, ok := informer.(cache.SharedIndexInformer)
	if !ok {
		return fmt.Errorf("the informer is a %T, without a cache to read", informer)
	}
	g.mu.Lock()
	g.objects[name] = shared.GetIndexer()
	g.mu.Unlock()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { g.changed(name) }, DeleteFunc: func(any) { g.changed(name) },
		UpdateFunc: func(old, now any) {
			before, ok := old.(client.Object)
			after, fine := now.(client.Object)
			if ok && fine && before.GetResourceVersion() == after.GetResourceVersion() {
				return
			}
			g.changed(name)
		}})
	return err
}

// changed notes that what was compiled may be out of date. What pods do shows in their EndpointSlices.
func (g *flowGateway) changed(kind string) {
	if kind == "pods" {
		return
	}
	g.mu.Lock()
	g.dirty = true
	g.mu.Unlock()
	g.rerouted()
}

// foreignDefinitions opens the caches of other routers' objects when their definitions are there.
type foreignDefinitions struct {
	ctx     context.Context
	of      *flowGateway
	watched ctrlcache.Cache
}

func (f foreignDefinitions) OnAdd(obj any, _ bool) { f.see(obj) }
func (f foreignDefinitions) OnUpdate(_, obj any)   { f.see(obj) }
func (f foreignDefinitions) OnDelete(any)          {}
func (f foreignDefinitions) see(obj any) {
	def, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok || !established(def) {
		return
	}
	for _, k := range gateway.ForeignKinds {
		if def.Spec.Group != k.Group || def.Spec.Names.Kind != k.Kind {
			continue
		}
		f.of.mu.Lock()
		known := f.of.objects[k.Kind] != nil
		f.of.mu.Unlock()
		if known {
			return
		}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(schema.GroupVersionKind{Group: k.Group, Version: def.Spec.Versions[0].Name, Kind: k.Kind})
		if informer, err := f.watched.GetInformer(f.ctx, object, ctrlcache.BlockUntilSynced(false)); err == nil {
			_ = f.of.follow(k.Kind, informer) // an informer that has ended has no handlers
		}
	}
}

func listed[T client.Object](g *flowGateway, kind string) []T {
	indexer := g.objects[kind]
	if indexer == nil {
		return nil
	}
	var out []T
	for _, o := range indexer.List() {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// bring what is served up to date. The caller holds the lock.
func (g *flowGateway) bring(now time.Time) {
	if !g.dirty {
		return
	}
	g.dirty = false
	in := compile.Input{Now: now, ForeignClasses: foreignClasses(GatewayOptions{}),
		Classes: listed[*gw.GatewayClass](g, "classes"), Gateways: listed[*gw.Gateway](g, "gateways"), ListenerSets: listed[*gw.ListenerSet](g, "sets"),
		HTTPRoutes: listed[*gw.HTTPRoute](g, "http"), GRPCRoutes: listed[*gw.GRPCRoute](g, "grpc"), ReferenceGrants: listed[*gw.ReferenceGrant](g, "grants"),
		BackendTLSPolicies: listed[*gw.BackendTLSPolicy](g, "trust"), TrafficPolicies: listed[*gwx.XBackendTrafficPolicy](g, "traffic"),
		XBackends: listed[*gwx.XBackend](g, "externals"), BackendPolicies: listed[*fairway.BackendPolicy](g, "policies"),
		Ingresses: listed[*networkingv1.Ingress](g, "ingresses"), IngressClasses: listed[*networkingv1.IngressClass](g, "ingressClasses"),
		Services: listed[*corev1.Service](g, "services"), Namespaces: listed[*corev1.Namespace](g, "namespaces"),
		Secrets: listed[*corev1.Secret](g, "secrets"), ConfigMaps: listed[*corev1.ConfigMap](g, "configMaps"),
		Addresses: map[config.Name][]netip.Addr{}, IngressAddresses: []netip.Addr{rehearsalEntrance}, Previous: g.last,
	}
	for _, k := range gateway.ForeignKinds {
		in.Foreign = append(in.Foreign, listed[*unstructured.Unstructured](g, k.Kind)...)
	}
	for _, o := range in.Gateways {
		name := config.Name{Namespace: o.Namespace, Name: o.Name}
		if _, ok := g.addresses[name]; !ok {
			next := rehearsalPool
			for range g.addresses {
				next = next.Next()
			}
			g.addresses[name] = next
		}
		in.Addresses[name] = []netip.Addr{g.addresses[name]}
	}
	out := compile.Compile(in)
	if g.last == nil || out.Config != g.last.Config {
		g.table.Publish(out.Config)
		g.version++
	}
	g.last = &out
	for _, b := range g.table.Backends() {
		if b != nil && b.Key.Kind != config.ExternalBackend && b.Key.Name != (config.Name{}) && g.table.SetEndpoints(b.Key, g.endpoints(b), now) {
			g.version++
		}
	}
}

// endpoints of a backend, as its EndpointSlices say.
func (g *flowGateway) endpoints(b *config.Backend) (out []config.Endpoint) {
	obj, found, _ := g.objects["services"].GetByKey(b.Key.Name.String())
	svc, ok := obj.(*corev1.Service)
	if !found || !ok {
		return nil
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == b.Key.Port })
	if at < 0 {
		return nil
	}
	for _, s := range listed[*discoveryv1.EndpointSlice](g, "slices") {
		if s.Namespace != b.Key.Name.Namespace || s.Labels[discoveryv1.LabelServiceName] != b.Key.Name.Name {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || deref(p.Name, "") != svc.Spec.Ports[at].Name {
				continue
			}
			for i := range s.Endpoints {
				if e, ok := g.endpoint(b, &s.Endpoints[i], s.Namespace); ok {
					e.Port = *p.Port
					out = append(out, e)
				}
			}
		}
	}
	return out
}

func (g *flowGateway) endpoint(b *config.Backend, from *discoveryv1.Endpoint, namespace string) (config.Endpoint, bool) {
	c := from.Conditions
	if len(from.Addresses) == 0 || from.TargetRef == nil || from.TargetRef.Kind != "Pod" || !deref(c.Serving, deref(c.Ready, true)) {
		return config.Endpoint{}, false
	}
	one := config.Endpoint{Address: from.Addresses[0], Zone: deref(from.Zone, ""), Pod: from.TargetRef.Name, UID: string(from.TargetRef.UID), Terminating: deref(c.Terminating, false)}
	obj, _, _ := g.objects["pods"].GetByKey(namespace + "/" + one.Pod)
	pod, ok := obj.(*corev1.Pod)
	if ok && pod.UID == from.TargetRef.UID {
		one.Revision = program.Revision(pod)
	}
	for k, v := range b.Labels {
		if !ok || pod.Labels[k] != v {
			return one, false
		}
	}
	return one, true
}

func deref[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}

// Version implements play.Router.
func (g *flowGateway) Version() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bring(time.Now())
	return g.version
}

// Way implements play.Router.
func (g *flowGateway) Way(q route.Request, now time.Time) route.Way {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Way(q, now)
}

// Observe implements play.Router.
func (g *flowGateway) Observe(outcomes []route.Outcome, now time.Time) (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Observe(outcomes, now)
}

// Count implements play.Router.
func (g *flowGateway) Count(a route.Account, now time.Time) {
	g.mu.Lock()
	store := g.evidence
	g.mu.Unlock()
	if store == nil {
		return
	}
	k := evidence.Key{Namespace: a.Namespace, Revision: a.Revision, Route: a.Route}
	if one := store.Series(k); one != nil && !one.AddMany(a.Requests, a.Errors, a.Latency, now) {
		if one = store.Series(k); one != nil { // it was forgotten, and is there anew
			one.AddMany(a.Requests, a.Errors, a.Latency, now)
		}
	}
}

// feed is where evidence goes from now on: each life of the controllers has its own.
func (g *flowGateway) feed(s *evidence.Store) {
	g.mu.Lock()
	g.evidence = s
	g.mu.Unlock()
}
