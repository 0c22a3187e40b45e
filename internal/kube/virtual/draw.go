package virtual

import (
	"math"
	"time"
)

// draw returns a value that depends on the seed and the parts alone: the same question has the same answer in every
// run, whatever was asked before. It is FNV-1a over the parts, finished by the mixer of SplitMix64.
func draw(seed int64, parts ...string) uint64 {
	h := uint64(14695981039346656037) ^ uint64(seed)*0x9E3779B97F4A7C15
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211 // so that ("a","bc") and ("ab","c") differ
	}
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// unit maps a draw to (0, 1).
func unit(x uint64) float64 { return (float64(x>>11) + 0.5) / (1 << 53) }

// hexID returns n hexadecimal digits made from the parts.
func hexID(seed int64, n int, parts ...string) string {
	const digits = "0123456789abcdef"
	buf := make([]byte, n)
	x := draw(seed, parts...)
	for i := range buf {
		if i%16 == 0 && i > 0 {
			x = x*0x9E3779B97F4A7C15 + 0x1234567
			x ^= x >> 29
			x *= 0xBF58476D1CE4E5B9
			x ^= x >> 32
		}
		buf[i] = digits[x>>(uint(i%16)*4)&15]
	}
	return string(buf)
}

// Spread is a duration given by its median and its 99th percentile, log-normally distributed. The zero value is no time.
type Spread struct {
	P50, P99 time.Duration
}

// at returns the duration at the quantile u in (0, 1).
func (s Spread) at(u float64) time.Duration {
	if s.P99 <= s.P50 || s.P50 <= 0 {
		return s.P50
	}
	const z99 = 2.3263478740408408 // standard normal quantile of 0.99
	sigma := math.Log(float64(s.P99)/float64(s.P50)) / z99
	z := math.Sqrt2 * math.Erfinv(2*u-1)
	return time.Duration(float64(s.P50) * math.Exp(sigma*z))
}
