// Package load says how many requests a second a scenario's loads offer at an instant, and when that next changes.
//
// Everything is a pure function of the load, the run's start, the seed and the instant: nothing is remembered between
// calls, so a run can be looked at from anywhere. Curves follow the clock of the run's time zone, summer time included.
package load

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// Options place a load in a run.
type Options struct {
	// Start and End of the run, in the scenario's time zone. Before Start (while settling) the rate is that of Start.
	Start, End time.Time
	Seed       int64
}

// Profile is a load prepared for a run.
type Profile struct {
	name     string
	options  Options
	curve    curve
	routes   []string
	weights  []float64 // of routes; nil when the curve gives each route its own rate
	cheapest int
	factor   float64
	growth   v1alpha1.GrowthRate
	weekly   [7]float64 // by time.Weekday
	spikes   []spike
	noise    noise
	closed   bool
	scv      float64
}

// curve is the load before anything multiplies it.
type curve interface {
	// rate at an instant, requests a second, or users for a closed loop.
	rate(t time.Time) float64
	// next instant after t at which the rate jumps or begins to move otherwise; zero when there is none.
	next(t time.Time) time.Time
}

// routed is a curve that knows the routes apart.
type routed interface {
	curve
	routes() []string
	routeRate(i int, t time.Time) float64
}

// New prepares a load. Its defaults must have been filled in, and its file read.
func New(l *v1alpha1.Load, o Options) (*Profile, error) {
	p := &Profile{name: l.Name, options: o, factor: 1, scv: 1}
	c, err := newCurve(l, o)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", l.Name, err)
	}
	p.curve, p.closed = c, l.Users != nil
	p.setRoutes(l)
	if l.Factor != nil {
		p.factor = *l.Factor
	}
	if l.Growth != nil {
		p.growth = *l.Growth
	}
	if l.Arrivals != nil {
		p.scv = l.Arrivals.SCV
	}
	p.weekly = week(l.Weekly)
	for i := range l.Spikes {
		s, err := newSpike(&l.Spikes[i], o)
		if err != nil {
			return nil, fmt.Errorf("load %s: spike %d: %w", l.Name, i+1, err)
		}
		p.spikes = append(p.spikes, s)
	}
	if l.Noise != nil {
		p.noise = newNoise(l.Noise, l.Name, o)
	}
	if t, rate := p.peak(); rate > v1alpha1.RateMax {
		return nil, fmt.Errorf("load %s reaches %.3g requests a second at %s, which no scenario means; check the curve, factor and growth",
			l.Name, rate, t.Format("2006-01-02 15:04"))
	}
	return p, nil
}

func newCurve(l *v1alpha1.Load, o Options) (curve, error) {
	switch {
	case l.Rate != nil:
		return constant(*l.Rate), nil
	case l.Daily != nil:
		return newDaily(l.Daily, o)
	case l.Stages != nil:
		return newStages(l.Stages, o), nil
	case l.Steps != nil:
		return newSteps(l.Steps, o)
	case l.CSV != nil:
		return newTable(l.CSV, o)
	case l.Users != nil:
		return constant(l.Users.Count), nil
	}
	return nil, fmt.Errorf("nothing says how much; write one of rate, daily, stages, steps, csv, users")
}

func (p *Profile) setRoutes(l *v1alpha1.Load) {
	if r, ok := p.curve.(routed); ok && !(len(r.routes()) == 1 && r.routes()[0] == "*") {
		p.routes = r.routes()
	} else {
		var sum float64
		for route, w := range l.Mix {
			if w > 0 {
				p.routes = append(p.routes, route)
			}
		}
		sort.Strings(p.routes)
		for _, route := range p.routes {
			sum += l.Mix[route]
		}
		for _, route := range p.routes {
			p.weights = append(p.weights, l.Mix[route]/sum)
		}
		if len(p.routes) == 0 {
			p.routes, p.weights = []string{"*"}, []float64{1}
		}
	}
}

// SetCheapest says which of Routes bots ask for; by default the first.
func (p *Profile) SetCheapest(route int) { p.cheapest = route }

// MixMoves tells whether the shares of the routes change over time.
func (p *Profile) MixMoves() bool {
	moves := p.weights == nil
	for _, s := range p.spikes {
		moves = moves || s.bot
	}
	return moves && len(p.routes) > 1
}

// peakStep is how finely New looks for absurd rates.
const peakStep = 15 * time.Minute

func (p *Profile) peak() (at time.Time, rate float64) {
	at = p.options.Start
	for t := p.options.Start; !t.After(p.options.End); t = t.Add(peakStep) {
		if r := p.unbounded(t); r > rate {
			at, rate = t, r
		}
	}
	for _, s := range p.spikes {
		t := s.at.Add(s.ramp)
		if r := p.unbounded(t); r > rate {
			at, rate = t, r
		}
	}
	return at, rate
}

// Routes are the routes this load asks for, sorted; the rates of Rates are in this order.
func (p *Profile) Routes() []string { return p.routes }

// Closed tells whether the load is a number of users rather than a rate.
func (p *Profile) Closed() bool { return p.closed }

// SCV is the squared coefficient of variation of the gaps between requests: 0 even, 1 Poisson.
func (p *Profile) SCV() float64 { return p.scv }

// Rate is the number of requests a second offered at an instant, over all routes. It is finite, never negative and at
// most v1alpha1.RateMax. For a closed loop it is 0: how often users ask depends on the answers; see Users.
func Rate(p *Profile, t time.Time) float64 {
	if p.closed {
		return 0
	}
	return p.level(t)
}

// Users is the number of users of a closed loop at an instant; 0 for an open load.
func Users(p *Profile, t time.Time) float64 {
	if !p.closed {
		return 0
	}
	return p.level(t)
}

// Rates appends the requests a second (or users) on each route to dst, in the order of Routes. Their sum is the level.
func Rates(p *Profile, t time.Time, dst []float64) []float64 {
	t = p.clamp(t)
	spread, added, bots := p.spikesAt(t)
	scale := p.scaleAt(t)
	base := p.curve.rate(t)
	first := len(dst)
	for i := range p.routes {
		if p.weights != nil {
			dst = append(dst, (base*scale*spread+added)*p.weights[i])
			continue
		}
		own := p.curve.(routed).routeRate(i, t)
		part := 1 / float64(len(p.routes))
		if base > 0 {
			part = own / base
		}
		dst = append(dst, own*scale*spread+added*part)
	}
	dst[first+p.cheapest] += bots + base*scale*spread*p.botFactor(t)
	if total := sum(dst[first:]); total > v1alpha1.RateMax {
		for i := first; i < len(dst); i++ {
			dst[i] *= v1alpha1.RateMax / total
		}
	}
	return dst
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}

// level is the rate, or the number of users.
func (p *Profile) level(t time.Time) float64 {
	return math.Min(p.unbounded(p.clamp(t)), v1alpha1.RateMax)
}

func (p *Profile) unbounded(t time.Time) float64 {
	spread, added, bots := p.spikesAt(t)
	base := p.curve.rate(t) * p.scaleAt(t) * spread
	return math.Max(0, base+base*p.botFactor(t)+added+bots)
}

func (p *Profile) clamp(t time.Time) time.Time {
	if t.Before(p.options.Start) {
		return p.options.Start
	}
	return t.In(p.options.Start.Location())
}

// scaleAt is what multiplies the curve apart from spikes.
func (p *Profile) scaleAt(t time.Time) float64 {
	return p.factor * p.growth.Factor(t.Sub(p.options.Start)) * p.weekly[t.Weekday()] * p.noise.at(t)
}

func week(w *v1alpha1.WeekFactor) [7]float64 {
	days := [7]float64{1, 1, 1, 1, 1, 1, 1}
	if w == nil {
		return days
	}
	for i, f := range [7]*float64{w.Sun, w.Mon, w.Tue, w.Wed, w.Thu, w.Fri, w.Sat} {
		if f != nil {
			days[i] = *f
		}
	}
	return days
}
