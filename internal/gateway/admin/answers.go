package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/evidence"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// Status of a gateway.
type Status struct {
	Version  uint64    `json:"version"`
	Draining bool      `json:"draining,omitempty"`
	Sockets  []Socket  `json:"sockets"`
	Backends []Backend `json:"backends"`
	// Stale routes are served in their last good version.
	Stale []string `json:"stale,omitempty"`
}

// Socket that is listened on.
type Socket struct {
	Address     string   `json:"address"`
	Protocol    string   `json:"protocol"`
	Gateways    []string `json:"gateways"`
	Hosts       int      `json:"hosts"`
	Connections int      `json:"connections"`
	Bound       bool     `json:"bound"`
}

// Backend with its endpoints.
type Backend struct {
	Name      string     `json:"name"`
	Port      int32      `json:"port"`
	Requests  int64      `json:"requests"`
	Held      int        `json:"held,omitempty"`
	Overflows uint64     `json:"overflows,omitempty"`
	Ejections uint64     `json:"ejections,omitempty"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint of a backend.
type Endpoint struct {
	Pod      string        `json:"pod,omitempty"`
	Address  string        `json:"address"`
	Revision string        `json:"revision,omitempty"`
	Zone     string        `json:"zone,omitempty"`
	InFlight int64         `json:"inFlight"`
	Latency  time.Duration `json:"latency"`
	Ejected  time.Duration `json:"ejected,omitempty"`
	Leaving  bool          `json:"leaving,omitempty"`
	// Unhealthy is what its probes found; "" = nothing, or it is not probed.
	Unhealthy string `json:"unhealthy,omitempty"`
}

// Route with its rules as they are in force.
type Route struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Rule      string   `json:"rule"`
	Hosts     []string `json:"hosts"`
	Matches   []string `json:"matches"`
	Shares    []Share  `json:"shares"`
	Broken    string   `json:"broken,omitempty"`
	// Revisions are what requests of the last minute came to.
	Revisions []Revision `json:"revisions,omitempty"`
}

// Share of a rule's requests.
type Share struct {
	Service string `json:"service"`
	Weight  int32  `json:"weight"`
	// Part of all requests, 0…1.
	Part float64 `json:"part"`
	Why  string  `json:"why,omitempty"`
}

// Revision of pods, and how its requests of the last minute went.
type Revision struct {
	Hash     string  `json:"hash"`
	Rate     float64 `json:"rate"`
	Success  float64 `json:"success"`
	P50      float64 `json:"p50"` // seconds
	P99      float64 `json:"p99"`
	Requests float64 `json:"requests"`
}

// Question about a request.
type Question struct {
	Method  string         `json:"method"`
	URL     string         `json:"url"`
	Address string         `json:"address,omitempty"` // that it is sent to; "" = any that serves the host
	Headers []match.Header `json:"headers,omitempty"`
}

// Explanation of what would become of a request.
type Explanation struct {
	Socket   string   `json:"socket,omitempty"`
	Gateway  string   `json:"gateway,omitempty"`
	Listener string   `json:"listener,omitempty"`
	Route    string   `json:"route,omitempty"`
	Match    string   `json:"match,omitempty"`
	Status   int      `json:"status,omitempty"` // answered by the gateway itself
	Why      string   `json:"why,omitempty"`
	Tried    []string `json:"tried,omitempty"`
	Filters  []string `json:"filters,omitempty"`
	Shares   []Share  `json:"shares,omitempty"`
	Policies []string `json:"policies,omitempty"`
}

func protocolName(p config.Protocol) string { return [...]string{"HTTP", "HTTPS", "TLS"}[p] }

func statusOf(c *gateway.Controller) Status {
	state := c.Data().State()
	served, _ := c.Served()
	out := Status{Version: state.Version, Draining: state.Draining, Sockets: []Socket{}, Backends: []Backend{}}
	for _, s := range served.Sockets {
		one := Socket{Address: s.Address.String(), Protocol: protocolName(s.Protocol)}
		for _, l := range s.Listeners {
			one.Hosts += len(l.Hosts) + len(l.Servers)
			name := l.Gateway.String()
			if l.Gateway == (config.Name{}) {
				name = "(Ingresses)"
			}
			if !slices.Contains(one.Gateways, name) {
				one.Gateways = append(one.Gateways, name)
			}
		}
		for _, bound := range state.Sockets {
			if bound.Address == s.Address {
				one.Bound, one.Connections = true, bound.Connections
			}
		}
		out.Sockets = append(out.Sockets, one)
	}
	for _, b := range state.Backends {
		if b.Key.Name == (config.Name{}) {
			continue
		}
		one := Backend{Name: b.Key.Name.String(), Port: b.Key.Port, Requests: b.Requests, Held: b.Held, Overflows: b.Overflows, Ejections: b.Ejections, Endpoints: []Endpoint{}}
		for _, e := range b.Endpoints {
			one.Endpoints = append(one.Endpoints, Endpoint{Pod: e.Pod, Address: fmt.Sprintf("%s:%d", e.Address, e.Port), Revision: e.Revision, Zone: e.Zone, InFlight: e.InFlight,
				Latency: e.Latency, Ejected: e.Ejected, Leaving: e.Terminating, Unhealthy: e.Unhealthy})
		}
		out.Backends = append(out.Backends, one)
	}
	for _, r := range c.Stale() {
		out.Stale = append(out.Stale, r.String())
	}
	return out
}

// evidenceWindow of what is told of revisions.
const evidenceWindow = time.Minute

func routesOf(c *gateway.Controller) []Route {
	served, _ := c.Served()
	hosts, matches := map[*config.Rule][]string{}, map[*config.Rule][]string{}
	add := func(m map[*config.Rule][]string, r *config.Rule, text string) {
		if !slices.Contains(m[r], text) {
			m[r] = append(m[r], text)
		}
	}
	for _, s := range served.Sockets {
		for _, l := range s.Listeners {
			for _, h := range l.Hosts {
				for i := range h.Matches {
					add(hosts, h.Matches[i].Rule, cmp.Or(h.Hostname, "*"))
					add(matches, h.Matches[i].Rule, describe(&h.Matches[i]))
				}
			}
			for _, server := range l.Servers {
				add(hosts, server.Rule, cmp.Or(server.Hostname, "*"))
			}
		}
	}
	out := []Route{}
	now := time.Now()
	for _, r := range served.Rules {
		if r == nil || r.Key.Name == (config.Name{}) || hosts[r] == nil {
			continue
		}
		one := Route{Kind: r.Key.Kind, Namespace: r.Key.Name.Namespace, Name: r.Key.Name.Name, Rule: r.Key.Rule, Hosts: hosts[r], Matches: matches[r], Broken: r.Broken,
			Shares: sharesOf(c, r), Revisions: revisionsOf(c, r, now)}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Rule, b.Rule))
	})
	return out
}

func sharesOf(c *gateway.Controller, r *config.Rule) []Share {
	weights, ok := c.Data().Weights(r.Key)
	var total float64
	for i := range r.Backends {
		if !ok {
			weights = append(weights, r.Backends[i].Weight)
		}
		total += float64(max(weights[i], 0))
	}
	out := []Share{}
	for i, b := range r.Backends {
		s := Share{Service: cmp.Or(b.Service, "?"), Weight: weights[i], Why: b.Why}
		if total > 0 {
			s.Part = float64(max(weights[i], 0)) / total
		}
		out = append(out, s)
	}
	return out
}

func revisionsOf(c *gateway.Controller, r *config.Rule, now time.Time) []Revision {
	var out []Revision
	route := r.Key.Kind + "/" + r.Key.Name.String()
	seen := map[string]bool{}
	for _, k := range c.Evidence.Keys() {
		if k.Route != route || seen[k.Revision] {
			continue
		}
		seen[k.Revision] = true
		w := c.Evidence.Window(evidence.Key{Route: route, Revision: k.Revision}, evidenceWindow, now)
		if w.Requests == 0 {
			continue
		}
		one := Revision{Hash: k.Revision, Rate: w.Rate(), Requests: w.Requests}
		one.Success, _ = w.SuccessRate()
		one.P50, _ = w.Latency(0.5)
		one.P99, _ = w.Latency(0.99)
		out = append(out, one)
	}
	return out
}

func explain(c *gateway.Controller, q *Question) (*Explanation, error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL with a host; write http://host/path", q.URL)
	}
	served, index := c.Served()
	head := &match.Head{Method: cmp.Or(q.Method, "GET"), Host: u.Host, Path: u.EscapedPath(), Query: u.RawQuery, Headers: q.Headers}
	for _, h := range q.Headers {
		if strings.EqualFold(h.Name, "host") {
			head.Host = h.Value
		}
	}
	if u.Scheme == "https" {
		head.ServerName = u.Hostname()
	}
	socket, err := socketFor(served, index, u, q.Address, head)
	if err != nil {
		return nil, err
	}
	e := index.Explain(socket, head)
	out := &Explanation{Socket: served.Sockets[socket].Address.String(), Status: e.Status, Why: e.Why}
	if e.Listener != nil {
		out.Gateway, out.Listener = e.Listener.Gateway.String(), e.Listener.Section
	}
	for _, t := range e.Tried {
		line := fmt.Sprintf("%s: %s %s", cmp.Or(t.Host.Hostname, "*"), ruleName(t.Match.Rule), describe(t.Match))
		if t.Why != "" {
			line += ": " + t.Why
		} else {
			line += ": fits"
		}
		out.Tried = append(out.Tried, line)
	}
	if e.Rule != nil {
		out.Route, out.Match = ruleName(e.Rule), describe(e.Match)
		out.Shares = sharesOf(c, e.Rule)
		out.Filters, out.Policies = filtersOf(e.Rule), policiesOf(e.Rule)
		if e.Rule.Broken != "" {
			out.Status, out.Why = 500, e.Rule.Broken
		}
	}
	return out, nil
}

// socketFor is where a request comes in: at the address that is given, or that the URL's host is, or else at the first
// socket of its scheme that has a rule for it.
func socketFor(served *config.Config, index *match.Index, u *url.URL, address string, head *match.Head) (int, error) {
	protocol := config.HTTP
	if u.Scheme == "https" {
		protocol = config.HTTPS
	}
	port := u.Port()
	if port == "" {
		port = map[config.Protocol]string{config.HTTP: "80", config.HTTPS: "443"}[protocol]
	}
	if address == "" {
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			address = u.Hostname() + ":" + port
		}
	}
	best, known := -1, []string{}
	for i := range served.Sockets {
		s := &served.Sockets[i]
		known = append(known, s.Address.String())
		if address != "" {
			if s.Address.String() == address || s.Address.Addr().String() == address && s.Protocol == protocol {
				return i, nil
			}
			continue
		}
		if s.Protocol != protocol {
			continue
		}
		if _, found := index.Match(i, head); found {
			return i, nil
		}
		if best < 0 {
			best = i
		}
	}
	switch {
	case address != "":
		return 0, fmt.Errorf("nothing is served on %s; there are %s", address, cmp.Or(strings.Join(known, ", "), "no sockets"))
	case best < 0:
		return 0, errors.New("nothing is served by " + u.Scheme + "; look at `fairway gateway status`")
	}
	return best, nil
}

func ruleName(r *config.Rule) string {
	if r == nil {
		return "no rule"
	}
	return fmt.Sprintf("%s %s rule %s", r.Key.Kind, r.Key.Name, r.Key.Rule)
}
