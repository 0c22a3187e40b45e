package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Digits kept: series are for plots, summary numbers for tables and comparisons.
const (
	seriesDigits  = 4
	summaryDigits = 6
)

// Number is a figure of the summary; NaN means "no data" and is null in JSON. Rounded to 6 significant digits.
type Number float64

// Missing is the Number that says "no data".
var Missing = Number(math.NaN())

// Known tells whether there is data.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON writes null for no data.
func (n Number) MarshalJSON() ([]byte, error) {
	return appendNumber(nil, float64(n), summaryDigits), nil
}

// UnmarshalJSON reads null as no data.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Missing
		return nil
	}
	v, err := strconv.ParseFloat(string(b), 64)
	*n = Number(v)
	return err
}

// Values is a series; NaN is "no data" and null in JSON. Rounded to 4 significant digits.
type Values []float64

// MarshalJSON writes the numbers without exponents, so that every reader takes them.
func (v Values) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2+8*len(v))
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, x, seriesDigits)
	}
	return append(b, ']'), nil
}

// UnmarshalJSON reads null as NaN.
func (v *Values) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) < 2 || b[0] != '[' {
		return fmt.Errorf("a series must be a list of numbers, not %.20q", b)
	}
	b = bytes.TrimSpace(b[1 : len(b)-1])
	*v = Values{}
	if len(b) == 0 {
		return nil
	}
	for part := range bytes.SplitSeq(b, []byte(",")) {
		part = bytes.TrimSpace(part)
		if string(part) == "null" {
			*v = append(*v, math.NaN())
			continue
		}
		x, err := strconv.ParseFloat(string(part), 64)
		if err != nil {
			return err
		}
		*v = append(*v, x)
	}
	return nil
}

func appendNumber(b []byte, x float64, digits int) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, significant(x, digits), 'f', -1, 64)
}

// significant rounds to a number of decimal digits; -0 becomes 0.
func significant(x float64, digits int) float64 {
	if x == 0 || x == math.Trunc(x) && math.Abs(x) < math.Pow10(digits) {
		return x + 0
	}
	var buffer [32]byte
	y, err := strconv.ParseFloat(string(strconv.AppendFloat(buffer[:0], x, 'e', digits-1, 64)), 64)
	if err != nil {
		return x
	}
	return y
}

// roundAll rounds every float of a value that has plain float64 fields, by way of its JSON.
func roundAll[T any](v T) T {
	raw, err := json.Marshal(v)
	if err != nil {
		return v
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if d.Decode(&tree) != nil {
		return v
	}
	rounded, err := json.Marshal(roundTree(tree))
	if err != nil {
		return v
	}
	var out T
	if json.Unmarshal(rounded, &out) != nil {
		return v
	}
	return out
}

func roundTree(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = roundTree(x[k])
		}
	case []any:
		for i := range x {
			x[i] = roundTree(x[i])
		}
	case json.Number:
		if _, err := x.Int64(); err == nil {
			return x
		}
		f, err := x.Float64()
		if err != nil {
			return x
		}
		return json.Number(appendNumber(nil, f, summaryDigits))
	}
	return v
}
