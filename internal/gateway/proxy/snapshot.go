package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/gateway/config"
	"github.com/fairway-dev/fairway/internal/gateway/match"
)

// snapshot is a Config with what stands beside it. It does not change; a request keeps the one it began with.
type snapshot struct {
	config   *config.Config
	index    *match.Index
	rules    []*ruleState // by Rule.Index
	backends []*backend   // by Backend.Index
	places   map[*socket]int
	tls      map[*config.Listener]*tls.Config
}

func emptySnapshot() *snapshot {
	c := &config.Config{}
	return &snapshot{config: c, index: match.NewIndex(c)}
}

// ruleState is what a rule keeps from one Config to the next.
type ruleState struct {
	key     config.RuleKey
	rule    *config.Rule // of the present Config; with Gateway.mu held
	hash    uint64
	split   *balance.Split
	weights atomic.Pointer[[]int32] // in force; changed with Gateway.mu held
	mirrors []*balance.Portion      // by the mirror's place
	// aborts and delays of its Fault.
	aborts, delays balance.Portion
}

// set puts other weights in force.
func (s *ruleState) set(weights []int32) {
	s.weights.Store(&weights)
	s.split.Set(weights)
}

// SocketError is why a socket is not listened on.
type SocketError struct {
	Address netip.AddrPort
	Err     error
	// Remedy is what to do about it, in words; "" = unknown.
	Remedy string
}

func (e *SocketError) Error() string {
	text := fmt.Sprintf("cannot listen on %s: %v", e.Address, e.Err)
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

func (e *SocketError) Unwrap() error { return e.Err }

// Publish puts a Config in force, with its index. Sockets that are new are bound before those that are gone are released;
// connections on the latter end after their next response. The errors are of sockets that could not be bound: they are
// tried again at the next Publish, and all else is in force. A gateway that drains keeps the Config it has.
func (g *Gateway) Publish(c *config.Config, index *match.Index) []*SocketError {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drains.Load() {
		return nil
	}
	next := &snapshot{config: c, index: index, places: make(map[*socket]int, len(c.Sockets)), tls: map[*config.Listener]*tls.Config{}}
	next.backends = g.carryBackends(c)
	next.rules = g.carryRules(c)
	for i := range c.Sockets {
		for _, l := range c.Sockets[i].Listeners {
			if c.Sockets[i].Protocol != config.HTTP {
				next.tls[l] = serverTLS(l, c.Sockets[i].Protocol, g.log)
			}
		}
	}
	bound, problems := g.bind(c)
	for i := range c.Sockets {
		if s := bound[c.Sockets[i].Address]; s != nil {
			next.places[s] = i
		}
	}
	old := g.current.Load()
	for s, place := range old.places {
		if _, stays := next.places[s]; !stays {
			s.last.Store(&pinned{old, place})
		}
	}
	g.current.Store(next)
	for _, s := range bound {
		s.start()
	}
	g.release(bound)
	return problems
}

// carryBackends finds or makes the state of each backend, and forgets those that are gone.
func (g *Gateway) carryBackends(c *config.Config) []*backend {
	states := make([]*backend, len(c.Backends))
	used := make(map[config.BackendKey]bool, len(c.Backends))
	for i, b := range c.Backends {
		state := g.backends[b.Key]
		if state == nil {
			state = newBackend(g, b.Key)
			g.backends[b.Key] = state
		}
		state.configure(b)
		states[i], used[b.Key] = state, true
	}
	for key, b := range g.backends {
		switch {
		case used[key]:
			b.early = false
		case b.early: // its endpoints came before the Config that has it
			b.early = false
		default:
			delete(g.backends, key)
			b.leave()
		}
	}
	return states
}

// carryRules finds or makes the state of each rule.
func (g *Gateway) carryRules(c *config.Config) []*ruleState {
	states := make([]*ruleState, len(c.Rules))
	next := make(map[config.RuleKey]*ruleState, len(c.Rules))
	overrides := map[config.RuleKey][]int32{} // those of rules that are still there
	variants := map[config.RuleKey][]*ruleState{}
	for i, r := range c.Rules {
		weights := weightsOf(r)
		if set, ok := g.overrides[anyGateway(r.Key)]; ok && len(set) == len(weights) {
			overrides[anyGateway(r.Key)] = set
			weights = slices.Clone(set)
		}
		old := g.rules[r.Key]
		if old == nil {
			hash := balance.Hash(r.Key.Kind + "/" + r.Key.Name.String() + "/" + r.Key.Rule)
			old = &ruleState{key: r.Key, hash: hash, split: balance.NewSplit(mix(g.options.Seed^hash)>>1, weights)}
			old.weights.Store(&weights)
		} else if !slices.Equal(*old.weights.Load(), weights) {
			old.set(weights)
		}
		state := old
		if len(state.mirrors) != len(r.Mirrors) {
			// Requests that began before read the old slice: the state is replaced, with the same split.
			state = &ruleState{key: r.Key, hash: old.hash, split: old.split, mirrors: slices.Clone(old.mirrors)}
			state.weights.Store(&weights)
			state.mirrors = state.mirrors[:min(len(state.mirrors), len(r.Mirrors))]
			for len(state.mirrors) < len(r.Mirrors) {
				state.mirrors = append(state.mirrors, &balance.Portion{})
			}
		}
		state.rule = r
		states[i], next[r.Key] = state, state
		if common := anyGateway(r.Key); common != r.Key {
			variants[common] = append(variants[common], state)
		}
	}
	g.rules, g.variants, g.overrides = next, variants, overrides
	return states
}

// anyGateway is the key that weights are set by.
func anyGateway(k config.RuleKey) config.RuleKey {
	k.Gateway = config.Name{}
	return k
}

// SetWeights puts other weights of a rule in force, for the next request and until SetWeights with nil, which goes back to
// those of the Config. They are in the order of the rule's Backends. Other routes and connections are not touched. It fails
// when the present Config has no such rule, or with another number of backends.
func (g *Gateway) SetWeights(key config.RuleKey, weights []int32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	key = anyGateway(key)
	states := g.states(key)
	if len(states) == 0 {
		return fmt.Errorf("set weights of %s %s rule %s: the gateway serves no such rule", key.Kind, key.Name, key.Rule)
	}
	for _, s := range states {
		if weights != nil && len(weights) != len(s.rule.Backends) {
			return fmt.Errorf("set weights of %s %s rule %s: %d weights for %d backends; give one for each", key.Kind, key.Name, key.Rule, len(weights), len(s.rule.Backends))
		}
	}
	if weights == nil {
		delete(g.overrides, key)
	} else {
		g.overrides[key] = slices.Clone(weights)
	}
	for _, s := range states {
		if weights != nil {
			s.set(slices.Clone(weights))
		} else {
			s.set(weightsOf(s.rule))
		}
	}
	return nil
}

// states of the rules that go by a key of any Gateway.
func (g *Gateway) states(key config.RuleKey) []*ruleState {
	if s := g.rules[key]; s != nil {
		return append([]*ruleState{s}, g.variants[key]...)
	}
	return g.variants[key]
}

// weightsOf a rule, as the Config has them.
func weightsOf(r *config.Rule) []int32 {
	weights := make([]int32, len(r.Backends))
	for i := range r.Backends {
		weights[i] = r.Backends[i].Weight
	}
	return weights
}

// Weights in force of a rule, in the order of its Backends; false when there is no such rule.
func (g *Gateway) Weights(key config.RuleKey) ([]int32, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if states := g.states(anyGateway(key)); len(states) > 0 {
		return slices.Clone(*states[0].weights.Load()), true
	}
	return nil, false
}

// remedy of a socket that cannot be bound.
func remedy(address netip.AddrPort, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission) && address.Port() < 1024:
		return "use a port from 1024 on, or run as root, with CAP_NET_BIND_SERVICE, or with a lower sysctl net.ipv4.ip_unprivileged_port_start"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there: stop it or use another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have the address: use one that it has"
	}
	return ""
}
