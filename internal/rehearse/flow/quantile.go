package flow

import "math"

// A latency distribution is spread over a fixed lattice: point i takes the (a·i mod n)-th n-quantile of each of its
// independent parts (a rank-1 lattice; Korobov 1959), so sums and products of parts need no convolution.
const (
	points     = 128
	sigmaStep  = 0.05
	sigmaSteps = 64 // log-normal tables up to σ 3.2
	sigmaLast  = sigmaSteps - 1
	dimSize    = 0
	dimSharing = 1
	dimExtra   = 2
	dimRest    = 3
	dimensions = 4
	// Loads take every point; a service's own account, of which there are many more, every second; services with many
	// groups every fourth of each group.
	serviceStride = 2
	manyStride    = 4
)

var latticeSteps = [dimensions]int{1, 47, 29, 75}

// lattice holds for each dimension and point: the uniform, its exponential quantile, and log-normals of unit mean.
type latticeTable struct {
	exponential [dimensions][points]float64
	logNormal   [dimensions][sigmaSteps][points]float64
}

var lattice = newLattice()

func newLattice() *latticeTable {
	l := new(latticeTable)
	for d := range dimensions {
		for i := range points {
			u := (float64(i*latticeSteps[d]%points) + 0.5) / points
			l.exponential[d][i] = -math.Log1p(-u)
			q := normalQuantile(u)
			for s := range sigmaSteps {
				sigma := float64(s) * sigmaStep
				l.logNormal[d][s][i] = math.Exp(sigma*q - sigma*sigma/2)
			}
		}
	}
	return l
}

// unit is a log-normal of mean 1 on the lattice.
type unit struct {
	a, b *[points]float64
	f    float64
}

func unitLogNormal(dim int, scv float64) unit {
	sigma := math.Sqrt(math.Log1p(max(0, scv))) / sigmaStep
	i := min(int(sigma), sigmaLast-1)
	return unit{&lattice.logNormal[dim][i], &lattice.logNormal[dim][i+1], min(1, sigma-float64(i))}
}

// moments of a duration in seconds.
type moments struct{ mean, variance float64 }

func (m moments) plus(o moments) moments { return moments{m.mean + o.mean, m.variance + o.variance} }

func (m moments) scv() float64 {
	if m.mean <= 0 {
		return 0
	}
	return m.variance / (m.mean * m.mean)
}

// logNormalOf gives the moments of a log-normal by its median and 99th percentile.
func logNormalOf(p50, p99 float64) moments {
	if p50 <= 0 {
		return moments{}
	}
	sigma := 0.0
	if p99 > p50 {
		sigma = math.Log(p99/p50) / 2.3263478740408408
	}
	e := math.Exp(sigma * sigma)
	mean := p50 * math.Sqrt(e)
	return moments{mean, mean * mean * (e - 1)}
}

// cut describes a log-normal duration of the given moments stopped at a timeout: the share beyond it, and first and second
// moment of min(T, timeout).
func (m moments) cut(timeout float64) (late, mean, second float64) {
	second = m.variance + m.mean*m.mean
	if timeout <= 0 || m.mean <= 0 {
		return 0, m.mean, second
	}
	sd := math.Sqrt(m.variance)
	if m.mean+20*sd < timeout {
		return 0, m.mean, second
	}
	if sd < 1e-6*m.mean {
		if m.mean > timeout {
			return 1, timeout, timeout * timeout
		}
		return 0, m.mean, second
	}
	s2 := math.Log1p(m.variance / (m.mean * m.mean))
	s := math.Sqrt(s2)
	k := (math.Log(timeout/m.mean) + s2/2) / s
	late = normalTail(k)
	mean = m.mean*(1-normalTail(k-s)) + timeout*late
	second = second*(1-normalTail(k-2*s)) + timeout*timeout*late
	return late, mean, second
}

func normalTail(x float64) float64 { return 0.5 * math.Erfc(x/math.Sqrt2) }

// longest gives the moments of the longest of several log-normal durations that run at the same time: the distribution
// functions are multiplied on a grid of quantiles.
func longest(parts []moments) moments {
	if len(parts) == 1 {
		return parts[0]
	}
	top := 0.0
	for _, p := range parts {
		top = max(top, p.mean+12*math.Sqrt(p.variance))
	}
	if top <= 0 {
		return moments{}
	}
	// E[max] = ∫ (1−F), E[max²] = ∫ 2t(1−F), on a geometric grid.
	const cells = 96
	low := top * 1e-5
	ratio := math.Pow(top/low, 1.0/cells)
	mean, second := low, low*low
	t, tail := low, 1.0
	for range cells {
		next := t * ratio
		f := 1.0
		for _, p := range parts {
			late, _, _ := p.cut(next)
			f *= 1 - late
		}
		mean += (tail + (1 - f)) / 2 * (next - t)
		second += (tail*t + (1-f)*next) * (next - t)
		t, tail = next, 1-f
	}
	return moments{mean, max(0, second-mean*mean)}
}
