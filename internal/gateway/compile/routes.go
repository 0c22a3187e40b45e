package compile

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// routeKey names a route, and the Gateway where it differs from others (see config.RuleKey).
type routeKey struct {
	kind    string
	name    config.Name
	gateway config.Name
	part    string // of an object that is translated in parts
}

// route is what routes of all kinds of the Gateway API have in common.
type route struct {
	kind      string
	meta      metav1.Object
	parents   []gw.ParentReference
	defaults  gw.GatewayDefaultScope
	hostnames []gw.Hostname
	translate func(*translator)
	statuses  map[config.Name]gw.RouteStatus
}

// had tells whether the route had a parent of ours at that time.
func (r *route) had(s Statuses) bool {
	statuses := map[string]map[config.Name]gw.RouteStatus{kindHTTPRoute: s.HTTPRoutes, kindGRPCRoute: s.GRPCRoutes, kindTLSRoute: s.TLSRoutes}[r.kind]
	return len(statuses[nameOf(r.meta)].Parents) > 0
}

func (r *route) key() routeKey { return routeKey{kind: r.kind, name: nameOf(r.meta)} }

// routes of the kinds that are served, in the order of precedence: the oldest first, then by namespace and name.
func (c *compilation) routes() []*route {
	all := make([]*route, 0, len(c.in.HTTPRoutes)+len(c.in.GRPCRoutes)+len(c.in.TLSRoutes))
	for _, o := range c.in.HTTPRoutes {
		all = append(all, &route{kindHTTPRoute, o, o.Spec.ParentRefs, o.Spec.UseDefaultGateways, o.Spec.Hostnames,
			func(t *translator) { t.httpRoute(o) }, c.out.Statuses.HTTPRoutes})
	}
	for _, o := range c.in.GRPCRoutes {
		all = append(all, &route{kindGRPCRoute, o, o.Spec.ParentRefs, o.Spec.UseDefaultGateways, o.Spec.Hostnames,
			func(t *translator) { t.grpcRoute(o) }, c.out.Statuses.GRPCRoutes})
	}
	for _, o := range c.in.TLSRoutes {
		all = append(all, &route{kindTLSRoute, o, o.Spec.ParentRefs, o.Spec.UseDefaultGateways, o.Spec.Hostnames,
			func(t *translator) { t.tlsRoute(o) }, c.out.Statuses.TLSRoutes})
	}
	slices.SortFunc(all, func(a, b *route) int {
		if order := older(a.meta, b.meta); order != 0 {
			return order
		}
		return strings.Compare(a.kind, b.kind)
	})
	return all
}

// compileRoutes translates the routes that have a parent of ours, attaches them and says what came of it.
func (c *compilation) compileRoutes() {
	for _, r := range c.routes() {
		c.route(r)
	}
	for _, o := range c.in.TCPRoutes {
		c.refuseL4("TCPRoute", o, o.Spec.ParentRefs, c.out.Statuses.TCPRoutes)
	}
	for _, o := range c.in.UDPRoutes {
		c.refuseL4("UDPRoute", o, o.Spec.ParentRefs, c.out.Statuses.UDPRoutes)
	}
}

// claim is what one parent reference of a route came to.
type claim struct {
	ref       gw.ParentReference
	parent    *parent
	accepted  verdict
	listeners []*listener
	serve     *compiled
	live      bool // what is served has a socket
}

func (c *compilation) route(r *route) {
	claims := c.claims(r)
	if len(claims) == 0 {
		if r.had(c.last.statuses) {
			r.statuses[nameOf(r.meta)] = gw.RouteStatus{Parents: []gw.RouteParentStatus{}}
		}
		return
	}
	var done *compiled
	var attachedTo []*listener
	for i := range claims {
		cl := &claims[i]
		// Once for each Gateway that shows its backends a certificate of its own, and once for all others.
		at := slices.IndexFunc(claims[:i], func(o claim) bool { return o.parent.identity == cl.parent.identity })
		if at >= 0 {
			cl.serve, cl.live = claims[at].serve, claims[at].live
		} else {
			serve, present := c.compiledRoute(r, cl.parent.identity)
			if cl.serve = serve; done == nil {
				done = present
			}
		}
		for _, l := range cl.listeners {
			if slices.Contains(attachedTo, l) {
				continue
			}
			attachedTo = append(attachedTo, l)
			if !done.accepted.bad {
				l.attached++
			}
			l.take(r)
			c.attach(l, cl.serve)
			if len(l.sockets) > 0 && !cl.live {
				cl.live = true
				c.live = append(c.live, cl.serve)
			}
		}
		if at >= 0 {
			claims[at].live = cl.live
		}
		c.noteAncestors(cl.serve, cl)
	}
	r.statuses[nameOf(r.meta)] = c.routeStatus(r, claims, done)
}

// compiledRoute is the version to serve, and the version to speak of: they differ when the present one is not valid and
// the last good one goes on being served.
func (c *compilation) compiledRoute(r *route, id *identity) (serve, present *compiled) {
	key := r.key()
	if id != nil {
		key.gateway = id.gateway
	}
	present = c.translated(c.last.routes[key], key, specVersion(r.meta), id, r)
	c.next.routes[key] = present
	if !present.accepted.bad {
		return present, present
	}
	good := c.last.good[key]
	if was := c.last.routes[key]; was != nil && !was.accepted.bad {
		good = was
	}
	if good == nil || good.uid != present.uid {
		return present, present
	}
	good = c.translated(good, key, specVersion(good.source.meta), id, good.source)
	c.next.good[key] = good
	if !slices.Contains(c.out.StaleRoutes, key.name) {
		c.out.StaleRoutes = append(c.out.StaleRoutes, key.name)
	}
	shown := *present
	shown.accepted.message += fmt.Sprintf("; the last good version (generation %d) goes on being served", good.generation)
	return good, &shown
}

// claims finds the parents of ours, and which of their listeners take the route.
func (c *compilation) claims(r *route) []claim {
	refs := r.parents
	if r.defaults == gw.GatewayDefaultScopeAll {
		refs = append(slices.Clone(refs), c.defaultParents()...)
	}
	var claims []claim
	for _, ref := range refs {
		group, kind := string(or(ref.Group, gw.GroupName)), string(or(ref.Kind, kindGateway))
		name := config.Name{Namespace: namespaceOr(ref.Namespace, r.meta.GetNamespace()), Name: string(ref.Name)}
		p := c.parents[parentKey{kind, name}]
		if group != gw.GroupName || p == nil {
			continue
		}
		cl := claim{ref: ref, parent: p}
		c.choose(&cl, r)
		claims = append(claims, cl)
	}
	return claims
}

// defaultParents are the Gateways that take every route that asks for a default.
func (c *compilation) defaultParents() []gw.ParentReference {
	var refs []gw.ParentReference
	for _, g := range byAge(c.in.Gateways) {
		if g.Spec.DefaultScope == gw.GatewayDefaultScopeAll && c.parents[parentKey{kindGateway, nameOf(g)}] != nil {
			ns := gw.Namespace(g.Namespace)
			refs = append(refs, gw.ParentReference{Namespace: &ns, Name: gw.ObjectName(g.Name)})
		}
	}
	return refs
}

// choose the listeners of a parent that take a route, or the reason why none does.
func (c *compilation) choose(cl *claim, r *route) {
	if cl.parent.refused.bad {
		cl.accepted.blame(string(gw.RouteReasonNoMatchingParent), fmt.Sprintf("%s %s is not served: %s", cl.parent.key.kind, cl.parent.key.name, cl.parent.refused.message))
		return
	}
	named, allowed, taken := 0, 0, false
	for _, l := range cl.parent.listeners {
		if cl.ref.SectionName != nil && *cl.ref.SectionName != "" && l.spec.Name != *cl.ref.SectionName || cl.ref.Port != nil && *cl.ref.Port != l.spec.Port {
			continue
		}
		named++
		if !l.serves() || !l.allowsKind(r.kind) || !c.takesNamespace(l, r.meta.GetNamespace()) {
			continue
		}
		allowed++
		if len(r.hostnames) > 0 && !slices.ContainsFunc(r.hostnames, func(h gw.Hostname) bool {
			_, meet := intersect(l.hostname(), strings.ToLower(string(h)))
			return meet
		}) {
			continue
		}
		if l.takenBy(r) {
			taken = true
			continue
		}
		cl.listeners = append(cl.listeners, l)
	}
	switch {
	case len(cl.listeners) > 0:
	case named == 0:
		cl.accepted.blame(string(gw.RouteReasonNoMatchingParent), fmt.Sprintf("%s %s has no listener of that sectionName and port", cl.parent.key.kind, cl.parent.key.name))
	case allowed == 0:
		cl.accepted.blame(string(gw.RouteReasonNotAllowedByListeners),
			fmt.Sprintf("no listener of %s %s takes a %s of namespace %s; see its allowedRoutes, and whether it is in conflict", cl.parent.key.kind, cl.parent.key.name, r.kind, r.meta.GetNamespace()))
	case taken:
		cl.accepted.blame("HostnameConflict", "hostnames: an older route of the other kind (HTTPRoute or GRPCRoute) has one of them on the same listener; give this one others")
	default:
		cl.accepted.blame(string(gw.RouteReasonNoMatchingListenerHostname),
			fmt.Sprintf("hostnames: none of them is one of a listener of %s %s", cl.parent.key.kind, cl.parent.key.name))
	}
}

func (c *compilation) takesNamespace(l *listener, namespace string) bool {
	from, selector := gw.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if l.spec.AllowedRoutes != nil && l.spec.AllowedRoutes.Namespaces != nil {
		from, selector = or(l.spec.AllowedRoutes.Namespaces.From, from), l.spec.AllowedRoutes.Namespaces.Selector
	}
	return c.selects(from, selector, l.owner().name.Namespace, namespace)
}

func (c *compilation) routeStatus(r *route, claims []claim, done *compiled) gw.RouteStatus {
	status := gw.RouteStatus{Parents: make([]gw.RouteParentStatus, 0, len(claims))}
	generation := r.meta.GetGeneration()
	for _, cl := range claims {
		accepted := cl.accepted
		if !accepted.bad {
			accepted = done.accepted
		}
		conditions := []metav1.Condition{
			condition(gw.RouteConditionAccepted, accepted, generation, gw.RouteReasonAccepted, ""),
			condition(gw.RouteConditionResolvedRefs, done.resolved, generation, gw.RouteReasonResolvedRefs, ""),
		}
		if done.partial != "" && !accepted.bad {
			conditions = append(conditions, metav1.Condition{Type: string(gw.RouteConditionPartiallyInvalid), Status: metav1.ConditionTrue,
				ObservedGeneration: generation, Reason: string(gw.RouteReasonUnsupportedValue), Message: cut(done.partial)})
		}
		status.Parents = append(status.Parents, gw.RouteParentStatus{ParentRef: cl.ref, ControllerName: c.in.Controller, Conditions: conditions})
	}
	return status
}

// refuseL4 tells routes of kinds that are not served so.
func (c *compilation) refuseL4(kind string, o metav1.Object, refs []gw.ParentReference, statuses map[config.Name]gw.RouteStatus) {
	r := &route{kind: kind, meta: o, parents: refs}
	var status gw.RouteStatus
	v := verdict{true, string(gw.RouteReasonNotAllowedByListeners), kind + " is not served by this gateway yet; use HTTPRoute, GRPCRoute or TLSRoute"}
	for _, cl := range c.claims(r) {
		status.Parents = append(status.Parents, gw.RouteParentStatus{ParentRef: cl.ref, ControllerName: c.in.Controller, Conditions: []metav1.Condition{
			condition(gw.RouteConditionAccepted, v, o.GetGeneration(), gw.RouteReasonAccepted, ""),
			condition(gw.RouteConditionResolvedRefs, verdict{}, o.GetGeneration(), gw.RouteReasonResolvedRefs, ""),
		}})
	}
	if status.Parents != nil {
		statuses[nameOf(o)] = status
	}
}
