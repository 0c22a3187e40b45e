package compile

import (
	"cmp"
	"crypto/tls"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	gw "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

const (
	// sparseBelow rules or backends, a single place with nothing in it is reason enough to give all places anew.
	sparseBelow = 1000
	// sparseShare of the places with nothing in them is so for any number: 1 in 4.
	sparseShare = 4
)

// listenerKey names a listener from one Compile to the next.
type listenerKey struct {
	parent  parentKey
	section gw.SectionName
	address netip.AddrPort
	listens string // the listeners of the entrance have no names of their own
}

// assembled is a host with what it was made of.
type assembled struct {
	from []*hosted
	host *config.Host
}

// assemble the Config from the listeners that have sockets, and what is attached to them.
func (c *compilation) assemble() (out Output, sparse bool) {
	live := c.live
	rules, sparseRules := c.placeRules(live)
	backends, sparseBackends := c.placeBackends(live)
	if (sparseRules || sparseBackends) && c.in.Previous != nil {
		return Output{}, true
	}
	next := &config.Config{Version: c.last.config.Version + 1, Rules: rules, Backends: backends, Sockets: c.sockets()}
	if same(next, c.last.config) {
		next = c.last.config
	}
	c.next.config, c.out.Config, c.next.statuses = next, next, c.out.Statuses
	c.drop(live)
	c.out.Needs.Secrets, c.out.Needs.ConfigMaps, c.out.Needs.Services = c.secretsN.sorted(), c.mapsN.sorted(), c.servicesN.sorted()
	c.out.state = c.next
	return c.out, false
}

// drop what is not served from what is used again: its places belong to others from now on.
func (c *compilation) drop(live []*compiled) {
	keep := make(map[*compiled]bool, len(live))
	used := map[*config.Backend]bool{}
	for _, k := range live {
		keep[k] = true
		for _, b := range k.backends {
			used[b] = true
		}
	}
	for key, k := range c.next.routes {
		if keep[k] {
			continue
		}
		delete(c.next.routes, key)
		if k.source != nil && !k.accepted.bad {
			c.next.good[key] = k.again()
		}
	}
	for key, b := range c.next.backends {
		if !used[b] {
			delete(c.next.backends, key)
		}
	}
	for key, k := range c.next.good {
		if !keep[k] {
			c.next.good[key] = k.again()
		}
	}
}

// again is a translation that is only good to be made again, from its source.
func (k *compiled) again() *compiled {
	return &compiled{key: k.key, uid: k.uid, generation: k.generation, source: k.source}
}

// forgetful is a state without places: everything is translated again, but what was good and what was served is known.
func (s *state) forgetful() *state {
	out := *s
	out.routes, out.backends, out.targets = map[routeKey]*compiled{}, map[config.BackendKey]*config.Backend{}, map[targetKey]*target{}
	out.hosts, out.good = nil, map[routeKey]*compiled{}
	for key, k := range s.routes {
		if k.source != nil && !k.accepted.bad {
			out.good[key] = k.again()
		}
	}
	for key, k := range s.good {
		if out.good[key] == nil {
			out.good[key] = k.again()
		}
	}
	return &out
}

// placeRules gives each rule its Index: the one it had, or that of the rule it comes after, or a free one.
func (c *compilation) placeRules(live []*compiled) ([]*config.Rule, bool) {
	p := newPlaces(len(c.last.config.Rules))
	var fresh []*compiled
	for _, k := range live {
		unplaced := false
		for _, r := range k.rules {
			if r.Index >= 0 {
				p.take(r.Index)
			} else {
				unplaced = true
			}
		}
		if unplaced {
			fresh = append(fresh, k)
		}
	}
	var without []*config.Rule
	for _, k := range fresh {
		for _, r := range k.rules {
			if r.Index < 0 {
				if r.Index = c.placeBefore(k, r.Key); r.Index < 0 || !p.free(r.Index) {
					r.Index = -1
					without = append(without, r)
					continue
				}
				p.take(r.Index)
			}
		}
	}
	for _, r := range without {
		r.Index = p.next()
	}
	out := make([]*config.Rule, p.size())
	for _, k := range live {
		for _, r := range k.rules {
			out[r.Index] = r
		}
	}
	empty := 0
	for i := range out {
		if out[i] == nil {
			out[i] = &config.Rule{Index: i, Broken: "it is gone"}
			empty++
		}
	}
	return out, sparse(empty, len(out))
}

// placeBefore is the Index of the rule of that key in what the translation comes after; -1 = there was none.
func (c *compilation) placeBefore(k *compiled, key config.RuleKey) int {
	for _, before := range []*compiled{c.last.routes[k.key], c.last.good[k.key]} {
		if before == nil {
			continue
		}
		for _, r := range before.rules {
			if r.Key == key {
				return r.Index
			}
		}
	}
	return -1
}

func (c *compilation) placeBackends(live []*compiled) ([]*config.Backend, bool) {
	p := newPlaces(len(c.last.config.Backends))
	var fresh []*config.Backend
	seen := map[*config.Backend]bool{}
	var all []*config.Backend
	for _, k := range live {
		for _, b := range k.backends {
			if seen[b] {
				continue
			}
			seen[b] = true
			all = append(all, b)
			if b.Index >= 0 {
				p.take(b.Index)
			} else {
				fresh = append(fresh, b)
			}
		}
	}
	fresh = slices.DeleteFunc(fresh, func(b *config.Backend) bool {
		if was := c.last.backends[b.Key]; was != nil && was.Index >= 0 && p.free(was.Index) {
			b.Index = was.Index
			p.take(b.Index)
		}
		return b.Index >= 0
	})
	for _, b := range fresh {
		b.Index = p.next()
	}
	out := make([]*config.Backend, p.size())
	for _, b := range all {
		out[b.Index] = b
	}
	empty := 0
	for i := range out {
		if out[i] == nil {
			out[i] = &config.Backend{Index: i}
			empty++
		}
	}
	return out, sparse(empty, len(out))
}

func sparse(empty, all int) bool {
	return empty > 0 && (all < sparseBelow || empty*sparseShare > all)
}

// places are indexes that are taken.
type places struct {
	taken []bool
	first int // no place before it is free
	most  int
}

func newPlaces(about int) *places { return &places{taken: make([]bool, about), most: -1} }

func (p *places) free(i int) bool { return i >= len(p.taken) || !p.taken[i] }

func (p *places) take(i int) {
	for i >= len(p.taken) {
		p.taken = append(p.taken, false)
	}
	p.taken[i] = true
	p.most = max(p.most, i)
}

func (p *places) next() int {
	for !p.free(p.first) {
		p.first++
	}
	i := p.first
	p.take(i)
	return i
}

func (p *places) size() int { return p.most + 1 }

// sockets by address and port, each with its listeners from the most specific host name to the least.
func (c *compilation) sockets() []config.Socket {
	by := map[netip.AddrPort]*config.Socket{}
	for _, l := range c.listeners {
		if len(l.sockets) == 0 {
			continue
		}
		made := c.listener(l)
		for _, at := range l.sockets {
			s := by[at]
			if s == nil {
				s = &config.Socket{Address: at, Protocol: protocol(l.spec.Protocol)}
				by[at] = s
			}
			s.Listeners = append(s.Listeners, made)
		}
	}
	out := make([]config.Socket, 0, len(by))
	for _, s := range by {
		slices.SortStableFunc(s.Listeners, func(a, b *config.Listener) int { return moreSpecific(a.Hostname, b.Hostname) })
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b config.Socket) int { return a.Address.Compare(b.Address) })
	return out
}

func protocol(p gw.ProtocolType) config.Protocol {
	switch p {
	case gw.HTTPSProtocolType:
		return config.HTTPS
	case gw.TLSProtocolType:
		return config.TLS
	}
	return config.HTTP
}

func (c *compilation) listener(l *listener) *config.Listener {
	out := &config.Listener{Owner: l.owner().name, Section: string(l.spec.Name), Hostname: l.hostname(), Certificates: l.certificates, Clients: l.clients}
	if l.parent.gateway != nil {
		out.Gateway = nameOf(l.parent.gateway)
	}
	hosts := slices.SortedFunc(maps.Keys(l.hosts), moreSpecific)
	key := listenerKey{l.owner(), l.spec.Name, l.sockets[0], l.hostname()}
	last, next := c.last.hosts[key], make(map[string]*assembled, len(hosts))
	c.next.hosts[key] = next
	for _, host := range hosts {
		if l.spec.Protocol == gw.TLSProtocolType {
			for _, h := range l.hosts[host] {
				if len(h.rules) > 0 {
					out.Servers = append(out.Servers, &config.Server{Hostname: host, Rule: h.rules[0], Terminate: l.terminates()})
				}
			}
			continue
		}
		made := last[host]
		if made == nil || !slices.EqualFunc(made.from, l.hosts[host], func(a, b *hosted) bool { return *a == *b }) {
			made = assembleHost(host, l.hosts[host])
		}
		next[host] = made
		out.Hosts = append(out.Hosts, made.host)
	}
	return out
}

// assembleHost with its matches in the order of precedence.
func assembleHost(name string, from []*hosted) *assembled {
	type entry struct {
		own string
		*ranked
	}
	var entries []entry
	for _, h := range from {
		for i := range h.matches {
			entries = append(entries, entry{h.own, &h.matches[i]})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		if a.own != b.own {
			return moreSpecific(a.own, b.own)
		}
		return a.rank.before(b.rank)
	})
	host := &config.Host{Hostname: name, Matches: make([]config.Match, len(entries))}
	for i, e := range entries {
		host.Matches[i] = e.match
	}
	return &assembled{from, host}
}

// same tells whether two Configs serve the same. What they are made of is the same pointer where it has not changed.
func same(a, b *config.Config) bool {
	return slices.Equal(a.Rules, b.Rules) && slices.Equal(a.Backends, b.Backends) && slices.EqualFunc(a.Sockets, b.Sockets, func(x, y config.Socket) bool {
		return x.Address == y.Address && x.Protocol == y.Protocol && slices.EqualFunc(x.Listeners, y.Listeners, sameListener)
	})
}

func sameListener(a, b *config.Listener) bool {
	return cmp.Or(compareNames(a.Gateway, b.Gateway), compareNames(a.Owner, b.Owner), cmp.Compare(a.Section, b.Section), cmp.Compare(a.Hostname, b.Hostname)) == 0 &&
		slices.Equal(a.Hosts, b.Hosts) && reflect.DeepEqual(a.Clients, b.Clients) &&
		slices.EqualFunc(a.Servers, b.Servers, func(x, y *config.Server) bool { return *x == *y }) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool { return reflect.DeepEqual(x.Certificate, y.Certificate) })
}
