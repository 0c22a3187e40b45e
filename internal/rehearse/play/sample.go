package play

import (
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/celenv"
)

// series is what was sampled of one column, for conditions.
type series struct {
	metric, label, value string
	points               []celenv.Point
}

// sampler turns the model's windows and the cluster's counts into the series of the report, one value a step, and keeps the
// exact accounts of the whole run. It is guarded by the run's lock.
type sampler struct {
	r        *run
	loads    []total
	services []total
	edges    []record.Call
	ids      map[string]int
	values   []record.ColumnValue
	history  []series // by column
	p95      float64
	maxPods  int
	minPods  int
}

// total is the account of a load or service since measuring began.
type total struct {
	counts  flow.Counts
	latency sketch.Sketch
	began   bool
	inside  int64
}

func newSampler(r *run, services, loads int) *sampler {
	return &sampler{r: r, loads: make([]total, loads), services: make([]total, services), ids: map[string]int{}}
}

func (s *sampler) put(metric, label, value string, v float64) {
	key := metric + "\x00" + value
	id, ok := s.ids[key]
	if !ok {
		id = s.r.out.column(metric, label, value)
		s.ids[key] = id
		for len(s.history) <= id {
			s.history = append(s.history, series{})
		}
		s.history[id].metric, s.history[id].label, s.history[id].value = metric, label, value
	}
	s.values = append(s.values, record.ColumnValue{ID: id, Value: v})
}

// take closes a step. Unmeasured steps (settling) only start the accounts anew.
func (s *sampler) take(now time.Time, measured bool) {
	d := s.r.demand
	d.advance(now)
	w := d.system.Sample()
	step := w.To.Sub(w.From).Seconds()
	s.values = s.values[:0]
	for i := range w.Loads {
		l := &w.Loads[i]
		s.loads[i].add(&l.Counts, l.Latency, measured)
		s.series("load", d.loads[i].spec.Name, &l.Counts, l.Latency, step)
		if i == 0 {
			s.p95 = l.Latency.Quantile(0.95)
		}
	}
	for i := range w.Services {
		s.service(&w.Services[i], step, measured)
	}
	s.held(now)
	s.cluster(now)
	for i := range w.Edges {
		s.edge(i, &w.Edges[i], measured)
	}
	pods := len(s.r.cluster.pods)
	if measured {
		s.maxPods = max(s.maxPods, pods)
		if s.minPods == 0 || pods < s.minPods {
			s.minPods = pods
		}
		for _, v := range s.values {
			h := &s.history[v.ID]
			h.points = append(h.points, celenv.Point{Time: now, Value: v.Value})
		}
		s.r.out.event(record.Event{Sample: &record.Sample{Time: now.UTC(), Values: s.values}})
	}
	for _, name := range s.r.cluster.names {
		wl := s.r.cluster.workloads[name]
		if measured {
			wl.samples = append(wl.samples, wl.ready)
		} else {
			wl.samples = wl.samples[:0]
		}
	}
}

func (s *sampler) series(label, name string, c *flow.Counts, latency *sketch.Sketch, step float64) {
	if step <= 0 {
		return
	}
	s.put(record.MetricRequests, label, name, float64(c.Offered)/step)
	if bad := c.Failed + c.Rejected + c.Abandoned; c.Offered > 0 {
		s.put(record.MetricErrors, label, name, float64(bad)/float64(max(bad+c.Served, 1)))
	}
	if latency.Count() > 0 {
		s.put(record.MetricLatencyP50, label, name, latency.Quantile(0.5))
		s.put(record.MetricLatencyP95, label, name, latency.Quantile(0.95))
		s.put(record.MetricLatencyP99, label, name, latency.Quantile(0.99))
	}
}

func (s *sampler) service(w *flow.ServiceWindow, step float64, measured bool) {
	spec := &s.r.demand.services[w.Service]
	s.services[w.Service].add(&w.Counts, w.Latency, measured)
	if spec.Constant {
		return
	}
	s.series("service", spec.Name, &w.Counts, w.Latency, step)
	s.put(record.MetricCPUUsed, "service", spec.Name, w.CoresUsed)
	s.put(record.MetricCPUCapacity, "service", spec.Name, w.CoresUsable)
	s.put(record.MetricCPUDemand, "service", spec.Name, w.Utilisation*w.CoresUsable)
	s.put(record.MetricThrottled, "service", spec.Name, w.ThrottledShare)
	if w.ServingPods > 0 {
		s.put(record.MetricBalance, "service", spec.Name, w.ShareHigh)
	}
}

// held is what the running pods of each service ask for and hold. Sums are of whole numbers, so that their order is nothing.
func (s *sampler) held(now time.Time) {
	d := s.r.demand
	milli, bytes := make([]int64, len(d.services)), make([]int64, len(d.services))
	for _, p := range s.r.cluster.pods {
		if !p.demand.known || !p.demand.state.Running {
			continue
		}
		milli[p.demand.service] += p.demand.state.CPURequestMilli
		bytes[p.demand.service] += int64(d.system.MemoryBytes(p.demand.id, now))
	}
	for i := range d.services {
		if spec := &d.services[i]; !spec.Constant {
			s.put(record.MetricCPURequested, "service", spec.Name, float64(milli[i])/1000)
			s.put(record.MetricMemoryUsed, "service", spec.Name, float64(bytes[i]))
		}
	}
}

func (s *sampler) cluster(now time.Time) {
	c := s.r.cluster
	for _, name := range c.names {
		w := c.workloads[name]
		if w.desired >= 0 {
			s.put(record.MetricDesired, "workload", name, float64(w.desired))
		}
		s.put(record.MetricReady, "workload", name, float64(w.ready))
		if v, ok := w.weight(); ok {
			s.put(record.MetricNewWeight, "workload", name, v)
		}
	}
	pools := map[string]int{}
	for _, n := range c.nodes {
		pools[n.rec.Pool]++
	}
	for _, p := range sortedKeys(pools) {
		s.put(record.MetricNodes, "pool", p, float64(pools[p]))
	}
	s.put(record.MetricPodsPending, "", "", float64(c.pending))
	oldest := 0.0
	if c.pending > 0 {
		for _, p := range c.pods {
			if p.obj.Spec.NodeName == "" {
				oldest = max(oldest, now.Sub(p.rec.Created).Seconds())
			}
		}
	}
	s.put(record.MetricPodPending, "", "", oldest)
	s.put(record.MetricEvictions, "", "", float64(c.evictions))
	s.put(record.MetricOOMKills, "", "", float64(c.oomKills))
}

func (s *sampler) edge(i int, w *flow.EdgeWindow, measured bool) {
	for len(s.edges) <= i {
		s.edges = append(s.edges, record.Call{})
	}
	e := &s.edges[i]
	d := s.r.demand
	if w.FromLoad >= 0 {
		e.From = d.loads[w.FromLoad].spec.Name
	} else {
		e.From = d.services[w.FromService].Name
	}
	e.To, e.Inferred = d.services[w.ToService].Name, w.Inferred
	if measured {
		e.Attempts += w.Counts.Attempts
		e.Failed += w.Counts.Failed
	}
}

// calls are the edges between services, those of several routes added up. An edge that was found in configuration and then
// never taken, because the routes that were asked say otherwise, is left out when the same call was made.
func (s *sampler) calls() []record.Call {
	offered := map[string]int64{}
	for i := range s.r.demand.loads {
		offered[s.r.demand.loads[i].spec.Name] += s.loads[i].counts.Offered
	}
	for i := range s.r.demand.services {
		offered[s.r.demand.services[i].Name] += s.services[i].counts.Offered
	}
	var out []record.Call
	at := map[[2]string]int{}
	for i := range s.edges {
		e := s.edges[i]
		key := [2]string{e.From, e.To}
		n, known := at[key]
		switch {
		case !known:
			at[key] = len(out)
			out = append(out, e)
		case e.Attempts > 0:
			if out[n].Attempts == 0 {
				out[n].Inferred = e.Inferred
			}
			out[n].Attempts += e.Attempts
			out[n].Failed += e.Failed
		}
	}
	for i := range out {
		if n := offered[out[i].From]; n > 0 {
			out[i].Mean = float64(out[i].Attempts) / float64(n)
		}
	}
	return out
}

func (t *total) add(c *flow.Counts, latency *sketch.Sketch, measured bool) {
	if !measured {
		t.inside = c.Inside
		return
	}
	if !t.began {
		// What was inside when measuring began is offered to this account.
		t.began = true
		t.counts.Offered += t.inside
	}
	t.counts.Offered += c.Offered
	t.counts.Served += c.Served
	t.counts.Failed += c.Failed
	t.counts.Rejected += c.Rejected
	t.counts.Abandoned += c.Abandoned
	t.counts.Inside = c.Inside
	t.latency.Merge(latency)
}

func (t *total) record(name string, service bool, to string) record.Load {
	c := &t.counts
	return record.Load{Name: name, Service: service, To: to, Offered: c.Offered, Served: c.Served, Failed: c.Failed, Rejected: c.Rejected, Abandoned: c.Abandoned, Inside: c.Inside,
		P50: t.latency.Quantile(0.5), P95: t.latency.Quantile(0.95), P99: t.latency.Quantile(0.99)}
}
