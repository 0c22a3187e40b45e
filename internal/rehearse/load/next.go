package load

import (
	"math"
	"time"
)

const (
	// windowMin is the shortest time Next gives: a flow window is a second at least.
	windowMin = time.Second
	// windowMax is the longest: a load that does not change is looked at once an hour.
	windowMax = time.Hour
	// scanStep is how finely a smooth curve is searched for a change. No curve here turns around within it.
	scanStep = 15 * time.Second
	// levelMin is the level below which changes are measured against it instead: from 0 to 0.001 a second is no change.
	levelMin = 0.05
)

// Next is the first instant after t at which the level has moved by more than the share epsilon of its value at t, at
// least a second and at most an hour later. It never skips a jump. Past the end of the run it is an hour.
func Next(p *Profile, t time.Time, epsilon float64) time.Time {
	if t.Before(p.options.Start) {
		return p.options.Start
	}
	from := p.level(t)
	moved := func(at time.Time) bool { return math.Abs(p.level(at)-from) > epsilon*math.Max(from, levelMin) }
	first, limit := t.Add(windowMin), t.Add(windowMax)
	if moved(first) {
		return first
	}
	found := func(at time.Time) time.Time {
		if at.Before(first) {
			return first
		}
		return at
	}
	for low := t; low.Before(limit); {
		high := low.Add(scanStep)
		if high.After(limit) {
			high = limit
		}
		if jump := p.jumpAfter(low); !jump.IsZero() && !jump.After(high) {
			// The curve may drift out of the band and jump back into it, so both sides count.
			if before := jump.Add(-time.Nanosecond); before.After(low) && moved(before) {
				return found(bisect(low, before, moved))
			}
			if high = jump; moved(jump) {
				return found(jump)
			}
		}
		if moved(high) {
			return found(bisect(low, high, moved))
		}
		low = high
	}
	return limit
}

// bisect finds the first moved instant to a second.
func bisect(low, high time.Time, moved func(time.Time) bool) time.Time {
	for high.Sub(low) > windowMin {
		middle := low.Add(high.Sub(low) / 2)
		if moved(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// jumpAfter is the next instant after t at which the level may jump; zero when none is known.
func (p *Profile) jumpAfter(t time.Time) time.Time {
	first := p.curve.next(t)
	earlier := func(at time.Time) {
		if !at.IsZero() && at.After(t) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	for i := range p.spikes {
		p.spikes[i].edges(t, earlier)
	}
	if p.weekly != week(nil) {
		y, m, d := t.In(p.options.Start.Location()).Date()
		earlier(time.Date(y, m, d+1, 0, 0, 0, 0, p.options.Start.Location()))
	}
	earlier(p.noise.next(t))
	return first
}
