package v1alpha1

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// RateMax bounds every rate, a second. More than ten million requests a second on one load is taken for a typing error.
const RateMax = 1e7

// Rate is a number of occurrences per second. A bare number is per second; 600/min, 2/h and 0.5/d name their unit.
type Rate float64

var perUnit = map[string]time.Duration{
	"s": time.Second, "second": time.Second,
	"min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hour": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour,
	"week": 7 * 24 * time.Hour,
}

// cutUnit splits "20Mi/h" into "20Mi" and an hour. ok is false without a slash or with an unknown unit.
func cutUnit(text string) (amount string, per time.Duration, ok bool) {
	amount, unit, found := strings.Cut(strings.TrimSpace(text), "/")
	per, known := perUnit[strings.TrimSpace(unit)]
	return strings.TrimSpace(amount), per, found && known
}

// UnmarshalText reads a Rate. It fails on negative, infinite and absurdly high values.
func (r *Rate) UnmarshalText(text []byte) error {
	number, per := string(text), time.Second
	if strings.Contains(number, "/") {
		var ok bool
		if number, per, ok = cutUnit(number); !ok {
			return fmt.Errorf("%q is not a rate; write a number a second, or n/s, n/min, n/h, n/d", text)
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("%q is not a rate; write a number a second, or n/s, n/min, n/h, n/d", text)
	}
	if n < 0 {
		return fmt.Errorf("the rate %q is negative; a rate is 0 or more", text)
	}
	if *r = Rate(n / per.Seconds()); *r > RateMax {
		return fmt.Errorf("the rate %q is above %g a second, which no scenario means; check the number and its unit", text, float64(RateMax))
	}
	return nil
}

// UnmarshalJSON reads a number or a string.
func (r *Rate) UnmarshalJSON(data []byte) error { return unmarshalScalar(data, r.UnmarshalText) }

// Share is a part of a whole: 5% or 0.05.
type Share float64

// UnmarshalText reads a Share. Whether it may exceed 1 depends on the field, so the reader of the field decides.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("%q is not a share; write 5%% or 0.05", text)
	}
	if percent {
		n /= 100
	}
	if n < 0 {
		return fmt.Errorf("the share %q is negative; write 5%% or 0.05", text)
	}
	*s = Share(n)
	return nil
}

// UnmarshalJSON reads a number or a string.
func (s *Share) UnmarshalJSON(data []byte) error { return unmarshalScalar(data, s.UnmarshalText) }

// GrowthRate is compound growth: 3%/week. The zero value is no growth.
//
// +kubebuilder:validation:Type=string
type GrowthRate struct {
	Share float64       `json:"-"` // by how much per period; negative shrinks
	Per   time.Duration `json:"-"`
}

// Factor is what a quantity has been multiplied by after the given time.
func (g GrowthRate) Factor(after time.Duration) float64 {
	if g.Per <= 0 || g.Share == 0 {
		return 1
	}
	return math.Pow(1+g.Share, after.Seconds()/g.Per.Seconds())
}

// UnmarshalText reads 3%/week, 0.5%/d or -2%/week; 0 means none.
func (g *GrowthRate) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "0" {
		*g = GrowthRate{}
		return nil
	}
	amount, per, ok := cutUnit(string(text))
	number, percent := strings.CutSuffix(amount, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("%q is not a growth; write for example 3%%/week", text)
	}
	if percent {
		n /= 100
	}
	if n <= -1 {
		return fmt.Errorf("the growth %q leaves nothing; it must stay above -100%%", text)
	}
	g.Share, g.Per = n, per
	return nil
}

// String writes the form that UnmarshalText reads.
func (g GrowthRate) String() string {
	if g.Per == 0 {
		return "0"
	}
	return strconv.FormatFloat(g.Share, 'g', -1, 64) + "/" + unitName(g.Per)
}

// UnmarshalJSON reads a string, or the number 0.
func (g *GrowthRate) UnmarshalJSON(data []byte) error { return unmarshalScalar(data, g.UnmarshalText) }

// MarshalJSON writes a string.
func (g GrowthRate) MarshalJSON() ([]byte, error) { return json.Marshal(g.String()) }

func unitName(per time.Duration) string {
	switch per {
	case time.Second:
		return "s"
	case time.Minute:
		return "min"
	case time.Hour:
		return "h"
	case 24 * time.Hour:
		return "d"
	}
	return "week"
}

// QuantityRate is an amount per time, such as the leak 20Mi/h.
//
// +kubebuilder:validation:Type=string
type QuantityRate struct {
	Amount resource.Quantity `json:"-"`
	Per    time.Duration     `json:"-"`
}

// PerSecond is the amount that accrues in a second, in the unit of the quantity (bytes, cores).
func (q QuantityRate) PerSecond() float64 {
	if q.Per <= 0 {
		return 0
	}
	return q.Amount.AsApproximateFloat64() / q.Per.Seconds()
}

// UnmarshalText reads 20Mi/h; 0 means none.
func (q *QuantityRate) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "0" {
		*q = QuantityRate{}
		return nil
	}
	amount, per, ok := cutUnit(string(text))
	n, err := resource.ParseQuantity(amount)
	if !ok || err != nil {
		return fmt.Errorf("%q is not an amount per time; write for example 20Mi/h", text)
	}
	q.Amount, q.Per = n, per
	return nil
}

// String writes the form that UnmarshalText reads.
func (q QuantityRate) String() string {
	if q.Per == 0 {
		return "0"
	}
	return q.Amount.String() + "/" + unitName(q.Per)
}

// UnmarshalJSON reads a string, or the number 0.
func (q *QuantityRate) UnmarshalJSON(data []byte) error {
	return unmarshalScalar(data, q.UnmarshalText)
}

// MarshalJSON writes a string.
func (q QuantityRate) MarshalJSON() ([]byte, error) { return json.Marshal(q.String()) }
