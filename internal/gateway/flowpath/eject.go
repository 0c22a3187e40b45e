package flowpath

import (
	"hash/fnv"
	"math"
	"time"

	"github.com/fairway-dev/fairway/internal/gateway/balance"
	"github.com/fairway-dev/fairway/internal/kube/route"
)

// streak is how near an endpoint is to so many failures in a row. With a share p of tries failing at a rate r, the first run
// of n failures takes (p^-n − 1)/(1 − p) tries in the mean (Feller, An Introduction to Probability Theory, XIII.7), and comes
// almost as the first event of a Poisson process.
type streak struct {
	errors, gateway chance
	number          uint64 // of ejections and refused ones, for draws
}

// chance of an event whose hazard may change.
type chance struct {
	perSecond float64
	gathered  float64 // hazard since the last event
	at        time.Time
}

// Observe takes in how tries end from now on. It ejects who has failed too often in a row since, and returns when the table
// changes by itself next: the zero time = not under these outcomes.
func (t *Table) Observe(outcomes []route.Outcome, now time.Time) (next time.Time, changed bool) {
	soon := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	rates := map[*balance.Endpoint]route.Outcome{}
	var order []*balance.Endpoint
	of := map[*balance.Endpoint]*backend{}
	for _, o := range outcomes { // several loads may reach an endpoint: their tries add up
		b := t.named[o.Backend]
		if b == nil {
			continue
		}
		e := b.pool.Find(o.UID)
		if e == nil || o.PerSecond <= 0 || b.pool.Policy().Outlier == nil {
			continue
		}
		was, known := rates[e]
		if !known {
			order = append(order, e)
			of[e] = b
		}
		sum := was.PerSecond + o.PerSecond
		was.Failures = (was.Failures*was.PerSecond + o.Failures*o.PerSecond) / sum
		was.GatewayFailures = (was.GatewayFailures*was.PerSecond + o.GatewayFailures*o.PerSecond) / sum
		was.PerSecond = sum
		rates[e] = was
	}
	for _, e := range order {
		b, o := of[e], rates[e]
		policy := b.pool.Policy().Outlier
		s := b.streaks[e.ID()]
		if s == nil {
			s = &streak{}
			b.streaks[e.ID()] = s
		}
		for _, c := range []struct {
			chance *chance
			share  float64
			run    int
			kind   balance.Outcome
		}{{&s.errors, o.Failures, policy.Consecutive5xx, balance.ServerError}, {&s.gateway, o.GatewayFailures, policy.ConsecutiveGatewayErrors, balance.GatewayError}} {
			if c.run <= 0 {
				continue
			}
			for c.chance.passed(now, t.threshold(b, e, s)) {
				s.number++
				b.pool.Report(e, balance.Success, now.UnixNano())
				for range c.run {
					changed = b.pool.Report(e, c.kind, now.UnixNano()) || changed
				}
				c.chance.gathered = 0
			}
			if e.EjectedUntil() > now.UnixNano() {
				c.chance.perSecond = 0
				continue
			}
			c.chance.perSecond = hazard(o.PerSecond, c.share, c.run)
			if at, ok := c.chance.due(now, t.threshold(b, e, s)); ok {
				soon(at)
			}
		}
	}
	for _, b := range t.named {
		for _, e := range b.pool.Endpoints() {
			if until := e.EjectedUntil(); until > now.UnixNano() {
				soon(time.Unix(0, until))
			}
		}
	}
	return next, changed
}

// hazard of a run of failures, a second.
func hazard(rate, share float64, run int) float64 {
	switch {
	case share <= 0 || rate <= 0:
		return 0
	case share >= 1-1e-9:
		return rate / float64(run)
	}
	return rate * (1 - share) / (math.Pow(share, -float64(run)) - 1)
}

// passed takes the time up to now in, and reports whether the event has come.
func (c *chance) passed(now time.Time, threshold float64) bool {
	if h := now.Sub(c.at).Seconds(); !c.at.IsZero() && h > 0 {
		c.gathered += c.perSecond * h
	}
	c.at = now
	return c.gathered >= threshold*(1-1e-9)
}

// farOff is beyond what is waited for.
const farOff = 365 * 24 * time.Hour

func (c *chance) due(now time.Time, threshold float64) (time.Time, bool) {
	if c.perSecond <= 0 {
		return time.Time{}, false
	}
	wait := (threshold - c.gathered) / c.perSecond
	if wait > farOff.Seconds() {
		return time.Time{}, false
	}
	return now.Add(time.Duration(wait*float64(time.Second)) + 1), true
}

// threshold is a unit exponential draw of its own for each event of an endpoint.
func (t *Table) threshold(b *backend, e *balance.Endpoint, s *streak) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(b.name + "\x00" + e.Pod))
	z := h.Sum64() ^ uint64(t.seed)*0x9e3779b97f4a7c15 ^ s.number*0xd1342543de82ef95
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return -math.Log((float64(z>>11) + 0.5) / (1 << 53))
}
