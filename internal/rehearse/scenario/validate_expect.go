package scenario

import (
	"fmt"
	"strings"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
)

// ExpectationKind is the field an expectation sets, such as "slo"; empty when it sets none.
func ExpectationKind(e *v1alpha1.Expectation) string {
	for _, name := range expectationKinds(e) {
		return name
	}
	return ""
}

func expectationKinds(e *v1alpha1.Expectation) []string {
	var given []string
	for _, one := range []struct {
		name string
		set  bool
	}{
		{"slo", e.SLO != nil}, {"replicas", e.Replicas != nil}, {"pending", e.Pending != nil}, {"cost", e.Cost != nil},
		{"disruption", e.Disruption != nil}, {"rollout", e.Rollout != nil}, {"recovery", e.Recovery != nil}, {"noWorse", e.NoWorse != nil}, {"cel", e.CEL != ""},
	} {
		if one.set {
			given = append(given, one.name)
		}
	}
	return given
}

func (v *validator) expectations(all []v1alpha1.Expectation) {
	seen := map[string]bool{}
	for i := range all {
		e := &all[i]
		if e.Name != "" && seen[e.Name] {
			v.fail(e.Source, "name", "give every expectation its own name", "expectation %q is given twice", e.Name)
		}
		seen[e.Name] = true
		v.expectation(e)
	}
}

func (v *validator) expectation(e *v1alpha1.Expectation) {
	at := e.Source
	switch given := expectationKinds(e); len(given) {
	case 0:
		v.fail(at, "", "write one of slo, replicas, pending, cost, disruption, rollout, recovery, noWorse, cel", "the expectation expects nothing")
	case 1:
	default:
		v.fail(at, given[1], "make them two expectations", "the expectation gives %s at once", strings.Join(given, " and "))
	}
	v.share(at, "in", e.In)
	if e.SLO != nil {
		v.slo(at, e.SLO)
	}
	if r := e.Replicas; r != nil {
		v.workload(at, "replicas.workload", r.Workload)
		if r.Min == nil && r.Max == nil && r.Reversals == nil {
			v.fail(at, "replicas", "write min, max or reversals", "replicas bounds nothing")
		}
		if r.Min != nil && r.Max != nil && *r.Max < *r.Min {
			v.fail(at, "replicas.max", "", "max: %d is below min %d", *r.Max, *r.Min)
		}
	}
	if c := e.Cost; c != nil {
		if c.Max == nil && c.IdleShare == nil && c.PerRequest == nil {
			v.fail(at, "cost", "write max, idleShare or perRequest", "cost bounds nothing")
		}
		for _, limit := range []struct {
			name  string
			value *float64
		}{{"max", c.Max}, {"perRequest", c.PerRequest}} {
			if limit.value != nil && *limit.value < 0 {
				v.fail(at, "cost."+limit.name, "write 0 or more", "%s: %g is negative", limit.name, *limit.value)
			}
		}
		v.share(at, "cost.idleShare", c.IdleShare)
		if c.Of != "" {
			v.workload(at, "cost.of", c.Of)
		}
	}
	if e.Rollout != nil {
		v.rollout(at, e.Rollout)
	}
	if e.Recovery != nil {
		v.recovery(at, e.Recovery)
	}
	if e.CEL != "" {
		v.condition(at, "cel", e.CEL, celenv.Record())
	}
}

func (v *validator) slo(at v1alpha1.Source, s *v1alpha1.SLOExpectation) {
	if (s.Service == "") == (s.Load == "") {
		v.fail(at, "slo", "write service: shop/frontend, or load: shoppers", "slo needs a service or a load, not both")
	}
	if s.Service != "" {
		if n := strings.Count(s.Service, "/"); n != 1 && n != 2 {
			v.fail(at, "slo.service", "write namespace/name or namespace/name/route", "service: %q is not a service", s.Service)
		}
	}
	if s.Load != "" {
		v.loadName(at, "slo.load", strings.SplitN(s.Load, "/", 2)[0])
	}
	if s.Availability == nil && s.P50 == nil && s.P95 == nil && s.P99 == nil && s.Burn == nil {
		v.fail(at, "slo", "write availability, p50, p95, p99 or burn", "slo bounds nothing")
	}
	v.share(at, "slo.availability", s.Availability)
	if s.Burn != nil && (s.Availability == nil || *s.Availability >= 1) {
		v.fail(at, "slo.burn", "write availability: 99.9%", "burn needs an availability below 100%% to burn the budget of")
	}
	if s.Over != "" && s.Over != "run" {
		if d, err := v1alpha1.ParseDuration(s.Over); err != nil || d.Duration <= 0 {
			v.fail(at, "slo.over", "write run, or a duration such as 1h", "over: %q is not known", s.Over)
		}
	}
	for _, limit := range []struct {
		name string
		d    *v1alpha1.Duration
	}{{"p50", s.P50}, {"p95", s.P95}, {"p99", s.P99}} {
		if limit.d != nil && limit.d.Duration <= 0 {
			v.fail(at, "slo."+limit.name, "write for example 300ms", "%s: %s is not a latency", limit.name, limit.d)
		}
	}
	if s.Window.Duration < 0 || s.Allow < 0 {
		v.fail(at, "slo.window", "write for example window: 5m, allow: 0", "window and allow cannot be negative")
	}
}

func (v *validator) recovery(at v1alpha1.Source, r *v1alpha1.RecoveryExpectation) {
	v.share(at, "recovery.to", r.To)
	if r.Within.Duration <= 0 {
		v.fail(at, "recovery.within", "write for example 5m", "within: %s is not a length of time", r.Within)
	}
	if r.Service != "" && r.Load != "" {
		v.fail(at, "recovery.load", "keep one of them", "recovery: a service and a load are given")
	}
	v.loadName(at, "recovery.load", r.Load)
	if v.partial || v.broken.list("spec.steps") {
		return
	}
	var names []string
	for i := range v.scenario.Spec.Steps {
		s := &v.scenario.Spec.Steps[i]
		name := s.Name
		if name == "" {
			name = stepName(s, i)
		}
		if name == r.After {
			return
		}
		names = append(names, name)
	}
	v.fail(at, "recovery.after", spelling.Suggest(r.After, names), "after: there is no step %s", fmt.Sprintf("%q", r.After))
}
