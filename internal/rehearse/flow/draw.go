package flow

import (
	"math"
	"math/rand/v2"
)

// drawMany is the expected count beyond which the normal distribution stands in for Poisson and binomial.
const drawMany = 1e4

// hashText mixes a text into a hash (FNV-1a, then finished so that near texts are far apart).
func hashText(h uint64, text string) uint64 {
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return mix(h ^ uint64(len(text))<<56)
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// stream names a family of draws: hash of (seed, purpose, object key).
func stream(seed int64, purpose, key string) uint64 {
	return hashText(hashText(mix(uint64(seed)), purpose), key)
}

// draws is one PCG stream; the n-th draw of a stream starts its own, so no draw depends on how many were made before.
type draws struct{ pcg rand.PCG }

func drawsAt(stream uint64, n int64) draws {
	var d draws
	d.pcg.Seed(stream, mix(uint64(n)))
	return d
}

// uniform returns a number in (0, 1).
func (d *draws) uniform() float64 {
	return (float64(d.pcg.Uint64()>>11) + 0.5) / (1 << 53)
}

func (d *draws) normal() float64 {
	return normalQuantile(d.uniform())
}

// poisson draws a count with the given mean and variance mean × scv.
func (d *draws) poisson(mean, scv float64) int64 {
	if !(mean > 0) {
		return 0
	}
	if scv <= 0 {
		// Even arrivals: only the phase is random.
		return int64(math.Floor(mean + d.uniform()))
	}
	if mean > drawMany || scv > 1.001 || scv < 0.999 && mean > 30 {
		return int64(max(0, math.Round(mean+math.Sqrt(mean*scv)*d.normal())))
	}
	mode := math.Floor(mean)
	lg, _ := math.Lgamma(mode + 1)
	p := math.Exp(mode*math.Log(mean) - mean - lg)
	return d.zigzag(mode, p, math.Inf(1),
		func(k float64) float64 { return mean / k },
		func(k float64) float64 { return k / mean })
}

// binomial draws how many of n happen with probability p each.
func (d *draws) binomial(n int64, p float64) int64 {
	if n <= 0 || !(p > 0) {
		return 0
	}
	if p >= 1 {
		return n
	}
	if p > 0.5 {
		return n - d.binomial(n, 1-p)
	}
	N := float64(n)
	mean := N * p
	if mean > drawMany {
		k := math.Round(mean + math.Sqrt(mean*(1-p))*d.normal())
		return int64(min(N, max(0, k)))
	}
	mode := math.Floor((N + 1) * p)
	a, _ := math.Lgamma(N + 1)
	b, _ := math.Lgamma(mode + 1)
	c, _ := math.Lgamma(N - mode + 1)
	pm := math.Exp(a - b - c + mode*math.Log(p) + (N-mode)*math.Log1p(-p))
	odds := p / (1 - p)
	return d.zigzag(mode, pm, N,
		func(k float64) float64 { return (N - k + 1) / k * odds },
		func(k float64) float64 { return k / ((N - k + 1) * odds) })
}

// zigzag inverts a unimodal distribution outward from its mode, which has probability p: up(k) is p(k)/p(k−1), down(k) is
// p(k−1)/p(k). Exact, one uniform number, steps in the order of the standard deviation.
func (d *draws) zigzag(mode, p, most float64, up, down func(float64) float64) int64 {
	u := d.uniform() - p
	lo, hi, pl, ph := mode, mode, p, p
	for u > 0 {
		moved := false
		if hi < most {
			hi++
			ph *= up(hi)
			if u -= ph; u <= 0 {
				return int64(hi)
			}
			moved = ph > 1e-18
		}
		if lo > 0 {
			pl *= down(lo)
			lo--
			if u -= pl; u <= 0 {
				return int64(lo)
			}
			moved = moved || pl > 1e-18
		}
		if !moved {
			return int64(mode)
		}
	}
	return int64(mode)
}

func normalQuantile(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }
