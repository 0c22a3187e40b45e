package scenario

import (
	"math"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

const usersMax = 1_000_000 // closed-loop users of one load

func (v *validator) loads(loads []v1alpha1.Load) {
	seen := map[string]bool{}
	for i := range loads {
		l := &loads[i]
		if l.Name != "" && seen[l.Name] {
			v.fail(l.Source, "name", "give every load its own name", "load %q is given twice", l.Name)
		}
		seen[l.Name] = true
		v.load(l)
	}
}

func (v *validator) load(l *v1alpha1.Load) {
	v.loadTarget(l)
	v.loadCurve(l)
	v.loadShape(l)
	for i := range l.Spikes {
		v.spike(l.Source, indexed("spikes", i), &l.Spikes[i])
	}
	if l.Timeout.Duration < 0 || l.GiveUp.Duration < 0 {
		v.fail(l.Source, "timeout", "write 0s or more", "timeout and giveUp cannot be negative")
	}
	if l.Retries < 0 || l.Retries > 100 {
		v.fail(l.Source, "retries", "write 0 to 100", "retries: %d is out of range", l.Retries)
	}
}

func (v *validator) loadTarget(l *v1alpha1.Load) {
	kind, _, _, ok := v1alpha1.Workload(l.To).Split()
	switch {
	case !ok:
		if _, host := hostTarget(l.To); host {
			return
		}
		v.fail(l.Source, "to", "write namespace/service, for example shop/frontend, HTTPRoute/namespace/name or a host name such as shop.example.com", "%s: %q is not a target", targetField(l), l.To)
	case kind != "" && kind != "Service" && kind != "Deployment" && kind != rolloutKind && kind != routeKind:
		v.fail(l.Source, "to", "write Service/namespace/name, Deployment/namespace/name, Rollout/namespace/name or HTTPRoute/namespace/name", "to: load goes to no %s", kind)
	}
}

// targetField is how the target is called where the load was written: in a file with a column of them it stands there.
func targetField(l *v1alpha1.Load) string {
	if l.CSV != nil && l.CSV.File == l.Source.File {
		return "target"
	}
	return "to"
}

// loadCurve checks that one curve is given, and that curve.
func (v *validator) loadCurve(l *v1alpha1.Load) {
	var given []string
	for _, one := range []struct {
		name string
		set  bool
	}{
		{"rate", l.Rate != nil}, {"daily", l.Daily != nil}, {"stages", l.Stages != nil}, {"steps", l.Steps != nil},
		{"csv", l.CSV != nil}, {"users", l.Users != nil},
	} {
		if one.set {
			given = append(given, one.name)
		}
	}
	switch len(given) {
	case 0:
		v.fail(l.Source, "", "write one of rate, daily, stages, steps, csv, users", "load %s does not say how much", LoadName(l))
	case 1:
	default:
		v.fail(l.Source, given[1], "keep one of them", "load %s gives %s at once", LoadName(l), strings.Join(given, " and "))
	}
	if l.Daily != nil {
		v.daily(l.Source, l.Daily)
	}
	for i, s := range l.Stages {
		if s.For.Duration < 0 {
			v.fail(l.Source, indexed("stages", i)+".for", "write 0s or more", "for: %s is negative", s.For)
		}
	}
	v.rateSteps(l)
	if l.Users != nil && (l.Users.Count < 0 || l.Users.Count > usersMax) {
		v.fail(l.Source, "users.count", "write 0 to 1000000", "count: %d is out of range", l.Users.Count)
	}
	if l.Stages != nil && len(l.Stages) == 0 || l.Steps != nil && len(l.Steps) == 0 {
		v.fail(l.Source, given[0], "write at least one", "%s is empty", given[0])
	}
}

func (v *validator) rateSteps(l *v1alpha1.Load) {
	var before time.Time
	for i, s := range l.Steps {
		path := indexed("steps", i) + ".at"
		v.moment(l.Source, path, s.At)
		m, err := v1alpha1.ParseMoment(s.At)
		if err != nil || v.start.IsZero() {
			continue
		}
		t := m.In(v.start)
		if i > 0 && !t.After(before) {
			v.fail(l.Source, path, "put the steps in order of time", "at: %s is not after the step before it", s.At)
		}
		before = t
	}
}

func (v *validator) daily(at v1alpha1.Source, d *v1alpha1.DailyLoad) {
	if d.High < d.Low {
		v.fail(at, "daily.high", "write low below high", "daily: high %g is below low %g", float64(d.High), float64(d.Low))
	}
	if d.PeakAt != "" {
		v.timeOfDay(at, "daily.peakAt", d.PeakAt)
	}
	if d.Shape == nil || d.Shape.Name != "" {
		if d.High == 0 {
			v.fail(at, "daily", "write high: 420", "daily: high is missing or 0")
		}
		if d.PeakAt != "" && d.Shape != nil && d.Shape.Name != v1alpha1.ShapeCosine {
			v.fail(at, "daily.peakAt", "remove it", "peakAt: the shape %s has its own peaks", d.Shape.Name)
		}
		return
	}
	if len(d.Shape.Hourly) != 24 {
		v.fail(at, "daily.shape", "write 24 numbers, the first for 00:00", "shape: %d values are given", len(d.Shape.Hourly))
	}
	for i, x := range d.Shape.Hourly {
		if !(x >= 0 && x <= v1alpha1.RateMax) {
			v.fail(at, indexed("daily.shape", i), "write 0 or more", "shape: %g is not a rate", x)
		}
	}
	if d.PeakAt != "" {
		v.fail(at, "daily.peakAt", "remove it", "peakAt: hourly values have their own peak")
	}
}

// loadShape checks what multiplies and spreads the curve.
func (v *validator) loadShape(l *v1alpha1.Load) {
	var sum float64
	for _, route := range sortedKeys(l.Mix) {
		w := l.Mix[route]
		if !(w >= 0) {
			v.fail(l.Source, "mix["+route+"]", "write 0 or more", "mix: the weight %g is negative", w)
		}
		sum += w
	}
	if l.Mix != nil && !(sum > 0) {
		v.fail(l.Source, "mix", "give one route a weight above 0", "mix: all weights are 0")
	}
	if l.Factor != nil && !(*l.Factor >= 0 && *l.Factor <= 1e6) {
		v.fail(l.Source, "factor", "write 0 or more", "factor: %g is out of range", *l.Factor)
	}
	if w := l.Weekly; w != nil {
		for i, day := range []*float64{w.Mon, w.Tue, w.Wed, w.Thu, w.Fri, w.Sat, w.Sun} {
			if day != nil && !(*day >= 0 && *day <= 1e6) {
				name := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}[i]
				v.fail(l.Source, "weekly."+name, "write 0 or more", "weekly: %s: %g is out of range", name, *day)
			}
		}
	}
	if l.Noise != nil {
		v.share(l.Source, "noise", &l.Noise.Sigma)
		if l.Noise.Tau.Duration < 0 {
			v.fail(l.Source, "noise.tau", "write for example 60s", "tau: %s is negative", l.Noise.Tau)
		}
	}
	var zones float64
	for _, z := range sortedKeys(l.Zones) {
		zones += float64(l.Zones[z])
	}
	if l.Zones != nil && math.Abs(zones-1) > 0.001 {
		v.fail(l.Source, "zones", "make them add up to 100%", "zones: the shares add up to %.1f%%", zones*100)
	}
}

func (v *validator) spike(at v1alpha1.Source, path string, s *v1alpha1.Spike) {
	v.moment(at, path+".at", s.At)
	if (s.Factor == nil) == (s.Add == nil) {
		v.fail(at, path, "write factor: 1.8, or add: 100", "a spike needs a factor or a rate to add, not both")
	}
	if s.Factor != nil && !(*s.Factor >= 0 && *s.Factor <= 1e6) {
		v.fail(at, path+".factor", "write 0 or more", "factor: %g is out of range", *s.Factor)
	}
	if s.Bot && s.Factor != nil && *s.Factor < 1 {
		v.fail(at, path+".factor", "write 1 or more", "factor: %g takes load away, which bots do not", *s.Factor)
	}
	if s.For.Duration <= 0 {
		v.fail(at, path+".for", "write for example 10m", "for: %s is not a length of time", s.For)
	}
	if s.Ramp.Duration < 0 || s.Every.Duration < 0 {
		v.fail(at, path, "write 0s or more", "ramp and every cannot be negative")
	}
	if e := s.Every.Duration; e > 0 && e < s.For.Duration+2*s.Ramp.Duration {
		v.fail(at, path+".every", "write a longer period", "every: %s is shorter than the spike with its ramps", s.Every)
	}
}
