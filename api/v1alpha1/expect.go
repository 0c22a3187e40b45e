package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Severities of an expectation.
const (
	SeverityError = "error"
	SeverityWarn  = "warn"
)

// Expectation is one thing that must hold. Exactly one of SLO … CEL is set.
type Expectation struct {
	// Name in reports; default made of the kind and its object.
	Name string `json:"name,omitempty"`
	// Severity is error (default) or warn; a warning never fails a run.
	Severity string `json:"severity,omitempty" enum:"error,warn"`
	// In is the share of seeds in which it must hold; default all.
	In *Share `json:"in,omitempty"`

	SLO        *SLOExpectation        `json:"slo,omitempty"`
	Replicas   *ReplicasExpectation   `json:"replicas,omitempty"`
	Pending    *PendingExpectation    `json:"pending,omitempty"`
	Cost       *CostExpectation       `json:"cost,omitempty"`
	Disruption *DisruptionExpectation `json:"disruption,omitempty"`
	Rollout    *RolloutExpectation    `json:"rollout,omitempty"`
	Recovery   *RecoveryExpectation   `json:"recovery,omitempty"`
	NoWorse    *NoWorseExpectation    `json:"noWorse,omitempty"`
	// CEL is a condition over the record of the run.
	CEL    string `json:"cel,omitempty"`
	Source Source `json:"source,omitzero" scenario:"internal"`
}

// SLOExpectation bounds errors and latency of a service or a load.
type SLOExpectation struct {
	// Service is NAMESPACE/NAME or NAMESPACE/NAME/ROUTE.
	Service string `json:"service,omitempty"`
	// Load is NAME or NAME/ROUTE.
	Load string `json:"load,omitempty"`
	// Availability is requests served well ÷ asked, at least.
	Availability *Share `json:"availability,omitempty"`
	// Upper limits of latency, in every window but Allow of them.
	P50 *Duration `json:"p50,omitempty"`
	// P95 at most.
	P95 *Duration `json:"p95,omitempty"`
	// P99 at most.
	P99 *Duration `json:"p99,omitempty"`
	// Over which time availability is counted: run (default), or a sliding duration.
	Over string `json:"over,omitempty"`
	// Window of the latency limits; default 5m.
	Window Duration `json:"window,omitzero"`
	// Allow is how many windows may exceed the limit; default 0.
	Allow int32 `json:"allow,omitempty"`
	// Burn bounds error ratio ÷ (1 − availability).
	Burn *Burn `json:"burn,omitempty"`
}

// Burn bounds how fast the error budget is used.
type Burn struct {
	Fast *BurnLimit `json:"fast,omitempty"` // default over 1h
	Slow *BurnLimit `json:"slow,omitempty"` // default over 6h
}

// BurnLimit is a limit, alone or with the time it is taken over.
type BurnLimit struct {
	// Limit of the burn rate.
	Limit float64 `json:"limit"`
	// Over this time.
	Over Duration `json:"over,omitzero"`
}

// UnmarshalText reads the limit alone.
func (b *BurnLimit) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0) {
		return fmt.Errorf("%q is not a burn rate; write a number such as 14.4, or {limit: 14.4, over: 1h}", text)
	}
	*b = BurnLimit{Limit: n}
	return nil
}

// UnmarshalJSON reads the limit alone or the object form.
func (b *BurnLimit) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, b.UnmarshalText)
	}
	type plain BurnLimit
	return json.Unmarshal(data, (*plain)(b))
}

// ReplicasExpectation bounds the ready replicas of a workload.
type ReplicasExpectation struct {
	Workload Workload `json:"workload"`
	// Min ready replicas at any time.
	Min *int32 `json:"min,omitempty"`
	// Max ready replicas at any time.
	Max *int32 `json:"max,omitempty"`
	// Reversals bounds changes of direction, for example 2/h: more is flapping.
	Reversals *Rate `json:"reversals,omitempty"`
}

// PendingExpectation bounds the time from creation to scheduled, pods never placed included.
type PendingExpectation struct {
	// P95 at most.
	P95 *Duration `json:"p95,omitempty"`
	// Max at most.
	Max *Duration `json:"max,omitempty"`
	// AtEnd bounds the pods pending at the end; default 0.
	AtEnd *int32 `json:"atEnd,omitempty"`
}

// CostExpectation bounds money, in the currency of the prices.
type CostExpectation struct {
	// Max of the whole run.
	Max *float64 `json:"max,omitempty"`
	// IdleShare is the share of the cost that nobody requested, at most.
	IdleShare *Share `json:"idleShare,omitempty"`
	// PerRequest at most.
	PerRequest *float64 `json:"perRequest,omitempty"`
	// Of limits it to one workload; default the cluster.
	Of Workload `json:"of,omitempty"`
}

// DisruptionExpectation bounds what was taken out.
type DisruptionExpectation struct {
	// BudgetKept: no PodDisruptionBudget was broken; default true.
	BudgetKept *bool `json:"budgetKept,omitempty"`
	// Evictions at most.
	Evictions *int32 `json:"evictions,omitempty"`
	// Forced removals at most; default 0.
	Forced *int32 `json:"forced,omitempty"`
	// WorkSecondsLost in pods killed at the end of their grace, at most.
	WorkSecondsLost *float64 `json:"workSecondsLost,omitempty"`
}

// Verdicts of an update.
const (
	VerdictHealthy = "Healthy"
	VerdictAborted = "Aborted"
)

// RolloutExpectation says how the newest update of a workload in the run must end.
type RolloutExpectation struct {
	Workload Workload `json:"workload"`
	// Image narrows it to updates to an image, a glob such as "*:v2"; default any.
	Image string `json:"image,omitempty"`
	// Verdict is how it must end: Healthy, the new revision runs everywhere (default), or Aborted, back at the stable one.
	Verdict string `json:"verdict,omitempty" enum:"Healthy,Aborted"`
	// Within this time from its beginning; default the rest of the run.
	Within Duration `json:"within,omitzero"`
	// MaxWeight is the largest share of the traffic that a revision whose update was aborted may ever have got.
	MaxWeight *Share `json:"maxWeight,omitempty"`
}

// RecoveryExpectation bounds the time after a step until the service level is back, for five minutes, at To of its mean
// over the ten minutes before.
type RecoveryExpectation struct {
	// After the step of this name.
	After string `json:"after"`
	// Within this time.
	Within Duration `json:"within"`
	// To this share; default 99%.
	To *Share `json:"to,omitempty"`
	// Service or Load whose service level is meant; default all loads.
	Service string `json:"service,omitempty"`
	Load    string `json:"load,omitempty"`
}

// NoWorseExpectation compares with the baseline, seed by seed.
type NoWorseExpectation struct {
	// Metrics of the summary; default availability and p95.
	Metrics []string `json:"metrics,omitempty"`
	// Tolerance of the comparison; default 2%.
	Tolerance *Share `json:"tolerance,omitempty"`
}

// UnmarshalJSON reads a list of metrics or the object form.
func (n *NoWorseExpectation) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		*n = NoWorseExpectation{}
		return json.Unmarshal(data, &n.Metrics)
	}
	type plain NoWorseExpectation
	return json.Unmarshal(data, (*plain)(n))
}
