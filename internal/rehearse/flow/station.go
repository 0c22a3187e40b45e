package flow

import "math"

// Station is one pod as a processor-sharing station: any distribution of CPU times gives the same means (symmetric queues
// are insensitive: Kelly, Reversibility and Stochastic Networks, 1979).
type Station struct {
	// Cores the requests can use at once; any real number > 0.
	Cores float64
}

// Mean returns the mean number in the system and the probability that a request has to share a core, for offered work of
// load cores (rate × CPU time). For a whole number of cores this is M/M/m. It is infinite for load ≥ Cores.
func (s Station) Mean(load float64) (number, wait float64) {
	if load >= s.Cores {
		return math.Inf(1), 1
	}
	return sharing(load, s.Cores, (s.Cores-load)/s.Cores)
}

// Slowdown is the mean time in the system as a multiple of the time alone on the station, CPU/min(1, Cores).
func (s Station) Slowdown(load float64) float64 {
	if load <= 0 {
		return 1
	}
	n, _ := s.Mean(load)
	return n / load * min(1, s.Cores)
}

// sharing is Station.Mean with the idle share (1−ρ) given apart: near saturation the difference would lose all digits.
func sharing(a, m, idle float64) (number, wait float64) {
	if a <= 0 {
		return 0, 0
	}
	rho := a / m
	c := int(m + 1e-9)
	if c > maxCores {
		c = maxCores
	}
	term, sum, weighted := 1.0, 1.0, 0.0
	for n := 1; n <= c; n++ {
		term *= a / float64(n)
		sum += term
		weighted += float64(n) * term
	}
	odds := rho / idle
	sum += term * odds
	weighted += term * (float64(c)*odds + odds/idle)
	if c == 0 {
		return weighted / sum, rho
	}
	return weighted / sum, term / idle / sum
}

// ErlangB is the share of calls lost by servers that serve a load without a queue.
func ErlangB(servers int, load float64) float64 {
	b := 1.0
	for i := 1; i <= servers; i++ {
		b = load * b / (float64(i) + load*b)
	}
	return b
}

// ErlangC is the probability of waiting in M/M/servers; 1 when load ≥ servers.
func ErlangC(servers int, load float64) float64 {
	if load >= float64(servers) {
		return 1
	}
	b := ErlangB(servers, load)
	return b / (1 - load/float64(servers)*(1-b))
}

// QueueWait is the mean wait for one of servers when each request holds one for hold (any unit), with squared
// coefficients of variation of gaps and holding times (Allen–Cunneen; exact for M/M/k and, with one server, M/G/1).
func QueueWait(servers int, ratePerUnit, hold, gapScv, holdScv float64) float64 {
	load := ratePerUnit * hold
	if load >= float64(servers) {
		return math.Inf(1)
	}
	return ErlangC(servers, load) * hold / (float64(servers) - load) * (gapScv + holdScv) / 2
}

// QueueLoss is the share of requests refused by M/M/servers/places (places counts those in service too).
func QueueLoss(servers, places int, load float64) float64 {
	if places < servers {
		places = servers
	}
	b := ErlangB(servers, load)
	if b == 0 || places == servers {
		return b
	}
	rho := load / float64(servers)
	extra := float64(places - servers)
	var tail float64 // sum of rho^1 … rho^extra
	if math.Abs(rho-1) < 1e-9 {
		tail = extra
	} else {
		tail = rho * (1 - math.Pow(rho, extra)) / (1 - rho)
	}
	if math.IsInf(tail, 1) || math.IsNaN(tail) {
		return 1 - 1/rho
	}
	return b * math.Pow(rho, extra) / (1 + b*tail)
}
