package v1alpha1

import (
	"encoding/json"
	"math"
	"time"
)

// normalQuantile99 is the 99 % quantile of the standard normal distribution.
const normalQuantile99 = 2.3263478740408408

// Quantiles describe a log-normal time by its median and its 99 % quantile. A single duration means a constant.
// A P99 of zero means "not given"; the field it belongs to says what is then assumed.
type Quantiles struct {
	P50 Duration `json:"p50"`
	P99 Duration `json:"p99,omitzero"`
}

// Constant is the distribution of a value that never varies.
func Constant(d time.Duration) Quantiles { return Quantiles{P50: Duration{d}, P99: Duration{d}} }

// Sigma is the shape of the log-normal: ln(p99/p50) ÷ 2.326, and 0 for a constant or when P99 is not given.
func (q Quantiles) Sigma() float64 {
	if q.P50.Duration <= 0 || q.P99.Duration <= q.P50.Duration {
		return 0
	}
	return math.Log(float64(q.P99.Duration)/float64(q.P50.Duration)) / normalQuantile99
}

// Mean of the log-normal: p50·exp(σ²/2).
func (q Quantiles) Mean() time.Duration {
	s := q.Sigma()
	return time.Duration(float64(q.P50.Duration) * math.Exp(s*s/2))
}

// At is the value for a standard normal draw z: p50·exp(σz).
func (q Quantiles) At(z float64) time.Duration {
	return time.Duration(float64(q.P50.Duration) * math.Exp(q.Sigma()*z))
}

// UnmarshalText reads a single duration: a constant.
func (q *Quantiles) UnmarshalText(text []byte) error {
	d, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*q = Quantiles{P50: d, P99: d}
	return nil
}

// UnmarshalJSON reads a duration or {p50, p99}.
func (q *Quantiles) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, q.UnmarshalText)
	}
	type plain Quantiles
	return json.Unmarshal(data, (*plain)(q))
}
