package flow

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %v, want %v ± %v", what, got, want, tolerance)
	}
}

func TestStationsAgreeWithQueueingTheory(t *testing.T) {
	t.Parallel()
	number := func(m, a float64) float64 { n, _ := Station{m}.Mean(a); return n }
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"M/M/1 ρ 0.9: time in units of service", number(1, .9) / .9, 10},
		{"M/M/2 a 1.8: probability of waiting", ErlangC(2, 1.8), .852632},
		{"M/M/2 a 1.8: wait", QueueWait(2, 1.8, 1, 1, 1), 4.263158},
		{"M/M/4 a 3.2: probability of waiting", ErlangC(4, 3.2), .596432},
		{"M/M/4 a 3.2: wait by the station", number(4, 3.2)/3.2 - 1, .745541},
		{"M/M/10 a 8: probability of waiting", ErlangC(10, 8), .409180},
		{"M/M/10 a 8: wait", QueueWait(10, 8, 1, 1, 1), .204590},
		{"M/M/50 a 45: probability of waiting", ErlangC(50, 45), .363864},
		{"M/M/100 a 90: probability of waiting", ErlangC(100, 90), .216940},
		{"sharing 1.5 cores, a 0.75: number", number(1.5, .75), 1.2},
		{"sharing 1.5 cores, a 1.35: number", number(1.5, 1.35), 9.310345},
		{"sharing 2.5 cores, a 2: number", number(2.5, 2), 4.769231},
		{"sharing 0.5 cores, a 0.25: time in units of CPU", number(.5, .25) / .25, 4},
		{"Erlang B of 10 servers, load 8", ErlangB(10, 8), .121661},
		{"M/M/1/10 loss at ρ 0.9", QueueLoss(1, 10, .9), .050814},
		{"M/M/1/10 loss at ρ 1.2", QueueLoss(1, 10, 1.2), .192586},
		{"M/D/1 ρ 0.8: wait", QueueWait(1, .8, 1, 1, 0), 2},
		{"M/M/1 ρ 0.8: wait", QueueWait(1, .8, 1, 1, 1), 4},
		{"M/G/1 ρ 0.8 with scv 4: wait", QueueWait(1, .8, 1, 1, 4), 10},
		{"attempts at p 0.5, 3 retries", Attempts(.5, 3, 0), 1.875},
		{"attempts at p 0.9, 3 retries", Attempts(.9, 3, 0), 3.439},
		{"attempts at p 0.9 with a budget of 20 %", Attempts(.9, 3, .2), 1.2},
	} {
		near(t, c.what, c.got, c.want, 2e-6*math.Max(1, c.want))
	}
}

func TestShareGivesByWeightUpToDemand(t *testing.T) {
	t.Parallel()
	got, _ := Share(nil, 4, []Claim{
		{Weight: Weight(1000), Demand: 3}, {Weight: Weight(500), Demand: 2}, {Weight: Weight(500), Demand: .2}})
	for i, want := range []float64{2.533333, 1.266667, .2} {
		near(t, "grant", got[i], want, 1e-5)
	}
}

func TestThrottleTableAgreesWithReference(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ratio float64
		delay map[float64]float64
		share map[float64]float64
	}{
		{2.5, map[float64]float64{.3: .079, .5: .230, .7: .657, .8: 1.25, .9: 3.26, .95: 7.60}, map[float64]float64{.3: .08, .5: .24, .7: .47, .9: .80}},
		{5, map[float64]float64{.3: .017, .5: .065, .7: .226, .8: .482, .9: 1.42, .95: 3.52}, map[float64]float64{.3: .04, .5: .16, .7: .38, .9: .76}},
		{20, map[float64]float64{.3: 0, .5: .001, .7: .011, .8: .036, .9: .175, .95: .592}, map[float64]float64{.5: .03, .7: .17, .9: .61}},
	} {
		for rho, want := range c.delay {
			got := Throttle(1, throttlePeriodSeconds/c.ratio, 1, 1-rho).Delay / throttlePeriodSeconds
			near(t, "mean added delay in periods", got, want, math.Max(.003, .12*want))
		}
		for rho, want := range c.share {
			near(t, "share of throttled periods", Throttle(1, throttlePeriodSeconds/c.ratio, 1, 1-rho).Periods, want, .03)
		}
	}
}
