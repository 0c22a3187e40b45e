package play

import (
	"slices"
	"strconv"
	"strings"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairway-dev/fairway/api/rollouts"
)

// nginxWeight is the annotation of the Ingress of a canary with its weight.
const nginxWeight = "nginx.ingress.kubernetes.io/canary-weight"

// unavailable is how many of n pods of a canary without a router may be missing.
func unavailable(ro *rollouts.Rollout, n int32) int32 {
	c := ro.Spec.Strategy.Canary
	value := func(v *intstr.IntOrString, up bool) int32 {
		if v == nil {
			v = &intstr.IntOrString{Type: intstr.String, StrVal: "25%"}
		}
		k, err := intstr.GetScaledValueFromIntOrPercent(v, int(n), up)
		if err != nil {
			return n
		}
		return int32(k)
	}
	if value(c.MaxSurge, true) == 0 && value(c.MaxUnavailable, false) == 0 {
		return 1
	}
	return min(value(c.MaxUnavailable, false), n)
}

// service looks at one write of a Service: it is not led away from those who serve to nobody.
func (c *rolloutCheck) service(o *corev1.Service, n changed) {
	was := c.services[key(o)]
	if n.gone {
		delete(c.services, key(o))
		return
	}
	c.services[key(o)] = o
	if was == nil {
		return
	}
	before, after := was.Spec.Selector[argo.DefaultRolloutUniqueLabelKey], o.Spec.Selector[argo.DefaultRolloutUniqueLabelKey]
	r := c.rollouts[o.Namespace+"/"+o.Annotations[argo.ManagedByRolloutsKey]]
	if before == after || before == "" || after == "" || r == nil || r.replicas.least(n.at) == 0 {
		return
	}
	s := r.is.Spec.Strategy
	if s.BlueGreen != nil && s.BlueGreen.ActiveService != o.Name || s.Canary != nil && s.Canary.StableService != o.Name {
		return
	}
	if t := c.withHash(r.is, after); t == nil || t.available.most(n.at) == 0 {
		c.fail("no Service is led to nobody", o, "Service", n.at, "it is switched from %s to %s, which has no available pods", before, after)
	}
}

// route looks at one write of an Ingress that a Rollout made for its canary.
func (c *rolloutCheck) route(o *networkingv1.Ingress, n changed) {
	owner := metav1.GetControllerOf(o)
	if owner == nil || owner.Kind != rolloutKind {
		return
	}
	if n.gone {
		delete(c.routes, key(o))
		return
	}
	t := c.routes[key(o)]
	if t == nil {
		t = &routeTrail{}
		c.routes[key(o)] = t
	}
	was := 0
	if t.is != nil {
		was = weightOf(t.is)
	}
	t.is = o
	r := c.rollouts[o.Namespace+"/"+owner.Name]
	if r == nil || r.is.Spec.Strategy.Canary == nil || r.replicas.least(n.at) == 0 {
		return
	}
	service, share := r.is.Spec.Strategy.Canary.StableService, 100-weightOf(o)
	switch is := weightOf(o); {
	case is == was:
		return
	case is > was:
		service, share = r.is.Spec.Strategy.Canary.CanaryService, is
	}
	if to := c.behind(r.is, service); to != nil && to.available.most(n.at) == 0 && c.somebody(r.is, n.at) {
		c.fail("no traffic is sent to nobody", o, "Ingress", n.at, "the weight goes from %d to %d; %s then gets %d, and no pod of %s is available", was, weightOf(o), service, share, to.is.Name)
	}
}

func weightOf(o *networkingv1.Ingress) int {
	n, err := strconv.Atoi(strings.TrimSpace(o.Annotations[nginxWeight]))
	if err != nil {
		return 0
	}
	return n
}

// behind is the ReplicaSet that a Service selects; nil when it selects no single one.
func (c *rolloutCheck) behind(ro *rollouts.Rollout, service string) *setTrail {
	svc := c.services[ro.Namespace+"/"+service]
	if svc == nil || svc.Spec.Selector[argo.DefaultRolloutUniqueLabelKey] == "" {
		return nil
	}
	return c.withHash(ro, svc.Spec.Selector[argo.DefaultRolloutUniqueLabelKey])
}

// somebody is whether the Rollout has had an available pod all the time lately.
func (c *rolloutCheck) somebody(ro *rollouts.Rollout, at time.Time) bool {
	return slices.ContainsFunc(c.setsOf(ro), func(t *setTrail) bool { return t.available.least(at) > 0 })
}

// mindRoutes: a canary that has lost its pods does not keep its weight.
func (c *rolloutCheck) mindRoutes(now time.Time) {
	for _, name := range sortedKeys(c.routes) {
		t := c.routes[name]
		owner := metav1.GetControllerOf(t.is)
		r := c.rollouts[t.is.Namespace+"/"+owner.Name]
		if r == nil || r.is.Spec.Strategy.Canary == nil || weightOf(t.is) == 0 || r.is.Status.Phase == argo.RolloutPhaseDegraded && !r.is.Status.Abort || r.replicas.least(now) == 0 {
			t.deafSince = time.Time{}
			continue
		}
		to, stable := c.behind(r.is, r.is.Spec.Strategy.Canary.CanaryService), c.withHash(r.is, r.is.Status.StableRS)
		if to == nil || stable == nil || to.available.most(now) > 0 || stable.available.least(now) == 0 {
			t.deafSince = time.Time{}
			continue
		}
		if t.deafSince.IsZero() {
			t.deafSince = now
		} else if now.Sub(t.deafSince) > deafMax {
			c.fail("no traffic is sent to nobody", t.is, "Ingress", now, "the canary has weight %d and no pod of %s is available for longer than %s, while the stable revision has some", weightOf(t.is), to.is.Name, deafMax)
			t.deafSince = time.Time{}
		}
	}
}
