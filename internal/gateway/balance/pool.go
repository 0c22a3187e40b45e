package balance

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"github.com/fairway-dev/fairway/internal/gateway/config"
)

// boundedLoad is how much more than the mean an endpoint may have before ConsistentHash goes on to the next (consistent
// hashing with bounded loads, Mirrokni et al. 2016).
const boundedLoad = 1.25

// Pool chooses among the endpoints of a backend. All methods may be called at once.
type Pool struct {
	set    atomic.Pointer[set]
	policy atomic.Pointer[config.Policy]
	turn   atomic.Uint64 // of RoundRobin
	eject  ejection
	// trouble is until when some endpoint gets no requests; before that each must be asked.
	trouble atomic.Int64
}

// set is one state of the endpoints.
type set struct {
	all  []*Endpoint // by address and port
	near []*Endpoint // those of the own zone; nil when zones do not matter
	byID map[string]*Endpoint
}

// NewPool returns a pool without endpoints.
func NewPool(policy config.Policy) *Pool {
	p := &Pool{}
	p.policy.Store(&policy)
	p.set.Store(&set{})
	return p
}

// SetPolicy changes how endpoints are chosen from now on.
func (p *Pool) SetPolicy(policy config.Policy) { p.policy.Store(&policy) }

// Policy in force.
func (p *Pool) Policy() *config.Policy { return p.policy.Load() }

// ID of an endpoint within its pool: that of its pod if it has one, for an address can be given to another pod.
func (e *Endpoint) ID() string {
	if e.UID != "" {
		return e.UID
	}
	return e.Address
}

// SetEndpoints changes the endpoints from now on. Those that stay keep what is known of them. Endpoints that terminate are
// used only when there are no others. zone is the zone of whoever calls, "" = unknown. The endpoints that are gone or got
// no more requests are returned: their idle connections are to be closed.
func (p *Pool) SetEndpoints(endpoints []config.Endpoint, zone string, now int64) (gone []*Endpoint) {
	old := p.set.Load()
	usable := slices.DeleteFunc(slices.Clone(endpoints), func(e config.Endpoint) bool { return e.Terminating })
	if len(usable) == 0 {
		usable = slices.Clone(endpoints)
	}
	slices.SortFunc(usable, compareEndpoints)
	usable = slices.CompactFunc(usable, func(a, b config.Endpoint) bool { return a.Address == b.Address && a.Port == b.Port })
	next := &set{all: make([]*Endpoint, 0, len(usable)), byID: make(map[string]*Endpoint, len(usable))}
	for _, e := range usable {
		n := old.find(e)
		switch {
		case n == nil:
			n = NewEndpoint(e, now)
		case n.Endpoint != e: // its revision or zone is known only now, or it terminates
			n = &Endpoint{Endpoint: e, state: n.state}
		}
		next.all = append(next.all, n)
		next.byID[n.ID()] = n
	}
	if p.Policy().Zone && zone != "" {
		for _, e := range next.all {
			if e.Zone == zone {
				next.near = append(next.near, e)
			}
		}
		if len(next.near) == len(next.all) {
			next.near = nil
		}
	}
	p.set.Store(next)
	p.look()
	for _, e := range old.all {
		if next.find(e.Endpoint) == nil {
			gone = append(gone, e)
		}
	}
	return gone
}

// Endpoints are those that requests go to now.
func (p *Pool) Endpoints() []*Endpoint { return p.set.Load().all }

// Find returns the endpoint with the ID, nil when it has gone.
func (p *Pool) Find(id string) *Endpoint { return p.set.Load().byID[id] }

// Choice is what is known of a request for which an endpoint is chosen.
type Choice struct {
	// Draw is a random number; P2C and Random take theirs from it.
	Draw uint64
	// Hash is that of what ConsistentHash hashes.
	Hash uint64
	// Avoid is the endpoint of the try before: another one is preferred.
	Avoid *Endpoint
	// Revision, if not empty, is preferred: the client belongs to it.
	Revision string
}

// Pick chooses the endpoint for a request. nil = there is none at all. While too few are healthy (Policy.PanicBelow),
// or none is, all of them are used: panic says so.
func (p *Pool) Pick(c Choice, now int64) (e *Endpoint, panic bool) {
	s, policy := p.set.Load(), p.Policy()
	if len(s.all) == 0 {
		return nil, false
	}
	if len(s.all) == 1 { // however ill it is
		return s.all[0], !s.all[0].available(now)
	}
	if c.Revision != "" {
		if e := p.least(s.all, policy, c, now, func(e *Endpoint) bool { return e.Revision == c.Revision && e.available(now) }); e != nil {
			return e, false
		}
	}
	healthy := len(s.all)
	if p.trouble.Load() > now {
		healthy = count(s.all, now)
	}
	panicking := healthy == 0 || healthy*100 < policy.PanicBelow()*len(s.all)
	from := s.all
	if !panicking && s.near != nil && stayNear(s.near, policy, c.Draw, now) {
		from = s.near
	}
	usable := func(e *Endpoint) bool { return e != c.Avoid && (panicking || e.available(now)) }
	if e := p.choose(from, policy, c, now, usable, (panicking || healthy == len(s.all)) && c.Avoid == nil); e != nil {
		return e, panicking
	}
	return p.choose(s.all, policy, c, now, func(e *Endpoint) bool { return panicking || e.available(now) }, false), panicking
}

// Suspend keeps requests away from an endpoint until then: it refused a connection.
func (p *Pool) Suspend(e *Endpoint, until int64) {
	e.suspended.Store(until)
	p.look()
}

// SetHealthy says what the probes of an endpoint say. It reports whether that is new.
func (p *Pool) SetHealthy(e *Endpoint, healthy bool) bool {
	if e.unhealthy.Swap(!healthy) == !healthy {
		return false
	}
	p.look()
	return true
}

// look works out until when there is trouble.
func (p *Pool) look() {
	p.eject.mu.Lock()
	defer p.eject.mu.Unlock()
	p.lookLocked()
}

func (p *Pool) lookLocked() {
	var until int64
	for _, e := range p.Endpoints() {
		until = max(until, e.suspended.Load(), e.outlier.until.Load())
		if e.unhealthy.Load() {
			until = math.MaxInt64
		}
	}
	p.trouble.Store(until)
}

// count the endpoints that may get requests.
func count(endpoints []*Endpoint, now int64) (n int) {
	for _, e := range endpoints {
		if e.available(now) {
			n++
		}
	}
	return n
}

// stayNear reports whether a request stays in the zone: it does with the probability min(1, Overprovision × healthy part).
func stayNear(near []*Endpoint, policy *config.Policy, draw uint64, now int64) bool {
	healthy := count(near, now)
	part := policy.Overprovision * float64(healthy) / float64(len(near))
	return healthy > 0 && (part >= 1 || float64(mix(draw)>>11)/(1<<53) < part)
}

// choose picks by the algorithm among those that are usable; nil when none is. all says that every one is.
func (p *Pool) choose(from []*Endpoint, policy *config.Policy, c Choice, now int64, usable func(*Endpoint) bool, all bool) *Endpoint {
	if !all {
		from = slices.DeleteFunc(slices.Clone(from), func(e *Endpoint) bool { return !usable(e) })
	}
	n := uint64(len(from))
	if n == 0 {
		return nil
	}
	switch policy.Algorithm {
	case config.RoundRobin:
		return from[(p.turn.Add(1)-1)%n]
	case config.Random:
		return from[c.Draw%n]
	case config.LeastRequest:
		return p.least(from, policy, c, now, nil)
	case config.ConsistentHash:
		return consistent(from, c.Hash)
	}
	if n == 1 {
		return from[0]
	}
	i := c.Draw % n
	j := (i + 1 + mix(c.Draw)%(n-1)) % n
	if from[j].score(policy.SlowStart, now) < from[i].score(policy.SlowStart, now) {
		return from[j]
	}
	return from[i]
}

// least is the one with the fewest requests in flight for its weight; among equals the draw decides.
func (p *Pool) least(from []*Endpoint, policy *config.Policy, c Choice, now int64, usable func(*Endpoint) bool) (best *Endpoint) {
	fewest := math.Inf(1)
	for i := range from {
		e := from[(uint64(i)+c.Draw%uint64(len(from)))%uint64(len(from))]
		if usable != nil && !usable(e) {
			continue
		}
		if load := float64(e.InFlight()+1) / e.weight(policy.SlowStart, now); load < fewest {
			best, fewest = e, load
		}
	}
	return best
}

// consistent is the endpoint with the highest draw for the hash (rendezvous hashing) whose load is within bounds.
func consistent(from []*Endpoint, hash uint64) *Endpoint {
	var total int64
	for _, e := range from {
		total += e.InFlight()
	}
	bound := int64(math.Ceil(boundedLoad * float64(total+1) / float64(len(from))))
	var best *Endpoint
	var highest uint64
	for _, e := range from {
		if e.InFlight()+1 > bound {
			continue
		}
		if h := mix(hash ^ text(e.ID())); best == nil || h > highest {
			best, highest = e, h
		}
	}
	return best // the bound is above the mean: somebody is below it
}

func (s *set) find(e config.Endpoint) *Endpoint {
	i, ok := slices.BinarySearchFunc(s.all, e, func(n *Endpoint, e config.Endpoint) int { return compareEndpoints(n.Endpoint, e) })
	if !ok || s.all[i].UID != e.UID {
		return nil
	}
	return s.all[i]
}

func compareEndpoints(a, b config.Endpoint) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
}

// mix is the finalizer of SplitMix64: another number as random as the one that goes in.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// text hashes a text by FNV-1a.
func text(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Hash is the hash of a text, for Choice.Hash.
func Hash(s string) uint64 { return mix(text(s)) }
