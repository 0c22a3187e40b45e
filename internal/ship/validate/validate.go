// Package validate says what is wrong with Rollouts, AnalysisTemplates, AnalysisRuns and Experiments: all of it at once, in a
// fixed order, with the field and what to change. In: objects, and what they refer to as it was found. Out: problems. It reads
// nothing itself, so that admission, the engine and an offline lint judge alike. The rules and their wording are the peer's,
// so that what tools and people look for stays the same; rules of Fairway's own refuse only what could not work.
package validate

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Problem is one thing wrong with an object.
type Problem struct {
	Field   string // path, as in spec.strategy.canary.steps[1].setWeight
	Message string // what is wrong and what to change, as kubectl shows it: Invalid value: 110: SetWeight needs to be …
}

// String is the problem as kubectl shows it.
func (p Problem) String() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// Summary is one line for a condition: The Rollout "web" is invalid: FIELD: MESSAGE. Of several problems it has the first, as
// the peer does, and says how many more there are. It is "" without problems.
func Summary(kind, name string, problems []Problem) string {
	switch n := len(problems); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("The %s %q is invalid: %s", kind, name, problems[0])
	default:
		return fmt.Sprintf("The %s %q is invalid: %s (and %d more)", kind, name, problems[0], n-1)
	}
}

// problems makes problems of errors; what is said twice is said once.
func problems(errs field.ErrorList) []Problem {
	var out []Problem
	seen := map[Problem]bool{}
	for _, e := range errs {
		p := Problem{Field: e.Field, Message: e.ErrorBody()}
		if !seen[p] {
			out = append(out, p)
		}
		seen[p] = true
	}
	return out
}

// unresolved tells whether a text has arguments in it that are put in place later.
func unresolved(text string) bool { return strings.Contains(text, "{{") }

// nonnegative is an error for a number below 0.
func nonnegative(value int64, path *field.Path) field.ErrorList {
	if value >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than or equal to 0")}
}

func orDefault(value *int32, fallback int32) int32 {
	if value == nil {
		return fallback
	}
	return *value
}
