package program

import (
	"encoding/binary"
	"hash/fnv"
	"math"
)

// draw returns a value in (0, 1) that depends on the question and the purpose alone.
func draw(q *Question, purpose string) float64 {
	h := fnv.New64a()
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(q.Seed))
	binary.LittleEndian.PutUint32(b[8:], uint32(q.Restart))
	h.Write(b[:])
	for _, part := range []string{q.Identity, q.Container.Name, purpose} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	x := h.Sum64() // and SplitMix64's finaliser
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return (float64(x>>11) + 0.5) / (1 << 53)
}

// normal maps a draw to the standard normal distribution.
func normal(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }
