package play

import (
	"hash/fnv"
	"math"
	"strconv"
)

// uniform is the draw in (0, 1) of a seed, a purpose, an object and a number. It depends on nothing else, so that two
// scenarios share every draw that both have.
func uniform(seed int64, purpose, key string, n int64) float64 {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write([]byte(key))
	z := h.Sum64() ^ uint64(seed)*0x9e3779b97f4a7c15 ^ uint64(n)*0xd1342543de82ef95
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return (float64(z>>11) + 0.5) / (1 << 53)
}

func normalQuantile(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }

func podKey(workload string, ordinal int) string { return workload + "#" + strconv.Itoa(ordinal) }
