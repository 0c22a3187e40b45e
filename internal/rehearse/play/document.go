// Package play runs one scenario with one seed: it boots a cluster in this process, applies the manifests, lets it settle,
// moves the load through the flow model into the autoscalers, carries out the steps, and writes everything that happened
// as a stream of events (package record). It is meant to run in virtual time, where a day takes seconds, and uses the
// clock plainly; whether time is virtual is decided by how the program is linked.
package play

import (
	"encoding/json"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// Document is the whole input of a run: resolved and checked, with every file it names read. Equal documents give equal
// runs.
type Document struct {
	Scenario v1alpha1.Scenario `json:"scenario"`
	Seed     int64             `json:"seed"`
	// Shape of the program that made the document; another's is refused.
	Shape   string   `json:"shape"`
	Objects []Object `json:"objects"`
	// Scheduler is the content of controllers.kubernetes.schedulerConfig.
	Scheduler []byte `json:"scheduler,omitempty"`
	// Programs are those of virtual.programs and of the manifests.
	Programs []*v1alpha1.Program `json:"programs,omitempty"`
	// Assumed is what was already taken for granted when the document was made.
	Assumed []record.Assumed `json:"assumed,omitempty"`
	// Lenient goes on without objects that the API server refuses.
	Lenient bool `json:"lenient,omitempty"`
	// Check holds the run against the invariants of the house, on every change and each virtual minute; the first that is
	// broken ends it. For scenarios that end in peace: the last fault healed half an hour before.
	Check bool `json:"check,omitempty"`
	// Plant breaks the house on purpose (one of the Plant constants), to see that Check finds it.
	Plant string `json:"plant,omitempty"`
	// Unrest fails Fairway's own controllers, with Check.
	Unrest *Unrest `json:"unrest,omitempty"`
}

// Object is one manifest, with where it stands in the user's files.
type Object struct {
	Object json.RawMessage `json:"object"`
	File   string          `json:"file"`
	Line   int             `json:"line"`
}
