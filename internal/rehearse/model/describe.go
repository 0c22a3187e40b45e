package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// describe sums up what Programs, entries and annotations say of a component; later entries win field by field, entries win over
// Programs, and annotations over both. Entries narrowed by image are left to RevisionOf.
func (t *Topology) describe(i int) {
	c := t.components[i]
	c.model = t.described(c, &c.primary().template)
	c.said = v1alpha1.ServiceModel{}
	t.say(c, &c.said)
	c.calls = nil
	for _, w := range c.workloads {
		for _, e := range t.index.calls(w) {
			if to, ok := t.byService[e.To]; ok && to != i {
				c.calls = append(c.calls, e)
			}
		}
	}
	c.runtime = c.model.Runtime
	if c.runtime == "" || c.runtime == v1alpha1.RuntimeAuto {
		c.runtime, _ = runtimeOf(server(&c.primary().template))
	}
}

// merge lays an entry over a model: fields it gives replace, routes are merged by name.
func merge(m, over *v1alpha1.ServiceModel) {
	routes := maps.Clone(m.Routes)
	data, err := json.Marshal(over)
	if err == nil {
		// JSON leaves out what the entry does not say, so decoding it over the model replaces the rest and no more.
		calls := m.Calls
		memory, retries, warmup, idle := m.Memory, m.Retries, m.Warmup, m.Idle
		m.Memory, m.Retries, m.Warmup, m.Idle = clone(memory), clone(retries), clone(warmup), clone(idle)
		if over.Calls != nil {
			calls = over.Calls
		}
		_ = json.Unmarshal(data, m)
		m.Calls = calls
	}
	for name, r := range over.Routes {
		if routes == nil {
			routes = map[string]v1alpha1.RouteModel{}
		}
		had := routes[name]
		routes[name] = overlay(had, r)
	}
	m.Routes = routes
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func overlay(base, over v1alpha1.RouteModel) v1alpha1.RouteModel {
	if over.CPU != nil {
		base.CPU = over.CPU
	}
	if over.CPUScv != nil {
		base.CPUScv = over.CPUScv
	}
	if over.Latency != nil {
		base.Latency = over.Latency
	}
	if over.Calls != nil {
		base.Calls = over.Calls
	}
	if over.Errors != nil {
		base.Errors = over.Errors
	}
	return base
}

// annotate applies one sim- annotation of the pod template. Those that concern life and exit belong to the virtual kubelet.
func (t *Topology) annotate(c *component, m *v1alpha1.ServiceModel, key, text string) {
	switch key {
	case "cpu":
		if d, err := v1alpha1.ParseDuration(text); err == nil {
			m.CPU = &d
		} else if q, err := resource.ParseQuantity(text); err == nil {
			m.Idle = &v1alpha1.Idle{CPU: &q}
			m.CPU = &v1alpha1.Duration{}
		}
	case "latency":
		q := v1alpha1.Quantiles{}
		for _, part := range strings.Split(text, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			d, err := v1alpha1.ParseDuration(v)
			switch {
			case err != nil:
			case k == "p50":
				q.P50 = d
			case k == "p99":
				q.P99 = d
			}
		}
		if q.P50.Duration > 0 {
			m.Latency = &q
		}
	case "errors":
		var s v1alpha1.Share
		if s.UnmarshalText([]byte(text)) == nil {
			m.Errors = &s
		}
	case "capacity":
		if n, err := strconv.ParseFloat(strings.TrimSuffix(text, "rps"), 64); err == nil && n > 0 {
			d := v1alpha1.DurationOf(time.Duration(t.cores(c, m) / n * float64(time.Second)))
			m.CPU = &d
		}
	case "memory":
		annotateMemory(m, text)
	}
}

func annotateMemory(to *v1alpha1.ServiceModel, text string) {
	m := v1alpha1.MemoryModel{}
	if !strings.Contains(text, "=") {
		if m.UnmarshalText([]byte(text)) == nil {
			to.Memory = &m
		}
		return
	}
	for _, part := range strings.Split(text, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if k == "leak" {
			var l v1alpha1.QuantityRate
			if l.UnmarshalText([]byte(v)) == nil {
				m.Leak = &l
			}
			continue
		}
		q, err := resource.ParseQuantity(v)
		switch {
		case err != nil:
		case k == "base":
			m.Base = &q
		case k == "perRequest":
			m.PerRequest = &q
		}
	}
	to.Memory = &m
}

// cores is what one pod can use at once, as far as the template tells.
func (t *Topology) cores(c *component, m *v1alpha1.ServiceModel) float64 {
	limit := 0.0
	s := server(&c.primary().template)
	if q, ok := s.Resources.Limits[corev1.ResourceCPU]; ok {
		limit = q.AsApproximateFloat64()
	}
	threads, byLimit := t.threads(c, m)
	n := float64(threads)
	if byLimit && limit > 0 {
		n = limit
	}
	if n <= 0 {
		n = 1
	}
	if limit > 0 && limit < n {
		n = limit
	}
	return n
}

// threads by what the scenario says, else by runtime.
func (t *Topology) threads(c *component, m *v1alpha1.ServiceModel) (n int, byLimit bool) {
	if m.Threads != nil {
		return int(*m.Threads), false
	}
	s := server(&c.primary().template)
	switch c.runtime {
	case v1alpha1.RuntimeGo, v1alpha1.RuntimeJVM:
		return 0, true
	case v1alpha1.RuntimeNode:
		return 1, false
	case v1alpha1.RuntimePython:
		return pythonWorkers(s), false
	}
	if singleThreaded.MatchString(imageName(s.Image)) {
		return 1, false
	}
	return 0, false
}

// balance by what the scenario says, else by the Services in front.
func (t *Topology) balance(c *component) (flow.Balance, string) {
	if c.model.Balance != nil {
		return map[v1alpha1.BalanceKind]flow.Balance{v1alpha1.BalanceRandom: flow.Random, v1alpha1.BalanceRoundRobin: flow.RoundRobin,
			v1alpha1.BalanceConnection: flow.Connection, v1alpha1.BalanceZone: flow.Zone}[c.model.Balance.Kind], ""
	}
	for _, s := range c.services {
		if d := s.Spec.TrafficDistribution; d != nil && strings.HasPrefix(*d, "Prefer") {
			return flow.Zone, fmt.Sprintf("Service %s has trafficDistribution %s", s.Name, *d)
		}
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		for _, p := range s.Spec.Ports {
			app := ""
			if p.AppProtocol != nil {
				app = *p.AppProtocol
			}
			for _, n := range []string{p.Name, app} {
				n = strings.ToLower(n)
				if n == "grpc" || strings.HasPrefix(n, "grpc-") || n == "h2c" || strings.HasSuffix(n, "/h2c") || strings.HasPrefix(n, "h2c-") {
					return flow.Connection, fmt.Sprintf("port %s of Service %s is gRPC through a cluster address: kube-proxy balances connections, not requests", p.Name, s.Name)
				}
			}
		}
	}
	return flow.Random, ""
}

func (t *Topology) assume(c *component, field, value, because string) {
	t.Assumed = append(t.Assumed, record.Assumed{What: c.name + " " + field, Value: value, Because: because,
		ReplaceBy: "services[] match: " + c.name + ", " + field, FromObject: c.primary().key()})
}

// tell lists what was assumed of a component.
func (t *Topology) tell(i int) {
	c := t.components[i]
	if !c.reached {
		why := "no load reaches it"
		switch {
		case c.generator:
			why = "it generates load; its own use is not modelled"
		case c.primary().daemon:
			why = "it is a DaemonSet"
		case c.primary().batch:
			why = "it is a job"
		}
		t.assume(c, "use", "50 % of its CPU request (10m without), 70 % of its memory request (64Mi without)", why)
		return
	}
	if c.model.CPU == nil && t.costs[i] > 0 {
		t.assume(c, "cpu a request", v1alpha1.DurationOf(t.costs[i]).String(), t.costReason(i))
	}
	infers := slices.ContainsFunc(c.routes, func(name string) bool { return c.route(name).Calls == nil })
	for _, e := range c.calls {
		if infers && t.usedEdge(i, e) {
			t.Edges = append(t.Edges, e)
			t.assume(c, "calls "+e.To, "1 a request", e.Because+" names it")
		}
	}
	if r, why := runtimeOf(server(&c.primary().template)); c.model.Runtime == "" || c.model.Runtime == v1alpha1.RuntimeAuto {
		if r != v1alpha1.RuntimeAuto || c.model.Threads == nil {
			value := string(r)
			if r == v1alpha1.RuntimeAuto {
				value = "unknown: as many threads as the node has cores"
			}
			t.assume(c, "runtime", value, why)
		}
	}
	if b, why := t.balance(c); why != "" {
		t.assume(c, "balance", map[flow.Balance]string{flow.Connection: "connection", flow.Zone: "zone"}[b], why)
	}
	for _, s := range c.services {
		if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			t.Limits = append(t.Limits, record.Limit{What: "session affinity of Service " + s.Namespace + "/" + s.Name, Why: "clients are not told apart; its requests are spread at random"})
		}
	}
}
