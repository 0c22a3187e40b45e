// Package draw makes the random numbers of a rehearsal: each is a function of the seed, what it is for, whom it is about
// and its number, never of the order in which it is asked for. So two scenarios share every draw that both have, and a
// change to one object changes no other's.
package draw

import "math"

// FNV-1a's offset basis and prime, 64 bits (Fowler, Noll, Vo).
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Bits are 64 uniform random bits.
func Bits(seed int64, purpose, key string, n int64) uint64 {
	h := uint64(fnvOffset)
	for _, part := range [2]string{purpose, key} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * fnvPrime
		}
		h = (h ^ uint64(len(part))) * fnvPrime // so that ("ab","c") and ("a","bc") differ, whatever the parts hold
	}
	return scatter(scatter(h^scatter(uint64(seed))) + uint64(n)*0x9e3779b97f4a7c15)
}

// scatter is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
func scatter(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uniform lies above 0 and below 1.
func Uniform(seed int64, purpose, key string, n int64) float64 {
	return (float64(Bits(seed, purpose, key, n)>>11) + 0.5) / (1 << 53)
}

// Normal is a standard normal draw, by the inverse of its distribution function.
func Normal(seed int64, purpose, key string, n int64) float64 {
	return math.Sqrt2 * math.Erfinv(2*Uniform(seed, purpose, key, n)-1)
}

// Exponential has mean 1.
func Exponential(seed int64, purpose, key string, n int64) float64 {
	return -math.Log(Uniform(seed, purpose, key, n))
}
