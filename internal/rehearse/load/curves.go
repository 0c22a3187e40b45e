package load

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
)

type constant float64

func (c constant) rate(time.Time) float64 { return float64(c) }
func (constant) next(time.Time) time.Time { return time.Time{} }

// daily repeats each day by the clock.
type daily struct {
	at func(hour float64) float64
}

func hourOfDay(t time.Time) float64 {
	h, m, s := t.Clock()
	return float64(h) + float64(m)/60 + (float64(s)+float64(t.Nanosecond())/1e9)/3600
}

func (d daily) rate(t time.Time) float64 { return d.at(hourOfDay(t)) }
func (daily) next(time.Time) time.Time   { return time.Time{} }

func newDaily(d *v1alpha1.DailyLoad, _ Options) (curve, error) {
	low, high := float64(d.Low), float64(d.High)
	between := func(share float64) float64 { return low + (high-low)*share }
	name := v1alpha1.ShapeCosine
	if d.Shape != nil {
		name = d.Shape.Name
	}
	switch name {
	case v1alpha1.ShapeCosine:
		peak := 20 * time.Hour
		if d.PeakAt != "" {
			var err error
			if peak, err = v1alpha1.TimeOfDay(d.PeakAt); err != nil {
				return nil, err
			}
		}
		return daily{func(hour float64) float64 {
			return between((1 + math.Cos(2*math.Pi*(hour-peak.Hours())/24)) / 2)
		}}, nil
	case v1alpha1.ShapeOffice:
		s := newSpline(officeHours, officeShares)
		return daily{func(hour float64) float64 { return between(s.at(hour)) }}, nil
	case v1alpha1.ShapeEvening:
		s := newSpline(eveningHours, eveningShares)
		return daily{func(hour float64) float64 { return between(s.at(hour)) }}, nil
	case "":
		return hourly(d)
	}
	return nil, fmt.Errorf("the shape %q is not known; write cosine, office, evening or 24 hourly values", name)
}

// hourly joins 24 values by a monotone cubic. With low and high they say only the form.
func hourly(d *v1alpha1.DailyLoad) (curve, error) {
	values := d.Shape.Hourly
	if len(values) != 24 {
		return nil, fmt.Errorf("a daily shape has 24 hourly values, not %d", len(values))
	}
	hours := make([]float64, 24)
	least, most := math.Inf(1), math.Inf(-1)
	for i, v := range values {
		hours[i] = float64(i)
		least, most = math.Min(least, v), math.Max(most, v)
	}
	s := newSpline(hours, values)
	if d.Low == 0 && d.High == 0 || least == most {
		return daily{s.at}, nil
	}
	low, high := float64(d.Low), float64(d.High)
	return daily{func(hour float64) float64 { return low + (high-low)*(s.at(hour)-least)/(most-least) }}, nil
}

// The named shapes, as shares of the way from low to high. They are drawn by hand after the rhythm their names promise:
// office work with a lunch dip, and leisure that rises through the day to nine in the evening.
var (
	officeHours   = []float64{0, 5, 7, 8.5, 10.5, 12.75, 15, 17, 18.5, 20, 22}
	officeShares  = []float64{0.03, 0, 0.16, 0.66, 1, 0.74, 0.97, 0.62, 0.3, 0.14, 0.07}
	eveningHours  = []float64{0, 2, 4.5, 7, 10, 13, 16, 18.5, 21, 22.5}
	eveningShares = []float64{0.38, 0.1, 0, 0.08, 0.26, 0.36, 0.48, 0.76, 1, 0.8}
)

// stages are straight lines from one rate to the next; the first begins at 0, and the last rate is held.
type stages struct {
	times []time.Time
	rates []float64
}

func newStages(all []v1alpha1.Stage, o Options) curve {
	s := stages{times: []time.Time{o.Start}, rates: []float64{0}}
	at := o.Start
	for _, one := range all {
		at = at.Add(one.For.Duration)
		s.times = append(s.times, at)
		s.rates = append(s.rates, float64(one.To))
	}
	return s
}

func (s stages) rate(t time.Time) float64 {
	i := sort.Search(len(s.times), func(i int) bool { return s.times[i].After(t) })
	if i == 0 {
		return s.rates[0]
	}
	if i == len(s.times) {
		return s.rates[i-1]
	}
	return line(s.times[i-1], s.times[i], s.rates[i-1], s.rates[i], t)
}

func (s stages) next(t time.Time) time.Time { return after(s.times, t) }

func line(t0, t1 time.Time, v0, v1 float64, t time.Time) float64 {
	return v0 + (v1-v0)*t.Sub(t0).Seconds()/t1.Sub(t0).Seconds()
}

func after(times []time.Time, t time.Time) time.Time {
	i := sort.Search(len(times), func(i int) bool { return times[i].After(t) })
	if i == len(times) {
		return time.Time{}
	}
	return times[i]
}

// steps hold a rate from each instant on; before the first it is 0.
type steps struct {
	times []time.Time
	rates []float64
}

func newSteps(all []v1alpha1.RateStep, o Options) (curve, error) {
	var s steps
	for _, one := range all {
		m, err := v1alpha1.ParseMoment(one.At)
		if err != nil {
			return nil, err
		}
		s.times = append(s.times, m.In(o.Start))
		s.rates = append(s.rates, float64(one.Rate))
	}
	return s, nil
}

func (s steps) rate(t time.Time) float64 {
	i := sort.Search(len(s.times), func(i int) bool { return s.times[i].After(t) })
	if i == 0 {
		return 0
	}
	return s.rates[i-1]
}

func (s steps) next(t time.Time) time.Time { return after(s.times, t) }

// table is a recorded curve: straight lines between its rows, the first and last value held outside.
type table struct {
	times  []time.Time
	names  []string
	values [][]float64 // by route, then row
}

func newTable(c *v1alpha1.CSVLoad, o Options) (curve, error) {
	if c.Table == nil || len(c.Table.Times) == 0 || len(c.Table.Series) == 0 {
		return nil, fmt.Errorf("the file %s has not been read", c.File)
	}
	t := table{}
	for _, seconds := range c.Table.Times {
		whole, part := math.Modf(seconds)
		at := time.Unix(int64(whole), int64(part*1e9))
		if !c.Table.Absolute {
			at = o.Start.Add(time.Duration(whole)*time.Second + time.Duration(part*1e9))
		}
		t.times = append(t.times, at)
	}
	for _, s := range c.Table.Series {
		t.names = append(t.names, s.Route)
		t.values = append(t.values, s.Values)
	}
	return t, nil
}

func (c table) routes() []string { return c.names }

func (c table) rate(t time.Time) float64 {
	var total float64
	for i := range c.values {
		total += c.routeRate(i, t)
	}
	return total
}

func (c table) routeRate(route int, t time.Time) float64 {
	values := c.values[route]
	i := sort.Search(len(c.times), func(i int) bool { return c.times[i].After(t) })
	switch {
	case i == 0:
		return values[0]
	case i == len(c.times):
		return values[i-1]
	}
	return line(c.times[i-1], c.times[i], values[i-1], values[i], t)
}

func (c table) next(t time.Time) time.Time { return after(c.times, t) }
