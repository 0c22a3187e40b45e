package draw

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestDrawsHaveTheirDistributions(t *testing.T) {
	t.Parallel()
	const n = 100_000
	var uniform, normal, squares, exponential float64
	for i := range int64(n) {
		uniform += Uniform(1, "u", "k", i)
		x := Normal(1, "n", "k", i)
		normal += x
		squares += x * x
		exponential += Exponential(1, "e", "k", i)
	}
	for name, c := range map[string]struct{ got, want, within float64 }{ // four standard errors each
		"uniform mean": {uniform / n, 0.5, 0.004}, "normal mean": {normal / n, 0, 0.013},
		"normal variance": {squares / n, 1, 0.018}, "exponential mean": {exponential / n, 1, 0.013},
	} {
		if math.Abs(c.got-c.want) > c.within {
			t.Errorf("%s is %g, want %g", name, c.got, c.want)
		}
	}
}

func TestADrawBelongsToItsSeedPurposeKeyAndNumberAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		seed, n := rapid.Int64().Draw(r, "seed"), rapid.Int64().Draw(r, "n")
		purpose, key := rapid.StringN(1, 8, -1).Draw(r, "purpose"), rapid.StringN(1, 8, -1).Draw(r, "key")
		bits := Bits(seed, purpose, key, n)
		for what, other := range map[string]uint64{
			"seed": Bits(seed+1, purpose, key, n), "number": Bits(seed, purpose, key, n+1),
			"key": Bits(seed, purpose, key+"x", n), "border": Bits(seed, purpose+key, "", n),
		} {
			if other == bits {
				r.Errorf("another %s gives the same draw", what)
			}
		}
		if u := Uniform(seed, purpose, key, n); !(u > 0 && u < 1) {
			r.Errorf("%g is not between 0 and 1", u)
		}
	})
}
