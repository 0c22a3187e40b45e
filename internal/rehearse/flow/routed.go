package flow

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// Path is one way that the requests of a routed load go: to the pods of one backend of a gateway, which knows at once when
// pods come and go, and tries again on its own account.
type Path struct {
	// Backend tells the path from others of the same load and route; it is a key of random draws.
	Backend string
	// Service and Route the requests are for.
	Service, Route int
	// Share of the load's requests of this route, 0…1.
	Share float64
	// Pods that requests go to, and each one's share of them. Without any the gateway answers 503.
	Pods []PodShare
	// Timeout of a try, 0 = none beside the client's own.
	Timeout time.Duration
	Retry   Retry
}

// PodShare is the part of a Path's requests that a pod gets.
type PodShare struct {
	Pod   PodID
	Share float64
}

// Retry is what a gateway tries again, at the same backend.
type Retry struct {
	// Attempts beyond the first.
	Attempts int
	// Errors, Overload (a full queue) and Timeouts select what is tried again.
	Errors, Overload, Timeouts bool
	Backoff                    time.Duration
	// Retries are at most BudgetShare of the requests, and BudgetPerSecond if that is more. Both 0 = no bound.
	BudgetShare, BudgetPerSecond float64
}

// Routes is where the requests of one route of a routed load go.
type Routes struct {
	Paths []Path
	// Answered and Failing are the shares that the gateway answers itself: well (as by a redirect), or with an error.
	Answered, Failing float64
}

// via is a path with what the model keeps of it. One that is not taken any more stays, with the share 0.
type via struct {
	load, cell  int
	backend     string
	to, toRoute int
	share       float64
	pods        []PodShare // by pod
	timeout     float64
	retry       Retry
	tries       float64 // of the gateway, a request
	kept        float64 // share of failures that are left after them
	moving      bool    // they are not yet what they come to
	accounts    []viaAccount
}

// viaAccount is what came of the requests to a revision since it was asked last.
type viaAccount struct {
	requests, errors int64
	latency          account
}

// answers are those that a gateway gives by itself.
type answers struct {
	fine, failing float64 // shares
	drawn         float64
	arrived       int64
	closed        int64
}

// SetPaths says where the requests of one route (its place in Load.Mix) of a routed load go from now on. The shares of the
// paths, and those the gateway answers itself, are to add up to 1; what is missing fails.
func (s *System) SetPaths(load, cell int, to Routes) error {
	l := &s.loads[load]
	if !l.spec.Routed || cell < 0 || cell >= len(l.cells) {
		return fmt.Errorf("load %s: its route %d does not go through a gateway", l.spec.Name, cell)
	}
	sum := to.Answered + to.Failing
	for i := range to.Paths {
		p := &to.Paths[i]
		if p.Service < 0 || p.Service >= len(s.services) || s.services[p.Service].constant || p.Route < 0 || p.Route >= len(s.services[p.Service].routes) {
			return fmt.Errorf("load %s: backend %s is not a service that receives requests", l.spec.Name, p.Backend)
		}
		if !(p.Share >= 0) {
			return fmt.Errorf("load %s: backend %s has the share %v", l.spec.Name, p.Backend, p.Share)
		}
		sum += p.Share
	}
	if !(sum <= 1+1e-6) || to.Answered < 0 || to.Failing < 0 {
		return fmt.Errorf("load %s: the shares of its ways add up to %v", l.spec.Name, sum)
	}
	// Everything up to now happened on the ways before.
	s.closeAll()
	known := len(s.vias)
	for _, v := range s.vias {
		if v.load == load && v.cell == cell {
			v.share, v.pods = 0, nil
			s.change(&s.services[v.to])
		}
	}
	for i := range to.Paths {
		s.take(load, cell, &to.Paths[i])
	}
	c := &l.cells[cell]
	c.own.fine, c.own.failing = to.Answered, to.Failing+max(0, 1-sum)
	if len(s.vias) > known {
		s.connect()
	}
	s.weighCell(c)
	return nil
}

// take puts a path in force.
func (s *System) take(load, cell int, p *Path) {
	i := slices.IndexFunc(s.vias, func(v *via) bool {
		return v.load == load && v.cell == cell && v.to == p.Service && v.toRoute == p.Route && v.backend == p.Backend
	})
	var v *via
	if i >= 0 {
		v = s.vias[i]
	} else {
		v = &via{load: load, cell: cell, backend: p.Backend, to: p.Service, toRoute: p.Route, tries: 1, kept: 1}
		s.vias = append(s.vias, v)
	}
	v.share, v.timeout, v.retry = p.Share, p.Timeout.Seconds(), p.Retry
	v.pods = slices.Clone(p.Pods)
	slices.SortFunc(v.pods, func(a, b PodShare) int { return int(a.Pod) - int(b.Pod) })
	s.change(&s.services[p.Service])
}

// weighCell gives the edges of a route of a load their weights.
func (s *System) weighCell(c *loadCell) {
	for _, k := range c.edges {
		e := &s.edges[k]
		if e.weight = c.weight; e.via != nil {
			e.weight = c.weight * e.via.share
		}
		e.seen = -1
	}
	s.unsolved = true
}

// forget takes a pod out of all paths.
func (s *System) forget(sv *service, id PodID) {
	if sv.routed == 0 {
		return
	}
	for _, v := range s.vias {
		if v.to == sv.index {
			v.pods = slices.DeleteFunc(v.pods, func(p PodShare) bool { return p.Pod == id })
		}
	}
}

// of is the share of a pod.
func (v *via) of(id PodID) float64 {
	if i := sort.Search(len(v.pods), func(i int) bool { return v.pods[i].Pod >= id }); i < len(v.pods) && v.pods[i].Pod == id {
		return v.pods[i].Share
	}
	return 0
}

// blend makes the pods' shares of all that arrives from those of each path, and of what comes otherwise (in s.shares).
func (s *System) blend(sv *service) {
	columns := sv.routed + 1
	if n := len(sv.pods) * columns; cap(sv.by) < n {
		sv.by = make([]float64, 2*n)
	} else {
		sv.by = sv.by[:cap(sv.by)]
	}
	if len(sv.refusal) != columns {
		sv.refusal = make([]float64, columns)
	}
	clear(sv.by)
	weights := make([]float64, columns)
	total := 0.0
	for _, k := range sv.in {
		weights[s.edges[k].column] += max(0, s.edges[k].rate)
		total += max(0, s.edges[k].rate)
	}
	if total <= 0 {
		for i := range weights {
			weights[i] = 1
		}
		total = float64(columns)
	}
	for c := range columns {
		sv.refusal[c] = 1
	}
	fill := func(column int, share func(i int, id PodID) float64) {
		for i, id := range sv.pods {
			p := &s.pods[id].spec
			if w := share(i, id); w > 0 && !p.Down && p.Running {
				sv.by[i*columns+column] = w
				sv.refusal[column] -= w
			}
		}
		if sv.refusal[column] = max(0, sv.refusal[column]); sv.refusal[column] < 1e-9 {
			sv.refusal[column] = 0
		}
	}
	fill(0, func(i int, _ PodID) float64 { return s.shares[i] })
	for _, k := range sv.in {
		if e := &s.edges[k]; e.via != nil {
			fill(e.column, func(_ int, id PodID) float64 { return e.via.of(id) })
		}
	}
	sv.refused = 0
	for c, w := range weights {
		sv.refused += w / total * sv.refusal[c]
	}
	for i := range sv.pods {
		s.shares[i] = 0
		for c, w := range weights {
			s.shares[i] += w / total * sv.by[i*columns+c]
		}
	}
}

// part is the share of an edge's requests that each pod of a group gets.
func (g *group) part(e *edge) float64 {
	if e.column >= len(g.by) {
		return g.share
	}
	return g.by[e.column]
}

// missed is the share of an edge's requests that finds nobody.
func (sv *service) missed(e *edge) float64 {
	if sv.routed == 0 || e.column >= len(sv.refusal) {
		return sv.refused
	}
	return sv.refusal[e.column]
}

// refusedOf is the share of a route's requests that finds nobody.
func (s *System) refusedOf(sv *service, r int) float64 {
	if sv.routed == 0 {
		return sv.refused
	}
	sum, rate := 0.0, 0.0
	for _, k := range sv.in {
		if e := &s.edges[k]; e.toRoute == r {
			sum += e.rate * sv.missed(e)
			rate += e.rate
		}
	}
	if rate <= 0 {
		return sv.refused
	}
	return min(1, max(0, sum/rate))
}

// routedShare is revShare of a service that requests reach through a gateway.
func (s *System) routedShare(sv *service, r, rev int) float64 {
	sum, rate := 0.0, 0.0
	for _, k := range sv.in {
		e := &s.edges[k]
		if e.toRoute != r {
			continue
		}
		rate += e.rate
		for i := range sv.groups {
			if g := &sv.groups[i]; g.rev == rev {
				sum += e.rate * g.part(e) * float64(g.n)
			}
		}
	}
	if rate <= 0 {
		for i := range sv.groups {
			if g := &sv.groups[i]; g.rev == rev {
				sum += g.share * float64(g.n)
			}
		}
		return sum
	}
	return sum / rate
}

// again carries out the gateway's retries on how a try ends: what comes out is how its clients see it.
func (s *System) again(e *edge, v callView) callView {
	via, r := e.via, &e.via.retry
	before := via.tries
	via.tries, via.kept, via.moving = 1, 1, false
	if r.Attempts <= 0 || v.fail <= 0 {
		return v
	}
	retry := 0.0
	if r.Timeouts {
		retry += v.late
	}
	if r.Overload {
		retry += v.reject
	}
	if r.Errors {
		retry += max(0, v.fail-v.late-v.reject-s.services[e.to].missed(e))
	}
	tries := Attempts(min(1, retry), min(r.Attempts, maxRetries), 0)
	if r.BudgetShare > 0 || r.BudgetPerSecond > 0 {
		budget := r.BudgetShare
		if rate := e.rate / (max(1, e.users) * max(1, before)); rate > 0 {
			budget = max(budget, r.BudgetPerSecond/rate)
		}
		tries = min(tries, 1+budget)
	}
	if via.moving = change(before, tries) >= closeEnough; via.moving {
		tries = before + damping*(tries-before)
	}
	via.tries = tries
	fail := min(1, max(0, 1-tries*(1-v.fail)))
	via.kept = fail / v.fail
	wait, pause, p := 0.0, r.Backoff.Seconds(), retry
	for range min(r.Attempts, maxRetries) {
		wait += pause * p
		pause *= 2
		p *= retry
	}
	variance := max(0, v.second-v.mean*v.mean)
	mean := tries*v.mean + min(wait, (tries-1)*pause)
	out := callView{fail: fail, late: v.late * via.kept, reject: v.reject * via.kept, mean: mean,
		second: mean*mean + tries*variance + (tries-1)*v.mean*v.mean}
	c := s.client(e)
	if c.RetryOnTimeout || !c.RetryOnError {
		out.retry += out.late
	}
	if c.RetryOnError || !c.RetryOnTimeout {
		out.retry += max(0, out.fail-out.late)
	}
	return out
}
