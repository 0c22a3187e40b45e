package compile

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// reportParents says of each Gateway and ListenerSet what came of it.
func (c *compilation) reportParents() {
	for _, g := range c.in.Gateways {
		if p := c.parents[parentKey{kindGateway, nameOf(g)}]; p != nil {
			c.reportGateway(p)
			for _, s := range c.sets[p.key] {
				c.reportSet(p, s)
			}
		}
	}
}

func (c *compilation) reportGateway(p *parent) {
	g := p.gateway
	var status gw.GatewayStatus
	bad, good, programmed, unresolved := sum(p.listeners)
	accepted := p.refused
	message := "served by this controller"
	reason := gw.GatewayReasonAccepted
	if len(bad) > 0 {
		reason, message = gw.GatewayReasonListenersNotValid, "listeners that are not served: "+strings.Join(bad, ", ")
		if good == 0 {
			accepted.blame(string(reason), message)
		}
	}
	status.Conditions = append(status.Conditions, condition(gw.GatewayConditionAccepted, accepted, g.Generation, reason, message),
		condition(gw.GatewayConditionProgrammed, c.programmed(p, accepted, programmed), g.Generation, gw.GatewayReasonProgrammed, ""))
	resolved := verdict{}
	if p.identity != nil {
		resolved = p.identity.verdict
	}
	if len(unresolved) > 0 {
		resolved.blame(string(gw.GatewayReasonListenersNotResolved), "listeners with references that cannot be resolved: "+strings.Join(unresolved, ", "))
	}
	status.Conditions = append(status.Conditions, condition(gw.GatewayConditionResolvedRefs, resolved, g.Generation, gw.GatewayReasonResolvedRefs, ""))
	for _, l := range p.listeners {
		if l.insecure {
			status.Conditions = append(status.Conditions, metav1.Condition{Type: string(gw.GatewayConditionInsecureFrontendValidationMode), Status: metav1.ConditionTrue,
				ObservedGeneration: g.Generation, Reason: string(gw.GatewayReasonConfigurationChanged), Message: "clients without a valid certificate are let in (AllowInsecureFallback)"})
			break
		}
	}
	for _, a := range c.in.Addresses[p.key.name] {
		kind := gw.IPAddressType
		status.Addresses = append(status.Addresses, gw.GatewayStatusAddress{Type: &kind, Value: a.String()})
	}
	for _, l := range p.listeners {
		status.Listeners = append(status.Listeners, gw.ListenerStatus{Name: l.spec.Name, SupportedKinds: l.kinds, AttachedRoutes: l.attached,
			Conditions: l.conditions(g.Generation)})
	}
	attached := int32(0)
	for _, s := range c.sets[p.key] {
		if !s.refused.bad && slices.ContainsFunc(s.listeners, (*listener).valid) {
			attached++
		}
	}
	status.AttachedListenerSets = &attached
	c.out.Statuses.Gateways[p.key.name] = status
}

func (c *compilation) programmed(p *parent, accepted verdict, programmed int) verdict {
	var v verdict
	if accepted.bad {
		v.blame(string(gw.GatewayReasonInvalid), "it is not accepted: "+accepted.message)
	}
	if why := c.in.AddressProblems[p.key.name]; why != "" {
		v.blame(string(gw.GatewayReasonAddressNotUsable), why)
	}
	if len(c.in.Addresses[p.key.name]) == 0 {
		v.blame(string(gw.GatewayReasonAddressNotAssigned), "it was given no address yet")
	}
	for _, s := range c.sets[p.key] {
		_, _, n, _ := sum(s.listeners)
		programmed += n
	}
	if programmed == 0 {
		v.blame(string(gw.GatewayReasonInvalid), "none of its listeners could be opened; see their conditions")
	}
	return v
}

// sum up listeners: the names of those that are not served and of those with unresolved references, and how many are
// served and listened on.
func sum(listeners []*listener) (bad []string, good, programmed int, unresolved []string) {
	for _, l := range listeners {
		if l.conflict.bad || l.accepted.bad {
			bad = append(bad, string(l.spec.Name))
		} else {
			good++
		}
		if !l.program.bad && !l.conflict.bad && !l.accepted.bad {
			programmed++
		}
		if l.resolved.bad {
			unresolved = append(unresolved, string(l.spec.Name))
		}
	}
	return bad, good, programmed, unresolved
}

// conditions of a listener.
func (l *listener) conditions(generation int64) []metav1.Condition {
	accepted, program := l.accepted, l.program
	if l.conflict.bad {
		accepted, program = l.conflict, l.conflict
	}
	if l.parent.refused.bad {
		accepted.blame(string(gw.GatewayReasonInvalid), l.parent.refused.message)
	}
	conflicted := metav1.Condition{Type: string(gw.ListenerConditionConflicted), Status: metav1.ConditionFalse, ObservedGeneration: generation,
		Reason: string(gw.ListenerReasonNoConflicts)}
	if l.conflict.bad {
		conflicted.Status, conflicted.Reason, conflicted.Message = metav1.ConditionTrue, l.conflict.reason, l.conflict.message
	}
	out := []metav1.Condition{
		condition(gw.ListenerConditionAccepted, accepted, generation, gw.ListenerReasonAccepted, ""),
		condition(gw.ListenerConditionProgrammed, program, generation, gw.ListenerReasonProgrammed, ""),
		condition(gw.ListenerConditionResolvedRefs, l.resolved, generation, gw.ListenerReasonResolvedRefs, ""),
		conflicted,
	}
	if l.overlap {
		out = append(out, metav1.Condition{Type: string(gw.ListenerConditionOverlappingTLSConfig), Status: metav1.ConditionTrue, ObservedGeneration: generation,
			Reason: string(gw.ListenerReasonOverlappingHostnames), Message: "another listener of this port includes some of its host names; requests on a connection for the other are answered 421"})
	}
	return out
}

func (c *compilation) reportSet(p, s *parent) {
	generation := s.set.Generation
	bad, _, programmed, unresolved := sum(s.listeners)
	accepted, reason, message := s.refused, gw.ListenerSetReasonAccepted, fmt.Sprintf("its listeners are those of Gateway %s", p.key.name)
	if len(bad) > 0 {
		reason, message = gw.ListenerSetReasonListenersNotValid, "listeners that are not served: "+strings.Join(bad, ", ")
	}
	if !slices.ContainsFunc(s.listeners, (*listener).valid) {
		accepted.blame(string(gw.ListenerSetReasonListenersNotValid), "no listener can be served: "+strings.Join(append(bad, unresolved...), ", "))
	}
	program := accepted
	if programmed == 0 {
		program.blame(string(gw.ListenerSetReasonInvalid), "none of its listeners could be opened; see their conditions")
	}
	status := gw.ListenerSetStatus{Conditions: []metav1.Condition{
		condition(gw.ListenerSetConditionAccepted, accepted, generation, reason, message),
		condition(gw.ListenerSetConditionProgrammed, program, generation, gw.ListenerSetReasonProgrammed, ""),
	}}
	if !s.refused.bad {
		for _, l := range s.listeners {
			status.Listeners = append(status.Listeners, gw.ListenerEntryStatus{Name: l.spec.Name, SupportedKinds: l.kinds,
				AttachedRoutes: l.attached, Conditions: l.conditions(generation)})
		}
	}
	c.out.Statuses.ListenerSets[config.Name{Namespace: s.set.Namespace, Name: s.set.Name}] = status
}
