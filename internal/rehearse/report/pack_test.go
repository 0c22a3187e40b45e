package report

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func unpacked(t *rapid.T, p packed) []float64 {
	raw, err := base64.StdEncoding.DecodeString(p.Data)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float64, len(raw)/2)
	for i := range out {
		if s := binary.LittleEndian.Uint16(raw[2*i:]); s == noPoint {
			out[i] = math.NaN()
		} else {
			out[i] = p.Low + (p.High-p.Low)*float64(s)/(noPoint-1)
		}
	}
	return out
}

func TestPackedSeriesKeepsExtremesAndGaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.Just(math.NaN())), 0, 3000).Draw(t, "values")
		got := unpacked(t, pack(values))
		if len(got) > packPoints {
			t.Fatalf("%d points", len(got))
		}
		top, bottom := math.Inf(-1), math.Inf(1)
		for _, v := range values {
			if !math.IsNaN(v) {
				top, bottom = max(top, v), min(bottom, v)
			}
		}
		high, low := math.Inf(-1), math.Inf(1)
		for _, v := range got {
			if !math.IsNaN(v) {
				high, low = max(high, v), min(low, v)
			}
		}
		if tolerance := 1e-4*(top-bottom) + 1e-5*max(math.Abs(top), math.Abs(bottom)); !math.IsInf(top, 0) && (math.Abs(high-top) > tolerance || math.Abs(low-bottom) > tolerance) {
			t.Fatalf("extremes %v … %v became %v … %v", bottom, top, low, high)
		}
		if math.IsInf(top, 0) && !math.IsInf(high, 0) {
			t.Fatal("no data became data")
		}
	})
}

func TestValuesReadBackAsWrittenToFourDigits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := Values(rapid.SliceOf(rapid.OneOf(rapid.Float64(), rapid.Float64Range(0, 1e5), rapid.Just(math.NaN()))).Draw(t, "v"))
		b, err := v.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back Values
		if err := back.UnmarshalJSON(b); err != nil {
			t.Fatal(err)
		}
		if len(back) != len(v) {
			t.Fatalf("%d values became %d", len(v), len(back))
		}
		for i := range v {
			if math.IsInf(v[i], 0) || math.IsNaN(v[i]) {
				if !math.IsNaN(back[i]) {
					t.Fatalf("%v became %v", v[i], back[i])
				}
				continue
			}
			if math.Abs(back[i]-v[i]) > 6e-4*math.Abs(v[i]) {
				t.Fatalf("%v became %v", v[i], back[i])
			}
		}
	})
}
