// Package expect decides whether a rehearsal was good enough.
//
// In come expectations of a scenario, the recorded runs (one a seed) and, when a change is rehearsed, the paired runs
// without it; out comes one Result an expectation: limit, value, worst seed, first moment, evidence. It is pure. A value
// that cannot be computed never counts as a pass: the expectation fails as "no data".
package expect
