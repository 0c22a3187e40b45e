package load

import (
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

// spike is a spike placed in a run: from at it ramps up, holds, and ramps down.
type spike struct {
	at     time.Time
	ramp   time.Duration
	hold   time.Duration
	every  time.Duration
	factor float64 // 0 when it adds
	add    float64
	bot    bool
}

func newSpike(s *v1alpha1.Spike, o Options) (spike, error) {
	m, err := v1alpha1.ParseMoment(s.At)
	if err != nil {
		return spike{}, err
	}
	placed := spike{at: m.In(o.Start), ramp: s.Ramp.Duration, hold: s.For.Duration, every: s.Every.Duration, bot: s.Bot}
	if s.Factor != nil {
		placed.factor = *s.Factor
	}
	if s.Add != nil {
		placed.add = float64(*s.Add)
	}
	return placed, nil
}

// since is the time since the latest beginning; ok is false before the first.
func (s *spike) since(t time.Time) (time.Duration, bool) {
	d := t.Sub(s.at)
	if d < 0 {
		return 0, false
	}
	if s.every > 0 {
		d %= s.every
	}
	return d, true
}

// height is how much of the spike is there: 0 outside, 1 at its full.
func (s *spike) height(t time.Time) float64 {
	d, ok := s.since(t)
	switch {
	case !ok || d >= 2*s.ramp+s.hold:
		return 0
	case d < s.ramp:
		return d.Seconds() / s.ramp.Seconds()
	case d < s.ramp+s.hold:
		return 1
	}
	return (2*s.ramp + s.hold - d).Seconds() / s.ramp.Seconds()
}

// edges gives the instants after t at which the spike begins to move otherwise.
func (s *spike) edges(t time.Time, visit func(time.Time)) {
	d, ok := s.since(t)
	if !ok {
		visit(s.at)
		return
	}
	begin := t.Add(-d)
	for _, edge := range [4]time.Duration{s.ramp, s.ramp + s.hold, 2*s.ramp + s.hold, s.every} {
		if edge > d {
			visit(begin.Add(edge))
		}
	}
}

// spikesAt gives the product of the factors, and the rates added for everyone and for bots.
func (p *Profile) spikesAt(t time.Time) (factor, added, bots float64) {
	factor = 1
	for i := range p.spikes {
		s := &p.spikes[i]
		h := s.height(t)
		switch {
		case h == 0:
		case s.factor == 0 && s.add == 0: // a factor of 0 takes everything away
			factor *= 1 - h
		case s.bot:
			bots += s.add * h
		case s.add > 0:
			added += s.add * h
		default:
			factor *= 1 + (s.factor-1)*h
		}
	}
	return factor, added, bots
}

// botFactor is the share of the rate that bots put on top of it.
func (p *Profile) botFactor(t time.Time) (share float64) {
	for i := range p.spikes {
		if s := &p.spikes[i]; s.bot && s.factor > 1 {
			share += (s.factor - 1) * s.height(t)
		}
	}
	return share
}
