package play

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/kube/sketch"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Router is the gateway of the run, as the loads that come through it need it. It is asked under the run's lock, and must not
// call back.
type Router interface {
	// Version grows with each change of routes, weights and endpoints.
	Version() uint64
	// Way is where requests go now.
	Way(q route.Request, now time.Time) route.Way
	// Observe takes in how tries end from now on, so that endpoints that fail are ejected. It returns when ways change by
	// themselves next (the zero time: not under these outcomes), and whether they have changed at once.
	Observe(outcomes []route.Outcome, now time.Time) (next time.Time, changed bool)
	// Count remembers what came of requests, as evidence for analyses: they ended in the second before now.
	Count(a route.Account, now time.Time)
}

// routed is what the demand keeps of a gateway.
type routed struct {
	router  Router
	loads   []routedLoad
	version uint64
	stale   bool         // pods came into the model that endpoints name
	next    time.Time    // the router changes by itself
	counted time.Time    // accounts were taken up to then
	watched bool         // some backend ejects endpoints
	reached map[int]bool // services that ways led to
	told    map[string]bool
}

// routedLoad is a load that comes through the gateway.
type routedLoad struct {
	load  int
	cells []routedCell // by place in its mix
}

type routedCell struct {
	head route.Request
	way  route.Way
	// namespaces of the backends' pods, by backend.
	namespaces map[string]string
}

// evidenceEvery is how often accounts are handed on although nobody asks.
const evidenceEvery = 5 * time.Second

// route prepares the loads that come through a gateway; nil when there is none.
func (d *demand) route() {
	for i := range d.loads {
		heads := d.loads[i].origin.Heads
		if len(heads) == 0 {
			continue
		}
		if d.routed == nil {
			d.routed = &routed{stale: true, told: map[string]bool{}, reached: map[int]bool{}}
		}
		l := routedLoad{load: i}
		for _, h := range heads {
			l.cells = append(l.cells, routedCell{head: h})
		}
		d.routed.loads = append(d.routed.loads, l)
	}
}

// reroute carries what the gateway says now into the model, and what the model says into the gateway. It returns when to come
// back; the zero time = when something changes.
func (d *demand) reroute(now time.Time) (time.Time, error) {
	g := d.routed
	if g == nil || g.router == nil {
		return time.Time{}, nil
	}
	d.count(now, false)
	for range 3 { // an ejection changes ways, and ways outcomes
		if v := g.router.Version(); v != g.version || g.stale || !g.next.IsZero() && !now.Before(g.next) {
			g.version, g.stale = v, false
			if err := d.follow(now); err != nil {
				return time.Time{}, err
			}
		}
		if !g.watched {
			g.next = time.Time{}
			break
		}
		next, changed := g.router.Observe(d.outcomes(), now)
		if g.next = next; !changed {
			break
		}
		g.stale = true
	}
	return earliest(now.Add(evidenceEvery), g.next), nil
}

// follow asks the gateway for all ways.
func (d *demand) follow(now time.Time) error {
	g := d.routed
	g.watched = false
	for i := range g.loads {
		l := &g.loads[i]
		for k := range l.cells {
			c := &l.cells[k]
			way := g.router.Way(c.head, now)
			for _, s := range way.Shares {
				g.watched = g.watched || s.Watched
			}
			same := sameWay(&c.way, &way)
			if same && c.namespaces != nil && !d.moved(&way) {
				continue
			}
			d.count(now, true)
			c.way, c.namespaces = way, map[string]string{}
			if err := d.system.SetPaths(l.load, k, d.paths(l.load, k, c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// moved tells whether a pod that an endpoint names has come into the model since its way was followed.
func (d *demand) moved(w *route.Way) bool {
	for i := range w.Shares {
		for _, e := range w.Shares[i].Endpoints {
			if p := d.r.cluster.pods[types.UID(e.UID)]; p != nil && p.demand.known && !p.demand.routed {
				return true
			}
		}
	}
	return false
}

func sameWay(a, b *route.Way) bool {
	return a.Route == b.Route && a.Status == b.Status && a.TimeoutSeconds == b.TimeoutSeconds && a.TryTimeoutSeconds == b.TryTimeoutSeconds && a.Retry == b.Retry &&
		slices.EqualFunc(a.Shares, b.Shares, func(x, y route.Share) bool {
			return x.Backend == y.Backend && x.Part == y.Part && x.Status == y.Status && x.BudgetShare == y.BudgetShare && x.BudgetPerSecond == y.BudgetPerSecond && slices.Equal(x.Endpoints, y.Endpoints)
		})
}

// paths are a way as the model takes it.
func (d *demand) paths(load, cell int, c *routedCell) flow.Routes {
	w := &c.way
	var to flow.Routes
	answer := func(status int, part float64) {
		if status >= 400 {
			to.Failing += part
		} else {
			to.Answered += part
		}
	}
	if w.Status != 0 {
		answer(w.Status, 1)
		d.tellWay(load, w)
		return to
	}
	timeout := w.TimeoutSeconds
	if t := w.TryTimeoutSeconds; t > 0 && (timeout <= 0 || t < timeout) {
		timeout = t
	}
	for i := range w.Shares {
		s := &w.Shares[i]
		if s.Status != 0 {
			answer(s.Status, s.Part)
			continue
		}
		p := flow.Path{Backend: s.Backend, Service: -1, Share: s.Part, Timeout: time.Duration(timeout * float64(time.Second)),
			Retry: flow.Retry{Attempts: w.Retry.Attempts, Errors: w.Retry.Errors, Overload: w.Retry.Overload, Timeouts: w.Retry.Timeouts,
				Backoff: time.Duration(w.Retry.BackoffSeconds * float64(time.Second)), BudgetShare: s.BudgetShare, BudgetPerSecond: s.BudgetPerSecond}}
		for _, e := range s.Endpoints {
			pod := d.r.cluster.pods[types.UID(e.UID)]
			if pod == nil || !pod.demand.known {
				continue // whose place in the model is told a moment later
			}
			pod.demand.routed = true
			if p.Service < 0 {
				p.Service, c.namespaces[s.Backend] = pod.demand.service, pod.rec.Namespace
			}
			if pod.demand.service == p.Service {
				p.Pods = append(p.Pods, flow.PodShare{Pod: pod.demand.id, Share: e.Part})
			}
		}
		if p.Service < 0 || d.services[p.Service].Constant {
			d.tellUnmodelled(load, s.Service, p.Service)
			answer(503, s.Part)
			continue
		}
		d.routed.reached[p.Service] = true
		p.Route = d.routeOn(p.Service, load, cell)
		to.Paths = append(to.Paths, p)
	}
	return to
}

// routeOn is the number that a route of a load's mix has at a service.
func (d *demand) routeOn(service, load, cell int) int {
	l := &d.loads[load].spec
	if cell >= len(l.Mix) {
		return 0
	}
	name := d.r.topology.Entries[l.Service].Routes[l.Mix[cell].Route]
	return max(0, slices.Index(d.r.topology.Entries[service].Routes, name))
}

// tellWay says why the gateway answers a load's requests itself, once for each reason. While the cluster is set up routes and
// pods are still to come.
func (d *demand) tellWay(load int, w *route.Way) {
	name := d.loads[load].spec.Name
	if w.Why == "" || d.routed.told[name+w.Why] || time.Now().Before(d.r.start) {
		return
	}
	d.routed.told[name+w.Why] = true
	d.r.entry(record.Entry{Kind: record.KindErrors, Object: "Load/" + name, What: "the gateway answers the requests of " + name + " itself, with an error", Why: w.Why, Severity: record.Severe,
		Data: map[string]string{"state": "begins"}})
}

// tellUnmodelled says that a backend has no place in the model, once.
func (d *demand) tellUnmodelled(load int, service string, at int) {
	name := d.loads[load].spec.Name
	if at < 0 || d.routed.told[name+"\x00"+service] {
		return
	}
	d.routed.told[name+"\x00"+service] = true
	d.r.out.event(record.Event{Limit: &record.Limit{What: "requests of " + name + " to " + service, Why: "no route of the manifests led there when the run began, so its pods are not modelled; these requests fail"}})
}

// tellUnsteered says of each Rollout whose weights no load followed that they reach no requests.
func (d *demand) tellUnsteered() {
	for _, s := range d.r.topology.Steered {
		if d.routed == nil || !d.routed.reached[s.Service] {
			d.r.out.event(record.Event{Limit: &s.Limit})
		}
	}
}

// outcomes are how the tries at the endpoints of watched backends end at present.
func (d *demand) outcomes() []route.Outcome {
	var out []route.Outcome
	uids := map[flow.PodID]string{}
	for _, p := range d.scraped {
		if p.demand.routed {
			uids[p.demand.id] = string(p.obj.UID)
		}
	}
	d.system.Tries(func(_, _ int, backend string, pod flow.PodID, perSecond, fail, gateway float64) {
		out = append(out, route.Outcome{Backend: backend, UID: uids[pod], PerSecond: perSecond, Failures: fail, GatewayFailures: gateway})
	})
	return out
}

// count hands what came of requests on to the gateway's evidence, when it is due or must be. What came about over some time
// is spread over its seconds.
func (d *demand) count(now time.Time, must bool) {
	g := d.routed
	if g == nil || g.router == nil {
		return
	}
	h := now.Sub(g.counted)
	switch {
	case g.counted.IsZero():
		g.counted = now
		return
	case h <= 0 || h < evidenceEvery && !must:
		return
	}
	d.advance(now)
	seconds := max(1, int(h/time.Second))
	var all []route.Account
	d.system.Accounts(func(load, cell int, backend string, service, revision int, requests, errors int64, latency *sketch.Sketch) {
		i := slices.IndexFunc(g.loads, func(l routedLoad) bool { return l.load == load })
		c := &g.loads[i].cells[cell]
		a := route.Account{Namespace: c.namespaces[backend], Revision: d.revisionName(service, revision), Route: c.way.Route,
			Requests: float64(requests) / float64(seconds), Errors: float64(errors) / float64(seconds), Latency: latency}
		if a.Revision == "" {
			return
		}
		part := *latency
		part.Scale(1 / float64(seconds))
		a.Latency = &part
		all = append(all, a)
	})
	for n := seconds - 1; n >= 0; n-- {
		for _, a := range all {
			g.router.Count(a, now.Add(-time.Duration(n)*time.Second))
		}
	}
	g.counted = now
}

// counted takes what came of requests into the evidence at once, as somebody wants to read it.
func (r *run) counted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.demand.count(time.Now(), true)
}

// revisionName is the hash of a revision by its number.
func (d *demand) revisionName(service, revision int) string {
	for name, n := range d.revisions[service] {
		if n == revision {
			return name
		}
	}
	return ""
}

// target is where a load goes, for the report.
func (d *demand) target(load int) string {
	l := &d.loads[load]
	if len(l.origin.Heads) > 0 {
		return d.r.doc.Scenario.Spec.Load[l.origin.Scenario].To
	}
	return d.services[l.spec.Service].Name
}
