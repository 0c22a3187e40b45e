package compile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// virtualService translates an Istio VirtualService. Its routes are tried in the order they are written, before those of
// others for the same host name. Which Istio Gateways it names makes no difference: there is one entrance.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/
func (t *translator) virtualService(r *reader, n node) {
	n.only("hosts", "gateways", "http", "exportTo")
	for _, host := range n.texts("hosts") {
		t.k.hostnames = append(t.k.hostnames, spelled(host, t.ns)...)
	}
	if len(t.k.hostnames) == 0 {
		r.fail("spec.hosts", "there is none; nothing is served")
		return
	}
	order := 0
	for i, h := range n.list("http") {
		name := h.text("name")
		if name == "" {
			name = strconv.Itoa(i)
		}
		rule := t.ruleNamed(name)
		matches := t.istioMatches(h)
		t.istioRoute(h, rule, matches)
		for _, m := range matches {
			m.Rule = rule
			order++
			t.matchRanked(m, rank{class: -1, length: -order})
		}
	}
}

// istioMatches of a route. One with a condition that cannot be looked at fits nothing, rather than too much.
func (t *translator) istioMatches(h node) []config.Match {
	if !h.has("match") {
		return []config.Match{{Path: config.PathMatch{Kind: config.PathPrefix}}}
	}
	var out []config.Match
	for _, n := range h.list("match") {
		// The name of a match and of its figures, and where a client comes from by Gateway, change nothing.
		known := []string{"name", "statPrefix", "gateways", "uri", "ignoreUriCase", "method", "authority", "headers", "withoutHeaders", "queryParams"}
		unknown := len(n.r.unknown)
		n.only(known...)
		m := config.Match{Path: config.PathMatch{Kind: config.PathPrefix}}
		ok := len(n.r.unknown) == unknown
		if n.has("uri") {
			ok = istioPath(n.child("uri"), &m.Path, n.flag("ignoreUriCase")) && ok
		}
		if n.has("method") {
			method := n.child("method")
			if m.Method = method.text("exact"); m.Method == "" {
				n.r.fail(method.where, "only exact is supported")
				ok = false
			}
		}
		if n.has("authority") {
			v, good := istioValue(n.child("authority"), ":authority")
			m.Headers, ok = append(m.Headers, v), ok && good
		}
		for _, group := range []string{"headers", "withoutHeaders"} {
			in := n.child(group)
			for _, key := range sortedKeys(in.fields) {
				v, good := istioValue(in.child(key), strings.ToLower(key))
				v.Not = group == "withoutHeaders"
				m.Headers, ok = append(m.Headers, v), ok && good
			}
		}
		in := n.child("queryParams")
		for _, key := range sortedKeys(in.fields) {
			v, good := istioValue(in.child(key), key)
			m.Query, ok = append(m.Query, v), ok && good
		}
		if !ok {
			n.r.fail(n.where, "it has a condition that is not supported, and so fits no request")
			continue
		}
		out = append(out, m)
	}
	return out
}

func istioPath(n node, m *config.PathMatch, fold bool) bool {
	n.only("exact", "prefix", "regex")
	m.Fold = fold
	switch {
	case n.has("exact"):
		m.Kind, m.Value = config.PathExact, n.text("exact")
	case n.has("prefix"):
		m.Kind, m.Value = config.PathRawPrefix, n.text("prefix")
	case n.has("regex"):
		text := n.text("regex")
		if fold {
			text = "(?i:" + text + ")"
		}
		e, err := expression(text)
		if err != nil {
			n.r.fail(n.where+".regex", "%s", err)
			return false
		}
		m.Kind, m.Value, m.Regexp = config.PathRegexp, text, e
	}
	return true
}

// istioValue is a StringMatch; an empty one asks for the name alone.
func istioValue(n node, name string) (config.ValueMatch, bool) {
	n.only("exact", "prefix", "regex")
	v := config.ValueMatch{Name: name}
	switch {
	case n.has("exact"):
		v.Value = n.text("exact")
	case n.has("prefix"):
		v.Value, v.Prefix = n.text("prefix"), true
	case n.has("regex"):
		e, err := expression(n.text("regex"))
		if err != nil {
			n.r.fail(n.where+".regex", "%s", err)
			return v, false
		}
		v.Value, v.Regexp = n.text("regex"), e
	default:
		v.Present = true
	}
	return v, true
}

func (t *translator) istioRoute(h node, rule *config.Rule, matches []config.Match) {
	h.only("name", "match", "route", "redirect", "rewrite", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirror_percent",
		"mirrorPercentage", "mirrors", "corsPolicy", "headers")
	rule.Filters = istioHeaders(h.child("headers"))
	if h.has("redirect") {
		rule.Filters = append(rule.Filters, istioRedirect(h.child("redirect")))
	}
	if h.has("rewrite") {
		rule.Filters = append(rule.Filters, istioRewrite(h.child("rewrite"), matches)...)
	}
	routes := h.list("route")
	list := make([]weighted, 0, len(routes))
	for _, d := range routes {
		d.only("destination", "weight", "headers")
		weight := d.whole("weight", 0, 0, 1<<30)
		if len(routes) == 1 && !d.has("weight") {
			weight = 1
		}
		list = append(list, weighted{t.istioDestination(d.child("destination")), int32(weight), istioHeaders(d.child("headers"))})
	}
	rule.Backends = shares(list)
	rule.Timeouts = config.Timeouts{Request: h.duration("timeout", 0)}
	t.istioRetries(h, rule)
	t.istioMirrors(h, rule)
	istioFault(h, rule)
	istioCORS(h, rule)
}

func (t *translator) istioDestination(n node) []portion {
	n.only("host", "subset", "port")
	n.child("port").only("number")
	return t.subset(serviceOf(n.text("host"), t.ns), int32(n.child("port").whole("number", 0, 0, 65535)), n.text("subset"), n.where)
}

func istioHeaders(n node) []config.Filter {
	n.only("request", "response")
	var out []config.Filter
	for _, side := range []string{"request", "response"} {
		if !n.has(side) {
			continue
		}
		s := n.child(side)
		s.only("set", "add", "remove")
		h := &config.Headers{Set: s.pairs("set"), Add: s.pairs("add")}
		for _, name := range s.texts("remove") {
			h.Remove = append(h.Remove, strings.ToLower(name))
		}
		if side == "request" {
			out = append(out, config.Filter{RequestHeaders: h})
		} else {
			out = append(out, config.Filter{ResponseHeaders: h})
		}
	}
	return out
}

func istioRedirect(n node) config.Filter {
	n.only("uri", "authority", "port", "scheme", "redirectCode")
	r := &config.Redirect{Scheme: n.text("scheme"), Host: n.text("authority"), Port: int32(n.whole("port", 0, 0, 65535)), Status: n.whole("redirectCode", 301, 301, 308)}
	if n.has("uri") {
		uri := n.text("uri")
		r.Path.Full = &uri
	}
	return config.Filter{Redirect: r}
}

// istioRewrite replaces the prefix that was matched, or the whole path where no prefix was.
func istioRewrite(n node, matches []config.Match) []config.Filter {
	n.only("uri", "authority")
	w := &config.Rewrite{Host: n.text("authority")}
	if n.has("uri") {
		uri := n.text("uri")
		prefix := slices.ContainsFunc(matches, func(m config.Match) bool {
			return m.Path.Kind == config.PathRawPrefix || m.Path.Kind == config.PathPrefix
		})
		if prefix {
			w.Path.Prefix = &uri
		} else {
			w.Path.Full = &uri
		}
	}
	return []config.Filter{{Rewrite: w}}
}

// istioRetryOn are conditions of retryOn, with what they are here.
var istioRetryOn = map[string]func(*config.Retry){
	"5xx":             func(r *config.Retry) { r.Codes, r.Connect = append(r.Codes, 500, 501, 502, 503, 504), true },
	"gateway-error":   func(r *config.Retry) { r.Codes = append(r.Codes, 502, 503, 504) },
	"reset":           func(r *config.Retry) { r.Connect = true },
	"connect-failure": func(r *config.Retry) { r.Connect = true },
	"refused-stream":  func(r *config.Retry) { r.Connect = true },
	"retriable-4xx":   func(r *config.Retry) { r.Codes = append(r.Codes, 409) },
	"unavailable":     func(r *config.Retry) { r.Codes = append(r.Codes, 503) },
	"cancelled":       func(*config.Retry) {},
	// Codes are written beside it, as plain numbers.
	"retriable-status-codes": func(*config.Retry) {},
}

func (t *translator) istioRetries(h node, rule *config.Rule) {
	if !h.has("retries") {
		return
	}
	n := h.child("retries")
	n.only("attempts", "perTryTimeout", "retryOn", "backoff")
	retry := &config.Retry{Attempts: n.whole("attempts", 2, 0, 100), Backoff: n.duration("backoff", retryBackoff)}
	rule.Timeouts.Try = n.duration("perTryTimeout", 0)
	retry.Timeout = rule.Timeouts.Try > 0
	on := n.text("retryOn")
	if on == "" {
		on = "connect-failure,refused-stream,unavailable,cancelled,503"
	}
	for _, word := range strings.Split(on, ",") {
		word = strings.TrimSpace(word)
		if set := istioRetryOn[word]; set != nil {
			set(retry)
		} else if code, err := strconv.Atoi(word); err == nil && code >= 400 && code < 600 {
			retry.Codes = append(retry.Codes, code)
		} else {
			n.r.fail(n.where+".retryOn", "%q is not supported", word)
		}
	}
	slices.Sort(retry.Codes)
	retry.Codes = slices.Compact(retry.Codes)
	rule.Retry = retry
}

func (t *translator) istioMirrors(h node, rule *config.Rule) {
	add := func(to node, percent float64) {
		m := config.Mirror{Numerator: int32(percent*100 + 0.5), Denominator: 10000}
		if m.Numerator < 0 || m.Numerator > m.Denominator {
			to.r.fail(to.where, "%v is not a percentage from 0 to 100", percent)
			return
		}
		if found := t.istioDestination(to); len(found) > 0 {
			m.Backend = found[0].backend
		}
		rule.Mirrors = append(rule.Mirrors, m)
	}
	percent := h.number("mirrorPercent", h.number("mirror_percent", 100))
	if h.has("mirrorPercentage") {
		percent = h.child("mirrorPercentage").number("value", 100)
	}
	if h.has("mirror") {
		add(h.child("mirror"), percent)
	}
	for _, m := range h.list("mirrors") {
		m.only("destination", "percentage")
		share := 100.0
		if m.has("percentage") {
			share = m.child("percentage").number("value", 100)
		}
		add(m.child("destination"), share)
	}
}

func istioFault(h node, rule *config.Rule) {
	if !h.has("fault") {
		return
	}
	n := h.child("fault")
	n.only("delay", "abort")
	f := &config.Fault{}
	percentage := func(n node) float64 {
		if n.has("percentage") {
			return n.child("percentage").number("value", 0)
		}
		return n.number("percent", 100)
	}
	if n.has("delay") {
		d := n.child("delay")
		d.only("percentage", "percent", "fixedDelay")
		f.Delay, f.DelayPercent = d.duration("fixedDelay", 0), percentage(d)
	}
	if n.has("abort") {
		a := n.child("abort")
		a.only("percentage", "percent", "httpStatus")
		f.AbortStatus, f.AbortPercent = a.whole("httpStatus", 503, 200, 599), percentage(a)
	}
	rule.Fault = f
}

func istioCORS(h node, rule *config.Rule) {
	if !h.has("corsPolicy") {
		return
	}
	n := h.child("corsPolicy")
	n.only("allowOrigins", "allowOrigin", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials")
	c := &config.CORS{Origins: n.texts("allowOrigin"), Credentials: n.flag("allowCredentials"), Methods: n.texts("allowMethods"),
		Headers: n.texts("allowHeaders"), Expose: n.texts("exposeHeaders"), MaxAge: n.duration("maxAge", 24*time.Hour)}
	for _, o := range n.list("allowOrigins") {
		if !o.has("exact") {
			o.r.fail(o.where, "only exact is supported")
			continue
		}
		c.Origins = append(c.Origins, o.text("exact"))
	}
	rule.CORS = c
}

// destination is what a DestinationRule says of a Service and its subsets.
// https://istio.io/latest/docs/reference/config/networking/destination-rule/
type destination struct {
	version string
	set     func(*config.Policy)
	subsets map[string]*subset
}

type subset struct {
	labels map[string]string
	set    func(*config.Policy)
}

func (d *destination) apply(out *config.Policy, name string) {
	d.set(out)
	if s := d.subsets[name]; s != nil {
		s.set(out)
	}
}

func readDestination(r *reader, n node) *destination {
	n.only("host", "trafficPolicy", "subsets", "exportTo")
	d := &destination{set: istioPolicy(n.child("trafficPolicy")), subsets: map[string]*subset{}}
	for _, s := range n.list("subsets") {
		s.only("name", "labels", "trafficPolicy")
		labels := map[string]string{}
		in := s.child("labels")
		for _, key := range sortedKeys(in.fields) {
			labels[key] = in.text(key)
		}
		name := s.text("name")
		if name == "" || d.subsets[name] != nil {
			r.fail(s.where+".name", "%q is empty or there twice", name)
			continue
		}
		d.subsets[name] = &subset{labels, istioPolicy(s.child("trafficPolicy"))}
	}
	return d
}

// istioPolicy reads a trafficPolicy at once, so that all that is wrong with it is told once.
func istioPolicy(n node) func(*config.Policy) {
	n.only("loadBalancer", "connectionPool", "outlierDetection")
	var sets []func(*config.Policy)
	if n.has("loadBalancer") {
		sets = append(sets, istioBalancer(n.child("loadBalancer")))
	}
	if n.has("connectionPool") {
		sets = append(sets, istioPool(n.child("connectionPool")))
	}
	if n.has("outlierDetection") {
		o := istioOutlier(n.child("outlierDetection"))
		sets = append(sets, func(p *config.Policy) { p.Outlier = &o })
	}
	return func(p *config.Policy) {
		for _, set := range sets {
			set(p)
		}
	}
}

func istioBalancer(n node) func(*config.Policy) {
	n.only("simple", "consistentHash", "warmupDurationSecs")
	slow := n.duration("warmupDurationSecs", 0)
	algorithm := config.P2C
	switch simple := n.text("simple"); simple {
	case "", "UNSPECIFIED":
	case "ROUND_ROBIN":
		algorithm = config.RoundRobin
	case "LEAST_REQUEST", "LEAST_CONN":
		algorithm = config.LeastRequest
	case "RANDOM":
		algorithm = config.Random
	default:
		n.r.fail(n.where+".simple", "%q is not supported", simple)
	}
	h := n.child("consistentHash")
	h.only("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "minimumRingSize")
	h.child("httpCookie").only("name", "ttl", "path")
	header, cookie, query, source := strings.ToLower(h.text("httpHeaderName")), h.child("httpCookie").text("name"), h.text("httpQueryParameterName"), h.flag("useSourceIp")
	return func(p *config.Policy) {
		p.Algorithm, p.SlowStart = algorithm, slow
		if header != "" || cookie != "" || query != "" || source {
			p.Algorithm = config.ConsistentHash
			p.HashHeader, p.HashCookie, p.HashQuery, p.HashSource = header, cookie, query, source
		}
	}
}

func istioPool(n node) func(*config.Policy) {
	n.only("tcp", "http")
	tcp, http := n.child("tcp"), n.child("http")
	tcp.only("maxConnections", "connectTimeout")
	http.only("http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "idleTimeout")
	was := config.Defaults()
	const most = 1 << 31
	connections := tcp.whole("maxConnections", was.MaxConnections, 0, most)
	connect := tcp.duration("connectTimeout", was.ConnectTimeout)
	pending := http.whole("http1MaxPendingRequests", was.MaxPending, 0, most)
	requests := http.whole("http2MaxRequests", was.MaxRequests, 0, most)
	each := http.whole("maxRequestsPerConnection", was.MaxRequestsPerConnection, 0, most)
	idle := http.duration("idleTimeout", was.IdleTimeout)
	return func(p *config.Policy) {
		p.MaxConnections, p.ConnectTimeout, p.MaxPending, p.MaxRequests, p.MaxRequestsPerConnection, p.IdleTimeout = connections, connect, pending, requests, each, idle
	}
}

func istioOutlier(n node) config.Outlier {
	n.only("consecutive5xxErrors", "consecutiveErrors", "consecutiveGatewayErrors", "interval", "baseEjectionTime", "maxEjectionPercent", "minHealthPercent")
	o := config.DefaultOutlier()
	o.ConsecutiveGatewayErrors = n.whole("consecutiveGatewayErrors", 0, 0, 1<<30)
	o.Consecutive5xx = n.whole("consecutive5xxErrors", n.whole("consecutiveErrors", o.Consecutive5xx, 0, 1<<30), 0, 1<<30)
	o.Interval = n.duration("interval", o.Interval)
	o.BaseEjection = n.duration("baseEjectionTime", o.BaseEjection)
	o.MaxEjectedPercent = n.whole("maxEjectionPercent", o.MaxEjectedPercent, 0, 100)
	o.PanicBelowPercent = n.whole("minHealthPercent", 0, 0, 100)
	return o
}
