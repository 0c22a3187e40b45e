package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// classes accepts the GatewayClasses of this controller.
func (c *compilation) classes() {
	for _, class := range c.in.Classes {
		if class.Spec.ControllerName != c.in.Controller {
			continue
		}
		v := verdict{}
		if r := class.Spec.ParametersRef; r != nil {
			v.blame(string(gw.GatewayClassReasonInvalidParameters), fmt.Sprintf("parametersRef: kind %s has no parameters for this controller; remove the field", r.Kind))
		}
		status := gw.GatewayClassStatus{Conditions: []metav1.Condition{
			condition(gw.GatewayClassConditionStatusAccepted, v, class.Generation, gw.GatewayClassReasonAccepted, "served by this controller"),
			condition(gw.GatewayClassConditionStatusSupportedVersion, verdict{}, class.Generation, gw.GatewayClassReasonSupportedVersion, "Gateway API v1.6.3"),
		}}
		for _, name := range Features {
			status.SupportedFeatures = append(status.SupportedFeatures, gw.SupportedFeature{Name: gw.FeatureName(name)})
		}
		c.out.Statuses.GatewayClasses[class.Name] = status
		c.next.classes[class.Name] = !v.bad
	}
}

// gateways makes the listeners of the Gateways of our classes, and of their ListenerSets.
func (c *compilation) gateways() {
	sets := map[config.Name][]*gw.ListenerSet{}
	for _, s := range byAge(c.in.ListenerSets) {
		if string(or(s.Spec.ParentRef.Group, gw.GroupName)) == gw.GroupName && string(or(s.Spec.ParentRef.Kind, kindGateway)) == kindGateway {
			name := config.Name{Namespace: namespaceOr(s.Spec.ParentRef.Namespace, s.Namespace), Name: string(s.Spec.ParentRef.Name)}
			sets[name] = append(sets[name], s)
		}
	}
	for _, g := range byAge(c.in.Gateways) {
		if !c.next.classes[string(g.Spec.GatewayClassName)] {
			continue
		}
		c.gateway(g, sets[nameOf(g)])
	}
}

func (c *compilation) gateway(g *gw.Gateway, sets []*gw.ListenerSet) {
	p := &parent{key: parentKey{kindGateway, nameOf(g)}, gateway: g}
	c.parents[p.key] = p
	c.refuseGateway(p)
	p.identity = c.identity(p)
	all := make([]*listener, 0, len(g.Spec.Listeners))
	for _, spec := range g.Spec.Listeners {
		l := newListener(p, spec)
		p.listeners = append(p.listeners, l)
		all = append(all, l)
	}
	var attachedSets []*parent
	for _, s := range sets {
		sp := c.listenerSet(p, s)
		attachedSets = append(attachedSets, sp)
		if !sp.refused.bad {
			all = append(all, sp.listeners...)
		}
	}
	if n := g.Spec.AllowedListeners; n != nil && n.Namespaces != nil && n.Namespaces.Selector != nil || slices.ContainsFunc(all, (*listener).selectsByLabel) {
		c.out.Needs.NamespaceLabels = true
	}
	conflicts(all)
	overlaps(all)
	for _, l := range all {
		l.check()
		c.resolveTLS(l)
		c.bind(l, c.in.Addresses[p.key.name])
	}
	c.listeners = append(c.listeners, all...)
	c.sets[p.key] = attachedSets
}

// refuseGateway finds what keeps a whole Gateway from being served.
func (c *compilation) refuseGateway(p *parent) {
	g := p.gateway
	if infra := g.Spec.Infrastructure; infra != nil && infra.ParametersRef != nil {
		p.refused.blame(string(gw.GatewayReasonInvalidParameters),
			fmt.Sprintf("infrastructure.parametersRef: kind %s has no parameters for this controller; remove the field", infra.ParametersRef.Kind))
	}
	for i, a := range g.Spec.Addresses {
		if kind := or(a.Type, gw.IPAddressType); kind != gw.IPAddressType {
			p.refused.blame(string(gw.GatewayReasonUnsupportedAddress),
				fmt.Sprintf("addresses[%d].type: %s is not supported; use %s", i, kind, gw.IPAddressType))
		}
	}
}

// listenerSet of a Gateway, refused when the Gateway does not let it in.
func (c *compilation) listenerSet(p *parent, s *gw.ListenerSet) *parent {
	sp := &parent{key: parentKey{kindListenerSet, nameOf(s)}, gateway: p.gateway, set: s, identity: p.identity}
	c.parents[sp.key] = sp
	if !c.letsIn(p.gateway, s.Namespace) {
		sp.refused.blame(string(gw.ListenerSetReasonNotAllowed),
			fmt.Sprintf("Gateway %s allows no ListenerSet of namespace %s; change its spec.allowedListeners", p.key.name, s.Namespace))
	} else if p.refused.bad {
		sp.refused.blame(string(gw.ListenerSetReasonParentNotAccepted), "Gateway "+p.key.name.String()+" is not accepted: "+p.refused.message)
	}
	for _, e := range s.Spec.Listeners {
		sp.listeners = append(sp.listeners, newListener(sp, gw.Listener(e)))
	}
	return sp
}

func (c *compilation) letsIn(g *gw.Gateway, namespace string) bool {
	if g.Spec.AllowedListeners == nil || g.Spec.AllowedListeners.Namespaces == nil {
		return false
	}
	n := g.Spec.AllowedListeners.Namespaces
	return c.selects(or(n.From, gw.NamespacesFromNone), n.Selector, g.Namespace, namespace)
}

// selects tells whether a namespace is chosen.
func (c *compilation) selects(from gw.FromNamespaces, selector *metav1.LabelSelector, own, namespace string) bool {
	switch from {
	case gw.NamespacesFromAll:
		return true
	case gw.NamespacesFromSame:
		return own == namespace
	case gw.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		ns := c.namespaces[namespace]
		return err == nil && ns != nil && s.Matches(labels.Set(ns.Labels))
	}
	return false
}

// bind gives a listener its sockets. Of Gateways that share an address the older keeps what two of them want.
func (c *compilation) bind(l *listener, addresses []netip.Addr) {
	if !l.serves() || l.accepted.bad {
		l.program.blame(string(gw.ListenerReasonInvalid), "it is not served: "+strings.Join(nonempty(l.parent.refused.message, l.conflict.message, l.accepted.message), "; "))
		return
	}
	if len(addresses) == 0 {
		l.program.blame(string(gw.ListenerReasonPending), "the Gateway has no address yet")
		return
	}
	if l.terminates() && len(l.certificates) == 0 {
		l.program.blame(string(gw.ListenerReasonInvalid), "it has no certificate: "+l.resolved.message)
		return
	}
	for _, a := range addresses {
		at := netip.AddrPortFrom(a, uint16(l.spec.Port))
		if why, bad := c.in.Unavailable[at]; bad {
			l.accepted.blame(string(gw.ListenerReasonPortUnavailable), why)
			l.program.blame(string(gw.ListenerReasonPortUnavailable), why)
			continue
		}
		if other := sharedWith(l, c.taken[at]); other != nil {
			why := fmt.Sprintf("%s is served by %s %s with the same host name or another protocol", at, other.parent.key.kind, other.parent.key.name)
			l.accepted.blame(string(gw.ListenerReasonPortUnavailable), why)
			l.program.blame(string(gw.ListenerReasonPortUnavailable), why)
			continue
		}
		c.taken[at] = append(c.taken[at], l)
		l.sockets = append(l.sockets, at)
	}
}

func sharedWith(l *listener, others []*listener) *listener {
	i := slices.IndexFunc(others, func(o *listener) bool {
		return o.spec.Protocol != l.spec.Protocol || o.hostname() == l.hostname()
	})
	if i < 0 {
		return nil
	}
	return others[i]
}

func nonempty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(t string) bool { return t == "" })
}
