package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Moment is an instant of a run as people write it: "09:00" (on the first day), "day 3 09:00", "+2h" (from the start)
// or RFC 3339.
//
// +kubebuilder:object:generate=false
type Moment struct {
	day, hour, minute, second int
	offset                    time.Duration
	absolute                  time.Time
	kind                      momentKind
}

type momentKind int

const (
	momentClock momentKind = iota
	momentOffset
	momentAbsolute
)

var clockSyntax = regexp.MustCompile(`^(?:day ([1-9][0-9]{0,2}) )?([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?$`)

// ParseMoment reads a Moment.
func ParseMoment(text string) (Moment, error) {
	s := strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		d, err := ParseDuration(rest)
		if err != nil || d.Duration < 0 {
			return Moment{}, fmt.Errorf("%q is not a time from the start; write for example +2h or +1d12h", text)
		}
		return Moment{kind: momentOffset, offset: d.Duration}, nil
	}
	if m := clockSyntax.FindStringSubmatch(s); m != nil {
		moment := Moment{day: 1}
		for i, field := range []*int{&moment.day, &moment.hour, &moment.minute, &moment.second} {
			if m[i+1] != "" {
				*field, _ = strconv.Atoi(m[i+1])
			}
		}
		return moment, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return Moment{kind: momentAbsolute, absolute: t}, nil
	}
	if _, err := ParseDuration(s); err == nil {
		return Moment{}, fmt.Errorf("%q is a duration, not a time; write +%s for that long after the start", text, s)
	}
	return Moment{}, fmt.Errorf(`%q is not a time; write "09:00", "day 3 09:00", "+2h" or 2026-11-27T09:00:00Z`, text)
}

// In is the instant in a run that starts at start, by the clock of start's location: summer time is honoured, and a
// clock time that a change skips is moved forward by the change.
func (m Moment) In(start time.Time) time.Time {
	switch m.kind {
	case momentOffset:
		return start.Add(m.offset)
	case momentAbsolute:
		return m.absolute.In(start.Location())
	}
	y, month, d := start.Date()
	return time.Date(y, month, d+m.day-1, m.hour, m.minute, m.second, 0, start.Location())
}

// TimeOfDay is a clock time such as 20:30, as the time since midnight.
func TimeOfDay(text string) (time.Duration, error) {
	m, err := ParseMoment(text)
	if err != nil || m.kind != momentClock || m.day != 1 || strings.Contains(text, "day") {
		return 0, fmt.Errorf(`%q is not a time of day; write for example "20:30"`, text)
	}
	return time.Duration(m.hour)*time.Hour + time.Duration(m.minute)*time.Minute + time.Duration(m.second)*time.Second, nil
}
