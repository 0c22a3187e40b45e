package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// result is how one test ended.
type result struct {
	Passed  bool
	Skipped string // the test's own reason not to run
	Failure string // the first line of what failed
	At      string // where, as file:line of upstream's source
	Took    time.Duration
}

// readReport returns the results by name. Tests that were not selected are not in it.
func readReport(file string) (map[string]result, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var suites []types.Report
	if err := json.Unmarshal(data, &suites); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string]result{}
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			if spec.LeafNodeType != types.NodeTypeIt || spec.NumAttempts == 0 {
				continue
			}
			out[spec.FullText()] = outcome(&spec)
		}
	}
	return out, nil
}

func outcome(spec *types.SpecReport) result {
	r := result{Passed: spec.State == types.SpecStatePassed, Took: spec.RunTime}
	first, _, _ := strings.Cut(strings.TrimSpace(spec.Failure.Message), "\n")
	switch {
	case r.Passed:
	case spec.State == types.SpecStateSkipped:
		r.Skipped = first
	default:
		if first == "" {
			first = spec.State.String()
		}
		r.Failure = first
		r.At = strings.TrimPrefix(spec.Failure.FailureNodeLocation.String(), "k8s.io/kubernetes/")
	}
	return r
}

// printReport prints the table and the failures, and tells whether there were any. A selected test without a result
// counts as failed: the run ended before it.
func printReport(w io.Writer, plan *selection, results map[string]result, took time.Duration) (failed bool) {
	var passed, skipped, failures []string
	for _, name := range plan.Run {
		r, ran := results[name]
		switch {
		case !ran:
			failures = append(failures, name+"\n    did not run")
		case r.Passed:
			passed = append(passed, name)
		case r.Skipped != "":
			skipped = append(skipped, name+"\n    "+r.Skipped)
		default:
			failures = append(failures, fmt.Sprintf("%s\n    %s\n    (%s, after %v)", name, r.Failure, r.At, r.Took.Round(time.Second)))
		}
	}
	left := 0
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range plan.Groups {
		left += len(g.Tests)
	}
	fmt.Fprintf(t, "conformance tests\t%d\n", left+len(plan.Run))
	fmt.Fprintf(t, "left out\t%d\n", left)
	for _, g := range plan.Groups {
		fmt.Fprintf(t, "  %s\t%d\n", g.Reason, len(g.Tests))
	}
	fmt.Fprintf(t, "selected\t%d\n", len(plan.Run))
	fmt.Fprintf(t, "  passed\t%d\n", len(passed))
	fmt.Fprintf(t, "  failed\t%d\n", len(failures))
	fmt.Fprintf(t, "  skipped by the test itself\t%d\n", len(skipped))
	fmt.Fprintf(t, "time\t%v\n", took.Round(time.Second))
	t.Flush()
	list(w, "Failed", failures)
	list(w, "Skipped by the test itself", skipped)
	return len(failures) > 0
}

func list(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	slices.Sort(lines)
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, l := range lines {
		fmt.Fprintln(w, "  "+l)
	}
}
