package compile

import (
	"fmt"

	gw "sigs.k8s.io/gateway-api/apis/v1"
)

// tlsRoute translates a TLSRoute: its requests are connections, chosen by their server name alone. Whether TLS ends here is
// the listener's to say.
func (t *translator) tlsRoute(o *gw.TLSRoute) {
	for i := range o.Spec.Rules {
		spec := &o.Spec.Rules[i]
		r := t.rule(i, spec.Name)
		r.Timeouts.Request = 0
		weights := make([]weighted, 0, len(spec.BackendRefs))
		for j := range spec.BackendRefs {
			ref := &spec.BackendRefs[j]
			weights = append(weights, weighted{t.resolve(ref.BackendObjectReference, fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j)), or(ref.Weight, 1), nil})
		}
		r.Backends = shares(weights)
		if i > 0 {
			t.breakRule(i, r, gw.RouteReasonUnsupportedValue, "backendRefs: a TLSRoute has nothing to tell a second rule by; write its backends into the first")
		}
	}
}
