package flow

import (
	"math"
	"slices"
)

const (
	warmClasses   = 10 // half half-lives; older pods are one class
	coresGrain    = 16 // cores left by others are rounded down to 1/16, so that pods of near nodes are solved together
	leastCores    = 1.0 / 64
	defaultCores  = 4 // threads of a pod of unknown runtime without node
	memoryDefault = 64 << 20
	memoryShare   = 0.6
)

// group is the pods of a service that behave alike: solved once, counted n times.
type group struct {
	rev     int
	n       int
	share   float64   // of the service's arrivals, a pod
	by      []float64 // of each column's, when requests come through a gateway
	cores   float64
	limit   float64 // cores for requests, 0 none
	factor  float64 // on CPU
	latency float64
	errors  float64
	down    bool
	serving bool
	ground  float64 // cores used beside requests
	x0, v0  float64
	peak    float64
	work    float64 // core seconds a pod up to the anchor, since grouped
	st      station
	now     solution // looking ahead from the anchor
	total   []moments
}

func (sv *service) revision(i int) Revision {
	if i < 0 || i >= len(sv.revs) {
		i = 0
	}
	r := sv.revs[i]
	if r.CPUFactor <= 0 {
		r.CPUFactor = 1
	}
	if r.LatencyFactor <= 0 {
		r.LatencyFactor = 1
	}
	return r
}

// ownErrors is the share of a route's requests that fail by themselves at pods of a revision.
func (sv *service) ownErrors(rev, route int) float64 {
	if rev < 0 || rev >= len(sv.revs) {
		rev = 0
	}
	if own := sv.revs[rev].RouteErrors; route < len(own) {
		return own[route]
	}
	return sv.routes[route].errors
}

// warmth is the cost factor of a pod by its class of age, and when that changes.
func (sv *service) warmth(started, now float64) (factor, until float64) {
	w := sv.model.Warmup
	until = math.Inf(1)
	if w.Factor > 1 && w.HalfLife > 0 {
		step := w.HalfLife.Seconds() / 2
		class := int(max(0, now-started) / step)
		// A class ends at its border exactly; one nanosecond of rounding must not keep a pod in the old one.
		if now-started >= step*float64(class+1)-1e-6 {
			class++
		}
		if class < warmClasses {
			until = started + step*float64(class+1)
			return 1 + (w.Factor-1)*math.Exp2(-(float64(class)+0.5)/2), until
		}
	}
	return 1, until
}

// starting is the CPU a pod uses for its start, and until when.
func (sv *service) starting(p *pod) (cores, until float64) {
	w := sv.model.Warmup
	if w.StartCores <= 0 || w.StartFor <= 0 || !p.spec.Running {
		return 0, math.Inf(-1)
	}
	cores = w.StartCores
	if p.spec.CPULimitCores > 0 {
		cores = min(cores, p.spec.CPULimitCores)
	}
	return cores, p.started + w.StartFor.Seconds()
}

func (sv *service) ground(p *pod) float64 {
	if !p.spec.Running {
		return 0
	}
	if l := p.spec.CPULimitCores; l > 0 {
		return min(sv.model.IdleCores, l/2)
	}
	return sv.model.IdleCores
}

func (s *System) threads(sv *service, p *pod) float64 {
	t := float64(sv.model.Threads)
	if sv.model.ThreadsByLimit && p.spec.CPULimitCores > 0 {
		t = math.Ceil(p.spec.CPULimitCores)
	}
	if p.spec.Node > 0 {
		if c := s.nodes[p.spec.Node-1].spec.Cores; c > 0 && (t <= 0 || c < t) {
			t = c
		}
	}
	if t <= 0 {
		t = defaultCores
	}
	return min(t, maxCores)
}

// ungroup gives every pod its own state back.
func (s *System) ungroup(sv *service) {
	for _, id := range sv.pods {
		p := &s.pods[id]
		s.sync(p, sv, s.now)
		if p.group >= 0 {
			g := &sv.groups[p.group]
			p.x, p.spread = g.x0, g.v0
			p.peak = max(p.peak, g.peak)
		}
		p.group = -1
	}
	sv.groups = sv.groups[:0]
}

// gather forms the groups from the pods.
func (s *System) gather(sv *service) {
	sv.regroup = false
	sv.due = math.Inf(1)
	s.spread(sv)
	sv.groups = sv.groups[:0]
	sv.refused = 0
	serving := 0
	for _, id := range sv.pods {
		if s.pods[id].spec.Serving {
			serving++
		}
	}
	switch {
	case sv.routed > 0:
		s.blend(sv)
	case serving == 0:
		sv.refused = 1
	}
	for i, id := range sv.pods {
		p := &s.pods[id]
		if p.cores <= 0 {
			p.cores = s.threads(sv, p)
		}
		warm, until := sv.warmth(p.started, s.now)
		sv.due = min(sv.due, until)
		if _, end := sv.starting(p); end > s.now+1e-6 {
			sv.due = min(sv.due, end)
		}
		slow := p.spec.SlowFactor
		if slow <= 0 {
			slow = 1
		}
		rev := sv.revision(p.spec.Revision)
		ground := sv.ground(p)
		g := group{rev: p.spec.Revision, share: s.shares[i], cores: p.cores,
			factor: rev.CPUFactor * warm * slow, latency: rev.LatencyFactor, errors: rev.Errors,
			down: p.spec.Down || !p.spec.Running, serving: p.spec.Serving, ground: ground, x0: p.x, v0: p.spread, peak: p.peak}
		if sv.routed > 0 {
			columns := sv.routed + 1
			g.by = sv.by[i*columns : (i+1)*columns : (i+1)*columns]
		}
		if l := p.spec.CPULimitCores; l > 0 {
			g.limit = l - ground
		}
		if g.down {
			sv.refused += g.share
			g.x0, g.v0, g.share = 0, 0, 0
			p.x, p.spread = 0, 0
		}
		p.group, p.work = sv.place(&g), 0
	}
	for i := range sv.groups {
		if len(sv.groups[i].total) < len(sv.routes) {
			sv.groups[i].total = make([]moments, len(sv.routes))
		}
	}
}

// place puts a pod into the group it equals, or a new one.
func (sv *service) place(g *group) int {
	for i := len(sv.groups) - 1; i >= 0; i-- {
		o := &sv.groups[i]
		if o.rev == g.rev && o.share == g.share && o.cores == g.cores && o.limit == g.limit && o.factor == g.factor &&
			o.down == g.down && o.serving == g.serving && o.x0 == g.x0 && o.v0 == g.v0 && o.latency == g.latency && o.ground == g.ground && slices.Equal(o.by, g.by) {
			o.n++
			o.peak = max(o.peak, g.peak)
			return i
		}
	}
	if len(sv.groups) < cap(sv.groups) {
		// Keep the route buffer of the slot that is taken again.
		sv.groups = sv.groups[:len(sv.groups)+1]
		o := &sv.groups[len(sv.groups)-1]
		total := o.total
		*o = *g
		o.total = total
	} else {
		sv.groups = append(sv.groups, *g)
	}
	sv.groups[len(sv.groups)-1].n = 1
	return len(sv.groups) - 1
}

// shareNodes divides the CPU of nodes whose pods changed their demand; services whose pods get another number of cores are
// prepared to be solved again. It reports whether there were any.
func (s *System) shareNodes() bool {
	moved := false
	for i := range s.nodes {
		n := &s.nodes[i]
		if !n.changed {
			continue
		}
		n.changed = false
		if s.shareNode(n) {
			moved = true
		}
	}
	return moved
}

func (s *System) shareNode(n *node) bool {
	if n.spec.Cores <= 0 {
		return false
	}
	s.demands(n)
	n.contended = n.want > n.spec.Cores
	n.tight = n.want*1.2 > n.spec.Cores
	level := 0.0
	if n.contended {
		s.grants, level = Share(s.grants, n.spec.Cores, s.claims)
	}
	moved := false
	for i, id := range n.pods {
		p := &s.pods[id]
		sv := &s.services[p.spec.Service]
		if sv.constant {
			continue
		}
		threads := s.threads(sv, p)
		w := s.claims[i].Weight
		granted := 1.0
		var cores float64
		switch {
		case !n.contended:
			cores = max(n.spec.Cores-(n.want-p.want), n.spec.Cores*w/max(n.weight, w))
		case level > 0 && p.want > s.grants[i]:
			granted = math.Floor(s.grants[i]/p.want*coresGrain*4) / (coresGrain * 4)
			other := sv.ground(p)
			if c, end := sv.starting(p); s.now < end-1e-6 {
				other += c
			}
			cores = s.grants[i] - other*granted
		default:
			cores = max(s.grants[i], level*w)
		}
		if cores >= threads {
			cores = threads
		} else {
			cores = max(leastCores, math.Floor(cores*coresGrain)/coresGrain)
		}
		if cores != p.cores || granted != p.granted {
			if p.cores > 0 {
				s.change(sv)
				moved = true
			}
			p.cores, p.granted = cores, granted
		}
	}
	return moved
}

// demands collects what the pods of a node want.
func (s *System) demands(n *node) {
	s.claims = s.claims[:0]
	n.want, n.weight, n.maxWant = 0, 0, 0
	for _, id := range n.pods {
		p := &s.pods[id]
		c := Claim{Weight: Weight(p.spec.CPURequestMilli), Demand: p.want}
		s.claims = append(s.claims, c)
		n.want += p.want
		if p.want > 0 {
			n.weight += c.Weight
		}
		if sv := &s.services[p.spec.Service]; !sv.constant {
			n.maxWant = max(n.maxWant, s.threads(sv, p))
		}
	}
	for _, c := range n.spec.Others {
		s.claims = append(s.claims, c)
		n.want += c.cap()
		n.weight += c.Weight
	}
}

// claim records what the pods of a service would use if nobody else were on their nodes.
func (s *System) claim(sv *service) {
	for _, id := range sv.pods {
		p := &s.pods[id]
		want := 0.0
		if p.group >= 0 {
			g := &sv.groups[p.group]
			want = g.ground
			if c, end := sv.starting(p); s.now < end-1e-6 {
				want += c
			}
			if !g.down {
				most := s.threads(sv, p)
				if g.limit > 0 {
					most = min(most, g.limit)
				}
				// A pod with a queue would use all the cores its threads and its limit allow.
				if demand := g.st.rate * g.st.cpu; !g.now.steady || demand > 0.98*min(p.cores, most) {
					want += most
				} else {
					want += min(most, demand)
				}
			}
		}
		if want == p.want {
			continue
		}
		p.want = want
		if p.spec.Node > 0 {
			n := &s.nodes[p.spec.Node-1]
			n.changed = true
		}
	}
}
