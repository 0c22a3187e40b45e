package scenario

import (
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

const callCountMax = 1000 // calls of one edge a request makes

func indexed(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i) }

// service checks an entry of services, or of the action set (prefix "set").
func (v *validator) service(s *v1alpha1.Service, prefix string) {
	at, in := s.Source, func(field string) string {
		if prefix == "" {
			return field
		}
		return prefix + "." + field
	}
	v.match(at, in("match"), s.Match)
	if _, err := path.Match(s.Image, ""); err != nil {
		v.fail(at, in("image"), `write for example "*:v2.4"`, "image: %q is not a glob", s.Image)
	}
	v.route(at, in, &s.RouteModel)
	for _, name := range sortedKeys(s.Routes) {
		r := s.Routes[name]
		v.route(at, func(field string) string { return in("routes[" + name + "]." + field) }, &r)
	}
	v.capacity(at, in, &s.ServiceModel)
	v.lifecycle(at, in, &s.ServiceModel)
	v.factor(at, in("cpuFactor"), s.CPUFactor)
	v.factor(at, in("latencyFactor"), s.LatencyFactor)
	if b := s.Balance; b != nil && b.Kind != v1alpha1.BalanceConnection && (b.PerClient != 0 || b.MaxAge.Duration != 0) {
		v.fail(at, in("balance"), "write balance: {connection: {perClient: 2}}", "balance: perClient and maxAge are for connection only")
	}
}

func (v *validator) match(at v1alpha1.Source, p string, m v1alpha1.Match) {
	switch {
	case m.Name != "" && m.Selector != "":
		v.fail(at, p, "keep one of them", "match: a name and a selector are given")
	case m.Name != "":
		if n := strings.Count(m.Name, "/"); n != 1 && n != 2 {
			v.fail(at, p, "write namespace/name, for example shop/frontend, or */* for all", "match: %q is not namespace/name", m.Name)
		}
		if _, err := path.Match(m.Name, ""); err != nil {
			v.fail(at, p, `write for example "shop/*"`, "match: %q is not a glob", m.Name)
		}
	case m.Selector != "":
		v.selector(at, p, m.Selector)
	}
}

func (v *validator) selector(at v1alpha1.Source, p, text string) {
	if _, err := labels.Parse(text); err != nil {
		v.fail(at, p, "write for example app=web,tier!=cache", "selector %q: %v", text, err)
	}
}

func (v *validator) route(at v1alpha1.Source, in func(string) string, r *v1alpha1.RouteModel) {
	if r.CPU != nil && r.CPU.Duration < 0 {
		v.fail(at, in("cpu"), "write the CPU time a request takes, for example 6ms", "cpu: %s is negative", r.CPU)
	}
	if r.CPUScv != nil && !(*r.CPUScv >= 0 && *r.CPUScv <= 1000) {
		v.fail(at, in("cpuScv"), "write 0 (constant), 1 (exponential) or more", "cpuScv: %g is out of range", *r.CPUScv)
	}
	v.quantiles(at, in("latency"), r.Latency)
	v.share(at, in("errors"), r.Errors)
	for i, group := range r.Calls {
		for j := range group {
			c, p := &group[j], in(indexed("calls", i))
			if n := c.Times(); !(n >= 0 && n <= callCountMax) {
				v.fail(at, p, "write 0 to 1000", "calls: %s is made %g times", c.To, n)
			}
			v.share(at, p, c.CacheHit)
			if c.Timeout != nil && c.Timeout.Duration <= 0 {
				v.fail(at, p, "write for example 500ms", "calls: the timeout of %s is %s", c.To, c.Timeout)
			}
		}
	}
}

func (v *validator) capacity(at v1alpha1.Source, in func(string) string, m *v1alpha1.ServiceModel) {
	atLeast := func(field string, n *int32, least int32) {
		if n != nil && *n < least {
			v.fail(at, in(field), fmt.Sprintf("write %d or more", least), "%s: %d is too few", lastName(field), *n)
		}
	}
	atLeast("threads", m.Threads, 1)
	atLeast("concurrency", m.Concurrency, 1)
	if m.Queue != nil {
		atLeast("queue.max", m.Queue.Max, 0)
		if m.Concurrency == nil && m.Queue.Max != nil {
			v.diags.add(Warning, v.places.of(at, in("queue")), "write concurrency as well, unless another entry does", "queue: without concurrency nothing queues")
		}
	}
	if m.Timeout != nil && m.Timeout.Duration <= 0 {
		v.fail(at, in("timeout"), "write for example 2s", "timeout: %s is not a length of time", m.Timeout)
	}
	if r := m.Retries; r != nil {
		if r.Max < 0 || r.Max > 100 {
			v.fail(at, in("retries.max"), "write 0 to 100", "retries.max: %d is out of range", r.Max)
		}
		if r.Backoff != nil && r.Backoff.Duration < 0 {
			v.fail(at, in("retries.backoff"), "write for example 25ms", "retries.backoff: %s is negative", r.Backoff)
		}
	}
}

func (v *validator) lifecycle(at v1alpha1.Source, in func(string) string, m *v1alpha1.ServiceModel) {
	v.quantiles(at, in("ready"), m.Ready)
	if m.Stop != nil && m.Stop.Duration < 0 {
		v.fail(at, in("stop"), "write for example 1s", "stop: %s is negative", m.Stop)
	}
	v.share(at, in("noise"), m.Noise)
	if w := m.Warmup; w != nil {
		if w.Factor != nil && !(*w.Factor >= 1 && *w.Factor <= 1000) {
			v.fail(at, in("warmup.factor"), "write 1 or more", "warmup.factor: %g is out of range", *w.Factor)
		}
		if w.HalfLife != nil && w.HalfLife.Duration <= 0 {
			v.fail(at, in("warmup.halfLife"), "write for example 45s", "warmup.halfLife: %s is not a length of time", w.HalfLife)
		}
		if w.StartCPU != nil && w.StartCPU.For.Duration < 0 {
			v.fail(at, in("warmup.startCpu.for"), "write for example 20s", "warmup.startCpu.for: %s is negative", w.StartCPU.For)
		}
	}
	if m.Memory != nil && m.Memory.Cache != nil && m.Memory.Cache.Fill.Duration <= 0 {
		v.fail(at, in("memory.cache.fill"), "write for example 2h", "memory.cache.fill: %s is not a length of time", m.Memory.Cache.Fill)
	}
}

func (v *validator) factor(at v1alpha1.Source, p string, f *float64) {
	if f != nil && !(*f > 0 && *f <= 1000) {
		v.fail(at, p, "write a number above 0, for example 1.3", "%s: %g is out of range", lastName(p), *f)
	}
}
