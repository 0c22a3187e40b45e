package rollout

import (
	"fmt"
	"slices"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// ServiceNames are those of the Services whose selectors the Rollout switches.
func ServiceNames(ro *rollouts.Rollout) []string {
	var all [4]string
	names := all[:0]
	add := func(name string) {
		if name != "" {
			names = append(names, name)
		}
	}
	switch st := ro.Spec.Strategy; {
	case st.BlueGreen != nil:
		add(st.BlueGreen.ActiveService)
		add(st.BlueGreen.PreviewService)
	case st.Canary != nil:
		add(st.Canary.CanaryService)
		add(st.Canary.StableService)
		if pp := st.Canary.PingPong; pp != nil {
			add(pp.PingService)
			add(pp.PongService)
		}
	}
	return names
}

// Services behind the canary and the stable revision; of ping and pong the one plays one part, and the other the other.
func Services(ro *rollouts.Rollout) (canary, stable string) {
	c := ro.Spec.Strategy.Canary
	switch {
	case c == nil:
		return "", ""
	case c.PingPong == nil:
		return c.CanaryService, c.StableService
	case ro.Status.Canary.StablePingPong == argo.PPPing:
		return c.PingPong.PongService, c.PingPong.PingService
	}
	return c.PingPong.PingService, c.PingPong.PongService
}

// Release is svc without what a Rollout put into it, and whether that is another svc. It is for Services that no Rollout names
// any more, be it that the Rollout is gone.
func Release(svc *corev1.Service) (*corev1.Service, bool) {
	_, managed := svc.Annotations[ManagedByAnnotation]
	_, selected := svc.Spec.Selector[HashLabel]
	if !managed {
		return svc, false
	}
	after := svc.DeepCopy()
	delete(after.Annotations, ManagedByAnnotation)
	if selected {
		delete(after.Spec.Selector, HashLabel)
	}
	return after, true
}

// release the Services that this Rollout manages and names no more.
func (p *pass) release() {
	named := ServiceNames(p.ro)
	var left []string
	for name, svc := range p.s.Services {
		if svc != nil && svc.Annotations[ManagedByAnnotation] == p.ro.Name && !slices.Contains(named, name) {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	for _, name := range left {
		if after, ok := Release(p.s.Services[name]); ok {
			p.op(Op{Verb: Patch, Before: p.s.Services[name], After: after})
		}
	}
}

// switchTo points a Service to a revision.
func (p *pass) switchTo(name, hash string) {
	svc := p.s.Services[name]
	if svc == nil || hash == "" {
		return
	}
	_, managed := svc.Annotations[ManagedByAnnotation]
	old := p.selector(name)
	if old == hash && (managed || p.switched[name] != "") {
		return
	}
	if p.switched == nil {
		p.switched = map[string]string{}
	}
	p.switched[name] = hash
	after := *svc
	after.Annotations = cloned(svc.Annotations)
	if !managed {
		after.Annotations[ManagedByAnnotation] = p.ro.Name
	}
	after.Spec.Selector = with(svc.Spec.Selector, HashLabel, hash)
	p.op(Op{Verb: Patch, Before: svc, After: &after})
	p.event(Event{Reason: "SwitchService", Message: fmt.Sprintf("Switched selector for service '%s' from '%s' to '%s'", name, old, hash)})
}

// point a Service to rs, when rs can serve: all of its pods for a Service that is not managed yet, one pod afterwards. Without
// check it is pointed there in any case.
func (p *pass) point(name string, rs *replicaSet, check bool) {
	svc := p.s.Services[name]
	if svc == nil || rs == nil || p.selector(name) == rs.hash {
		return
	}
	_, managed := svc.Annotations[ManagedByAnnotation]
	enough := rs.lasting() > 0 && (managed || rs.size <= rs.available())
	if check && !enough {
		return
	}
	p.switchTo(name, rs.hash)
}

// canaryServices points ping and pong, the stable and the canary Service to their revisions.
func (p *pass) canaryServices() {
	c := p.ro.Spec.Strategy.Canary
	canary, stable := Services(p.ro)
	if p.stable != nil && p.selector(stable) != p.stable.hash && (!p.distinctStable() || p.canarySplit(p.was.Canary.Weights).stable > 0) {
		p.point(stable, p.stable, true)
	}
	if p.loaded() {
		return // weight is taken away first
	}
	// Without a stable revision there are no parts to play yet: the one that becomes the stable Service may have users already.
	if c.PingPong != nil && p.stable != nil && !p.promoted() && !p.aborted() && p.exchanged() {
		p.point(canary, p.fresh, false)
	}
	switch {
	case p.aborted() && !routed(p.ro):
		p.point(c.CanaryService, p.stable, true)
	case p.aborted() && p.distinctStable():
		// goes back with the weight, see route
	case p.descending() != "":
		// the stable revision could not carry it yet
	default:
		p.point(c.CanaryService, p.fresh, true)
	}
}

// relieve rs, which is about to lose all pods, of the stable Service: whoever can serve takes it over. It is false when rs had
// better keep a pod, because one that may not take over still serves.
func (p *pass) relieve(rs *replicaSet) bool {
	name := p.ro.Spec.Strategy.Canary.StableService
	if rs.size == 0 || name == "" || p.selector(name) != rs.hash {
		return true
	}
	for _, to := range [...]*replicaSet{p.stable, p.fresh} {
		if to != nil && to != rs && to.lasting() > 0 {
			p.point(name, to, true)
			return true
		}
	}
	for i := range p.sets {
		if o := &p.sets[i]; o != rs && o.lasting() > 0 {
			return false
		}
	}
	return true
}

// loaded is whether the canary Service carries traffic for another revision than the new one, which is not ready for it.
func (p *pass) loaded() bool {
	w := p.was.Canary.Weights
	return w != nil && w.Canary.Weight > 0 && w.Canary.PodTemplateHash != p.fresh.hash && !full(p.fresh)
}

// exchanged is whether the routers know which of ping and pong is the stable one since the last promotion: until then traffic
// still comes to the one that is to be the canary's.
func (p *pass) exchanged() bool {
	w := p.was.Canary.Weights
	return w == nil || p.stable == nil || w.Stable.PodTemplateHash == p.stable.hash
}

// descending is the hash of the canary that a Rollout with a dynamic stable comes back from, because its template is the stable
// one again; "" = it does not, or the stable revision can carry all traffic.
func (p *pass) descending() string {
	w := p.was.Canary.Weights
	if !p.promoted() || !dynamicStable(p.ro) || w == nil || w.Canary.PodTemplateHash == p.fresh.hash || p.fresh.available() >= replicasOf(p.ro) {
		return ""
	}
	return w.Canary.PodTemplateHash
}
