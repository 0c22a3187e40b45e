package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time written as Go writes it, with d for days of 24 hours: 90s, 1h30m, 2d, 1d12h.
// A bare number other than 0 is refused, because its unit would be a guess.
//
// +kubebuilder:validation:Type=string
type Duration struct {
	time.Duration `json:"-"`
}

// DurationOf wraps a duration.
func DurationOf(d time.Duration) Duration { return Duration{d} }

// ParseDuration reads a Duration. It fails on a missing or unknown unit and on overflow (about 292 years).
func ParseDuration(text string) (Duration, error) {
	s := strings.TrimSpace(text)
	sign := time.Duration(1)
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		s, sign = rest, -1
	}
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) || n > 100000 {
			return Duration{}, fmt.Errorf("%q is not a duration: the days must be a plain number; write for example 1d12h", text)
		}
		total = time.Duration(n * float64(24*time.Hour))
		if s = rest; s == "" {
			return Duration{sign * total}, nil
		}
	}
	if s != "0" && isNumber(s) {
		return Duration{}, fmt.Errorf("%q has no unit; write for example %ss (ns, us, ms, s, m, h or d)", text, s)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return Duration{}, fmt.Errorf("%q is not a duration; write a number with ns, us, ms, s, m, h or d, for example 90s or 1d12h", text)
	}
	return Duration{sign * (total + d)}, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// String writes the shortest form that reads back to the same value, with days where they are whole.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if d.Duration < day || d.Duration%time.Second != 0 {
		return shortDuration(d.Duration)
	}
	days, rest := d.Duration/day, d.Duration%day
	if rest == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, shortDuration(rest))
}

// shortDuration drops the zero parts Go prints: 10m0s becomes 10m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads a Duration.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// MarshalText writes a Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads a string, or the number 0.
func (d *Duration) UnmarshalJSON(data []byte) error { return unmarshalScalar(data, d.UnmarshalText) }

// MarshalJSON writes a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// unmarshalScalar hands a JSON string, number or boolean to a reader of text.
func unmarshalScalar(data []byte, read func([]byte) error) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		return read([]byte(s))
	}
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	return read(data)
}

// isScalar tells whether a JSON value is neither an object nor a list.
func isScalar(data []byte) bool {
	data = bytes.TrimSpace(data)
	return len(data) > 0 && data[0] != '{' && data[0] != '['
}

// DurationRange is a span such as 1s..10s; a single duration is a span of no width.
//
// +kubebuilder:validation:Type=string
type DurationRange struct {
	Min time.Duration `json:"-"`
	Max time.Duration `json:"-"`
}

// Mean is the middle of the range.
func (r DurationRange) Mean() time.Duration { return r.Min + (r.Max-r.Min)/2 }

// UnmarshalText reads 1s..10s or 5s.
func (r *DurationRange) UnmarshalText(text []byte) error {
	low, high, ok := strings.Cut(string(text), "..")
	if !ok {
		high = low
	}
	a, err := ParseDuration(low)
	if err != nil {
		return err
	}
	b, err := ParseDuration(high)
	if err != nil {
		return err
	}
	if b.Duration < a.Duration {
		return fmt.Errorf("%q runs backwards; write the shorter duration first, for example 1s..10s", text)
	}
	r.Min, r.Max = a.Duration, b.Duration
	return nil
}

// String writes the form that UnmarshalText reads.
func (r DurationRange) String() string {
	if r.Min == r.Max {
		return Duration{r.Min}.String()
	}
	return Duration{r.Min}.String() + ".." + Duration{r.Max}.String()
}

// UnmarshalJSON reads a string.
func (r *DurationRange) UnmarshalJSON(data []byte) error {
	return unmarshalScalar(data, r.UnmarshalText)
}

// MarshalJSON writes a string.
func (r DurationRange) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }
