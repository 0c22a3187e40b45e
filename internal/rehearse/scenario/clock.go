package scenario

import (
	"fmt"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/zone"
)

// StartDefault is when a run starts if nobody says: a Monday. It is never the real time, or reports would differ from
// day to day.
const StartDefault = "2026-01-05T00:00:00"

// startLayouts are tried in turn; without an offset the time is one of the scenario's time zone.
var startLayouts = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// StartTime is the instant measuring begins, in the scenario's time zone.
func StartTime(spec *v1alpha1.ScenarioSpec) (time.Time, error) {
	location, err := zone.Load(spec.TimeZone)
	if err != nil {
		return time.Time{}, err
	}
	text := spec.Start
	if text == "" {
		text = StartDefault
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.In(location), nil
	}
	for _, layout := range startLayouts {
		if t, err := time.ParseInLocation(layout, text, location); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("start %q is not a time; write for example 2026-11-27T06:00:00", text)
}
