package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// Annotations of ingress-nginx for canaries:
// https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary
const (
	nginxPrefix         = "nginx.ingress.kubernetes.io/"
	canaryOn            = nginxPrefix + "canary"
	canaryWeight        = nginxPrefix + "canary-weight"
	canaryTotal         = nginxPrefix + "canary-weight-total"
	canaryHeader        = nginxPrefix + "canary-by-header"
	canaryHeaderValue   = nginxPrefix + "canary-by-header-value"
	canaryHeaderPattern = nginxPrefix + "canary-by-header-pattern"
	canaryCookie        = nginxPrefix + "canary-by-cookie"
)

// knownAnnotations of NGINX; others are named in a Warning.
var knownAnnotations = []string{canaryOn, canaryWeight, canaryTotal, canaryHeader, canaryHeaderValue, canaryHeaderPattern, canaryCookie}

// canaryKey is what a canary and the Ingress it belongs to have in common.
type canaryKey struct{ namespace, host string }

// canary is an Ingress that takes a part of another's requests.
type canary struct {
	object  *networkingv1.Ingress
	rule    int
	version string
}

func isCanary(o *networkingv1.Ingress) bool { return o.Annotations[canaryOn] == "true" }

// canaries by the host name they are for, the oldest first.
func (c *compilation) canaries() map[canaryKey][]*canary {
	out := map[canaryKey][]*canary{}
	for _, o := range c.ingresses {
		if !isCanary(o) {
			continue
		}
		for i, rule := range o.Spec.Rules {
			key := canaryKey{o.Namespace, strings.ToLower(rule.Host)}
			out[key] = append(out[key], &canary{o, i, versionOf(o)})
		}
		c.ingressStatus(o)
	}
	return out
}

// at is the canary's path for one of the stable Ingress; nil = it has none.
func (cn *canary) at(stable *networkingv1.HTTPIngressPath) *networkingv1.HTTPIngressPath {
	http := cn.object.Spec.Rules[cn.rule].HTTP
	if http == nil {
		return nil
	}
	want := ingressPath(stable)
	i := slices.IndexFunc(http.Paths, func(p networkingv1.HTTPIngressPath) bool { return ingressPath(&p) == want })
	if i < 0 {
		return nil
	}
	return &http.Paths[i]
}

// canary divides the requests of a path: by header before cookie before weight, as NGINX does. The weight is in the rule of
// the path itself, so that it is the one that weights are set for.
func (t *translator) canary(r *config.Rule, m config.Match, stable weighted, cn *canary, spec *networkingv1.HTTPIngressPath) {
	a := cn.object.Annotations
	where := fmt.Sprintf("Ingress %s, backend", nameOf(cn.object))
	other := weighted{t.ingressBackend(&spec.Backend, where), 1, nil}
	weight, total := t.canaryNumber(cn, canaryWeight, 0), t.canaryNumber(cn, canaryTotal, 100)
	if weight > total {
		t.warn("UnsupportedValue", fmt.Sprintf("Ingress %s, annotation %s: %d is more than the total of %d; it is taken for that", nameOf(cn.object), canaryWeight, weight, total))
		weight = total
	}
	only := func(suffix string, to weighted, add func(*config.Match)) {
		rule := t.ruleNamed(r.Key.Rule + "/" + suffix)
		rule.Backends = shares([]weighted{to})
		match := m
		match.Rule = rule
		add(&match)
		t.match(match)
	}
	if header := strings.ToLower(a[canaryHeader]); header != "" {
		t.canaryByHeader(cn, header, stable, other, only)
	}
	if cookie := a[canaryCookie]; cookie != "" {
		only("cookie", other, func(m *config.Match) { m.Cookies = []config.ValueMatch{{Name: cookie, Value: "always"}} })
		only("no-cookie", stable, func(m *config.Match) { m.Cookies = []config.ValueMatch{{Name: cookie, Value: "never"}} })
	}
	stable.weight, other.weight = total-weight, weight
	r.Backends = shares([]weighted{stable, other})
}

func (t *translator) canaryByHeader(cn *canary, header string, stable, other weighted, only func(string, weighted, func(*config.Match))) {
	a := cn.object.Annotations
	switch {
	case a[canaryHeaderValue] != "":
		only("header", other, func(m *config.Match) { m.Headers = []config.ValueMatch{{Name: header, Value: a[canaryHeaderValue]}} })
	case a[canaryHeaderPattern] != "":
		// NGINX looks for the pattern anywhere in the value.
		e, err := expression(".*(?:" + a[canaryHeaderPattern] + ").*")
		if err != nil {
			t.warn("UnsupportedValue", fmt.Sprintf("Ingress %s, annotation %s: %s", nameOf(cn.object), canaryHeaderPattern, err))
			return
		}
		only("header", other, func(m *config.Match) { m.Headers = []config.ValueMatch{{Name: header, Regexp: e, Value: e.String()}} })
	default:
		only("header", other, func(m *config.Match) { m.Headers = []config.ValueMatch{{Name: header, Value: "always"}} })
		only("no-header", stable, func(m *config.Match) { m.Headers = []config.ValueMatch{{Name: header, Value: "never"}} })
	}
}

func (t *translator) canaryNumber(cn *canary, annotation string, other int32) int32 {
	text := cn.object.Annotations[annotation]
	if text == "" {
		return other
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		t.warn("UnsupportedValue", fmt.Sprintf("Ingress %s, annotation %s: %q is not a number of 0 or more; %d is taken", nameOf(cn.object), annotation, text, other))
		return other
	}
	return int32(n)
}

// warnUnknownAnnotations names those of NGINX that change nothing here.
func (t *translator) warnUnknownAnnotations(o *networkingv1.Ingress) {
	var unknown []string
	for _, key := range sortedKeys(o.Annotations) {
		if strings.HasPrefix(key, nginxPrefix) && !slices.Contains(knownAnnotations, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		t.k.warnings = append(t.k.warnings, Event{Kind: kindIngress, Object: nameOf(o), Warning: true, Reason: "UnknownField",
			Message: "annotations that change nothing here: " + strings.Join(unknown, ", ")})
	}
}
