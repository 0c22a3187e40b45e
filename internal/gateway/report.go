package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gw "sigs.k8s.io/gateway-api/apis/v1"
	gwx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	fairway "github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/gateway/compile"
	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	// statusWriters write statuses at once.
	statusWriters = 8
	// maxTold bounds the events that are remembered so as to be told once.
	maxTold = 10_000
)

// report writes the statuses that differ from what the objects say, and tells what is new. A write that meets a change of
// the object is left: the change brings another step.
func (c *Controller) report(ctx context.Context, out *compile.Output) {
	var writes []client.Object
	s, st := &c.stores, &out.Statuses
	now := metav1.Now()
	for name, status := range st.GatewayClasses {
		if o := find[*gw.GatewayClass](s.classes, name); o != nil {
			next := o.DeepCopy()
			next.Status.SupportedFeatures = status.SupportedFeatures
			mergeConditions(&next.Status.Conditions, status.Conditions, now)
			writes = differs(writes, o, next, o.Status, next.Status)
		}
	}
	for name, status := range st.Gateways {
		if o := find[*gw.Gateway](s.gateways, name.String()); o != nil {
			next := o.DeepCopy()
			next.Status = status
			next.Status.Conditions = slices.Clone(o.Status.Conditions)
			mergeConditions(&next.Status.Conditions, status.Conditions, now)
			next.Status.Listeners = datedListeners(status.Listeners, o.Status.Listeners, now, partsOfListener)
			writes = differs(writes, o, next, o.Status, next.Status)
		}
	}
	for name, status := range st.ListenerSets {
		if o := find[*gw.ListenerSet](s.listenerSets, name.String()); o != nil {
			next := o.DeepCopy()
			next.Status = status
			next.Status.Conditions = slices.Clone(o.Status.Conditions)
			mergeConditions(&next.Status.Conditions, status.Conditions, now)
			next.Status.Listeners = datedListeners(status.Listeners, o.Status.Listeners, now, partsOfEntry)
			writes = differs(writes, o, next, o.Status, next.Status)
		}
	}
	writes = writesOf(writes, s.http, st.HTTPRoutes, now, func(o *gw.HTTPRoute) *[]gw.RouteParentStatus { return &o.Status.Parents }, parentsOf, partsOfRoute)
	writes = writesOf(writes, s.grpc, st.GRPCRoutes, now, func(o *gw.GRPCRoute) *[]gw.RouteParentStatus { return &o.Status.Parents }, parentsOf, partsOfRoute)
	writes = writesOf(writes, s.tls, st.TLSRoutes, now, func(o *gw.TLSRoute) *[]gw.RouteParentStatus { return &o.Status.Parents }, parentsOf, partsOfRoute)
	writes = writesOf(writes, s.tcp, st.TCPRoutes, now, func(o *gw.TCPRoute) *[]gw.RouteParentStatus { return &o.Status.Parents }, parentsOf, partsOfRoute)
	writes = writesOf(writes, s.udp, st.UDPRoutes, now, func(o *gw.UDPRoute) *[]gw.RouteParentStatus { return &o.Status.Parents }, parentsOf, partsOfRoute)
	writes = writesOf(writes, s.trust, st.BackendTLSPolicies, now, func(o *gw.BackendTLSPolicy) *[]gw.PolicyAncestorStatus { return &o.Status.Ancestors }, ancestorsOf, partsOfPolicy)
	writes = writesOf(writes, s.traffic, st.TrafficPolicies, now, func(o *gwx.XBackendTrafficPolicy) *[]gw.PolicyAncestorStatus { return &o.Status.Ancestors }, ancestorsOf, partsOfPolicy)
	writes = writesOf(writes, s.externals, st.XBackends, now, func(o *gwx.XBackend) *[]gwx.BackendAncestorStatus { return &o.Status.Ancestors }, usersOf, partsOfBackend)
	for name, status := range st.BackendPolicies {
		if o := find[*fairway.BackendPolicy](s.policies, name.String()); o != nil {
			next := o.DeepCopy()
			next.Status = status
			next.Status.Conditions = slices.Clone(o.Status.Conditions)
			mergeConditions(&next.Status.Conditions, status.Conditions, now)
			writes = differs(writes, o, next, o.Status, next.Status)
		}
	}
	for name, status := range st.Ingresses {
		if o := find[*networkingv1.Ingress](s.ingresses, name.String()); o != nil {
			next := o.DeepCopy()
			next.Status = status
			writes = differs(writes, o, next, o.Status, next.Status)
		}
	}
	c.write(ctx, writes)
	c.tell(out.Events)
}

func differs(writes []client.Object, o, next client.Object, was, is any) []client.Object {
	if equality.Semantic.DeepEqual(was, is) {
		return writes
	}
	return append(writes, next)
}

func find[T client.Object](store cache.Indexer, key string) (zero T) {
	if store == nil {
		return zero
	}
	obj, found, _ := store.GetByKey(key)
	if o, ok := obj.(T); found && ok {
		return o
	}
	return zero
}

// write statuses, a few at once.
func (c *Controller) write(ctx context.Context, objects []client.Object) {
	queue := make(chan client.Object)
	var group sync.WaitGroup
	for range min(statusWriters, len(objects)) {
		group.Go(func() {
			for o := range queue {
				err := c.manager.GetClient().Status().Update(ctx, o)
				if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || ctx.Err() != nil {
					continue
				}
				c.log.Warn("writing a status", "object", fmt.Sprintf("%T %s", o, nameOf(o)), "error", err)
				time.AfterFunc(time.Second, c.changed) // nothing else may bring it about again
			}
		})
	}
	for _, o := range objects {
		queue <- o
	}
	close(queue)
	group.Wait()
}

// tell events that were not told before.
func (c *Controller) tell(events []compile.Event) {
	if c.options.Recorder == nil {
		return
	}
	if len(c.told) > maxTold {
		clear(c.told)
	}
	for _, e := range events {
		key := e.Kind + e.Object.String() + e.Reason + e.Message
		if c.told[key] {
			continue
		}
		c.told[key] = true
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		if o := c.object(e.Kind, e.Object); o != nil {
			c.options.Recorder.Event(o, kind, e.Reason, e.Message)
		}
	}
}

// tellRoute tells a warning about a route.
func (c *Controller) tellRoute(r Route, reason, message string) {
	c.log.Warn(message, "route", r.Kind+" "+r.String())
	if o := c.object(r.Kind, r.Name); o != nil && c.options.Recorder != nil {
		c.options.Recorder.Event(o, corev1.EventTypeWarning, reason, message)
	}
}

// object of a kind by its name; nil when it is not cached.
func (c *Controller) object(kind string, name config.Name) client.Object {
	s := &c.stores
	stores := map[string]cache.Indexer{"GatewayClass": s.classes, "Gateway": s.gateways, "ListenerSet": s.listenerSets, "HTTPRoute": s.http, "GRPCRoute": s.grpc,
		"TLSRoute": s.tls, "TCPRoute": s.tcp, "UDPRoute": s.udp, "BackendTLSPolicy": s.trust, "XBackendTrafficPolicy": s.traffic, "XBackend": s.externals,
		"BackendPolicy": s.policies, "Ingress": s.ingresses, "Service": s.services}
	c.mu.RLock()
	for k, store := range s.foreign {
		stores[k.Kind] = store
	}
	c.mu.RUnlock()
	key := name.String()
	if name.Namespace == "" {
		key = name.Name
	}
	return find[client.Object](stores[kind], key)
}

// routeVersions returns a function that says which version of a route is cached; "" when it is gone.
func (c *Controller) routeVersions() func(Route) string {
	return func(r Route) string {
		if o := c.object(r.Kind, r.Name); o != nil {
			return o.GetResourceVersion()
		}
		return ""
	}
}
