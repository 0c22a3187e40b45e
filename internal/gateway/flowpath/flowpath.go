// Package flowpath carries the gateway's decisions out on rates in place of requests: a compiled config.Config, endpoints and
// how tries end go in; the shares of requests that each backend and pod gets come out, as rehearsals need them. Routes are
// matched by package match; splits, retry budgets and ejections are those of package balance. Pure, with an explicit now;
// what takes chance is a hash of the seed and names.
package flowpath

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
	"github.com/fairway-dev/fairway/internal/kube/route"
)

// Table is what is served, as a model of requests asks it. It is not safe for concurrent use.
type Table struct {
	seed     int64
	config   *config.Config
	index    *match.Index
	backends map[config.BackendKey]*backend
	named    map[string]*backend // by the name in a route.Share
	set      map[config.RuleKey][]int32
}

// backend is what is known of one from one Config to the next.
type backend struct {
	name    string
	pool    *balance.Pool
	streaks map[string]*streak // by UID
	early   bool               // its endpoints came before the Config that has it
}

// New returns a table that serves nothing.
func New(seed int64) *Table {
	t := &Table{seed: seed, backends: map[config.BackendKey]*backend{}, named: map[string]*backend{}, set: map[config.RuleKey][]int32{}}
	t.Publish(&config.Config{}, nil)
	return t
}

// Publish puts a Config in force, with its index (nil = it is made). Backends keep their endpoints and ejections, and rules with as
// many backends as before the weights that were set.
func (t *Table) Publish(c *config.Config, index *match.Index) {
	if t.config, t.index = c, index; index == nil {
		t.index = match.NewIndex(c)
	}
	kept := map[config.BackendKey]*backend{}
	clear(t.named)
	for _, b := range c.Backends {
		if b == nil || b.Key == (config.BackendKey{}) {
			continue
		}
		known := t.backend(b.Key)
		known.pool.SetPolicy(b.Policy)
		known.early = false
		kept[b.Key], t.named[known.name] = known, known
	}
	for key, b := range t.backends {
		if b.early {
			b.early = false // for one Config
			kept[key] = b
		}
	}
	t.backends = kept
	set := map[config.RuleKey][]int32{}
	for _, r := range c.Rules {
		if r == nil {
			continue
		}
		if w, ok := t.set[anyGateway(r.Key)]; ok && len(w) == len(r.Backends) {
			set[anyGateway(r.Key)] = w
		}
	}
	t.set = set
}

// backend of a key, made if there is none.
func (t *Table) backend(key config.BackendKey) *backend {
	b := t.backends[key]
	if b == nil {
		b = &backend{name: nameOf(&key), pool: balance.NewPool(config.Policy{}), streaks: map[string]*streak{}}
		t.backends[key] = b
	}
	return b
}

// anyGateway is the key that weights are set by.
func anyGateway(k config.RuleKey) config.RuleKey {
	k.Gateway = config.Name{}
	return k
}

// SetWeights puts other weights of a rule in force, until it is called with nil. It fails when no such rule is served, or with
// another number of backends.
func (t *Table) SetWeights(key config.RuleKey, weights []int32) error {
	key = anyGateway(key)
	at := slices.IndexFunc(t.config.Rules, func(r *config.Rule) bool { return r != nil && anyGateway(r.Key) == key })
	switch {
	case at < 0:
		return fmt.Errorf("set weights of %s %s rule %s: the gateway serves no such rule", key.Kind, key.Name, key.Rule)
	case weights == nil:
		delete(t.set, key)
		return nil
	case len(weights) != len(t.config.Rules[at].Backends):
		return fmt.Errorf("set weights of %s %s rule %s: %d weights for %d backends; give one for each", key.Kind, key.Name, key.Rule, len(weights), len(t.config.Rules[at].Backends))
	}
	t.set[key] = slices.Clone(weights)
	return nil
}

// Weights in force of a rule, in the order of its Backends; false when there is no such rule.
func (t *Table) Weights(key config.RuleKey) ([]int32, bool) {
	key = anyGateway(key)
	at := slices.IndexFunc(t.config.Rules, func(r *config.Rule) bool { return r != nil && anyGateway(r.Key) == key })
	if at < 0 {
		return nil, false
	}
	return t.weights(t.config.Rules[at]), true
}

// Unset goes back to the weights of the Config everywhere.
func (t *Table) Unset() { clear(t.set) }

// weights in force of a rule.
func (t *Table) weights(r *config.Rule) []int32 {
	if set, ok := t.set[anyGateway(r.Key)]; ok {
		return slices.Clone(set)
	}
	weights := make([]int32, len(r.Backends))
	for i := range r.Backends {
		weights[i] = r.Backends[i].Weight
	}
	return weights
}

// nameOf tells a backend from all others.
func nameOf(k *config.BackendKey) string {
	name := fmt.Sprintf("%s:%d", k.Name, k.Port)
	for _, more := range []string{k.Subset, k.Dress} {
		if more != "" {
			name += "/" + more
		}
	}
	return name
}

// SetEndpoints says which endpoints a backend has; they may come before the Config that has it. It reports whether that changes
// anything.
func (t *Table) SetEndpoints(key config.BackendKey, endpoints []config.Endpoint, now time.Time) bool {
	b := t.backend(key)
	b.early = t.named[b.name] != b
	before := b.pool.Endpoints()
	b.pool.SetEndpoints(endpoints, "", now.UnixNano())
	after := b.pool.Endpoints()
	there := map[string]bool{}
	for _, e := range after {
		there[e.ID()] = true
	}
	for id := range b.streaks {
		if !there[id] {
			delete(b.streaks, id)
		}
	}
	return !slices.EqualFunc(before, after, func(a, b *balance.Endpoint) bool { return a.Endpoint == b.Endpoint })
}

// Way is where requests go now.
func (t *Table) Way(q route.Request, now time.Time) route.Way {
	rule, why := t.rule(q)
	if rule == nil {
		return route.Way{Status: http.StatusNotFound, Why: why}
	}
	w := route.Way{Route: rule.Key.Kind + "/" + rule.Key.Name.String(), TimeoutSeconds: rule.Timeouts.Request.Seconds(), TryTimeoutSeconds: rule.Timeouts.Try.Seconds()}
	answer := func(status int, why string) route.Way {
		w.Status, w.Why = status, why
		return w
	}
	if rule.Broken != "" {
		return answer(http.StatusInternalServerError, rule.Broken)
	}
	for _, f := range rule.Filters {
		if f.Redirect != nil {
			return answer(cmp.Or(f.Redirect.Status, http.StatusFound), "")
		}
	}
	parts := balance.NewSplit(0, t.weights(rule)).Fractions(len(rule.Backends))
	if slices.Max(append(parts, 0)) == 0 {
		return answer(http.StatusInternalServerError, "no backend of this route has any weight")
	}
	whole := 1.0
	if f := rule.Fault; f != nil && f.AbortPercent > 0 {
		whole = 1 - min(1, f.AbortPercent/100)
		w.Shares = append(w.Shares, route.Share{Backend: "fault", Part: 1 - whole, Status: f.AbortStatus})
	}
	for i := range rule.Backends {
		if parts[i] > 0 {
			w.Shares = append(w.Shares, t.share(&rule.Backends[i], parts[i]*whole, now))
		}
	}
	w.Retry = retryOf(rule.Retry, cmp.Or(q.Method, http.MethodGet))
	return w
}

// share of a rule's requests.
func (t *Table) share(s *config.Share, part float64, now time.Time) route.Share {
	out := route.Share{Backend: s.Service, Service: s.Service, Part: part}
	switch {
	case s.Backend == nil:
		out.Status = http.StatusInternalServerError
		return out
	case s.Backend.Key.Kind == config.ExternalBackend:
		out.Status = http.StatusOK // who answers there is not of the model
		return out
	}
	for _, f := range s.Filters {
		if f.Redirect != nil {
			out.Status = cmp.Or(f.Redirect.Status, http.StatusFound)
			return out
		}
	}
	b := t.backends[s.Backend.Key]
	p := &s.Backend.Policy
	out.Backend, out.Service = b.name, s.Backend.Key.Name.String()
	out.BudgetShare = float64(p.BudgetPercent) / 100
	if p.BudgetRateInterval > 0 {
		out.BudgetPerSecond = float64(p.BudgetRate) / p.BudgetRateInterval.Seconds()
	}
	out.Watched = p.Outlier != nil
	out.Endpoints = b.endpoints(s.Backend.Key.Name.Namespace, now.UnixNano())
	if len(out.Endpoints) == 0 {
		out.Status = http.StatusServiceUnavailable
	}
	return out
}

// endpoints that get requests, alike in the long run: those that are not ejected, or all while too few are.
func (b *backend) endpoints(namespace string, now int64) []route.Endpoint {
	all := b.pool.Endpoints()
	healthy := slices.DeleteFunc(slices.Clone(all), func(e *balance.Endpoint) bool { return e.EjectedUntil() > now })
	if o := b.pool.Policy().Outlier; len(healthy) == 0 || o != nil && len(healthy)*100 < o.PanicBelowPercent*len(all) {
		healthy = all
	}
	out := make([]route.Endpoint, 0, len(healthy))
	for _, e := range healthy {
		out = append(out, route.Endpoint{Pod: namespace + "/" + e.Pod, UID: e.UID, Part: 1 / float64(len(healthy))})
	}
	return out
}

// retryOf is a rule's policy as it concerns tries that reached a pod: refused connections are the pods' that are not there.
func retryOf(r *config.Retry, method string) route.Retry {
	if r == nil || r.Attempts <= 0 {
		return route.Retry{}
	}
	// What Retry answers for each way a try can end is what is tried again.
	asks := func(t balance.Try) bool {
		t.Replayable, t.Left, t.Idempotent = true, -1, idempotent(method)
		again, _ := balance.Retry(r, t)
		return again
	}
	_, backoff := balance.Retry(r, balance.Try{Unsent: true, Replayable: true, Left: -1})
	return route.Retry{Attempts: r.Attempts, Errors: asks(balance.Try{Status: http.StatusInternalServerError}), Overload: asks(balance.Try{Status: http.StatusServiceUnavailable}),
		Timeouts: asks(balance.Try{Timeout: true}), BackoffSeconds: backoff.Seconds()}
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// rule of a request.
func (t *Table) rule(q route.Request) (*config.Rule, string) {
	path, query, _ := strings.Cut(cmp.Or(q.Path, "/"), "?")
	head := match.Head{Method: cmp.Or(q.Method, http.MethodGet), Host: q.Host, ServerName: q.Host, Path: path, Query: query}
	order := make([]int, len(t.config.Sockets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &t.config.Sockets[a].Address, &t.config.Sockets[b].Address
		return cmp.Or(cmp.Compare(x.Port(), y.Port()), x.Compare(*y))
	})
	attached := false
	for _, i := range order {
		s := &t.config.Sockets[i]
		if s.Protocol == config.TLS || q.Port != 0 && s.Address.Port() != q.Port {
			continue
		}
		if q.Route == "" {
			if r, ok := t.index.Match(i, &head); ok {
				return r.Rule, ""
			}
			continue
		}
		for _, host := range hostsOf(s, q.Route) {
			attached = true
			head.Host, head.ServerName = host, host
			if r, ok := t.index.Match(i, &head); ok && routeOf(r.Rule) == q.Route {
				return r.Rule, ""
			}
		}
	}
	switch {
	case q.Route == "":
		return nil, fmt.Sprintf("no route serves %s %s%s", head.Method, q.Host, path)
	case attached:
		return nil, fmt.Sprintf("no rule of %s serves %s %s", q.Route, head.Method, path)
	}
	return nil, q.Route + " is not attached to a Gateway that is served"
}

func routeOf(r *config.Rule) string { return r.Key.Kind + "/" + r.Key.Name.String() }

// hostsOf are names that requests for a route can have on a socket.
func hostsOf(s *config.Socket, name string) []string {
	var out []string
	for _, l := range s.Listeners {
		for _, h := range l.Hosts {
			if slices.ContainsFunc(h.Matches, func(m config.Match) bool { return routeOf(m.Rule) == name }) {
				host := cmp.Or(h.Hostname, l.Hostname, "rehearsal.invalid")
				out = append(out, strings.Replace(host, "*", "rehearsal", 1))
			}
		}
	}
	return out
}
