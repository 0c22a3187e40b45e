package v1alpha1

import (
	"encoding/json"
	"fmt"
)

// Match selects workloads or Services by name, or by label.
type Match struct {
	// Name is NAMESPACE/NAME or KIND/NAMESPACE/NAME; * and ? are allowed.
	Name string `json:"name,omitempty"`
	// Selector over the labels of pods, as kubectl -l takes it.
	Selector string `json:"selector,omitempty"`
	// Namespace of Selector; empty means all.
	Namespace string `json:"namespace,omitempty"`
}

// String is the name, or the selector with its namespace.
func (m Match) String() string {
	if m.Name != "" {
		return m.Name
	}
	if m.Namespace == "" {
		return "{" + m.Selector + "}"
	}
	return m.Namespace + "/{" + m.Selector + "}"
}

// UnmarshalText reads a name.
func (m *Match) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("the match is empty; write namespace/name, for example shop/frontend")
	}
	*m = Match{Name: string(text)}
	return nil
}

// UnmarshalJSON reads a name or the object form.
func (m *Match) UnmarshalJSON(data []byte) error {
	if isScalar(data) {
		return unmarshalScalar(data, m.UnmarshalText)
	}
	type plain Match
	return json.Unmarshal(data, (*plain)(m))
}

// MarshalJSON writes the shortest form.
func (m Match) MarshalJSON() ([]byte, error) {
	if m.Selector == "" && m.Namespace == "" {
		return json.Marshal(m.Name)
	}
	type plain Match
	return json.Marshal(plain(m))
}
