package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationsAreReadAndWrittenWithDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		d    time.Duration
		form string
	}{
		"90s": {90 * time.Second, "1m30s"}, "2d": {48 * time.Hour, "2d"}, "1d12h": {36 * time.Hour, "1d12h"},
		"0": {0, "0s"}, "36h": {36 * time.Hour, "1d12h"}, "0.5d": {12 * time.Hour, "12h"}, "10m": {10 * time.Minute, "10m"},
	} {
		d, err := ParseDuration(text)
		if err != nil || d.Duration != want.d || d.String() != want.form {
			t.Errorf("%s: %v, %v; want %v as %s", text, d, err, want.d, want.form)
		}
	}
	for _, text := range []string{"", "5", "5x", "1d-2h", "d", "1w", "NaNd", "1e99d"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q was read as %v", text, d)
		}
	}
}

func TestScalarsSurviveTheirJSONForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		d := DurationOf(time.Duration(rapid.Int64Range(0, 1<<55).Draw(r, "ns")))
		share := Share(rapid.Float64Range(0, 2).Draw(r, "share"))
		rate := Rate(rapid.Float64Range(0, RateMax).Draw(r, "rate"))
		growth := GrowthRate{Share: rapid.Float64Range(-0.9, 9).Draw(r, "growth"), Per: 24 * time.Hour}
		type all struct {
			D Duration
			S Share
			R Rate
			G GrowthRate
			X DurationRange
			Q Quantiles
		}
		in := all{d, share, rate, growth, DurationRange{time.Second, d.Duration + time.Second}, Quantiles{d, d}}
		data, err := json.Marshal(in)
		if err != nil {
			r.Fatal(err)
		}
		var out all
		if err := json.Unmarshal(data, &out); err != nil {
			r.Fatalf("%v: %s", err, data)
		}
		if !reflect.DeepEqual(in, out) {
			r.Fatalf("%+v became %+v by %s", in, out, data)
		}
	})
}

func TestRatesAndSharesKnowTheirUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"60": 60, "600/min": 10, "36/h": 0.01, "0.5/d": 0.5 / 86400, "2/s": 2} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || float64(r) != want {
			t.Errorf("%s: %g, %v; want %g", text, float64(r), err, want)
		}
	}
	for text, want := range map[string]float64{"5%": 0.05, "0.05": 0.05, "99.9%": 0.999, "150%": 1.5} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err != nil || float64(s) < want-1e-12 || float64(s) > want+1e-12 {
			t.Errorf("%s: %g, %v; want %g", text, float64(s), err, want)
		}
	}
}

func TestCallsResolveTwoPartsByWhatExists(t *testing.T) {
	t.Parallel()
	exists := func(ns, service string) bool { return ns+"/"+service == "shop/cart" || ns+"/"+service == "pay/pay" }
	for text, want := range map[string][3]string{
		"cart": {"shop", "cart", "*"}, "cart/add": {"shop", "cart", "add"}, "pay/pay": {"pay", "pay", "*"},
		"pay/pay/charge": {"pay", "pay", "charge"}, "cart*2?": {"shop", "cart", "*"},
		"pay/pay*2": {"pay", "pay", "*"}, "cart/**2": {"shop", "cart", "*"}, "pay/pay/charge*0.5?": {"pay", "pay", "charge"},
	} {
		var c Call
		if err := c.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		ns, service, route := c.Resolve("shop", exists)
		if got := [3]string{ns, service, route}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestQuantilesGiveTheirOwnQuantiles(t *testing.T) {
	t.Parallel()
	q := Quantiles{DurationOf(20 * time.Millisecond), DurationOf(200 * time.Millisecond)}
	if q.At(0) != 20*time.Millisecond || q.At(normalQuantile99).Round(time.Microsecond) != 200*time.Millisecond {
		t.Errorf("median %s, 99 %% %s", q.At(0), q.At(normalQuantile99))
	}
	if c := Constant(time.Second); c.Sigma() != 0 || c.Mean() != time.Second {
		t.Errorf("a constant has sigma %g and mean %s", c.Sigma(), c.Mean())
	}
}

func TestMomentsAreInstantsOfARun(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"09:00": "2026-11-27T09:00:00Z", "day 3 09:00": "2026-11-29T09:00:00Z", "+2h": "2026-11-27T08:00:00Z",
		"2026-12-01T00:00:00+01:00": "2026-11-30T23:00:00Z", "23:59:30": "2026-11-27T23:59:30Z",
	} {
		m, err := ParseMoment(text)
		if got := m.In(start).Format(time.RFC3339); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"24:00", "2h", "9 am", "day 0 09:00", "+-1h", ""} {
		if _, err := ParseMoment(text); err == nil {
			t.Errorf("%q was read as a time", text)
		}
	}
}
