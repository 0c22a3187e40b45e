package expect

import "time"

// Severity of an expectation.
const (
	SeverityError = "error" // a failure fails the rehearsal
	SeverityWarn  = "warn"  // a failure is shown
)

// Result is what became of one expectation over all seeds.
type Result struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // one of the Kind constants
	Severity string `json:"severity"`
	Held     bool   `json:"held"`
	// NoData is true when it could not be evaluated; it then never holds.
	NoData bool   `json:"noData,omitempty"`
	Limit  string `json:"limit"` // as a person writes it: "availability ≥ 99.9 %"
	Value  string `json:"value"` // of the worst seed: "99.82 %"
	// Metric and Target are the limit for machines, where it is a number: a series or summary metric and its bound.
	Metric string  `json:"metric,omitempty"`
	Target float64 `json:"target,omitempty"`
	// WorstSeed is the seed furthest from the limit; HeldIn of Of seeds held.
	WorstSeed int64        `json:"worstSeed"`
	HeldIn    int          `json:"heldIn"`
	Of        int          `json:"of"`
	Seeds     []SeedResult `json:"seeds"`
	// FirstAt is the first moment it did not hold, TotalSeconds how long in all, in the worst seed.
	FirstAt      time.Time  `json:"firstAt,omitzero"`
	TotalSeconds float64    `json:"totalSeconds"`
	Evidence     []Evidence `json:"evidence,omitempty"`
	// Why is the cause chain of the failure in the worst seed, symptom first, as entry IDs of its timeline.
	Why []int `json:"why,omitempty"`
	// Help is the smallest change a rule knows to help, or "".
	Help string `json:"help,omitempty"`
	// Subjects are the services, workloads, loads or steps it is about, for linking.
	Subjects []string `json:"subjects,omitempty"`
	File     string   `json:"file,omitempty"` // as the user wrote it
	Line     int      `json:"line,omitempty"`
}

// SeedResult is an expectation in one seed.
type SeedResult struct {
	Seed         int64   `json:"seed"`
	Held         bool    `json:"held"`
	Value        string  `json:"value"`
	TotalSeconds float64 `json:"totalSeconds,omitempty"`
}

// Evidence is one observation behind a failure: a series point or an object.
type Evidence struct {
	Time   time.Time `json:"t,omitzero"`
	Object string    `json:"object,omitempty"`
	What   string    `json:"what"`
}
