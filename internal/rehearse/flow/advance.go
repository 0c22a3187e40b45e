package flow

import (
	"math"
	"time"
)

// Event is a change of state the model came upon.
type Event struct {
	Time    time.Time
	Service int
	Kind    EventKind
	On      bool    // began, or ended
	Value   float64 // offered ÷ possible throughput, or the share of throttled periods
}

// EventKind says what an Event is about.
type EventKind uint8

const (
	// Saturated: requests come faster than some pods of the service can work.
	Saturated EventKind = iota
	// Throttled: a CPU limit stops a container in more than a quarter of the periods.
	Throttled
	// NoPod: nobody is there to serve.
	NoPod
)

const (
	saturatedLoad   = 0.99
	relievedLoad    = 0.95
	throttledOn     = 0.25
	throttledOff    = 0.20
	leastStep       = 1e-6      // seconds
	maxStepsAdvance = 1_000_000 // a model that is due again and again without end is a bug, not a hang
)

// Advance moves the present to the given time under the inputs in force and returns what changed since events were last
// returned. Model-caused
// changes between (see Next) are taken one after the other. Counts are drawn when a service's state changes and at Sample.
// The events are valid until the next call. A time before the present does nothing.
func (s *System) Advance(to time.Time) []Event {
	end := s.seconds(to)
	s.stats.Windows++
	for steps := 0; s.now < end && steps < maxStepsAdvance; steps++ {
		s.solve()
		next := max(s.due(), s.now+leastStep)
		s.now = min(end, next)
		s.ripen()
	}
	return s.news()
}

// ripen prepares what is due now for a new solution.
func (s *System) ripen() {
	for i := range s.services {
		sv := &s.services[i]
		if sv.due <= s.now+1e-9 {
			s.change(sv)
		} else if sv.moving <= s.now+1e-9 {
			s.touch(sv)
			sv.unsolved, s.unsolved = true, true
		}
	}
}

func (s *System) due() float64 {
	t := math.Inf(1)
	for i := range s.services {
		sv := &s.services[i]
		t = min(t, min(sv.due, sv.moving))
	}
	return t
}

// Next is the next time at which the state changes by itself: a pod grows out of its warm-up class, a transient is to be
// followed, a connection reaches its age, a pod its memory limit. The zero time means never.
func (s *System) Next() time.Time {
	s.solve()
	t := s.due()
	if _, at, ok := s.NextMemoryCrossing(); ok {
		t = min(t, max(s.now, s.seconds(at)))
	}
	return s.at(t)
}

// Solve brings the solution in line with the inputs at the present time; reading does so by itself. It returns the events
// this brings, valid until the next call of Advance or Solve.
func (s *System) Solve() []Event {
	s.solve()
	return s.news()
}

// news hands out the events not told yet, whatever brought them.
func (s *System) news() []Event {
	s.told = append(s.told[:0], s.events...)
	s.events = s.events[:0]
	return s.told
}

// watch compares the state of each service with what was last told.
func (s *System) watch() {
	for i := range s.services {
		sv := &s.services[i]
		if sv.constant {
			continue
		}
		load, periods := sv.pressure()
		switch {
		case !sv.queueing && load >= saturatedLoad:
			sv.queueing = true
			s.tell(sv, Saturated, true, load)
		case sv.queueing && load < relievedLoad && math.IsInf(sv.moving, 1):
			sv.queueing = false
			s.tell(sv, Saturated, false, load)
		}
		switch {
		case !sv.throttled && periods > throttledOn:
			sv.throttled = true
			s.tell(sv, Throttled, true, periods)
		case sv.throttled && periods < throttledOff:
			sv.throttled = false
			s.tell(sv, Throttled, false, periods)
		}
		empty := sv.refused >= 1 && sv.rate > 0
		if empty != sv.empty {
			sv.empty = empty
			s.tell(sv, NoPod, empty, sv.refused)
		}
	}
}

func (s *System) tell(sv *service, kind EventKind, on bool, value float64) {
	s.events = append(s.events, Event{Time: s.at(s.now), Service: sv.index, Kind: kind, On: on, Value: value})
}

// pressure is the highest load ÷ capacity of the groups, and the highest share of throttled periods.
func (sv *service) pressure() (load, periods float64) {
	for i := range sv.groups {
		g := &sv.groups[i]
		if g.share > 0 {
			load = max(load, g.now.load)
			periods = max(periods, g.now.periods)
		}
	}
	return load, periods
}

// gatherConstant has nothing to group; pods claim their constant use.
func (s *System) gatherConstant(sv *service) {
	sv.regroup, sv.unsolved = false, false
	for _, id := range sv.pods {
		p := &s.pods[id]
		p.group = -1
		want := s.background(sv, p, s.now, s.now+1)
		if want != p.want {
			p.want = want
			if p.spec.Node > 0 {
				s.nodes[p.spec.Node-1].changed = true
			}
		}
	}
}
