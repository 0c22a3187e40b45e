package compile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Groups and kinds of foreign objects.
const (
	istioGroup          = "networking.istio.io"
	smiGroup            = "split.smi-spec.io"
	kindVirtualService  = "VirtualService"
	kindDestinationRule = "DestinationRule"
	kindTrafficSplit    = "TrafficSplit"
)

// foreign are the objects of a kind, the oldest first.
func (c *compilation) foreign(group, kind string) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range byAge(c.in.Foreign) {
		if gvk := o.GroupVersionKind(); gvk.Group == group && gvk.Kind == kind {
			out = append(out, o)
		}
	}
	return out
}

// reader reads an object without a type. What it does not know and what it cannot use it collects, to be told: nothing of a
// foreign object is passed over in silence.
type reader struct {
	unknown  []string
	problems []string
}

func (r *reader) fail(where, format string, args ...any) {
	r.problems = append(r.problems, where+": "+fmt.Sprintf(format, args...))
}

// node is an object with the place it stands at.
type node struct {
	r      *reader
	where  string
	fields map[string]any
}

func (r *reader) root(o *unstructured.Unstructured) node {
	spec, _ := o.Object["spec"].(map[string]any)
	return node{r, "spec", spec}
}

// only names all fields that are none of these.
func (n node) only(known ...string) {
	for _, key := range sortedKeys(n.fields) {
		if !slices.Contains(known, key) {
			n.r.unknown = append(n.r.unknown, n.where+"."+key)
		}
	}
}

func (n node) has(key string) bool { return n.fields[key] != nil }

func (n node) child(key string) node {
	m, ok := n.fields[key].(map[string]any)
	if !ok && n.fields[key] != nil {
		n.r.fail(n.where+"."+key, "it is not an object")
	}
	return node{n.r, n.where + "." + key, m}
}

func (n node) list(key string) []node {
	list, ok := n.fields[key].([]any)
	if !ok && n.fields[key] != nil {
		n.r.fail(n.where+"."+key, "it is not a list")
	}
	out := make([]node, 0, len(list))
	for i, item := range list {
		where := fmt.Sprintf("%s.%s[%d]", n.where, key, i)
		m, ok := item.(map[string]any)
		if !ok {
			n.r.fail(where, "it is not an object")
			continue
		}
		out = append(out, node{n.r, where, m})
	}
	return out
}

func (n node) text(key string) string {
	s, ok := n.fields[key].(string)
	if !ok && n.fields[key] != nil {
		n.r.fail(n.where+"."+key, "it is not a text")
	}
	return s
}

func (n node) texts(key string) []string {
	list, ok := n.fields[key].([]any)
	if !ok && n.fields[key] != nil {
		n.r.fail(n.where+"."+key, "it is not a list")
	}
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (n node) flag(key string) bool {
	b, _ := n.fields[key].(bool)
	return b
}

// number of any form that JSON and YAML leave it in, or a quantity ("500m").
func (n node) number(key string, other float64) float64 {
	switch v := n.fields[key].(type) {
	case nil:
		return other
	case int64:
		return float64(v)
	case int:
		return float64(v)
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
	case string:
		if q, err := resource.ParseQuantity(v); err == nil {
			return q.AsApproximateFloat64()
		}
	}
	n.r.fail(n.where+"."+key, "%v is not a number", n.fields[key])
	return other
}

func (n node) whole(key string, other, least, most int) int {
	v := n.number(key, float64(other))
	if v != math.Trunc(v) || v < float64(least) || v > float64(most) {
		n.r.fail(n.where+"."+key, "%v is not a whole number from %d to %d", v, least, most)
		return other
	}
	return int(v)
}

func (n node) duration(key string, other time.Duration) time.Duration {
	s := n.text(key)
	if s == "" {
		return other
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		n.r.fail(n.where+"."+key, "%q is not a duration", s)
		return other
	}
	return d
}

// strings of a map, by their keys.
func (n node) pairs(key string) []config.Header {
	m := n.child(key)
	var out []config.Header
	for _, k := range sortedKeys(m.fields) {
		out = append(out, config.Header{Name: strings.ToLower(k), Value: m.text(k)})
	}
	return out
}

// tell what was collected.
func (r *reader) tell(warn func(reason, message string)) {
	if len(r.unknown) > 0 {
		warn("UnknownField", "fields that change nothing here: "+strings.Join(r.unknown, ", "))
	}
	if len(r.problems) > 0 {
		warn("UnsupportedValue", strings.Join(r.problems, "; "))
	}
}

// serviceOf is the Service that a host name of a mesh means: "reviews", "reviews.shop" or "reviews.shop.svc.cluster.local".
func serviceOf(host, namespace string) config.Name {
	parts := strings.SplitN(host, ".", 3)
	switch {
	case len(parts) == 1:
		return config.Name{Namespace: namespace, Name: parts[0]}
	case len(parts) == 2 || strings.HasPrefix(parts[2], "svc"):
		return config.Name{Namespace: parts[1], Name: parts[0]}
	}
	return config.Name{Namespace: namespace, Name: host}
}

// spelled are the host names that clients may use for one: a short one is a Service's.
func spelled(host, namespace string) []string {
	host = strings.ToLower(host)
	if host == "*" {
		return []string{""}
	}
	if strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return []string{host}
	}
	in := host + "." + namespace
	return []string{host, in, in + ".svc", in + ".svc.cluster.local"}
}

// compileForeign translates what routes of foreign objects are served at the entrance.
func (c *compilation) compileForeign() {
	if len(c.entrances) == 0 {
		return
	}
	for _, o := range c.foreign(istioGroup, kindVirtualService) {
		c.enter(o, kindVirtualService, func(t *translator, r *reader) { t.virtualService(r, r.root(o)) })
	}
	for _, o := range c.foreign(smiGroup, kindTrafficSplit) {
		if s := c.splits[config.Name{Namespace: o.GetNamespace(), Name: splitService(o)}]; s != nil && s.object == nameOf(o) {
			c.enter(o, kindTrafficSplit, func(t *translator, r *reader) { t.trafficSplit(s) })
		}
	}
}

func (c *compilation) enter(o *unstructured.Unstructured, kind string, translate func(*translator, *reader)) {
	key := routeKey{kind: kind, name: nameOf(o)}
	k := c.make(c.last.routes[key], key, specVersion(o), o, func(t *translator) {
		r := &reader{}
		translate(t, r)
		if t.k.resolved.bad {
			t.warn(t.k.resolved.reason, t.k.resolved.message)
		}
		r.tell(t.warn)
	})
	c.next.routes[key] = k
	c.attachEntrances(k)
}

// split is what a TrafficSplit says of its root Service.
type split struct {
	object   config.Name
	service  string
	version  string
	backends []splitBackend
}

type splitBackend struct {
	service string
	weight  int64
}

func splitService(o *unstructured.Unstructured) string {
	s, _, _ := unstructured.NestedString(o.Object, "spec", "service")
	return strings.SplitN(s, ".", 2)[0]
}

// resolveForeignPolicies finds what DestinationRules and TrafficSplits say of Services; of several for one the oldest counts.
func (c *compilation) resolveForeignPolicies() {
	for _, o := range c.foreign(istioGroup, kindDestinationRule) {
		r := &reader{}
		warn := func(reason, message string) { c.warn(kindDestinationRule, nameOf(o), reason, message) }
		d := readDestination(r, r.root(o))
		d.version = specVersion(o)
		name := serviceOf(r.root(o).text("host"), o.GetNamespace())
		if c.subsets[name] != nil {
			r.fail("spec.host", "an older DestinationRule is for the same host; this one is not used")
		} else {
			c.subsets[name] = d
		}
		r.tell(warn)
	}
	for _, o := range c.foreign(smiGroup, kindTrafficSplit) {
		r := &reader{}
		n := r.root(o)
		s := &split{object: nameOf(o), service: splitService(o), version: specVersion(o)}
		n.only("service", "backends")
		for _, b := range n.list("backends") {
			b.only("service", "weight")
			// Weights may be quantities ("500m"): thousandths keep them whole.
			s.backends = append(s.backends, splitBackend{b.text("service"), int64(math.Round(b.number("weight", 0) * 1000))})
		}
		s.reduce()
		name := config.Name{Namespace: o.GetNamespace(), Name: s.service}
		switch {
		case c.splits[name] != nil:
			r.fail("spec.service", "an older TrafficSplit is for the same Service; this one is not used")
		case len(s.backends) == 0:
			r.fail("spec.backends", "there is none; the Service is used as it is")
		default:
			c.splits[name] = s
		}
		r.tell(func(reason, message string) { c.warn(kindTrafficSplit, nameOf(o), reason, message) })
	}
}

// reduce the weights by what they have in common.
func (s *split) reduce() {
	divisor := int64(0)
	for i := range s.backends {
		s.backends[i].weight = min(max(s.backends[i].weight, 0), 1_000_000_000)
		divisor = gcd(divisor, s.backends[i].weight)
	}
	for i := range s.backends {
		s.backends[i].weight /= max(divisor, 1)
	}
}

// trafficSplit serves the root Service of a split by its name, for clients that come by the entrance.
func (t *translator) trafficSplit(s *split) {
	t.k.hostnames = spelled(s.service, t.ns)
	tg := t.look(targetKey{kindService, config.Name{Namespace: t.ns, Name: s.service}})
	if tg.service == nil || len(tg.service.Spec.Ports) == 0 {
		return
	}
	for i, p := range tg.service.Spec.Ports {
		r := t.ruleNamed(strconv.Itoa(int(p.Port)))
		r.Backends = shares([]weighted{{t.resolveService(config.Name{Namespace: t.ns, Name: s.service}, p.Port, "spec.backends", true), 1, nil}})
		if i == 0 { // one port is served by the name alone
			t.match(config.Match{Path: config.PathMatch{Kind: config.PathPrefix}, Rule: r})
		}
	}
}
