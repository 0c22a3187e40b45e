package v1alpha1

import (
	"encoding/json"
	"fmt"
)

// Prices of everything a run uses, an hour unless said otherwise. What is not given comes from the embedded catalog.
type Prices struct {
	// File with the fields below (YAML), or with OpenCost's columns (CSV).
	File string `json:"file,omitempty"`
	// Currency of all prices; default USD.
	Currency string `json:"currency,omitempty"`
	// Types by instance type.
	Types map[string]TypePrice `json:"types,omitempty"`
	// PerResource prices what has no type.
	PerResource *ResourcePrices `json:"perResource,omitempty"`
	Billing     *Billing        `json:"billing,omitempty"`
	// ControlPlane an hour.
	ControlPlane *float64 `json:"controlPlane,omitempty"`
	// LoadBalancer an hour each.
	LoadBalancer *float64      `json:"loadBalancer,omitempty"`
	Egress       *EgressPrices `json:"egress,omitempty"`
	Commitments  []Commitment  `json:"commitments,omitempty"`
	// SpotCurve is a CSV file of spot prices over time.
	SpotCurve string `json:"spotCurve,omitempty"`
	// OpenCost is the content of a CSV File, SpotCurveData that of SpotCurve.
	OpenCost      string `json:"openCost,omitempty" scenario:"internal"`
	SpotCurveData string `json:"spotCurveData,omitempty" scenario:"internal"`
}

// UnmarshalText reads a path.
func (p *Prices) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("the path of the prices is empty; write a file, for example ./prices.yaml")
	}
	*p = Prices{File: string(text)}
	return nil
}

// UnmarshalJSON reads a path or the object form.
func (p *Prices) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, p.UnmarshalText)
	}
	type plain Prices
	return json.Unmarshal(data, (*plain)(p))
}

// TypePrice of an instance type an hour.
type TypePrice struct {
	// OnDemand price an hour.
	OnDemand float64 `json:"onDemand"`
	// Spot price an hour.
	Spot *float64 `json:"spot,omitempty"`
}

// ResourcePrices an hour.
type ResourcePrices struct {
	CPU        *float64 `json:"cpu,omitempty"`
	MemoryGiB  *float64 `json:"memoryGiB,omitempty"`
	GPU        *float64 `json:"gpu,omitempty"`
	StorageGiB *float64 `json:"storageGiB,omitempty"`
}

// Billing of an instance.
type Billing struct {
	Granularity Duration `json:"granularity,omitzero"` // default 1s
	Minimum     Duration `json:"minimum,omitzero"`     // default 60s
}

// EgressPrices a GiB.
type EgressPrices struct {
	Zone     *float64 `json:"zone,omitempty"`
	Region   *float64 `json:"region,omitempty"`
	Internet *float64 `json:"internet,omitempty"`
}

// Commitment is capacity paid for whether used or not.
type Commitment struct {
	Type  string  `json:"type"`
	Count int32   `json:"count"`
	Price float64 `json:"price"`
}
