package scenario

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/spelling"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/zone"
)

// Bounds of a scenario. Durations beyond them are typing errors more often than wishes.
const (
	durationMin = time.Minute
	durationMax = 90 * 24 * time.Hour
	settleMax   = 24 * time.Hour
	sampleMin   = 10 * time.Second
	sampleMax   = time.Hour
	lossMax     = 0.2    // lost packets are sent again; more of them end connections
	poolSizeMax = 15_000 // Kubernetes' own limit of nodes a cluster, with room
)

// validator checks meaning: what the types alone cannot say.
type validator struct {
	scenario *v1alpha1.Scenario
	places   places
	broken   broken
	// partial scenarios may refer to names of files not merged yet.
	partial bool
	diags   diagnostics
	start   time.Time
	end     time.Time // zero when the duration is not known yet
}

// fail reports on a field of an element, or with an empty path on the element as a whole, unless reading it has failed.
func (v *validator) fail(element v1alpha1.Source, path, hint, format string, args ...any) {
	if v.broken.at(element, path) {
		return
	}
	v.diags.add(Error, v.places.of(element, path), hint, format, args...)
}

// spec reports on a field of the scenario itself.
func (v *validator) spec(path, hint, format string, args ...any) {
	v.fail(v1alpha1.Source{}, "spec."+path, hint, format, args...)
}

func (v *validator) all() {
	spec := &v.scenario.Spec
	v.clock(spec)
	v.run(spec)
	v.cluster(&spec.Cluster)
	v.loads(spec.Load)
	for i := range spec.Services {
		v.service(&spec.Services[i], "")
	}
	v.steps(spec.Steps)
	v.expectations(spec.Expect)
	v.prices(spec.Prices)
}

func (v *validator) clock(spec *v1alpha1.ScenarioSpec) {
	d := spec.Duration.Duration
	if d != 0 && (d < durationMin || d > durationMax) {
		v.spec("duration", "write 1m to 90d", "duration: %s is out of range", spec.Duration)
		d = 0
	}
	if _, err := zone.Load(spec.TimeZone); err != nil {
		v.spec("timeZone", spelling.Suggest(spec.TimeZone, zone.Names()), "timeZone: %v", err)
		return
	}
	start, err := StartTime(spec)
	if err != nil {
		v.spec("start", "", "%v", err)
		return
	}
	v.start = start
	if d != 0 {
		v.end = start.Add(d)
	}
}

func (v *validator) run(spec *v1alpha1.ScenarioSpec) {
	if s := spec.Settle; s != nil && (s.Duration < 0 || s.Duration > settleMax) {
		v.spec("settle", "write 0s to 24h", "settle: %s is out of range", s)
	}
	if s := spec.Sample.Duration; s != 0 && (s < sampleMin || s > sampleMax) {
		v.spec("sample", "write 10s to 1h", "sample: %s is out of range", spec.Sample)
	}
	if len(spec.Seeds) > v1alpha1.SeedsMax {
		v.spec("seeds", "", "seeds: %d runs are too many; at most %d are played", len(spec.Seeds), v1alpha1.SeedsMax)
	}
	seen := map[int64]bool{}
	for _, s := range spec.Seeds {
		if seen[s] {
			v.spec("seeds", "remove one of them", "seeds: %d is given twice", s)
		}
		seen[s] = true
	}
	if k := spec.Controllers.Kubernetes; k.HPASync.Duration < 0 || k.MetricsResolution.Duration < 0 {
		v.spec("controllers.kubernetes", "write for example 15s", "hpaSync and metricsResolution cannot be negative")
	}
	if spec.Network.Loss > lossMax {
		v.spec("network.loss", "write at most 20%", "network.loss: above 20 %% connections break down, which is not modelled")
	}
	v.notNegative("spec.network.sameZone", spec.Network.SameZone)
	v.notNegative("spec.network.crossZone", spec.Network.CrossZone)
	if g := spec.Virtual.TimeGrain; g != nil {
		v.notNegative("spec.virtual.timeGrain", *g)
	}
	for i, kind := range spec.Report.Hide {
		if !slices.Contains(record.Kinds, kind) {
			v.spec(fmt.Sprintf("report.hide[%d]", i), spelling.Suggest(kind, record.Kinds), "report.hide: %q is no kind of timeline entry", kind)
		}
	}
	if n := spec.Report.Series; n != nil && *n < 0 {
		v.spec("report.series", "write 0 or more", "report.series: %d is negative", *n)
	}
}

func (v *validator) notNegative(path string, d v1alpha1.Duration) {
	if d.Duration < 0 {
		v.fail(v1alpha1.Source{}, path, "write 0s or more", "%s: %s is negative", lastName(path), d)
	}
}

var nameSyntax = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (v *validator) cluster(c *v1alpha1.Cluster) {
	seen := map[string]bool{}
	for i := range c.Pools {
		p := &c.Pools[i]
		if seen[p.Name] {
			v.fail(p.Source, "name", "give every pool its own name", "pool %q is given twice", p.Name)
		}
		seen[p.Name] = true
		v.pool(p)
	}
	for _, name := range sortedKeys(c.Replicas) {
		if _, _, _, ok := v1alpha1.Workload(name).Split(); !ok {
			v.spec("cluster.replicas["+name+"]", "write namespace/name", "replicas: %q is not a workload", name)
		}
		if n := c.Replicas[name]; n < 0 {
			v.spec("cluster.replicas["+name+"]", "write 0 or more", "replicas: %d is negative", n)
		}
	}
	for i := range c.Patch {
		v.patch(c.Patch[i].Source, "", &c.Patch[i])
	}
	if n := c.Registry.PullsPerHour; n != nil && *n < 1 {
		v.spec("cluster.registry.pullsPerHour", "write 1 or more, or remove it for no limit", "pullsPerHour: %d is too few", *n)
	}
}

func (v *validator) pool(p *v1alpha1.Pool) {
	at := p.Source
	if !nameSyntax.MatchString(p.Name) || len(p.Name) > 50 {
		v.fail(at, "name", "write lower-case letters, digits and -, at most 50, for example web", "pool name %q cannot begin the names of nodes", p.Name)
	}
	resources := p.CPU != nil || p.Memory != nil
	switch {
	case p.Type != "" && resources:
		v.fail(at, "type", "give one or the other", "the pool has a type and also cpu or memory")
	case p.Type == "" && (p.CPU == nil || p.Memory == nil):
		v.fail(at, "", "write type: m5.xlarge, or cpu: 4 and memory: 16Gi", "pool %s says neither a type nor both cpu and memory", p.Name)
	}
	if p.Price != nil && !(*p.Price >= 0) {
		v.fail(at, "price", "write 0 or more an hour", "price: %g is negative", *p.Price)
	}
	v.poolSize(p)
	zones := map[string]bool{}
	for _, z := range p.Zones {
		if zones[z] {
			v.fail(at, "zones", "name every zone once", "zone %q is given twice", z)
		}
		zones[z] = true
	}
	if p.MaxPods != nil && *p.MaxPods < 1 {
		v.fail(at, "maxPods", "write 1 or more", "maxPods: %d is too few", *p.MaxPods)
	}
	v.quantiles(at, "join", p.Join)
	if p.Interruptions != nil && p.CapacityType != "spot" {
		v.fail(at, "interruptions", "write capacityType: spot", "only spot nodes are interrupted")
	}
}

func (v *validator) poolSize(p *v1alpha1.Pool) {
	at := p.Source
	if p.Min < 0 || p.Min > poolSizeMax {
		v.fail(at, "min", "write 0 or more", "min: %d is out of range", p.Min)
	}
	if p.Size != nil && (*p.Size < 0 || *p.Size > poolSizeMax) {
		v.fail(at, "size", "write 0 to 15000", "size: %d is out of range", *p.Size)
	}
	if p.Max == nil {
		return
	}
	switch {
	case *p.Max < p.Min:
		v.fail(at, "max", "", "max: %d is below min %d", *p.Max, p.Min)
	case p.Size != nil && *p.Size > *p.Max:
		v.fail(at, "size", "", "size: %d is above max %d", *p.Size, *p.Max)
	case *p.Max > p.Min && p.Scaler != "none":
		v.fail(at, "max", "until then write size, or scaler: none to hold the size", "a pool that scales between min %d and max %d is not built yet", p.Min, *p.Max)
	}
}

func (v *validator) prices(p *v1alpha1.Prices) {
	if p == nil {
		return
	}
	negative := func(path string, values ...*float64) {
		for _, x := range values {
			if x != nil && !(*x >= 0 && !math.IsInf(*x, 0)) {
				v.spec("prices."+path, "write 0 or more", "prices.%s: %g is not a price", path, *x)
			}
		}
	}
	for _, name := range sortedKeys(p.Types) {
		t := p.Types[name]
		negative("types["+name+"]", &t.OnDemand, t.Spot)
	}
	if r := p.PerResource; r != nil {
		negative("perResource", r.CPU, r.MemoryGiB, r.GPU, r.StorageGiB)
	}
	if e := p.Egress; e != nil {
		negative("egress", e.Zone, e.Region, e.Internet)
	}
	negative("controlPlane", p.ControlPlane)
	negative("loadBalancer", p.LoadBalancer)
	for i := range p.Commitments {
		negative("commitments", &p.Commitments[i].Price)
	}
}

// quantiles checks a log-normal time.
func (v *validator) quantiles(at v1alpha1.Source, path string, q *v1alpha1.Quantiles) {
	if q == nil {
		return
	}
	if q.P50.Duration < 0 || q.P99.Duration < 0 {
		v.fail(at, path, "write 0s or more", "%s cannot be negative", lastName(path))
	}
	if q.P99.Duration != 0 && q.P99.Duration < q.P50.Duration {
		v.fail(at, path+".p99", "the 99 % quantile is at least the median", "%s: p99 %s is below p50 %s", lastName(path), q.P99, q.P50)
	}
}

// share checks a share that cannot exceed the whole.
func (v *validator) share(at v1alpha1.Source, path string, s *v1alpha1.Share) {
	if s != nil && *s > 1 {
		v.fail(at, path, "write 5% or 0.05", "%s: %g%% is more than the whole", lastName(path), float64(*s)*100)
	}
}

// workload checks the form of a reference; whether it exists is for Check.
func (v *validator) workload(at v1alpha1.Source, path string, w v1alpha1.Workload) {
	if _, _, _, ok := w.Split(); !ok {
		v.fail(at, path, "write namespace/name, for example shop/frontend", "%s: %q is not a workload", lastName(path), string(w))
	}
}

// moment checks a time, and that it lies within the run.
func (v *validator) moment(at v1alpha1.Source, path, text string) {
	m, err := v1alpha1.ParseMoment(text)
	if err != nil {
		v.fail(at, path, "", "%s: %v", lastName(path), err)
		return
	}
	if v.start.IsZero() {
		return
	}
	t := m.In(v.start)
	switch {
	case t.Before(v.start):
		hint := "write a later time"
		if !strings.HasPrefix(text, "day") && m.In(v.start.AddDate(0, 0, 1)).After(v.start) {
			hint = `write "day 2 ` + text + `" for the next day`
		}
		v.fail(at, path, hint, "%s: %s is before the run starts at %s", lastName(path), text, v.start.Format("2006-01-02 15:04 MST"))
	case !v.end.IsZero() && t.After(v.end):
		v.fail(at, path, "lengthen duration or write an earlier time", "%s: %s is after the run ends at %s", lastName(path), text, v.end.Format("2006-01-02 15:04 MST"))
	}
}

func (v *validator) timeOfDay(at v1alpha1.Source, path, text string) (time.Duration, bool) {
	d, err := v1alpha1.TimeOfDay(text)
	if err != nil {
		v.fail(at, path, "", "%s: %v", lastName(path), err)
	}
	return d, err == nil
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}
