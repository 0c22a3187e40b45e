package load

import "math"

// spline is a monotone cubic through points that repeat each day: it overshoots no point, so a curve drawn through
// hourly values stays between them (Fritsch and Carlson, Monotone piecewise cubic interpolation, SIAM J. Numer. Anal.
// 17, 1980; slopes by the weighted harmonic mean of Fritsch and Butland, 1984).
type spline struct {
	x, y, slope []float64 // one day, with the first point repeated at its end
}

const hoursADay = 24

// newSpline takes hours rising from 0 up to below 24.
func newSpline(hours, values []float64) *spline {
	n := len(hours)
	s := &spline{
		x: append(append([]float64(nil), hours...), hours[0]+hoursADay),
		y: append(append([]float64(nil), values...), values[0]),
	}
	width := func(i int) float64 { i = (i + n) % n; return s.x[i+1] - s.x[i] }
	secant := func(i int) float64 { i = (i + n) % n; return (s.y[i+1] - s.y[i]) / (s.x[i+1] - s.x[i]) }
	for i := range n {
		before, next := secant(i-1), secant(i)
		if before*next <= 0 {
			s.slope = append(s.slope, 0)
			continue
		}
		w1, w2 := 2*width(i)+width(i-1), width(i)+2*width(i-1)
		s.slope = append(s.slope, (w1+w2)/(w1/before+w2/next))
	}
	s.slope = append(s.slope, s.slope[0])
	return s
}

// at evaluates at an hour of the day, 0 ≤ hour < 24.
func (s *spline) at(hour float64) float64 {
	hour = math.Mod(hour-s.x[0]+hoursADay, hoursADay) + s.x[0]
	i := 0
	for i+2 < len(s.x) && s.x[i+1] <= hour {
		i++
	}
	h := s.x[i+1] - s.x[i]
	t := (hour - s.x[i]) / h
	// Hermite basis.
	return (1+2*t)*(1-t)*(1-t)*s.y[i] + t*(1-t)*(1-t)*h*s.slope[i] + t*t*(3-2*t)*s.y[i+1] + t*t*(t-1)*h*s.slope[i+1]
}
