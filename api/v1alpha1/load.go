package v1alpha1

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Load is a stream of requests from outside. Exactly one of Rate, Daily, Stages, Steps, CSV and Users says how many.
type Load struct {
	// Name in reports and of steps; default the target.
	Name string `json:"name,omitempty"`
	// To is the target: NAMESPACE/SERVICE, NAMESPACE/DEPLOYMENT, or KIND/NAMESPACE/NAME with Service, Deployment, Rollout or
	// HTTPRoute; or a host name, with or without a port, that a gateway serves.
	To string `json:"to"`

	// Rate that never changes.
	Rate   *Rate       `json:"rate,omitempty"`
	Daily  *DailyLoad  `json:"daily,omitempty"`
	Stages []Stage     `json:"stages,omitempty"`
	Steps  []RateStep  `json:"steps,omitempty"`
	CSV    *CSVLoad    `json:"csv,omitempty"`
	Users  *UserLoad   `json:"users,omitempty"`
	Weekly *WeekFactor `json:"weekly,omitempty"`

	// Mix of routes by weight; default all requests on "*".
	Mix map[string]float64 `json:"mix,omitempty"`
	// Factor on the rate; default 1.
	Factor *float64 `json:"factor,omitempty"`
	// Growth from the start on, compound.
	Growth *GrowthRate `json:"growth,omitempty"`
	Spikes []Spike     `json:"spikes,omitempty"`
	// Noise on the rate: log-normal AR(1).
	Noise *LoadNoise `json:"noise,omitempty"`
	// Arrivals within a window; default poisson.
	Arrivals *Arrivals `json:"arrivals,omitempty"`
	// Zones of the callers by share; default even over the zones of the cluster.
	Zones map[string]Share `json:"zones,omitempty"`
	// Timeout of the user agent; default 30s.
	Timeout Duration `json:"timeout,omitzero"`
	// Retries of the user agent after a failure; default 0.
	Retries int32 `json:"retries,omitempty"`
	// GiveUp after waiting this long, without trying again; default 0: only the timeout ends the wait.
	GiveUp Duration `json:"giveUp,omitzero"`
	Source Source   `json:"source,omitzero" scenario:"internal"`
}

// DailyLoad repeats each day. By default a cosine: low + (high−low)·(1+cos(2π(t−peakAt)/24h))/2.
type DailyLoad struct {
	// Low is the least rate of the day.
	Low Rate `json:"low,omitempty"`
	// High is the greatest rate of the day.
	High Rate `json:"high,omitempty"`
	// PeakAt is the time of day of the cosine's peak; default 20:00.
	PeakAt string `json:"peakAt,omitempty"`
	// Shape other than the cosine.
	Shape *DailyShape `json:"shape,omitempty"`
}

// DailyShape is the name of a curve, or 24 hourly values joined by a monotone cubic. Hourly values are spread so that
// the least is low and the greatest high; without low and high they are rates.
type DailyShape struct {
	Name   string    `json:"name,omitempty" enum:"cosine,office,evening"` // cosine, office, evening
	Hourly []float64 `json:"hourly,omitempty"`
}

// Named daily curves.
const (
	ShapeCosine  = "cosine"
	ShapeOffice  = "office"  // two peaks, 10:30 and 15:00
	ShapeEvening = "evening" // slow rise to 21:00, steep fall
)

// UnmarshalText reads the name of a curve.
func (s *DailyShape) UnmarshalText(text []byte) error {
	*s = DailyShape{Name: string(text)}
	return nil
}

// UnmarshalJSON reads a name or a list of hourly values.
func (s *DailyShape) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, s.UnmarshalText)
	}
	*s = DailyShape{}
	return json.Unmarshal(data, &s.Hourly)
}

// MarshalJSON writes a name or a list of hourly values.
func (s DailyShape) MarshalJSON() ([]byte, error) {
	if s.Name != "" {
		return json.Marshal(s.Name)
	}
	return json.Marshal(s.Hourly)
}

// Stage changes the rate in a straight line to To over For, starting from the end of the stage before (first: 0).
type Stage struct {
	// For how long the rate moves.
	For Duration `json:"for"`
	// To is the rate at the end of the stage.
	To Rate `json:"to"`
}

// RateStep holds a rate from an instant on.
type RateStep struct {
	// At is the instant the rate begins.
	At string `json:"at"`
	// Rate from then on.
	Rate Rate `json:"rate"`
}

// CSVLoad is a recorded curve, joined by straight lines. The first row must be a header.
type CSVLoad struct {
	// File relative to the scenario.
	File string `json:"file"`
	// Time is the column of RFC 3339 times, unix seconds, or seconds from the first row; default "time".
	Time string `json:"time,omitempty"`
	// Columns maps columns to routes, "*" for the whole load. Default: a column rps or rate is the whole load, and
	// otherwise every column but Time is the route of its name.
	Columns map[string]string `json:"columns,omitempty"`
	// Gaps longer than five times the usual step: error (default), hold the last value, or zero.
	Gaps string `json:"gaps,omitempty" enum:"error,hold,zero"`
	// Table is the content of File.
	Table *CSVTable `json:"table,omitempty" scenario:"internal"`
}

// CSVTable is a curve read from a file.
type CSVTable struct {
	// Absolute times are unix seconds; relative ones count from the start of the run.
	Absolute bool `json:"absolute,omitempty"`
	// Times in seconds, rising.
	Times  []float64   `json:"times"`
	Series []CSVSeries `json:"series"`
}

// CSVSeries is one column: requests a second by row.
type CSVSeries struct {
	Route  string    `json:"route"`
	Values []float64 `json:"values"`
}

// UserLoad is a closed loop: each user waits for the answer and then thinks.
type UserLoad struct {
	// Count of users.
	Count int32 `json:"count"`
	// Think time between an answer and the next request; default 1s..10s.
	Think *DurationRange `json:"think,omitempty"`
}

// WeekFactor multiplies the load by the day of the week; a day not given is 1.
type WeekFactor struct {
	Mon *float64 `json:"mon,omitempty"`
	Tue *float64 `json:"tue,omitempty"`
	Wed *float64 `json:"wed,omitempty"`
	Thu *float64 `json:"thu,omitempty"`
	Fri *float64 `json:"fri,omitempty"`
	Sat *float64 `json:"sat,omitempty"`
	Sun *float64 `json:"sun,omitempty"`
}

// Spike raises the load for a while, by a factor or by a rate added.
type Spike struct {
	// At is when it begins to rise.
	At string `json:"at"`
	// For how long it is full.
	For Duration `json:"for"`
	// Factor on the rate, at the full.
	Factor *float64 `json:"factor,omitempty"`
	// Add requests a second, at the full.
	Add *Rate `json:"add,omitempty"`
	// Ramp up before the full spike and down after it; default 0.
	Ramp Duration `json:"ramp,omitzero"`
	// Every repeats the spike.
	Every Duration `json:"every,omitzero"`
	// Bot puts what the spike adds on the route with the least CPU a request only.
	Bot bool `json:"bot,omitempty"`
}

// LoadNoise is the standard deviation of the logarithm of the rate, changing with the time constant Tau.
type LoadNoise struct {
	// Sigma is the standard deviation of the logarithm.
	Sigma Share `json:"sigma"`
	// Tau is the time constant; default 60s.
	Tau Duration `json:"tau,omitzero"`
}

// UnmarshalText reads the standard deviation alone.
func (n *LoadNoise) UnmarshalText(text []byte) error {
	*n = LoadNoise{}
	return n.Sigma.UnmarshalText(text)
}

// UnmarshalJSON reads a share or the object form.
func (n *LoadNoise) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, n.UnmarshalText)
	}
	type plain LoadNoise
	return json.Unmarshal(data, (*plain)(n))
}

// Arrivals says how requests are spread over a moment: even, poisson, or {bursty: {scv: 4}}.
type Arrivals struct {
	Process string `json:"-"`
	// SCV is the squared coefficient of variation of the gaps: 0 even, 1 poisson, more is bursty.
	SCV float64 `json:"-"`
}

// Arrival processes.
const (
	ArrivalsEven    = "even"
	ArrivalsPoisson = "poisson"
	ArrivalsBursty  = "bursty"
)

// BurstySCV is the squared coefficient of variation of bursty arrivals when none is given.
const BurstySCV = 4

// UnmarshalText reads the name of a process.
func (a *Arrivals) UnmarshalText(text []byte) error {
	switch name := strings.TrimSpace(string(text)); name {
	case ArrivalsEven:
		*a = Arrivals{Process: name}
	case ArrivalsPoisson:
		*a = Arrivals{Process: name, SCV: 1}
	case ArrivalsBursty:
		*a = Arrivals{Process: name, SCV: BurstySCV}
	default:
		return fmt.Errorf("arrivals %q are not known; write even, poisson, bursty or {bursty: {scv: 4}}", text)
	}
	return nil
}

type arrivalsObject struct {
	Bursty *struct {
		SCV float64 `json:"scv"`
	} `json:"bursty"`
}

// UnmarshalJSON reads a name or {bursty: {scv}}.
func (a *Arrivals) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	var o arrivalsObject
	if err := json.Unmarshal(data, &o); err != nil {
		return err
	}
	if o.Bursty == nil || o.Bursty.SCV < 0 {
		return fmt.Errorf("arrivals must be even, poisson, bursty or {bursty: {scv: 4}}")
	}
	*a = Arrivals{Process: ArrivalsBursty, SCV: o.Bursty.SCV}
	return nil
}

// MarshalJSON writes the form that UnmarshalJSON reads.
func (a Arrivals) MarshalJSON() ([]byte, error) {
	if a.Process != ArrivalsBursty {
		return json.Marshal(a.Process)
	}
	return json.Marshal(map[string]any{"bursty": map[string]float64{"scv": a.SCV}})
}
