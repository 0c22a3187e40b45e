package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/kube/virtual/serve"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Defaults of a pod and a client when nobody says otherwise; those of a request are in package serve.
const (
	anyRoute        = "*"
	defaultTimeout  = 15 * time.Second
	defaultBackoff  = 25 * time.Millisecond
	defaultIdle     = 0.005 // cores
	defaultNoise    = 0.05
	leastCost       = 100 * time.Microsecond
	mostCost        = time.Second
	usualTarget     = 0.5  // of the CPU request
	targetOfHPA     = 0.8  // of an HPA's utilisation target
	assumedRequest  = 0.1  // cores, of pods without a CPU request
	longestCycle    = 32   // calls
	cycleGain       = 0.99 // calls a turn from which on a cycle does not end
	jvmFactor       = 3
	jvmHalfLife     = 45 * time.Second
	jvmStartCores   = 1
	jvmStartFor     = 20 * time.Second
	unansweredThink = 5500 * time.Millisecond // mean of 1 s … 10 s
)

// nameRoutes collects the routes of each component: "*", those the scenario describes, and those loads and calls name.
func (t *Topology) nameRoutes() {
	add := func(i int, r string) {
		if c := t.components[i]; !slices.Contains(c.routes, r) {
			c.routes = append(c.routes, r)
		}
	}
	for i, c := range t.components {
		named := []string{}
		for r := range c.model.Routes {
			if r != anyRoute {
				named = append(named, r)
			}
		}
		slices.Sort(named)
		c.routes = append([]string{anyRoute}, named...)
		_ = i
	}
	for k := range t.scenario.Load {
		for _, r := range sortedKeys(t.scenario.Load[k].Mix) {
			add(t.Config.Loads[k].Service, r)
			for _, i := range t.Loads[k].Behind {
				add(i, r)
			}
		}
	}
	for _, c := range t.components {
		for _, m := range append([]v1alpha1.RouteModel{c.model.RouteModel}, routeModels(c)...) {
			for _, g := range m.Calls {
				for _, call := range g {
					if to, route, err := t.target(c, call); err == nil {
						add(to, route)
					}
				}
			}
		}
	}
	// Set steps may describe routes later; flow needs their number from the start.
	for _, st := range t.scenario.Steps {
		if st.Set == nil {
			continue
		}
		for _, i := range t.matching(st.Set) {
			for _, r := range sortedKeys(st.Set.Routes) {
				add(i, r)
			}
		}
	}
}

func routeModels(c *component) []v1alpha1.RouteModel {
	var out []v1alpha1.RouteModel
	for _, k := range sortedKeys(c.model.Routes) {
		out = append(out, c.model.Routes[k])
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// route is what a request of a route costs: its own entry over "*" over the fields of the service itself.
func (c *component) route(name string) v1alpha1.RouteModel { return routeOf(&c.model, name) }

func routeOf(m *v1alpha1.ServiceModel, name string) v1alpha1.RouteModel {
	r := m.RouteModel
	if any, ok := m.Routes[anyRoute]; ok {
		r = overlay(r, any)
	}
	if name != anyRoute {
		if own, ok := m.Routes[name]; ok {
			r = overlay(r, own)
		}
	}
	return r
}

// target resolves a call to component and route.
func (t *Topology) target(c *component, call v1alpha1.Call) (int, string, error) {
	find := func(ns, name string) (int, bool) {
		if i, ok := t.byService[ns+"/"+name]; ok {
			return i, true
		}
		for _, kind := range []string{"Rollout", "Deployment", "StatefulSet", "ReplicaSet", "Pod"} {
			if i, ok := t.byWorkload[kind+"/"+ns+"/"+name]; ok {
				return i, true
			}
		}
		return 0, false
	}
	ns, name, route := call.Resolve(c.namespace, func(ns, name string) bool { _, ok := find(ns, name); return ok })
	i, ok := find(ns, name)
	if !ok {
		return 0, "", fmt.Errorf("services: %s calls %q, but there is no Service or workload %s/%s; the services are %s", c.name, call.To, ns, name, strings.Join(t.names(), ", "))
	}
	return i, route, nil
}

// routeCalls are the calls of a route, inferred when the scenario says nothing.
func (t *Topology) routeCalls(i int, name string) ([]flow.Call, error) {
	c := t.components[i]
	m := c.route(name)
	var out []flow.Call
	if m.Calls == nil {
		for _, e := range c.calls {
			if t.usedEdge(i, e) {
				out = append(out, flow.Call{Service: t.byService[e.To], Count: 1, Inferred: e.Because})
			}
		}
		return out, nil
	}
	for group, g := range m.Calls {
		for _, call := range g {
			to, route, err := t.target(c, call)
			if err != nil {
				return nil, err
			}
			r := slices.Index(t.components[to].routes, route)
			if r < 0 {
				r = 0
			}
			f := flow.Call{Service: to, Route: r, Count: call.Times(), Optional: call.Optional, Async: call.Async}
			if len(g) > 1 {
				f.Parallel = group + 1
			}
			if call.Timeout != nil {
				f.Timeout = call.Timeout.Duration
			}
			if call.CacheHit != nil {
				f.CacheHit = math.Min(1, float64(*call.CacheHit))
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// usedEdge says whether an inferred edge counts.
func (t *Topology) usedEdge(i int, e Edge) bool { return !t.circular[[2]int{i, t.byService[e.To]}] }

// breakCircles leaves out inferred edges that lead back to a service on the way from a load: addresses in both directions
// do not mean that requests go round in circles. Calls the scenario gives are kept as they are.
func (t *Topology) breakCircles() {
	t.circular = map[[2]int]bool{}
	const onWay, done = 1, 2
	state := make([]uint8, len(t.components))
	var visit func(i int)
	visit = func(i int) {
		c := t.components[i]
		state[i] = onWay
		inferred := false
		for _, r := range c.routes {
			m := c.route(r)
			inferred = inferred || m.Calls == nil
			for _, g := range m.Calls {
				for _, call := range g {
					if to, _, err := t.target(c, call); err == nil && state[to] == 0 {
						visit(to)
					}
				}
			}
		}
		for _, e := range c.calls {
			to := t.byService[e.To]
			switch {
			case !inferred:
			case state[to] == onWay:
				t.circular[[2]int{i, to}] = true
				t.Limits = append(t.Limits, record.Limit{What: "call " + c.name + " → " + e.To,
					Why: "configuration names services in a circle; requests are assumed not to go round"})
			case state[to] == 0:
				visit(to)
			}
		}
		state[i] = done
	}
	for _, l := range t.Config.Loads {
		if state[l.Service] == 0 {
			visit(l.Service)
		}
	}
	for i := range t.components {
		if state[i] == 0 {
			visit(i)
		}
	}
}

// service makes the flow model of a component.
func (t *Topology) service(i int) flow.Service {
	c := t.components[i]
	out := flow.Service{Name: c.name, Constant: !c.reached, Usage: constantUse}
	if !c.reached {
		t.fixedUse(c, &out.Usage)
		return out
	}
	m := &out.Model
	m.Threads, m.ThreadsByLimit = t.threads(c, &c.model)
	m.Balance, _ = t.balance(c)
	if b := c.model.Balance; b != nil {
		m.ConnectionsPerClient, m.ConnectionMaxAge = int(b.PerClient), b.MaxAge.Duration
	}
	if c.model.Concurrency != nil {
		m.Concurrency, m.QueueMax = int(*c.model.Concurrency), serve.QueueMaxOf(&c.model)
	}
	m.Client = client(&c.model)
	t.memory(c, m)
	t.warmup(c, m)
	m.IdleCores, m.Noise = defaultIdle, defaultNoise
	if c.model.Idle != nil && c.model.Idle.CPU != nil {
		m.IdleCores = c.model.Idle.CPU.AsApproximateFloat64()
	}
	if c.model.Noise != nil {
		m.Noise = float64(*c.model.Noise)
	}
	for _, name := range c.routes {
		r := t.request(i, &c.model, name)
		r.Calls, _ = t.routeCalls(i, name) // resolved before
		m.Routes = append(m.Routes, r)
	}
	return out
}

// request is what a request of a route costs at a component's pods of some model, without its calls.
func (t *Topology) request(i int, m *v1alpha1.ServiceModel, name string) flow.Route {
	factor, latency := 1.0, 1.0
	if m.CPUFactor != nil {
		factor = *m.CPUFactor
	}
	if m.LatencyFactor != nil {
		latency = *m.LatencyFactor
	}
	r := routeOf(m, name)
	f := flow.Route{Name: name, CPUScv: serve.CPUScvOf(&r)}
	cpu := t.costs[i]
	if r.CPU != nil {
		cpu = r.CPU.Duration
	}
	f.CPU = scaled(cpu, factor)
	own := serve.LatencyOf(&r, cpu)
	f.LatencyP50, f.LatencyP99 = scaled(own.P50.Duration, latency), scaled(own.P99.Duration, latency)
	if r.Errors != nil {
		f.Errors = math.Min(1, float64(*r.Errors))
	}
	return f
}

func scaled(d time.Duration, f float64) time.Duration {
	return time.Duration(math.Round(float64(d) * f))
}

func client(m *v1alpha1.ServiceModel) flow.Client {
	c := flow.Client{Timeout: defaultTimeout, Backoff: defaultBackoff}
	if m.Timeout != nil {
		c.Timeout = m.Timeout.Duration
	}
	if m.Cancel != nil {
		c.Cancel = *m.Cancel
	}
	if r := m.Retries; r != nil {
		c.Retries = int(r.Max)
		if r.Budget != nil {
			c.RetryBudget = float64(*r.Budget)
		}
		if r.Backoff != nil {
			c.Backoff = r.Backoff.Duration
		}
		for _, on := range r.On {
			c.RetryOnTimeout = c.RetryOnTimeout || on == v1alpha1.RetryOnTimeout
			c.RetryOnError = c.RetryOnError || on != v1alpha1.RetryOnTimeout
		}
	}
	return c
}

func (t *Topology) memory(c *component, m *flow.Model) {
	m.Memory.KeepsPeak = c.runtime == v1alpha1.RuntimeJVM
	if i := c.model.Idle; i != nil && i.Memory != nil {
		m.Memory.BaseBytes = i.Memory.AsApproximateFloat64()
	}
	mm := c.model.Memory
	if mm == nil {
		return
	}
	if mm.Base != nil {
		m.Memory.BaseBytes = mm.Base.AsApproximateFloat64()
	}
	if mm.PerRequest != nil {
		m.Memory.PerRequestBytes = mm.PerRequest.AsApproximateFloat64()
	}
	if mm.Leak != nil {
		m.Memory.LeakBytesPerSec = mm.Leak.PerSecond()
	}
	if mm.PerConnection != nil {
		m.Memory.PerConnectionBytes = mm.PerConnection.AsApproximateFloat64()
	}
	if mm.Cache != nil {
		m.Memory.CacheMaxBytes, m.Memory.CacheFill = mm.Cache.Max.AsApproximateFloat64(), mm.Cache.Fill.Duration
	}
}

func (t *Topology) warmup(c *component, m *flow.Model) {
	if c.runtime == v1alpha1.RuntimeJVM {
		m.Warmup = flow.Warmup{Factor: jvmFactor, HalfLife: jvmHalfLife, StartCores: jvmStartCores, StartFor: jvmStartFor}
	}
	w := c.model.Warmup
	if w == nil {
		return
	}
	if w.Factor != nil {
		m.Warmup.Factor = *w.Factor
	}
	if w.HalfLife != nil {
		m.Warmup.HalfLife = w.HalfLife.Duration
	}
	if w.StartCPU != nil {
		m.Warmup.StartCores, m.Warmup.StartFor = w.StartCPU.Cores.AsApproximateFloat64(), w.StartCPU.For.Duration
	}
}

// fixedUse reads what entries and KWOK's annotations say of a workload that no load reaches.
func (t *Topology) fixedUse(c *component, u *flow.Usage) {
	if i := c.model.Idle; i != nil {
		if i.CPU != nil {
			u.CPUCores = i.CPU.AsApproximateFloat64()
		}
		if i.Memory != nil {
			u.MemoryBytes = i.Memory.AsApproximateFloat64()
		}
	}
	if m := c.model.Memory; m != nil && m.Base != nil {
		u.MemoryBytes = m.Base.AsApproximateFloat64()
	}
	a := c.primary().template.Annotations
	if v, ok := quantity(a["kwok.x-k8s.io/usage-cpu"]); ok {
		u.CPUCores = v
	}
	if v, ok := quantity(a["kwok.x-k8s.io/usage-memory"]); ok {
		u.MemoryBytes = v
	}
}

func requestOf(t *corev1.PodTemplateSpec) float64 {
	sum := 0.0
	for i := range t.Spec.Containers {
		sum += t.Spec.Containers[i].Resources.Requests.Cpu().AsApproximateFloat64()
	}
	return sum
}
