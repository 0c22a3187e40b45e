package stat

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Critical values of Student's t, two-sided 5 %, from standard tables.
func TestCriticalMatchesPublishedTables(t *testing.T) {
	t.Parallel()
	for df, want := range map[float64]float64{1: 12.7062, 2: 4.30265, 4: 2.77645, 9: 2.26216, 19: 2.09302, 30: 2.04227, 1000: 1.96234} {
		if got := Critical(0.05, df); math.Abs(got-want) > 1e-4 {
			t.Errorf("Critical(0.05, %v) = %.5f, want %.5f", df, got, want)
		}
	}
	if got := TwoSided(2.77645, 4); math.Abs(got-0.05) > 1e-6 {
		t.Errorf("TwoSided(2.77645, 4) = %v, want 0.05", got)
	}
}

func TestSignTestMatchesBinomialTails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d    []float64
		want float64
	}{
		{[]float64{1, 1, 1, 1, 1}, 0.0625}, {[]float64{1, -1}, 1}, {nil, 1}, {[]float64{0, 0}, 1},
		{[]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, -1}, 22.0 / 1024},
	} {
		if got := SignTest(c.d); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("SignTest(%v) = %v, want %v", c.d, got, c.want)
		}
	}
}

func TestHolmNeverLowersAProbabilityAndKeepsOrder(t *testing.T) {
	t.Parallel()
	if got := Holm([]float64{0.01, 0.04, 0.03}); !slices.Equal(got, []float64{0.03, 0.06, 0.06}) {
		t.Errorf("Holm = %v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOf(rapid.Float64Range(0, 1)).Draw(t, "p")
		for i, a := range Holm(p) {
			if a < p[i] || a > 1 {
				t.Fatalf("p %v became %v", p[i], a)
			}
		}
	})
}

func TestQuantileStaysWithinTheValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 50).Draw(t, "v")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		if got := Quantile(v, q); got < slices.Min(v) || got > slices.Max(v) {
			t.Fatalf("Quantile(%v, %v) = %v", v, q, got)
		}
	})
	if !math.IsNaN(Quantile(nil, .5)) || !math.IsNaN(Mean(nil)) || !math.IsNaN(Deviation([]float64{1})) {
		t.Error("no values must give no number")
	}
}
