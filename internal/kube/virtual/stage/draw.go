package stage

import (
	"encoding/binary"
	"hash/fnv"
)

// draw returns a value in [0, 1) that depends on its arguments alone.
func draw(seed int64, identity, purpose string, n int) float64 {
	h := fnv.New64a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(seed))
	binary.LittleEndian.PutUint64(b[8:], uint64(n))
	h.Write(b[:])
	h.Write([]byte(identity))
	h.Write([]byte{0})
	h.Write([]byte(purpose))
	x := h.Sum64() // and SplitMix64's finaliser
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}
