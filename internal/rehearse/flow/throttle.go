package flow

//go:generate go run ./throttlegen

import "math"

// CFS gives a container limit × 100 ms of CPU in each period of 100 ms; requests run at full speed until it is used up.
const throttlePeriodSeconds = 0.1

// Throttling is what a CPU limit adds to a request.
type Throttling struct {
	// Delay is the mean added delay in seconds, P95 its 95th percentile.
	Delay, P95 float64
	// Periods is the share of enforcement periods in which the container was stopped.
	Periods float64
}

// Throttle returns the delay that a limit adds to requests of mean CPU time cpuSeconds with the given squared coefficient
// of variation, when idle is the unused share of the limit (1−ρ). It interpolates a table made by simulating single
// requests (go generate); beyond ρ 0.95 the delay grows as 1/(1−ρ).
func Throttle(limitCores, cpuSeconds, scv, idle float64) Throttling {
	if limitCores <= 0 || cpuSeconds <= 0 || idle >= 1 {
		return Throttling{}
	}
	q := limitCores * throttlePeriodSeconds / cpuSeconds
	qi, qf := locate(throttleLogQuotas[:], math.Log(q))
	ci, cf := locate(throttleScvs[:], scv)
	rho := 1 - idle
	last := len(throttleLoads) - 1
	scale, r := 1.0, rho
	if rho > throttleLoads[last] {
		scale, r = (1-throttleLoads[last])/max(idle, 1e-12), throttleLoads[last]
	}
	ri, rf := locate(throttleLoads[:], r)
	var out [3]float64
	for k := range out {
		at := func(q, c int) float64 {
			low, high := throttleAt(c, q, ri, k), throttleAt(c, q, ri+1, k)
			// Delays grow as 1/(1−ρ): interpolating delay·(1−ρ) is far closer between the points.
			if k < 2 {
				low *= 1 - loadAt(ri)
				high *= 1 - loadAt(ri+1)
				return (low + (high-low)*rf) / (1 - r)
			}
			return low + (high-low)*rf
		}
		a := at(qi, ci)*(1-qf) + at(qi+1, ci)*qf
		b := at(qi, ci+1)*(1-qf) + at(qi+1, ci+1)*qf
		out[k] = a + (b-a)*cf
	}
	if q > throttleQuotas[len(throttleQuotas)-1] {
		// Beyond the table a request is a vanishing part of the quota; the delay falls at least as fast as 1/Q.
		f := throttleQuotas[len(throttleQuotas)-1] / q
		out[0], out[1] = out[0]*f, out[1]*f
	}
	if q < throttleQuotas[0] {
		// Below it each request needs many periods: the delay grows with their number.
		f := throttleQuotas[0] / q
		out[0], out[1] = out[0]*f, out[1]*f
	}
	periods := out[2]
	if scale > 1 {
		periods = 1 - (1-periods)/scale
	}
	// Below one core even a request alone is stopped, once for each whole quota in its CPU time (geometric for an
	// exponential one), and then waits for the rest of the period.
	alone := 0.0
	if limitCores < 1 {
		alone = (1 - limitCores) / math.Expm1(min(q, 700)) * throttlePeriodSeconds
	}
	return Throttling{
		Delay:   max(0, out[0])*scale*throttlePeriodSeconds + alone,
		P95:     max(0, out[1])*scale*throttlePeriodSeconds + 3*alone,
		Periods: min(1, max(0, periods)),
	}
}

var throttleLogQuotas = func() (logs [len(throttleQuotas)]float64) {
	for i, q := range throttleQuotas {
		logs[i] = math.Log(q)
	}
	return logs
}()

// locate finds the cell of a sorted axis and the position of x in it, 0…1.
func locate(axis []float64, x float64) (int, float64) {
	i := 0
	for i < len(axis)-2 && x > axis[i+1] {
		i++
	}
	return i, min(1, max(0, (x-axis[i])/(axis[i+1]-axis[i])))
}

func loadAt(i int) float64 { return throttleLoads[i] }

func throttleAt(scv, quota, load, value int) float64 {
	return float64(throttleTable[((scv*len(throttleQuotas)+quota)*len(throttleLoads)+load)*3+value])
}
