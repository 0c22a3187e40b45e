package flow

import (
	"math"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
)

// Window is what happened between two samples. Its slices and sketches are valid until the next call of Sample.
type Window struct {
	From, To time.Time
	Loads    []LoadWindow
	Services []ServiceWindow // constant services have no routes
	Edges    []EdgeWindow
}

// LoadWindow is the account of one load.
type LoadWindow struct {
	Load   int
	Counts Counts
	Routes []Counts // in the order of Load.Mix
	// Latency of good replies as the users see it, retries included.
	Latency    *sketch.Sketch
	RatePerSec float64 // offered at the end
	routes     []*sketch.Sketch
}

// RouteLatency is the latency of one route of the mix.
func (l *LoadWindow) RouteLatency(i int) *sketch.Sketch { return l.routes[i] }

// ServiceWindow is the account of one service.
type ServiceWindow struct {
	Service int
	Counts  Counts
	// Latency of all requests that were worked on, calls included, network to the caller excluded.
	Latency *sketch.Sketch
	Cells   []CellWindow // by revision, then route
	// State at the end of the window.
	RatePerSec      float64
	Utilisation     float64 // CPU demanded by arrivals ÷ cores of the serving pods
	WorstLoad       float64 // offered ÷ possible throughput of the most loaded pods
	ThrottledShare  float64 // of enforcement periods, of the worst pods
	RequestsInside  float64 // on the stations
	ServingPods     int
	CoresUsed       float64
	CoresUsable     float64
	Saturated       bool
	Throttled       bool
	ShareLow        float64 // smallest share of a serving pod × number of serving pods: 1 when even, 0 when one gets nothing
	ShareHigh       float64
	RefusedShare    float64
	TimedOutShare   float64
	FailedCallShare float64
}

// CellWindow is the account of one route in one revision.
type CellWindow struct {
	Revision, Route int
	Counts          Counts
	Latency         *sketch.Sketch
}

// EdgeWindow is the account of one call edge.
type EdgeWindow struct {
	FromLoad    int // −1 when called by a service
	FromService int // −1 when called by a load
	FromRoute   int
	ToService   int
	ToRoute     int
	Counts      EdgeCounts
	RatePerSec  float64 // attempts at the end
	Attempts    float64 // a call, at the end
	FailedShare float64 // of attempts, at the end
	Inferred    string
}

// Sample draws what happened up to now and returns everything since the sample before; the accounts start anew, with what
// is still inside.
func (s *System) Sample() *Window {
	s.solve()
	s.closeAll()
	s.solve()
	w := &s.window
	s.shape(w)
	w.From, w.To = w.To, s.at(s.now)
	for i := range s.loads {
		s.sampleLoad(&s.loads[i], &w.Loads[i])
	}
	for i := range s.services {
		s.sampleService(&s.services[i], &w.Services[i])
	}
	for i := range s.edges {
		e := &s.edges[i]
		w.Edges[i] = EdgeWindow{FromLoad: e.load, FromService: e.from, FromRoute: e.route, ToService: e.to, ToRoute: e.toRoute,
			Counts: e.counts, RatePerSec: e.rate, Attempts: e.attempts, FailedShare: e.view.fail, Inferred: e.call.Inferred}
		e.counts = EdgeCounts{}
	}
	return w
}

// shape makes room in the window for the system as it is.
func (s *System) shape(w *Window) {
	if w.To.IsZero() {
		w.To = s.start
	}
	for len(w.Loads) < len(s.loads) {
		w.Loads = append(w.Loads, LoadWindow{Latency: new(sketch.Sketch)})
	}
	for len(w.Services) < len(s.services) {
		w.Services = append(w.Services, ServiceWindow{Latency: new(sketch.Sketch)})
	}
	if len(w.Edges) != len(s.edges) {
		w.Edges = make([]EdgeWindow, len(s.edges))
	}
	for i := range s.loads {
		if n := len(s.loads[i].cells); len(w.Loads[i].Routes) != n {
			w.Loads[i].Routes = make([]Counts, n)
			w.Loads[i].routes = make([]*sketch.Sketch, n)
			for k := range n {
				w.Loads[i].routes[k] = new(sketch.Sketch)
			}
		}
	}
	for i := range s.services {
		if n := len(s.services[i].cells); len(w.Services[i].Cells) != n {
			w.Services[i].Cells = make([]CellWindow, n)
			for k := range n {
				w.Services[i].Cells[k].Latency = new(sketch.Sketch)
			}
		}
	}
}

// renew starts an account anew with those inside.
func (c *Counts) renew() Counts {
	was := *c
	*c = Counts{Inside: was.Inside}
	return was
}

func (s *System) sampleLoad(l *load, w *LoadWindow) {
	w.Load, w.RatePerSec, w.Counts = l.index, l.rate, Counts{}
	w.Latency.Reset()
	for k := range l.cells {
		c := &l.cells[k]
		w.Routes[k] = c.counts.renew()
		w.Counts.add(w.Routes[k])
		w.routes[k].Reset()
		w.routes[k] = c.latency.swap(w.routes[k])
		w.Latency.Merge(w.routes[k])
	}
}

func (s *System) sampleService(sv *service, w *ServiceWindow) {
	latency, cells := w.Latency, w.Cells
	*w = ServiceWindow{Service: sv.index, Latency: latency, Cells: cells}
	latency.Reset()
	for k := range sv.cells {
		c := &sv.cells[k]
		o := &w.Cells[k]
		o.Revision, o.Route = k/len(sv.routes), k%len(sv.routes)
		o.Counts = c.counts.renew()
		w.Counts.add(o.Counts)
		o.Latency.Reset()
		o.Latency = c.latency.swap(o.Latency)
		latency.Merge(o.Latency)
	}
	if sv.constant {
		return
	}
	w.RatePerSec, w.RefusedShare = sv.rate, sv.refused
	w.WorstLoad, w.ThrottledShare = sv.pressure()
	w.Saturated, w.Throttled = sv.queueing, sv.throttled
	w.ShareLow = math.Inf(1)
	demand := 0.0
	for i := range sv.groups {
		g := &sv.groups[i]
		n := float64(g.n)
		w.RequestsInside += n * g.x0
		w.CoresUsed += n * g.now.cores
		if g.serving && !g.down {
			w.ServingPods += g.n
			w.CoresUsable += n * g.st.cap()
			demand += n * g.st.rate * g.st.cpu
			w.ShareLow = min(w.ShareLow, g.share)
			w.ShareHigh = max(w.ShareHigh, g.share)
		}
	}
	if w.CoresUsable > 0 {
		w.Utilisation = max(0, demand) / w.CoresUsable // rates are sums of parts that come and go: none left may be −1e-22
	}
	w.ShareLow *= float64(w.ServingPods)
	w.ShareHigh *= float64(w.ServingPods)
	if w.ServingPods == 0 {
		w.ShareLow = 0
	}
	for r := range sv.routes {
		p := 1 / float64(len(sv.routes))
		if sv.rate > 0 {
			p = sv.routes[r].rate / sv.rate
		}
		w.TimedOutShare += p * s.lateShare(sv, r)
		w.FailedCallShare += p * sv.routes[r].fails
	}
}

// Stats returns the counts of the model's own work since New.
func (s *System) Stats() Stats { return s.stats }
