package rollout

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBasicCanaryTakesTheReferencePointsInOnePass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replicas, weight, unavailable, surge int32
		want                                 split
	}{
		{10, 10, 1, 1, split{1, 9}},
		{10, 30, 0, 3, split{3, 10}},
		{10, 30, 5, 0, split{0, 7}},
		{1, 5, 0, 1, split{1, 1}},
		{10, 5, 1, 1, split{1, 10}}, // 1 of 11 is nearer than 1 of 10
		{1, 95, 0, 1, split{1, 1}},
		{10, 0, 1, 1, split{0, 10}},
		{10, 100, 0, 1, split{1, 10}},
		{0, 50, 0, 1, split{0, 0}},
	} {
		b := basic{replicas: c.replicas, weight: c.weight, maxWeight: 100, surge: c.surge, unavailable: c.unavailable,
			stable: &size{c.replicas, c.replicas, c.replicas}}
		if got := b.next(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c, got, c.want)
		}
	}
}

func TestBasicCanaryComesNearestToItsWeight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replicas, weight, surge int32
		want                    split
	}{
		{10, 45, 0, split{5, 5}}, // a tie goes up
		{10, 44, 0, split{4, 6}}, // the nearer
		{1, 50, 1, split{1, 1}},  // one of two, not one of one
		{1, 50, 0, split{1, 0}},  // no room for both
		{1, 49, 0, split{0, 1}},  //
		{3, 50, 1, split{2, 2}},  // a pod more is nearer
		{4, 99, 1, split{4, 1}},  // the stable keeps a pod
		{4, 99, 0, split{3, 1}},  // also without surge
		{4, 1, 0, split{1, 3}},   // the canary has a pod
		{10, 33, 2, split{3, 7}}, // 3 of 10 is nearer than 4 of 11
		{100, 29, 1, split{29, 71}},
	} {
		b := basic{replicas: c.replicas, weight: c.weight, maxWeight: 100, surge: c.surge, stable: &size{}}
		if got := b.target(); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c, got, c.want)
		}
	}
}

func TestBasicCanaryNeverBreaksItsLimitsInAPass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, lo, hi int32) int32 { return rapid.Int32Range(lo, hi).Draw(t, name) }
		n := draw("replicas", 1, 30)
		sizes := func(name string) size {
			spec := draw(name+" spec", 0, n)
			created := draw(name+" created", 0, n)
			return size{spec, created, draw(name+" available", 0, created)}
		}
		st := sizes("stable")
		b := basic{replicas: n, weight: draw("weight", 0, 100), maxWeight: 100, surge: draw("surge", 0, n),
			unavailable: draw("unavailable", 0, n), canary: sizes("canary"), stable: &st, older: draw("older", 0, 3)}
		if b.surge == 0 && b.unavailable == 0 {
			b.unavailable = 1
		}
		got := b.next()
		before := b.canary.spec + st.spec + b.older
		if total := got.canary + got.stable + b.older; total > max(before, n+b.surge) {
			t.Fatalf("%+v: %+v is more than surge allows", b, got)
		}
		available := func(canary, stable int32) int32 {
			return min(b.canary.available, canary) + min(st.available, stable)
		}
		was, is := available(b.canary.spec, st.spec), available(got.canary, got.stable)
		if is < min(was, n-b.unavailable) {
			t.Fatalf("%+v: %+v leaves %d pods available of %d, fewer than %d", b, got, is, was, n-b.unavailable)
		}
	})
}

func TestTargetIsTheBestOfItsChoices(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n, w := rapid.Int32Range(1, 60).Draw(t, "replicas"), rapid.Int32Range(1, 99).Draw(t, "weight")
		b := basic{replicas: n, weight: w, maxWeight: 100, surge: 1, stable: &size{}}
		got := b.target()
		if got.canary < 1 || got.stable < 0 || got.canary+got.stable != n && got.canary+got.stable != n+1 {
			t.Fatalf("%d at %d: %+v", n, w, got)
		}
		delta := func(s split) float64 {
			return math.Abs(float64(s.canary)*100/float64(s.canary+s.stable) - float64(w))
		}
		for _, total := range []int32{n, n + 1} {
			k := int32(math.Round(float64(w) * float64(n) / 100))
			if alt := (split{k, total - k}); k > 0 && k < n && delta(alt) < delta(got)-1e-9 {
				t.Fatalf("%d at %d: %+v is nearer than %+v", n, w, alt, got)
			}
		}
	})
}

func TestPodsForAWeightAreRoundedUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, w, m, want int32 }{{10, 10, 100, 1}, {10, 11, 100, 2}, {3, 50, 100, 2}, {4, 0, 100, 0}, {4, 1000, 1000, 4}, {4, 1, 1000, 1}} {
		if got := carries(c.n, c.w, c.m); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
