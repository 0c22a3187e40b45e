package scenario

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/zone"
)

// What holds when a scenario does not say. Defaults of the models of services are not here: they depend on the objects
// (internal/rehearse/model), and the report lists each as an assumption.
const (
	DurationDefault = 24 * time.Hour
	// durationAfterLastStep is added to the last step when that is what gives the duration.
	durationAfterLastStep = time.Hour
	SettleDefault         = 15 * time.Minute
	SampleDefault         = time.Minute

	PoolDefault = "default" // the pool that is made when none is given
	ZoneDefault = "a"

	JoinP50Default = 25 * time.Second
	JoinP99Default = 90 * time.Second

	LoadTimeoutDefault = 30 * time.Second
	NoiseTauDefault    = 60 * time.Second
	ThinkMinDefault    = time.Second
	ThinkMaxDefault    = 10 * time.Second
	PeakAtDefault      = "20:00"

	HPASyncDefault           = 15 * time.Second
	MetricsResolutionDefault = 15 * time.Second

	SameZoneDefault  = 300 * time.Microsecond
	CrossZoneDefault = time.Millisecond

	TimeGrainDefault    = 100 * time.Millisecond
	ReportSeriesDefault = 400

	CrashBackDefault        = 3 * time.Minute
	SpotNoticeDefault       = 2 * time.Minute
	DrainTimeoutDefault     = time.Hour
	RegistryFactorDefault   = 10
	SLOWindowDefault        = 5 * time.Minute
	BurnFastOverDefault     = time.Hour
	BurnSlowOverDefault     = 6 * time.Hour
	RecoveryToDefault       = 0.99
	NoWorseToleranceDefault = 0.02
)

// MadeZones are the zones of the pool that is made when none is given.
var MadeZones = []string{"a", "b", "c"}

// Default fills in everything a scenario leaves open. It is idempotent. Curves of files must have been read before,
// because the longest of them may give the duration.
func Default(s *v1alpha1.Scenario) {
	spec := &s.Spec
	s.APIVersion, s.Kind = v1alpha1.GroupVersion.String(), v1alpha1.KindScenario
	set(&spec.TimeZone, "UTC")
	set(&spec.Start, naturalStart(spec))
	if spec.Settle == nil {
		spec.Settle = &v1alpha1.Duration{Duration: SettleDefault}
	}
	if len(spec.Seeds) == 0 {
		spec.Seeds = v1alpha1.Seeds{1}
	}
	duration(&spec.Sample, SampleDefault)
	set(&spec.Fidelity, "flow")
	set(&spec.Baseline, "auto")
	for i := range spec.Steps {
		set(&spec.Steps[i].Name, stepName(&spec.Steps[i], i))
		defaultAction(&spec.Steps[i].Action)
	}
	for i := range spec.Load {
		defaultLoad(&spec.Load[i])
	}
	if spec.Duration.Duration == 0 {
		spec.Duration.Duration = naturalDuration(spec)
	}
	for i := range spec.Cluster.Pools {
		defaultPool(&spec.Cluster.Pools[i])
	}
	for i := range spec.Expect {
		defaultExpectation(&spec.Expect[i], i)
	}
	defaultPlatform(spec)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func duration(field *v1alpha1.Duration, value time.Duration) { set(&field.Duration, value) }

func pointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func defaultPlatform(spec *v1alpha1.ScenarioSpec) {
	duration(&spec.Controllers.Kubernetes.HPASync, HPASyncDefault)
	duration(&spec.Controllers.Kubernetes.MetricsResolution, MetricsResolutionDefault)
	duration(&spec.Network.SameZone, SameZoneDefault)
	duration(&spec.Network.CrossZone, CrossZoneDefault)
	set(&spec.Virtual.PodWrites, "lean")
	set(&spec.Virtual.PodEvents, "none")
	set(&spec.Virtual.NodeHeartbeat, "quiet")
	set(&spec.Virtual.Unmodelled, "run")
	pointer(&spec.Virtual.TimeGrain, v1alpha1.DurationOf(TimeGrainDefault))
	pointer(&spec.Report.Series, ReportSeriesDefault)
}

func defaultPool(p *v1alpha1.Pool) {
	set(&p.CapacityType, "onDemand")
	set(&p.Scaler, "none")
	p.Zones = zonesOf(p)
	pointer(&p.Size, max(p.Min, 1))
	pointer(&p.Join, v1alpha1.Quantiles{P50: v1alpha1.DurationOf(JoinP50Default), P99: v1alpha1.DurationOf(JoinP99Default)})
}

func zonesOf(p *v1alpha1.Pool) []string {
	if len(p.Zones) == 0 {
		return []string{ZoneDefault}
	}
	return p.Zones
}

// LoadName is the name of a load, or its target when it has none.
func LoadName(l *v1alpha1.Load) string {
	if l.Name == "" {
		return l.To
	}
	return l.Name
}

func defaultLoad(l *v1alpha1.Load) {
	l.Name = LoadName(l)
	if len(l.Mix) == 0 {
		l.Mix = map[string]float64{"*": 1}
	}
	pointer(&l.Factor, 1)
	pointer(&l.Arrivals, v1alpha1.Arrivals{Process: v1alpha1.ArrivalsPoisson, SCV: 1})
	duration(&l.Timeout, LoadTimeoutDefault)
	if l.Noise != nil {
		duration(&l.Noise.Tau, NoiseTauDefault)
	}
	if l.Users != nil {
		pointer(&l.Users.Think, v1alpha1.DurationRange{Min: ThinkMinDefault, Max: ThinkMaxDefault})
	}
	if d := l.Daily; d != nil {
		pointer(&d.Shape, v1alpha1.DailyShape{Name: v1alpha1.ShapeCosine})
		if d.Shape.Name == v1alpha1.ShapeCosine {
			set(&d.PeakAt, PeakAtDefault)
		}
	}
	if l.CSV != nil {
		set(&l.CSV.Time, "time")
		set(&l.CSV.Gaps, "error")
	}
}

func defaultAction(a *v1alpha1.Action) {
	one := int32(1)
	if k := a.KillPods; k != nil {
		set(&k.Mode, v1alpha1.KillDelete)
		if k.Share == nil {
			pointer(&k.Count, one)
		}
	}
	if c := a.NodeCrash; c != nil {
		set(&c.Mode, v1alpha1.CrashStop)
		pointer(&c.Back, v1alpha1.DurationOf(CrashBackDefault))
		if c.Pool != "" && c.Share == nil {
			pointer(&c.Count, one)
		}
	}
	if d := a.Drain; d != nil {
		pointer(&d.Timeout, v1alpha1.DurationOf(DrainTimeoutDefault))
	}
	if z := a.ZoneOutage; z != nil {
		set(&z.Mode, v1alpha1.OutagePower)
	}
	if r := a.SpotReclaim; r != nil {
		pointer(&r.Notice, v1alpha1.DurationOf(SpotNoticeDefault))
		if r.Share == nil {
			pointer(&r.Count, one)
		}
	}
	if r := a.Registry; r != nil && r.State == v1alpha1.RegistrySlow {
		pointer(&r.Factor, RegistryFactorDefault)
	}
	if a.Patch != nil {
		defaultPatch(a.Patch)
	}
}

// defaultPatch takes a list of operations for a JSON patch; the kind decides between the others when it is applied.
func defaultPatch(p *v1alpha1.ObjectPatch) {
	if len(p.Patch) > 0 && p.Patch[0] == '[' {
		set(&p.Type, v1alpha1.PatchJSON)
	}
}

// naturalStart is the first instant of the recorded curves with real times; without one it is StartDefault.
func naturalStart(spec *v1alpha1.ScenarioSpec) string {
	location, err := zone.Load(spec.TimeZone)
	first := math.Inf(1)
	for i := range spec.Load {
		if c := spec.Load[i].CSV; c != nil && c.Table != nil && c.Table.Absolute {
			first = math.Min(first, c.Table.Times[0])
		}
	}
	if math.IsInf(first, 1) || err != nil {
		return StartDefault
	}
	return time.Unix(int64(first), 0).In(location).Format(startLayouts[0])
}

// naturalDuration is the end of the longest load file, or an hour past the last step with a fixed time, or a day.
func naturalDuration(spec *v1alpha1.ScenarioSpec) time.Duration {
	start, err := StartTime(spec)
	if err != nil {
		return DurationDefault
	}
	var longest time.Duration
	for i := range spec.Load {
		if c := spec.Load[i].CSV; c != nil && c.Table != nil && len(c.Table.Times) > 0 {
			times, zero := c.Table.Times, 0.0
			if c.Table.Absolute {
				zero = float64(start.Unix())
			}
			if times[0]-zero < (24 * time.Hour).Seconds() { // a curve of another season does not lengthen the run
				longest = max(longest, time.Duration((times[len(times)-1]-zero)*float64(time.Second)))
			}
		}
	}
	for i := range spec.Steps {
		s := &spec.Steps[i]
		if m, err := v1alpha1.ParseMoment(s.At); s.At != "" && err == nil {
			longest = max(longest, m.In(start).Add(s.For.Duration).Sub(start)+durationAfterLastStep)
		}
		if s.After != nil && s.After.Step == "" {
			longest = max(longest, s.After.Plus.Duration+s.For.Duration+durationAfterLastStep)
		}
	}
	if longest == 0 {
		return DurationDefault
	}
	return min(max(longest.Round(time.Second), durationMin), durationMax)
}

func defaultExpectation(e *v1alpha1.Expectation, index int) {
	set(&e.Severity, v1alpha1.SeverityError)
	set(&e.Name, expectationName(e, index))
	pointer(&e.In, v1alpha1.Share(1))
	if s := e.SLO; s != nil {
		set(&s.Over, "run")
		duration(&s.Window, SLOWindowDefault)
		if b := s.Burn; b != nil {
			if b.Fast != nil {
				duration(&b.Fast.Over, BurnFastOverDefault)
			}
			if b.Slow != nil {
				duration(&b.Slow.Over, BurnSlowOverDefault)
			}
		}
	}
	if p := e.Pending; p != nil {
		pointer(&p.AtEnd, 0)
	}
	if d := e.Disruption; d != nil {
		pointer(&d.BudgetKept, true)
		pointer(&d.Forced, 0)
	}
	if r := e.Rollout; r != nil {
		set(&r.Verdict, v1alpha1.VerdictHealthy)
	}
	if r := e.Recovery; r != nil {
		pointer(&r.To, RecoveryToDefault)
	}
	if n := e.NoWorse; n != nil {
		if len(n.Metrics) == 0 {
			n.Metrics = []string{"availability", "p95"}
		}
		pointer(&n.Tolerance, NoWorseToleranceDefault)
	}
}

// expectationName is how a report calls an expectation without a name: its kind and what it is about.
func expectationName(e *v1alpha1.Expectation, index int) string {
	about := ""
	switch {
	case e.SLO != nil:
		about = e.SLO.Service + e.SLO.Load
	case e.Replicas != nil:
		about = string(e.Replicas.Workload)
	case e.Cost != nil:
		about = string(e.Cost.Of)
	case e.Rollout != nil:
		about = string(e.Rollout.Workload)
	case e.Recovery != nil:
		about = "after " + e.Recovery.After
	case e.CEL != "":
		about = strconv.Itoa(index + 1)
	}
	return strings.TrimSpace(ExpectationKind(e) + " " + about)
}
