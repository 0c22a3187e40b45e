package model

import (
	"fmt"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/fairway-dev/fairway/internal/kube/route"
	"github.com/fairway-dev/fairway/internal/rehearse/flow"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

func quantity(text string) (float64, bool) {
	if text == "" {
		return 0, false
	}
	q, err := resource.ParseQuantity(text)
	return q.AsApproximateFloat64(), err == nil
}

// loads finds the targets of the scenario's loads, and adds the generators of the cluster whose target no load has.
func (t *Topology) loads(in Input) error {
	taken := map[int]bool{}
	for k := range t.scenario.Load {
		l := &t.scenario.Load[k]
		i, ok := t.loadTarget(l.To)
		through, routed := Through(l.To)
		origin := LoadOrigin{Scenario: k}
		if routed {
			if origin.Behind = t.behindGateway(through, in.withApplied()); len(origin.Behind) == 0 {
				return fmt.Errorf("load %s: no route leads %q to a Service with pods; name a route or host whose backends have some", l.Name, l.To)
			}
			i, ok, origin.Heads = origin.Behind[0], true, []route.Request{headOf(through, anyRoute)}
		}
		if !ok {
			return fmt.Errorf("load %s: %q is neither a Service with pods nor a workload of the cluster; possible are %s", l.Name, l.To, strings.Join(t.names(), ", "))
		}
		taken[i] = true
		name := l.Name
		if name == "" {
			name = l.To
		}
		f := flow.Load{Name: name, Service: i, Routed: routed, Client: flow.Client{Timeout: l.Timeout.Duration, Retries: int(l.Retries)}, GiveUp: l.GiveUp.Duration}
		if f.Client.Timeout <= 0 {
			f.Client.Timeout = 30 * time.Second
		}
		if l.Arrivals != nil {
			if f.ArrivalScv = l.Arrivals.SCV; f.ArrivalScv == 0 {
				f.ArrivalScv = -1
			}
		}
		if u := l.Users; u != nil {
			f.Users, f.Think = float64(u.Count), unansweredThink
			if u.Think != nil {
				f.Think = u.Think.Mean()
			}
		}
		for _, z := range sortedKeys(l.Zones) {
			f.Zones = append(f.Zones, flow.ZoneShare{Zone: z, Weight: float64(l.Zones[z])})
		}
		t.Config.Loads = append(t.Config.Loads, f)
		t.Loads = append(t.Loads, origin)
	}
	for _, g := range t.index.generators() {
		i, ok := t.byService[g.To]
		if !ok {
			continue
		}
		w := t.components[t.byWorkload[g.Workload]]
		if taken[i] {
			t.Assumed = append(t.Assumed, record.Assumed{What: w.name + " load", Value: "switched off", Because: g.Because + ", and the scenario gives the load of " + g.To,
				ReplaceBy: "load[] users to " + g.To, FromObject: g.Workload})
			continue
		}
		n := w.primary().replicas
		t.Config.Loads = append(t.Config.Loads, flow.Load{Name: w.name, Service: i, Users: float64(g.Users * n), Think: unansweredThink,
			Client: flow.Client{Timeout: 30 * time.Second}, Connections: g.Users * n})
		t.Loads = append(t.Loads, LoadOrigin{Scenario: -1, Generator: g.Workload, Replicas: n, UsersPerPod: g.Users})
		t.Assumed = append(t.Assumed, record.Assumed{What: w.name + " load", Value: fmt.Sprintf("%d users to %s, thinking 1 s to 10 s", g.Users*n, g.To), Because: g.Because,
			ReplaceBy: "load[] to " + g.To, FromObject: g.Workload})
	}
	return nil
}

// loadTarget resolves namespace/name or Kind/namespace/name.
func (t *Topology) loadTarget(to string) (int, bool) {
	if strings.Count(to, "/") == 2 {
		if rest, ok := strings.CutPrefix(to, "Service/"); ok {
			i, ok := t.byService[rest]
			return i, ok
		}
		i, ok := t.byWorkload[to]
		return i, ok
	}
	if i, ok := t.byService[to]; ok {
		return i, true
	}
	for _, kind := range []string{"Rollout", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod"} {
		if i, ok := t.byWorkload[kind+"/"+to]; ok {
			return i, true
		}
	}
	return 0, false
}

// finishLoads gives the mixes their route numbers, now that all routes are known.
func (t *Topology) finishLoads(in Input) {
	for k := range t.Config.Loads {
		f := &t.Config.Loads[k]
		o := t.Loads[k]
		if o.Scenario < 0 {
			continue
		}
		routes := t.components[f.Service].routes
		if o.Heads != nil && len(t.scenario.Load[o.Scenario].Mix) > 0 {
			t.Loads[k].Heads = nil
		}
		for _, r := range sortedKeys(t.scenario.Load[o.Scenario].Mix) {
			for n, name := range routes {
				if name == r {
					if o.Heads != nil {
						t.Loads[k].Heads = append(t.Loads[k].Heads, headOf(o.Heads[0], r))
					}
					f.Mix = append(f.Mix, flow.RouteShare{Route: n, Weight: t.scenario.Load[o.Scenario].Mix[r]})
				}
			}
		}
	}
}

// reach marks what the loads get to, and refuses call cycles that do not die out.
func (t *Topology) reach() error {
	var visit func(i int, path []int, gain float64) error
	done := make([]bool, len(t.components))
	visit = func(i int, path []int, gain float64) error {
		c := t.components[i]
		for k, p := range path {
			if p == i {
				if gain >= cycleGain {
					names := []string{}
					for _, q := range append(path[k:], i) {
						names = append(names, t.components[q].name)
					}
					return fmt.Errorf("services: calls go in a circle that never ends: %s; give one of its calls a count below 1", strings.Join(names, " → "))
				}
				return nil
			}
		}
		if done[i] || len(path) > longestCycle {
			return nil
		}
		c.reached = true
		path = append(path, i)
		for _, r := range c.routes {
			calls, err := t.routeCalls(i, r)
			if err != nil {
				return err
			}
			for _, call := range calls {
				if err := visit(call.Service, path, gain*call.Count); err != nil {
					return err
				}
			}
		}
		done[i] = true
		return nil
	}
	for k, l := range t.Config.Loads {
		for _, i := range append([]int{l.Service}, t.Loads[k].Behind...) {
			if err := visit(i, nil, 1); err != nil {
				return err
			}
		}
	}
	if len(t.Config.Loads) == 0 {
		t.Limits = append(t.Limits, record.Limit{What: "no load reaches anything", Why: "the scenario has no load and no load generator was found; only changes of objects are rehearsed"})
	}
	return nil
}

// estimate derives the CPU a request where nobody gave it: so that the mean offered rate uses half of the CPU request at
// the manifest's replicas, or 80 % of what an HPA aims at if that is less.
func (t *Topology) estimate(in Input) {
	n := len(t.components)
	t.rates, t.costs = make([]float64, n), make([]time.Duration, n)
	flows := make([]map[string]float64, n)
	for k, l := range t.Config.Loads {
		rate := 0.0
		o := t.Loads[k]
		switch {
		case l.Users > 0:
			rate = l.Users / math.Max(0.1, l.Think.Seconds())
		case o.Scenario >= 0 && o.Scenario < len(in.MeanRate):
			rate = in.MeanRate[o.Scenario]
		}
		mix := map[string]float64{anyRoute: 1}
		if o.Scenario >= 0 && len(t.scenario.Load[o.Scenario].Mix) > 0 {
			mix = t.scenario.Load[o.Scenario].Mix
		}
		sum := 0.0
		for _, r := range sortedKeys(mix) {
			sum += mix[r]
		}
		for _, r := range sortedKeys(mix) {
			to := o.Behind // alike, as nobody knows yet what the gateway will say
			if len(to) == 0 {
				to = []int{l.Service}
			}
			for _, i := range to {
				t.push(flows, i, r, rate*mix[r]/math.Max(sum, 1e-9)/float64(len(to)), 0)
			}
		}
	}
	for i, c := range t.components {
		for _, r := range c.routes {
			t.rates[i] += flows[i][r]
		}
		if c.reached {
			t.costs[i] = t.cost(i)
		}
	}
}

func (t *Topology) push(flows []map[string]float64, i int, route string, rate float64, depth int) {
	if depth > longestCycle || rate < 1e-9 {
		return
	}
	if flows[i] == nil {
		flows[i] = map[string]float64{}
	}
	flows[i][route] += rate
	calls, _ := t.routeCalls(i, route)
	for _, c := range calls {
		t.push(flows, c.Service, t.components[c.Service].routes[c.Route], rate*c.Count*(1-c.CacheHit), depth+1)
	}
}

func (t *Topology) cost(i int) time.Duration {
	c := t.components[i]
	if r := c.route(anyRoute); r.CPU != nil {
		return r.CPU.Duration
	}
	if t.rates[i] <= 0 {
		return leastCost
	}
	cores := 0.0
	for _, w := range c.workloads {
		request := requestOf(&w.template)
		if request <= 0 {
			request = assumedRequest
		}
		cores += request * float64(max(1, w.replicas))
	}
	d := time.Duration(t.aim(c) * cores / t.rates[i] * float64(time.Second))
	return min(max(d, leastCost), mostCost).Round(time.Microsecond)
}

// aim is the share of the CPU request the mean rate should use.
func (t *Topology) aim(c *component) float64 {
	target := usualTarget
	for _, w := range c.workloads {
		h := t.index.hpas[w.key()]
		if h == nil {
			continue
		}
		for _, m := range h.Spec.Metrics {
			if r := m.Resource; r != nil && r.Name == corev1.ResourceCPU && r.Target.AverageUtilization != nil {
				target = math.Min(target, targetOfHPA*float64(*r.Target.AverageUtilization)/100)
			}
		}
	}
	return target
}

func (t *Topology) costReason(i int) string {
	c := t.components[i]
	request := requestOf(&c.primary().template)
	of := fmt.Sprintf("of its CPU request of %.3g cores", request)
	if request <= 0 {
		of = fmt.Sprintf("of %v cores, as it requests none", assumedRequest)
	}
	return fmt.Sprintf("the mean rate of %.4g/s then uses %.0f %% %s at %d replicas", t.rates[i], 100*t.aim(c), of, max(1, c.primary().replicas))
}
