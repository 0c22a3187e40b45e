package play

import (
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/internal/kube/virtual"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/load"
	"github.com/fairway-dev/fairway/internal/rehearse/model"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// How long an endpoint's coming and going takes to reach the clients of a Service through kube-proxy (assumption: half
// know within a second, 99 of 100 within five).
const (
	proxyLagP50 = time.Second
	proxyLagP99 = 5 * time.Second
)

// scrapeEvery is how often the counters count as scraped unless the scenario says otherwise (metrics-server's recommended
// resolution).
const scrapeEvery = 15 * time.Second

// demand keeps the flow model in step with the cluster and the loads. It is guarded by the run's lock.
type demand struct {
	r         *run
	system    *flow.System
	services  []flow.Service
	loads     []loadState
	revisions []map[string]int // by service: revision label → index
	nodes     map[string]flow.NodeID
	ordinals  map[string]*ordinals // by workload: numbers of living pods
	lags      []lag                // serving changes on their way, by time
	scraped   []*pod               // pods with counters, in order of their first scrape
	byUID     map[string]*pod      // namespace/name → pod
	mix       []float64            // scratch
	stale     bool                 // rates are to be set anew
	routed    *routed              // nil = no load comes through a gateway
}

type loadState struct {
	profile *load.Profile // nil for a load generator of the manifests
	origin  model.LoadOrigin
	factors []*float64 // of the loadFactor steps in force
	spec    flow.Load
}

// factor is the product of the steps in force. One that is over leaves nothing behind, be it zero.
func (l *loadState) factor() float64 {
	f := 1.0
	for _, x := range l.factors {
		f *= *x
	}
	return f
}

// demandPod is a pod's place in the model.
type demandPod struct {
	id      flow.PodID
	known   bool
	service int
	key     string
	ordinal int
	serving bool // as clients know
	routed  bool // the gateway sends requests to it
	state   flow.Pod
	// The two last scrapes of its CPU counter.
	last, before scrape
}

type scrape struct {
	at  time.Time
	cpu float64
}

type lag struct {
	at      time.Time
	pod     *pod
	serving bool
	remove  bool
}

// ordinals gives each living pod of a workload a small number, stable between runs that are to be compared.
type ordinals struct{ used []bool }

func (o *ordinals) take() int {
	for i, u := range o.used {
		if !u {
			o.used[i] = true
			return i
		}
	}
	o.used = append(o.used, true)
	return len(o.used) - 1
}

func (o *ordinals) free(i int) { o.used[i] = false }

// advance moves the model to the present and tells what it came upon. Every change of an input does so first, because it
// holds from the present on.
func (d *demand) advance(now time.Time) {
	if now.After(d.system.Now()) {
		for _, e := range d.system.Advance(now) {
			d.r.modelEvent(e)
		}
	}
}

func (d *demand) nodeChanged(o *corev1.Node) {
	d.advance(time.Now())
	n := flow.Node{Name: o.Name, Zone: o.Labels[corev1.LabelTopologyZone], Cores: o.Status.Capacity.Cpu().AsApproximateFloat64()}
	if id, ok := d.nodes[o.Name]; ok {
		if d.r.cluster.nodes[o.Name] != nil {
			return // capacity of a virtual node does not change
		}
		d.system.SetNode(id, n)
		return
	}
	d.nodes[o.Name] = d.system.AddNode(n)
}

// podChanged carries a pod's new state into the model.
func (d *demand) podChanged(p *pod, now time.Time) {
	if !p.demand.known {
		if p.obj.Spec.NodeName == "" || p.obj.Status.Phase != corev1.PodRunning {
			return
		}
		if !d.admit(p) {
			return
		}
	}
	next := d.stateOf(p)
	if next != p.demand.state {
		d.advance(now)
		p.demand.state = next
		d.system.SetPod(p.demand.id, next)
	}
	d.serve(p, p.serves(), now)
}

// admit gives a pod that has begun to run a place in the model.
func (d *demand) admit(p *pod) bool {
	service := d.r.topology.ServiceOf(p.obj, p.rec.Workload)
	if service < 0 {
		return false
	}
	o := d.ordinals[p.rec.Workload]
	if o == nil {
		o = &ordinals{}
		d.ordinals[p.rec.Workload] = o
	}
	p.demand.service, p.demand.ordinal = service, o.take()
	p.demand.key = podKey(p.rec.Workload, p.demand.ordinal)
	d.advance(time.Now())
	p.demand.state = d.stateOf(p)
	p.demand.id = d.system.AddPod(p.demand.state)
	p.demand.known = true
	if d.routed != nil {
		d.routed.stale = true
	}
	d.scraped = append(d.scraped, p)
	d.byUID[p.rec.Namespace+"/"+p.rec.Name] = p
	return true
}

func (d *demand) stateOf(p *pod) flow.Pod {
	o := p.obj
	s := flow.Pod{Key: p.demand.key, Service: p.demand.service, Node: d.nodes[o.Spec.NodeName], Serving: p.demand.serving,
		Running: o.Status.Phase == corev1.PodRunning}
	if n := d.r.cluster.nodes[o.Spec.NodeName]; n != nil {
		s.Zone = n.rec.Zone
	}
	s.Revision = d.revision(p)
	running := false
	for i := range o.Status.ContainerStatuses {
		if r := o.Status.ContainerStatuses[i].State.Running; r != nil {
			running = true
			if r.StartedAt.After(s.StartedAt) {
				s.StartedAt = r.StartedAt.Time
			}
		}
	}
	s.Down = !running
	s.Running = s.Running && running
	for i := range o.Spec.Containers {
		c := &o.Spec.Containers[i].Resources
		s.CPURequestMilli += c.Requests.Cpu().MilliValue()
		s.CPULimitCores += c.Limits.Cpu().AsApproximateFloat64()
		s.MemoryRequestBytes += c.Requests.Memory().AsApproximateFloat64()
		s.MemoryLimitBytes += c.Limits.Memory().AsApproximateFloat64()
	}
	return s
}

// revision numbers the revisions of a service in the order they appear, and describes each to the model once.
func (d *demand) revision(p *pod) int {
	name := p.rec.Revision
	m := d.revisions[p.demand.service]
	if i, ok := m[name]; ok {
		return i
	}
	i := len(m)
	m[name] = i
	rev := d.r.topology.RevisionOf(p.demand.service, p.obj)
	rev.Name = name
	if d.r.topology.Unmodelled(p.demand.service, p.obj) {
		d.r.out.event(record.Event{Limit: &record.Limit{What: "the Program of " + d.services[p.demand.service].Name + " at revision " + name,
			Why: "of one revision only errors, and cpu and latency by one factor for all routes, are modelled; where its Program differs from the first revision's in more, that has no effect on requests"}})
	}
	d.advance(time.Now())
	d.system.SetRevision(p.demand.service, i, rev)
	return i
}

// serve lets clients learn, after a lag, that a pod came or went.
func (d *demand) serve(p *pod, serving bool, now time.Time) {
	if d.turns(p, serving) {
		d.delay(lag{at: now.Add(d.lagOf(p, serving)), pod: p, serving: serving})
	}
}

// hand lets clients of a Service whose selector has changed learn at one moment of the pods that came and of those that are
// gone: they stand in the same EndpointSlices.
func (d *demand) hand(came, gone []*pod, workload string, now time.Time) {
	at := now.Add(d.lagFor("endpoints-handed", workload, now.Unix()))
	for i, p := range append(came, gone...) {
		if serving := i < len(came); d.turns(p, serving) {
			d.delay(lag{at: at, pod: p, serving: serving})
		}
	}
}

// turns tells whether clients are still to learn that a pod serves, or no longer does.
func (d *demand) turns(p *pod, serving bool) bool {
	if !p.demand.known {
		return false
	}
	for i := len(d.lags) - 1; i >= 0; i-- {
		if l := d.lags[i]; l.pod == p && !l.remove {
			return l.serving != serving
		}
	}
	return p.demand.serving != serving
}

func (d *demand) lagOf(p *pod, serving bool) time.Duration {
	purpose := "endpoint-gone"
	if serving {
		purpose = "endpoint-came"
	}
	return d.lagFor(purpose, p.demand.key, int64(p.rec.Restarts))
}

func (d *demand) lagFor(purpose, key string, n int64) time.Duration {
	u := uniform(d.r.doc.Seed, purpose, key, n)
	sigma := math.Log(proxyLagP99.Seconds()/proxyLagP50.Seconds()) / 2.326
	return time.Duration(proxyLagP50.Seconds() * math.Exp(sigma*normalQuantile(u)) * float64(time.Second))
}

func (d *demand) delay(l lag) {
	i := len(d.lags)
	for i > 0 && d.lags[i-1].at.After(l.at) {
		i--
	}
	d.lags = append(d.lags, lag{})
	copy(d.lags[i+1:], d.lags[i:])
	d.lags[i] = l
	d.r.poke()
}

// ripen applies what clients have learned by now.
func (d *demand) ripen(now time.Time) {
	for len(d.lags) > 0 && !d.lags[0].at.After(now) {
		l := d.lags[0]
		d.lags = d.lags[1:]
		d.advance(now)
		if l.remove {
			d.remove(l.pod)
			continue
		}
		if l.pod.demand.serving != l.serving {
			l.pod.demand.serving = l.serving
			l.pod.demand.state.Serving = l.serving
			d.system.SetPod(l.pod.demand.id, l.pod.demand.state)
		}
	}
}

// podGone: the process has ended; clients that do not know yet run into it.
func (d *demand) podGone(p *pod, now time.Time) {
	if !p.demand.known {
		return
	}
	d.advance(now)
	p.rec.CPUUsedCoreSeconds = d.system.CPUSeconds(p.demand.id, now)
	s := &p.demand.state
	s.Running, s.Down = false, true
	d.system.SetPod(p.demand.id, *s)
	d.serve(p, false, now)
	d.delay(lag{at: now.Add(d.lagOf(p, false)), pod: p, remove: true})
	if key := p.rec.Namespace + "/" + p.rec.Name; d.byUID[key] == p {
		delete(d.byUID, key)
	}
}

func (d *demand) remove(p *pod) {
	d.system.RemovePod(p.demand.id)
	d.ordinals[p.rec.Workload].free(p.demand.ordinal)
	p.demand.known, p.demand.routed = false, false
	for i, q := range d.scraped {
		if q == p {
			d.scraped = append(d.scraped[:i], d.scraped[i+1:]...)
			break
		}
	}
}

// scrape reads every counter, as a metrics server would.
func (d *demand) scrape(now time.Time) {
	d.advance(now)
	for _, p := range d.scraped {
		if p.gone || !p.demand.state.Running {
			continue
		}
		m := &p.demand
		m.before, m.last = m.last, scrape{at: now, cpu: d.system.CPUSeconds(m.id, now)}
	}
}

// setRates carries the loads' rates at an instant into the model and returns when they move on.
func (d *demand) setRates(now time.Time) (next time.Time, err error) {
	d.advance(now)
	d.stale = false
	for i := range d.loads {
		l := &d.loads[i]
		switch {
		case l.profile == nil:
			err = d.system.SetUsers(i, d.generated(l)*l.factor())
		case l.profile.Closed():
			err = d.system.SetUsers(i, load.Users(l.profile, now)*l.factor())
		default:
			err = d.system.SetRate(i, load.Rate(l.profile, now)*l.factor())
		}
		if err != nil {
			return next, err
		}
		if l.profile == nil {
			continue
		}
		if l.profile.MixMoves() {
			d.mix = load.Rates(l.profile, now, d.mix[:0])
			if slices.Max(d.mix) > 0 {
				if err := d.system.SetMix(i, d.mix...); err != nil {
					return next, err
				}
			}
		}
		if t := load.Next(l.profile, now, rateStep); next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if next.IsZero() {
		next = now.Add(time.Minute)
	}
	return next, nil
}

// generated is the number of users that the running pods of a load generator stand for.
func (d *demand) generated(l *loadState) float64 {
	w := d.r.cluster.workloads[l.origin.Generator]
	if w == nil {
		return 0
	}
	return float64(w.ready) * float64(l.origin.UsersPerPod)
}

// rateStep is how far a rate may move before the model takes it up.
const rateStep = 0.02

func (r *run) modelEvent(e flow.Event) {
	name := r.demand.services[e.Service].Name
	state := "ends"
	if e.On {
		state = "begins"
	}
	entry := record.Entry{Time: e.Time, Object: "Service/" + name, Severity: record.Notable, Data: map[string]string{"service": name, "state": state}}
	switch e.Kind {
	case flow.Saturated:
		entry.Kind, entry.What = record.KindSaturation, name+" has room again"
		if e.On {
			entry.What, entry.Severity = name+" is saturated: requests come faster than its pods can work", record.Warning
		}
	case flow.Throttled:
		entry.Kind, entry.What = record.KindThrottle, name+" is no longer slowed by its CPU limit"
		if e.On {
			entry.What = name + " is slowed by its CPU limit in more than a quarter of the periods"
		}
	case flow.NoPod:
		entry.Kind, entry.What = record.KindErrors, name+" has a pod again"
		if e.On {
			entry.What, entry.Severity = name+" has no pod to serve its requests", record.Severe
		}
	}
	r.entry(entry)
}

// Usage answers the engine that plays the kubelets: what a container has used.
func (d *demand) Usage(i virtual.Instance, at time.Time) virtual.Usage {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	p := d.byUID[i.Pod.Namespace+"/"+i.Pod.Name]
	if p == nil || !p.demand.known || len(i.Pod.Spec.Containers) == 0 || i.Pod.Spec.Containers[0].Name != i.Container {
		return virtual.IdleUse(i, at)
	}
	return virtual.Usage{CPUSeconds: d.system.CPUSeconds(p.demand.id, at), MemoryBytes: int64(d.system.MemoryBytes(p.demand.id, at))}
}

// Crossing implements virtual.UsageSource. The run itself finds the instants (flow.NextMemoryCrossing) and asks the engine
// to look again then, so only the present counts here.
func (d *demand) Crossing(i virtual.Instance, limit int64, from time.Time) (time.Time, bool) {
	u := d.Usage(i, from)
	return from, u.MemoryBytes > limit
}

// remodel carries services that were described anew into the model.
func (d *demand) remodel(services []int) error {
	for _, i := range services {
		if err := d.system.SetModel(i, d.r.topology.Config.Services[i].Model); err != nil {
			return err
		}
		for _, p := range d.scraped {
			if p.demand.service != i || p.gone {
				continue
			}
			rev := d.r.topology.RevisionOf(i, p.obj)
			rev.Name = p.rec.Revision
			d.system.SetRevision(i, d.revisions[i][p.rec.Revision], rev)
		}
	}
	return nil
}
