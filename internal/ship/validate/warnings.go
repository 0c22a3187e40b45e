package validate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warnings are about what a Rollout or a template has that works otherwise than its writer may think, found in its JSON as it
// was written. They never keep an object out.
func Warnings(raw []byte) []Problem {
	var o struct {
		Kind string `json:"kind"`
		Spec struct {
			Strategy struct {
				Steps  []json.RawMessage `json:"steps"`
				Canary *struct {
					Steps []map[string]json.RawMessage `json:"steps"`
				} `json:"canary"`
			} `json:"strategy"`
			Metrics []struct {
				Provider struct {
					Prometheus *struct {
						Authentication map[string]json.RawMessage `json:"authentication"`
					} `json:"prometheus"`
				} `json:"provider"`
			} `json:"metrics"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil // what is not an object of these kinds is refused elsewhere
	}
	var out []Problem
	s := o.Spec.Strategy
	if len(s.Steps) > 0 {
		p := Problem{"spec.strategy.steps", "deprecated since 2019: steps belong under spec.strategy.canary; they are taken as if they stood there"}
		switch {
		case s.Canary == nil:
			p.Message = "steps belong under spec.strategy.canary, which is missing: they have no effect; move them there"
		case len(s.Canary.Steps) > 0:
			p.Message = "deprecated since 2019, and without effect beside spec.strategy.canary.steps; remove them"
		}
		out = append(out, p)
	}
	if s.Canary != nil {
		for i, step := range s.Canary.Steps {
			at := field.NewPath("spec", "strategy", "canary", "steps").Index(i)
			if _, ok := step["replicaProgressThreshold"]; ok {
				out = append(out, Problem{at.Child("replicaProgressThreshold").String(), "has no effect in a step; move it to spec.strategy.canary"})
				delete(step, "replicaProgressThreshold")
			}
			if len(step) > 1 {
				keys := slices.Sorted(maps.Keys(step))
				out = append(out, Problem{at.String(), "does several things at once (" + strings.Join(keys, ", ") + "); a step of each says in which order"})
			}
		}
	}
	for i, m := range o.Spec.Metrics {
		if p := m.Provider.Prometheus; p != nil {
			if _, ok := p.Authentication["basicAuth"]; ok {
				out = append(out, Problem{fmt.Sprintf("spec.metrics[%d].provider.prometheus.authentication.basicAuth", i),
					"newer than the API that Fairway serves (v1.10.1) and without effect; put the credentials into a header from a secret argument"})
			}
		}
	}
	return out
}
