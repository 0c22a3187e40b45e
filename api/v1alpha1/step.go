package v1alpha1

import (
	"encoding/json"
)

// Step is one thing that happens: exactly one trigger (At, After, Every, Cron, When, Rate), and exactly one action.
type Step struct {
	// Name by which other steps, expectations and the report refer to it; default the action and its number.
	Name string `json:"name,omitempty"`

	// At an instant: "09:00" (first day), "day 3 09:00", "+2h" from the start, or RFC 3339.
	At string `json:"at,omitempty"`
	// After the start ("2h") or after another step has come into force ({step, plus}).
	After *After `json:"after,omitempty"`
	// Every so often, first after one period.
	Every Duration `json:"every,omitzero"`
	// Cron schedule of five fields, in the scenario's time zone.
	Cron string `json:"cron,omitempty"`
	// When a CEL condition becomes true.
	When string `json:"when,omitempty"`
	// Rate of a Poisson process, for example 0.5/d.
	Rate *Rate `json:"rate,omitempty"`

	// Plus waits this long after When became true.
	Plus Duration `json:"plus,omitzero"`
	// By this time from the start When must have become true.
	By Duration `json:"by,omitzero"`
	// Required: a step that fails or is never reached fails the run. Default true, for When steps false.
	Required *bool `json:"required,omitempty"`
	// Again lets When fire each time it becomes true anew; default false.
	Again bool `json:"again,omitempty"`
	// Between limits Rate to a part of the day, for example ["10:00", "16:00"].
	Between []string `json:"between,omitempty"`
	// For undoes the action after this time.
	For Duration `json:"for,omitzero"`
	// Until undoes the action when this CEL condition is true.
	Until string `json:"until,omitempty"`
	// Times limits the occurrences of Every, Cron, Rate and When with again; default no limit.
	Times int32 `json:"times,omitempty"`
	// Jitter delays each occurrence by a draw from 0 up to this.
	Jitter Duration `json:"jitter,omitzero"`

	Action `json:",inline"`
	Source Source `json:"source,omitzero" scenario:"internal"`
}

// After is a delay from the start, or from another step.
type After struct {
	Step string `json:"step,omitempty"`
	// Plus is the delay.
	Plus Duration `json:"plus,omitzero"`
}

// UnmarshalText reads a delay from the start.
func (a *After) UnmarshalText(text []byte) error {
	d, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*a = After{Plus: d}
	return nil
}

// UnmarshalJSON reads a delay or {step, plus}.
func (a *After) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, a.UnmarshalText)
	}
	type plain After
	return json.Unmarshal(data, (*plain)(a))
}

// IsRequired tells whether the run fails when the step does.
func (s *Step) IsRequired() bool {
	if s.Required != nil {
		return *s.Required
	}
	return s.When == ""
}
