package balance

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryRunOfRequestsIsSplitByWeight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.OneOf(rapid.Just(int32(0)), rapid.Int32Range(1, 10), rapid.Int32Range(1, 1_000)), 1, 8).Draw(t, "weights")
		var total float64
		for _, w := range weights {
			total += float64(w)
		}
		s := NewSplit(rapid.Uint64().Draw(t, "start"), weights)
		if total == 0 {
			if got := s.Next(); got != -1 {
				t.Fatalf("a request went to %d, which has no weight", got)
			}
			return
		}
		skip, run := rapid.IntRange(0, 3000).Draw(t, "skip"), rapid.IntRange(1, 2000).Draw(t, "run")
		for range skip {
			s.Next()
		}
		counts := make([]int, len(weights))
		for range run {
			counts[s.Next()]++
		}
		for i, w := range weights {
			exact := float64(w) / total * float64(run)
			if math.Abs(float64(counts[i])-exact) >= 2 {
				t.Fatalf("share %d of %v got %d of %d requests, want %.2f ± 2", i, weights, counts[i], run, exact)
			}
			if w == 0 && counts[i] > 0 {
				t.Fatalf("share %d of %v has no weight and got %d requests", i, weights, counts[i])
			}
		}
	})
}

func TestWeightsThatNeedALongSequenceAreRounded(t *testing.T) {
	t.Parallel()
	s := NewSplit(0, []int32{1, 999_999, 333_333})
	part := s.Fractions(3)
	for i, want := range []float64{0.0001, 0.75, 0.25} {
		if math.Abs(part[i]-want) > 0.0002 {
			t.Errorf("share %d gets %v of the requests, want %v", i, part[i], want)
		}
	}
}

func TestAChangeOfWeightsIsInForceForTheNextRequest(t *testing.T) {
	t.Parallel()
	s := NewSplit(7, []int32{100, 0})
	if got := s.Next(); got != 0 {
		t.Fatalf("request went to %d", got)
	}
	s.Set([]int32{0, 100})
	for range 10 {
		if got := s.Next(); got != 1 {
			t.Fatalf("request went to %d after its weight became 0", got)
		}
	}
	s.Set([]int32{-5, 0})
	if got := s.Next(); got != -1 {
		t.Fatalf("request went to %d, though nobody has a weight", got)
	}
}

func TestManyChangesOfWeightsKeepTheSplit(t *testing.T) {
	t.Parallel()
	s := NewSplit(0, []int32{1, 99})
	canary := 0
	const requests, each = 120_000, 120 // a change after each 120 requests, as 1,000 a minute make at 2,000 a second
	for n := range requests {
		if n%each == 0 {
			s.Set([]int32{int32(1 + n/each%2), int32(99 - n/each%2)})
		}
		if s.Next() == 0 {
			canary++
		}
	}
	if want := requests * 15 / 1000; math.Abs(float64(canary-want)) > float64(want)/10 {
		t.Errorf("the canary got %d requests of %d, want about %d", canary, requests, want)
	}
}

func TestAPortionIsExactOverTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		den := rapid.Int32Range(1, 1000).Draw(t, "denominator")
		num := rapid.Int32Range(0, den).Draw(t, "numerator")
		run := rapid.IntRange(1, 5000).Draw(t, "run")
		var p Portion
		taken := 0
		for range run {
			if p.Take(num, den) {
				taken++
			}
		}
		if exact := float64(run) * float64(num) / float64(den); math.Abs(float64(taken)-exact) > 1 {
			t.Fatalf("%d of %d requests, want %.1f", taken, run, exact)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	s := NewSplit(0, []int32{80, 20})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Next()
		}
	})
}

func BenchmarkChangeOfWeights(b *testing.B) {
	s := NewSplit(0, []int32{80, 20})
	weights := []int32{9_999, 1}
	for b.Loop() {
		s.Set(weights)
	}
}
