package admission

import (
	"bytes"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// strategy is as much of a Rollout as the shape of 2019 is about: it has the steps of a canary beside `canary`.
type strategy struct {
	Spec struct {
		Strategy struct {
			Steps  json.RawMessage `json:"steps"`
			Canary *struct {
				Steps json.RawMessage `json:"steps"`
			} `json:"canary"`
		} `json:"strategy"`
	} `json:"spec"`
}

// change is one operation of a JSON patch (RFC 6902).
type change struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

const (
	oldPlace = "/spec/strategy/steps"
	newPlace = "/spec/strategy/canary/steps"
)

// mutate moves the steps of the shape of 2019 under `canary`.
func (j *Judge) mutate(r *admissionv1.AdmissionRequest) admission.Response {
	if r.Kind.Kind != "Rollout" || !misplaced(r.Object.Raw, r.OldObject.Raw) {
		return admission.Allowed("")
	}
	var s strategy
	_ = json.Unmarshal(r.Object.Raw, &s) // misplaced has read it
	patch, err := json.Marshal([]change{{Op: "add", Path: newPlace, Value: s.Spec.Strategy.Steps}, {Op: "remove", Path: oldPlace}})
	if err != nil {
		return admission.Allowed("").WithWarnings(err.Error())
	}
	kind := admissionv1.PatchTypeJSONPatch
	out := admission.Allowed("").WithWarnings(fmt.Sprintf(
		"%s %q: spec.strategy.steps: deprecated since 2019: steps belong under spec.strategy.canary; they were moved there. Move them in the file, too",
		r.Kind.Kind, nameOf(r)))
	out.Patch, out.PatchType = patch, &kind
	return out
}

// misplaced tells whether the steps beside `canary` are what the writer means. Where there are steps in both places that is so
// only when those in the old place are new: kubectl apply of an old file adds them to what an earlier apply left after the move.
func misplaced(raw, before []byte) bool {
	var s, old strategy
	if json.Unmarshal(raw, &s) != nil || len(before) > 0 && json.Unmarshal(before, &old) != nil {
		return false
	}
	canary := s.Spec.Strategy.Canary
	if empty(s.Spec.Strategy.Steps) || canary == nil {
		return false
	}
	if empty(canary.Steps) {
		return true
	}
	was := old.Spec.Strategy.Canary
	return was != nil && empty(old.Spec.Strategy.Steps) && bytes.Equal(was.Steps, canary.Steps)
}

func empty(steps json.RawMessage) bool {
	var list []json.RawMessage
	return json.Unmarshal(steps, &list) != nil || len(list) == 0
}
