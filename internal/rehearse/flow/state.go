package flow

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// A System is a set of services, loads, nodes and pods in one state, at one time. It is not safe for concurrent use.
//
// The caller sets inputs (rates, pods, nodes, revisions, models), which hold from the present time on, and moves time with
// Advance. Reading a pod's use is possible for any instant between the present and the next Advance.
type System struct {
	seed    int64
	start   time.Time
	now     float64 // seconds since start
	network Network

	services []service
	loads    []load
	edges    []edge
	vias     []*via // of routed loads, in the order in which they came up
	nodes    []node // index NodeID−1
	pods     []pod
	free     []PodID
	zones    []string
	byZone   []int // zones by name: sums over them must not depend on who came first
	order    []int // services, callers before callees as far as the graph has no cycle

	unsolved bool // an input changed since the last solution
	feedback bool // retries, closed loops or cycles: rates depend on times
	claims   []Claim
	grants   []float64
	parts    []moments
	busy     []float64
	shares   []float64
	events   []Event // not told yet
	told     []Event
	serial   int64 // of processes
	window   Window
	stats    Stats
}

// Stats counts what the model did, for measurements.
type Stats struct {
	Windows      int64 // calls of Advance
	Solutions    int64 // stations solved
	Iterations   int64 // passes over the call graph
	Unconverged  int64 // solutions given up after the most iterations
	ClosedCounts int64 // segments of counts drawn
}

type service struct {
	index    int
	name     string
	model    Model
	constant bool
	usage    Usage
	routes   []route
	revs     []Revision
	pods     []PodID // sorted by key
	groups   []group
	in       []int // edges that end here
	conns    []connection
	zone     []float64 // share of running pods by zone

	rate      float64 // arrivals a second over all routes
	cpu, scv  float64 // of the mix, before factors
	refused   float64 // share of arrivals that find no pod, or one that is down
	patience  float64 // callers leave and cancel after this time; 0 never
	gapScv    float64
	anchor    float64 // time of the groups' x
	since     float64 // start of the open segment of counts
	due       float64 // next change of an age class, end of a start, or age of a connection
	moving    float64 // when a transient is to be solved anew; infinite at rest
	regroup   bool
	unsolved  bool
	timing    bool // times to be computed again
	version   int  // of the times
	cells     []cell
	lost      float64 // requests inside pods that went away, by cell share
	queueing  bool    // last reported
	empty     bool
	throttled bool
	draws     uint64
	worst     float64 // sum over what callers see, to tell a change
	// Of services that requests reach through a gateway: the columns of group.by are the calls that do not, then each via.
	routed  int
	by      []float64 // of all groups
	refusal []float64 // share that finds no pod, or one that is down, by column
}

type route struct {
	name        string
	rate        float64
	cpu, scv    float64
	own         moments // latency beyond CPU
	calls       moments
	fails       float64 // share failing through calls
	errors      float64
	first, last int // edges
}

// edge is a call of one route of a service, or of a load.
type edge struct {
	load        int // −1 when called by a service
	from, route int
	to, toRoute int
	call        Call
	weight      float64 // of the route in a load's mix
	rate        float64 // attempts a second
	attempts    float64
	delay       float64 // network, both ways
	seen        int     // version of the callee the view was made from
	view        callView
	fail        float64 // after retries
	reject      float64
	late        float64
	total       moments // whole call, retries included
	draws       uint64
	counts      EdgeCounts
	// Of a load:
	cell    int // place in its mix
	via     *via
	column  int     // of the callee's groups' shares
	users   float64 // tries of the client, those of the gateway left out
	coming  uint64  // draws of its arrivals
	drawn   float64 // time up to which arrivals are drawn
	arrived int64
	taken   int64 // by the service
	closed  int64 // by the load
}

type load struct {
	index    int
	spec     Load
	rate     float64 // in force
	given    float64 // as set
	low      float64 // bounds of a closed load's rate in this solution
	high     float64
	edges    []int
	since    float64
	cells    []loadCell
	time     moments
	failed   float64
	rejected float64
	left     float64
}

type node struct {
	spec      Node
	pods      []PodID
	want      float64
	weight    float64
	maxWant   float64
	changed   bool
	contended bool
	tight     bool
}

type pod struct {
	spec    Pod
	used    bool
	process int64 // another number for each start
	zone    int
	started float64
	group   int
	x       float64 // requests inside, valid when not grouped
	spread  float64
	cores   float64 // of its node that requests can use at once
	granted float64 // share of its own background work that a full node lets it do
	want    float64
	peak    float64 // most requests inside since the start
	cpu     float64 // core seconds up to synced
	synced  float64
	work    float64 // the group's work at synced
	slot    int64
	noise   float64
	noisy   uint64
	clients float64 // connections open to it, counted when its memory depends on them
	asked   float64 // its memory is not looked at before
}

// New builds a system at Config.Start. Errors name the service or load and what is wrong with it.
func New(c Config) (*System, error) {
	s := &System{seed: c.Seed, start: c.Start, network: c.Network, unsolved: true}
	for i := range c.Services {
		sv := service{index: i, name: c.Services[i].Name, constant: c.Services[i].Constant, usage: c.Services[i].Usage,
			draws: stream(c.Seed, "requests", c.Services[i].Name), due: math.Inf(1), moving: math.Inf(1), revs: []Revision{{}}, regroup: true, unsolved: true}
		if err := checkModel(c, c.Services[i]); err != nil {
			return nil, err
		}
		sv.setModel(c.Services[i].Model)
		s.services = append(s.services, sv)
	}
	for i, l := range c.Loads {
		if err := checkLoad(c, l); err != nil {
			return nil, err
		}
		ld := load{index: i, spec: l, given: l.RatePerSec}
		s.loads = append(s.loads, ld)
	}
	s.connect()
	return s, nil
}

func checkModel(c Config, sv Service) error {
	fail := func(format string, a ...any) error {
		return fmt.Errorf("service %s: %s", sv.Name, fmt.Sprintf(format, a...))
	}
	if sv.Constant {
		return nil
	}
	if len(sv.Model.Routes) == 0 {
		return fail("no route; a service that receives requests needs at least one")
	}
	if sv.Model.Threads > maxCores {
		return fail("threads %d are more than %d", sv.Model.Threads, maxCores)
	}
	if sv.Model.Concurrency > maxWorkers {
		return fail("concurrency %d is more than %d; leave it out for no limit", sv.Model.Concurrency, maxWorkers)
	}
	for _, r := range sv.Model.Routes {
		if r.CPU < 0 || r.CPUScv < 0 || r.Errors < 0 || r.Errors > 1 {
			return fail("route %s: cpu and cpuScv must not be negative, errors must be within 0…1", r.Name)
		}
		for _, k := range r.Calls {
			if k.Service < 0 || k.Service >= len(c.Services) {
				return fail("route %s calls service number %d of %d", r.Name, k.Service, len(c.Services))
			}
			to := c.Services[k.Service]
			if to.Constant || k.Route < 0 || k.Route >= len(to.Model.Routes) {
				return fail("route %s calls %s, which has no route number %d", r.Name, to.Name, k.Route)
			}
			if k.Count < 0 || k.Count > 1e4 {
				return fail("route %s calls %s %v times; 0…10000 are possible", r.Name, to.Name, k.Count)
			}
		}
	}
	return nil
}

func checkLoad(c Config, l Load) error {
	if l.Service < 0 || l.Service >= len(c.Services) || c.Services[l.Service].Constant {
		return fmt.Errorf("load %s: its target is not a service that receives requests", l.Name)
	}
	if l.RatePerSec < 0 || l.RatePerSec > maxRatePerSec || math.IsNaN(l.RatePerSec) {
		return fmt.Errorf("load %s: %v requests a second; 0…%g are possible", l.Name, l.RatePerSec, maxRatePerSec)
	}
	for _, m := range l.Mix {
		if m.Route < 0 || m.Route >= len(c.Services[l.Service].Model.Routes) || m.Weight < 0 {
			return fmt.Errorf("load %s: route number %d with weight %v is not a route of %s", l.Name, m.Route, m.Weight, c.Services[l.Service].Name)
		}
	}
	return nil
}

func (sv *service) setModel(m Model) {
	sv.model = m
	if sv.model.ConnectionsPerClient <= 0 {
		sv.model.ConnectionsPerClient = 1
	}
	sv.model.ConnectionsPerClient = min(sv.model.ConnectionsPerClient, maxConnections)
	old := sv.routes
	sv.routes = make([]route, len(m.Routes))
	for i, r := range m.Routes {
		own := logNormalOf(r.LatencyP50.Seconds(), r.LatencyP99.Seconds())
		cpu := r.CPU.Seconds()
		own.mean = max(0, own.mean-cpu)
		own.variance = max(0, own.variance-cpu*cpu*r.CPUScv)
		sv.routes[i] = route{name: r.Name, cpu: cpu, scv: r.CPUScv, own: own, errors: r.Errors}
		if i < len(old) {
			sv.routes[i].rate = old[i].rate
		}
	}
	sv.resizeCells()
}

// connect builds the edges and the order of solution.
func (s *System) connect() {
	old := s.edges
	s.edges = nil
	s.feedback = false
	for i := range s.services {
		s.services[i].in, s.services[i].routed = s.services[i].in[:0], 0
	}
	add := func(e edge) {
		from := "load"
		if e.load >= 0 {
			from += " " + s.loads[e.load].spec.Name
		} else {
			from = s.services[e.from].name + "/" + s.services[e.from].routes[e.route].name
		}
		e.draws = stream(s.seed, "call "+from, s.services[e.to].name+"/"+s.services[e.to].routes[e.toRoute].name)
		e.attempts, e.users, e.seen, e.drawn = 1, 1, -1, s.now
		for _, o := range old {
			if o.load == e.load && o.from == e.from && o.route == e.route && o.to == e.to && o.toRoute == e.toRoute && o.cell == e.cell && o.via == e.via {
				e.attempts, e.users, e.fail, e.counts = o.attempts, o.users, o.fail, o.counts
				e.drawn, e.arrived, e.taken, e.closed = o.drawn, o.arrived, o.taken, o.closed
			}
		}
		s.services[e.to].in = append(s.services[e.to].in, len(s.edges))
		s.edges = append(s.edges, e)
	}
	for i := range s.loads {
		l := &s.loads[i]
		mix, sum := l.spec.Mix, 0.0
		for _, m := range mix {
			sum += m.Weight
		}
		if sum <= 0 {
			mix, sum = []RouteShare{{0, 1}}, 1
		}
		l.edges = l.edges[:0]
		cells := l.cells
		l.cells = make([]loadCell, len(mix))
		copy(l.cells, cells)
		for k, m := range mix {
			c := &l.cells[k]
			if c.latency.sketch == nil {
				c.latency.sketch = new(sketch.Sketch)
				c.weight = m.Weight / sum
				c.own = answers{failing: 1, drawn: s.now}
			}
			c.draws = stream(s.seed, "load "+l.spec.Name, s.services[l.spec.Service].routes[m.Route].name)
			if c.edges = c.edges[:0]; !l.spec.Routed {
				l.edges, c.edges = append(l.edges, len(s.edges)), append(c.edges, len(s.edges))
				add(edge{load: i, from: -1, to: l.spec.Service, toRoute: m.Route, cell: k, weight: c.weight, coming: c.draws, call: Call{Count: 1}})
			}
		}
		if l.spec.Users > 0 || l.spec.Client.Retries > 0 {
			s.feedback = true
		}
	}
	for i := range s.services {
		sv := &s.services[i]
		for r := range sv.routes {
			sv.routes[r].first = len(s.edges)
			for _, c := range sv.model.Routes[r].Calls {
				add(edge{load: -1, from: i, route: r, to: c.Service, toRoute: c.Route, call: c})
			}
			sv.routes[r].last = len(s.edges)
			if sv.model.Client.Retries > 0 && len(sv.model.Routes[r].Calls) > 0 {
				s.feedback = true
			}
		}
		sv.timing = true
	}
	for _, v := range s.vias { // last, so that the others keep their places
		l := &s.loads[v.load]
		c := &l.cells[v.cell]
		to := &s.services[v.to]
		to.routed++
		l.edges, c.edges = append(l.edges, len(s.edges)), append(c.edges, len(s.edges))
		add(edge{load: v.load, from: -1, to: v.to, toRoute: v.toRoute, cell: v.cell, via: v, column: to.routed, weight: c.weight * v.share,
			coming: hashText(c.draws, v.backend), call: Call{Count: 1}})
		if v.retry.Attempts > 0 {
			s.feedback = true
		}
	}
	s.sortServices()
	s.unsolved = true
}

// sortServices orders callers before callees; a call back to a service on the way is a cycle.
func (s *System) sortServices() {
	state := make([]uint8, len(s.services))
	s.order = s.order[:0]
	var visit func(i, depth int)
	visit = func(i, depth int) {
		state[i] = 1
		for r := range s.services[i].routes {
			for e := s.services[i].routes[r].first; e < s.services[i].routes[r].last; e++ {
				switch to := s.edges[e].to; state[to] {
				case 0:
					visit(to, depth+1)
				case 1:
					s.feedback = true
				}
			}
		}
		state[i] = 2
		s.order = append(s.order, i)
	}
	for i := range s.services {
		if state[i] == 0 {
			visit(i, 0)
		}
	}
	slices.Reverse(s.order)
}

func (s *System) seconds(t time.Time) float64 { return t.Sub(s.start).Seconds() }

func (s *System) at(seconds float64) time.Time {
	if math.IsInf(seconds, 1) || seconds > 1e9 {
		return time.Time{}
	}
	return s.start.Add(time.Duration(math.Round(seconds * 1e9)))
}

func (s *System) zoneIndex(name string) int {
	i := slices.Index(s.zones, name)
	if i < 0 {
		s.zones = append(s.zones, name)
		i = len(s.zones) - 1
		at := sort.Search(i, func(k int) bool { return s.zones[s.byZone[k]] >= name })
		s.byZone = slices.Insert(s.byZone, at, i)
	}
	return i
}

func (s *System) insertPod(sv *service, id PodID) {
	key := s.pods[id].spec.Key
	i := sort.Search(len(sv.pods), func(i int) bool { return s.pods[sv.pods[i]].spec.Key >= key })
	sv.pods = slices.Insert(sv.pods, i, id)
}
