package flow

// connection is one that a client pod, or a load, holds to a pod.
type connection struct {
	client  uint64 // hash of the client's key and the connection's number
	source  int    // service, or −1−load
	target  PodID
	process int64   // of the target
	weight  float64 // share of the source's traffic, set when shares are made
	since   float64
	turn    int64 // how often it was opened
	live    bool
}

// loadConnections stands for the many clients of a load that says nothing about them.
const loadConnections = 100

// spread writes the share of arrivals of each pod of the service, in the order of sv.pods, to s.shares.
func (s *System) spread(sv *service) {
	if cap(s.shares) < len(sv.pods) {
		s.shares = make([]float64, 2*len(sv.pods))
	}
	s.shares = s.shares[:len(sv.pods)]
	clear(s.shares)
	serving := s.countZones(sv)
	defer s.countClients(sv, serving)
	if serving == 0 {
		return
	}
	even := 1 / float64(serving)
	switch sv.model.Balance {
	case Connection:
		if s.spreadConnections(sv) {
			return
		}
	case Zone:
		if s.spreadZones(sv, float64(serving)) {
			return
		}
	}
	for i, id := range sv.pods {
		if s.pods[id].spec.Serving {
			s.shares[i] = even
		}
	}
}

// countZones finds the share of the serving pods in each zone, and how many they are.
func (s *System) countZones(sv *service) int {
	for len(sv.zone) < len(s.zones) {
		sv.zone = append(sv.zone, 0)
	}
	clear(sv.zone)
	serving := 0
	for _, id := range sv.pods {
		if p := &s.pods[id]; p.spec.Serving {
			serving++
			sv.zone[p.zone]++
		}
	}
	for i := range sv.zone {
		sv.zone[i] /= max(1, float64(serving))
	}
	return serving
}

// spreadZones sends the callers of a zone to the pods there; a zone without pods overflows to all. Without known callers
// it reports false.
func (s *System) spreadZones(sv *service, serving float64) bool {
	total := 0.0
	for _, e := range sv.in {
		if s.edges[e].via == nil {
			total += s.edges[e].rate
		}
	}
	if total <= 0 {
		return false
	}
	sum := 0.0
	for i, id := range sv.pods {
		p := &s.pods[id]
		if !p.spec.Serving {
			continue
		}
		share := 0.0
		for _, e := range sv.in {
			ed := &s.edges[e]
			if ed.via != nil {
				continue
			}
			for _, z := range s.byZone {
				from := s.callersIn(ed, sv, z)
				here := sv.zone[z] * serving
				switch {
				case from <= 0:
				case here <= 0:
					share += ed.rate / total * from / serving
				case z == p.zone:
					share += ed.rate / total * from / here
				}
			}
		}
		s.shares[i] = share
		sum += share
	}
	return sum > 0
}

// callersIn is the share of an edge's callers in a zone. Loads that say nothing are even over the zones with pods.
func (s *System) callersIn(e *edge, to *service, zone int) float64 {
	if e.load < 0 {
		if z := s.services[e.from].zone; zone < len(z) {
			return z[zone]
		}
		return 0
	}
	given := s.loads[e.load].spec.Zones
	if len(given) == 0 {
		zones := 0.0
		for _, z := range to.zone {
			if z > 0 {
				zones++
			}
		}
		if zones > 0 && to.zone[zone] > 0 {
			return 1 / zones
		}
		return 0
	}
	sum, mine := 0.0, 0.0
	for _, z := range given {
		sum += z.Weight
		if z.Zone == s.zones[zone] {
			mine = z.Weight
		}
	}
	if sum <= 0 {
		return 0
	}
	return mine / sum
}

// spreadConnections keeps each client connection on its pod until that pod ends or the connection grows old, and opens new
// ones to a pod drawn uniformly. It reports false when there are no clients yet.
func (s *System) spreadConnections(sv *service) bool {
	for i := range sv.conns {
		sv.conns[i].live = false
	}
	maxAge := sv.model.ConnectionMaxAge.Seconds()
	total, any := 0.0, false
	for k, e := range sv.in {
		ed := &s.edges[e]
		if ed.via != nil || s.sourceSeen(sv, k) {
			continue
		}
		rate := s.sourceRate(sv, ed)
		total += rate
		if ed.load >= 0 {
			n := s.loads[ed.load].spec.Connections
			if n <= 0 {
				n = loadConnections
			}
			base := stream(s.seed, "client", s.loads[ed.load].spec.Name)
			for c := range n {
				s.keep(sv, mix(base+uint64(c)), -1-ed.load, rate/float64(n), maxAge)
			}
			any = true
			continue
		}
		from := &s.services[ed.from]
		clients := 0
		for _, id := range from.pods {
			if s.pods[id].spec.Running && !s.pods[id].spec.Down {
				clients++
			}
		}
		for _, id := range from.pods {
			p := &s.pods[id]
			if !p.spec.Running || p.spec.Down {
				continue
			}
			n := sv.model.ConnectionsPerClient
			base := stream(s.seed, "client", p.spec.Key)
			for c := range n {
				s.keep(sv, mix(base+uint64(c)), ed.from, rate/float64(n*clients), maxAge)
			}
			any = true
		}
	}
	return s.weigh(sv, total) && any
}

// countClients notes how many connections each pod holds, if that is of interest.
func (s *System) countClients(sv *service, serving int) {
	if sv.model.Memory.PerConnectionBytes <= 0 {
		return
	}
	each := 0.0
	if sv.model.Balance != Connection {
		each = s.clientsOf(sv, serving)
	}
	for _, id := range sv.pods {
		p := &s.pods[id]
		if p.clients = 0; p.spec.Serving {
			p.clients = each
		}
	}
	if sv.model.Balance == Connection {
		for i := range sv.conns {
			if t := sv.conns[i].target; t >= 0 {
				s.pods[t].clients++
			}
		}
	}
}

// clientsOf is how many connections one serving pod holds when each calling pod keeps one to it, and the connections of
// loads are spread evenly.
func (s *System) clientsOf(sv *service, serving int) float64 {
	sum := 0.0
	for k, e := range sv.in {
		ed := &s.edges[e]
		if s.sourceSeen(sv, k) {
			continue
		}
		if ed.load >= 0 {
			n := s.loads[ed.load].spec.Connections
			if n <= 0 {
				n = loadConnections
			}
			sum += float64(n) / float64(max(serving, 1))
			continue
		}
		for _, id := range s.services[ed.from].pods {
			if p := &s.pods[id].spec; p.Running && !p.Down {
				sum++
			}
		}
	}
	return sum
}

// weigh drops connections whose client is gone and writes each pod's share of the others' traffic.
func (s *System) weigh(sv *service, total float64) bool {
	live := sv.conns[:0]
	for _, c := range sv.conns {
		if c.live {
			live = append(live, c)
		}
	}
	sv.conns = live
	sum := 0.0
	for i := range sv.conns {
		c := &sv.conns[i]
		w := 1.0
		if total > 0 {
			w = c.weight / total
		}
		sum += w
		for k, id := range sv.pods {
			if id == c.target {
				s.shares[k] += w
				break
			}
		}
	}
	for i := range s.shares {
		s.shares[i] /= max(sum, 1e-12)
	}
	return sum > 0
}

// sourceSeen says whether an earlier edge comes from the same caller.
func (s *System) sourceSeen(sv *service, k int) bool {
	a := &s.edges[sv.in[k]]
	for _, e := range sv.in[:k] {
		b := &s.edges[e]
		if a.load == b.load && a.from == b.from {
			return true
		}
	}
	return false
}

func (s *System) sourceRate(sv *service, ed *edge) float64 {
	sum := 0.0
	for _, e := range sv.in {
		if o := &s.edges[e]; o.load == ed.load && o.from == ed.from {
			sum += o.rate
		}
	}
	return sum
}

// keep finds the client's connection, or opens it.
func (s *System) keep(sv *service, client uint64, source int, weight, maxAge float64) {
	var c *connection
	for i := range sv.conns {
		if sv.conns[i].client == client {
			c = &sv.conns[i]
			break
		}
	}
	if c == nil {
		sv.conns = append(sv.conns, connection{client: client, source: source, target: -1})
		c = &sv.conns[len(sv.conns)-1]
	}
	c.live, c.weight = true, weight
	ok := c.target >= 0 && s.pods[c.target].used && s.pods[c.target].spec.Service == sv.index && s.pods[c.target].spec.Serving && s.pods[c.target].process == c.process
	if ok && maxAge > 0 && s.now-c.since >= maxAge-1e-6 {
		ok = false
	}
	if !ok {
		// The pod with the largest hash: uniform, and unchanged for clients whose pod is not concerned when others come.
		best := uint64(0)
		c.target = -1
		for _, id := range sv.pods {
			if p := &s.pods[id]; p.spec.Serving {
				if h := hashText(mix(client^uint64(c.turn)), p.spec.Key); c.target < 0 || h > best {
					best, c.target = h, id
				}
			}
		}
		if c.target >= 0 {
			c.process = s.pods[c.target].process
		}
		c.since = s.now
		c.turn++
	}
	if maxAge > 0 {
		sv.due = min(sv.due, c.since+maxAge)
	}
}
