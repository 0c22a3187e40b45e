package sketch

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantilesAndSharesAreThoseOfTheDurations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Float64Range(1e-4, 1000), 1, 300).Draw(t, "durations")
		var dense, through, merged Sketch
		var sparse, back Sparse
		for i, d := range durations {
			dense.Add(d, 1)
			sparse.Add(d, 1)
			if i%2 == 0 {
				merged.Add(d, 1)
			}
		}
		sparse.AddTo(&through)
		back.AddSketch(&dense)
		var again, odd Sketch
		back.AddTo(&again)
		for i, d := range durations {
			if i%2 == 1 {
				odd.Add(d, 1)
			}
		}
		merged.Merge(&odd)
		slices.Sort(durations)
		p := rapid.Float64Range(0.01, 1).Draw(t, "p")
		want := durations[int(math.Ceil(p*float64(len(durations))))-1]
		for name, s := range map[string]*Sketch{"dense": &dense, "sparse": &through, "from a sketch": &again, "merged": &merged} {
			if s.Count() != float64(len(durations)) {
				t.Fatalf("%s: counted %v of %d", name, s.Count(), len(durations))
			}
			if got := s.Quantile(p); math.Abs(got-want) > want*0.033 {
				t.Fatalf("%s: quantile %v is %v, want %v", name, p, got, want)
			}
			slower := float64(len(durations)) * (1 - s.Share(want*1.04))
			exact := float64(len(durations) - countUpTo(durations, want*1.04))
			if least, most := exactSlower(durations, want*1.04*1.033), exactSlower(durations, want*1.04/1.033); slower < least-1e-6 || slower > most+1e-6 {
				t.Fatalf("%s: %v are slower, want %v (%v…%v)", name, slower, exact, least, most)
			}
		}
	})
}

func countUpTo(sorted []float64, bound float64) int {
	n, _ := slices.BinarySearch(sorted, math.Nextafter(bound, math.Inf(1)))
	return n
}

func exactSlower(sorted []float64, bound float64) float64 {
	return float64(len(sorted) - countUpTo(sorted, bound))
}

func BenchmarkSparseAdd(b *testing.B) {
	var s Sparse
	for i := range b.N {
		s.Add(0.001+float64(i%100)/1000, 1)
	}
}
