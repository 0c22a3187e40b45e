package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Calls are the calls one request makes: the groups in sequence, the calls of one group in parallel. An empty list says
// that there are none; a missing one leaves them to be inferred.
type Calls []CallGroup

// CallGroup is one call, or several made at once. In JSON and YAML a group of one is the call itself.
type CallGroup []Call

// Call is one edge of the call graph.
type Call struct {
	// To is the target: SERVICE, NAMESPACE/SERVICE or, in the short form, also SERVICE/ROUTE and
	// NAMESPACE/SERVICE/ROUTE. Resolve tells the two-part forms apart.
	To string `json:"to"`
	// Route of the target; "*" (the default) is whatever its routes entry of that name says.
	Route string `json:"route,omitempty"`
	// Count is how often a request makes the call (default 1); 0.3 means three requests in ten.
	Count *float64 `json:"count,omitempty"`
	// Optional calls may fail without failing the request.
	Optional bool `json:"optional,omitempty"`
	// Async calls are not waited for.
	Async bool `json:"async,omitempty"`
	// Timeout of this call; default the caller's timeout.
	Timeout *Duration `json:"timeout,omitempty"`
	// CacheHit is the share of calls answered by the caller itself (default 0).
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	CacheHit *Share `json:"cacheHit,omitempty"`
}

var callSyntax = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)((?:/(?:\*|[A-Za-z0-9_.~:{}-]+)){0,2})(\*([0-9.]+))?(\?)?$`)

// Times is how often a request makes the call.
func (c Call) Times() float64 {
	if c.Count == nil {
		return 1
	}
	return *c.Count
}

// Resolve names the target in full. Two parts mean NAMESPACE/SERVICE when exists says so, else SERVICE/ROUTE in the
// namespace of the caller. route is "*" when none is given.
func (c Call) Resolve(namespace string, exists func(namespace, service string) bool) (ns, service, route string) {
	parts := strings.Split(c.To, "/")
	route = c.Route
	switch {
	case len(parts) == 3:
		ns, service, route = parts[0], parts[1], parts[2]
	case len(parts) == 2 && (c.Route != "" || exists(parts[0], parts[1])):
		ns, service = parts[0], parts[1]
	case len(parts) == 2:
		ns, service, route = namespace, parts[0], parts[1]
	default:
		ns, service = namespace, c.To
	}
	if route == "" {
		route = "*"
	}
	return ns, service, route
}

// UnmarshalText reads the short form [ns/]service[/route][*N][?].
func (c *Call) UnmarshalText(text []byte) error {
	s := string(text)
	m := callSyntax.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%q is not a call; write [namespace/]service[/route][*N][?], for example currencyservice*2 or adservice?", text)
	}
	call := Call{To: m[1] + m[3], Optional: m[6] != ""}
	if m[4] != "" {
		n, err := strconv.ParseFloat(m[5], 64)
		if err != nil || math.IsInf(n, 0) {
			return fmt.Errorf("the call %q is made %q times, which is not a number", text, m[5])
		}
		call.Count = &n
	}
	*c = call
	return nil
}

// UnmarshalJSON reads the short form or the object form.
func (c *Call) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, c.UnmarshalText)
	}
	type plain Call
	return json.Unmarshal(data, (*plain)(c))
}

// UnmarshalJSON reads one call or a list of calls.
func (g *CallGroup) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return json.Unmarshal(data, (*[]Call)(g))
	}
	*g = make(CallGroup, 1)
	return json.Unmarshal(data, &(*g)[0])
}

// MarshalJSON writes a group of one as the call itself.
func (g CallGroup) MarshalJSON() ([]byte, error) {
	if len(g) == 1 {
		return json.Marshal(g[0])
	}
	return json.Marshal([]Call(g))
}
