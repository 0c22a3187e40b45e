package simulate

import (
	"fmt"
	"hash/fnv"
)

// dice are the draws of a seed; each has a name and depends on nothing else.
type dice int64

// unit is the draw of a name in [0, 1).
func (d dice) unit(name string, args ...any) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/", int64(d))
	fmt.Fprintf(h, name, args...)
	z := h.Sum64() // FNV's low bits are weak; two rounds of a mixer spread them
	for range 2 {
		z ^= z >> 30
		z *= 0xbf58476d1ce4e5b9
		z ^= z >> 27
		z *= 0x94d049bb133111eb
		z ^= z >> 31
	}
	return float64(z>>11) / (1 << 53)
}

// between is a whole number from low to high, both included.
func (d dice) between(low, high int, name string, args ...any) int {
	return low + int(d.unit(name, args...)*float64(high-low+1))
}

// chance is true with probability p.
func (d dice) chance(p float64, name string, args ...any) bool { return d.unit(name, args...) < p }

// pick is one of the choices; a choice given twice is twice as likely.
func pick[T any](d dice, name string, choices ...T) T {
	return choices[d.between(0, len(choices)-1, "%s", name)]
}
