package load

import (
	"math"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario/draw"
)

// stepsPerTau is how many times in a time constant the noise is redrawn; between, it holds.
const stepsPerTau = 2

// noiseMemory is how many draws back a value reaches: e^(−memory/stepsPerTau) of the oldest is left, under 1e-4.
const noiseMemory = 19

// noise is a log-normal first-order autoregressive factor of mean 1: exp(σx − σ²/2), x' = φx + √(1−φ²)·ε, φ = e^(−δ/τ).
// The recursion is written as the sum of its last draws, so that any instant can be asked for on its own.
type noise struct {
	sigma float64
	step  time.Duration
	start time.Time
	seed  int64
	name  string
	decay float64 // φ
}

func newNoise(n *v1alpha1.LoadNoise, name string, o Options) noise {
	tau := n.Tau.Duration
	if tau <= 0 {
		tau = time.Minute
	}
	step := max(tau/stepsPerTau, windowMin)
	return noise{sigma: float64(n.Sigma), step: step, start: o.Start, seed: o.Seed, name: name, decay: math.Exp(-step.Seconds() / tau.Seconds())}
}

func (n *noise) at(t time.Time) float64 {
	if n.sigma == 0 {
		return 1
	}
	index := int64(t.Sub(n.start) / n.step)
	var x, weight, norm float64 = 0, 1, 0
	for k := range int64(noiseMemory) {
		x += weight * draw.Normal(n.seed, "load-noise", n.name, index-k)
		norm += weight * weight
		weight *= n.decay
	}
	return math.Exp(n.sigma*x/math.Sqrt(norm) - n.sigma*n.sigma/2)
}

func (n *noise) next(t time.Time) time.Time {
	if n.sigma == 0 {
		return time.Time{}
	}
	return n.start.Add((t.Sub(n.start)/n.step + 1) * n.step)
}
