package gatewayconformance

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// outcome of a test that ran.
type outcome int

const (
	passed outcome = iota
	failed
	notRun
)

// results of the tests of a run.
type results struct {
	mu    sync.Mutex
	ended map[string]outcome
}

// take notes how a test ended; it is a suite's Hook.
func (r *results) take(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.Failed():
		r.ended[test.ShortName] = failed
	case t.Skipped():
		r.ended[test.ShortName] = notRun
	default:
		r.ended[test.ShortName] = passed
	}
}

// count of tests, and of those that ran and passed.
type count struct{ all, ran, passed int }

func (c *count) add(o outcome) {
	c.all++
	if o != notRun {
		c.ran++
	}
	if o == passed {
		c.passed++
	}
}

func (c count) String() string {
	if c.all == c.ran {
		return fmt.Sprintf("%d of %d", c.passed, c.ran)
	}
	return fmt.Sprintf("%d of %d; %d not run", c.passed, c.ran, c.all-c.ran)
}

// print the figures: by profile, by feature, and what failed or was left out.
func (r *results) print(w io.Writer, s *suite.ConformanceTestSuite, skipped []skip) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nProfile\tCore\tExtended")
	for _, p := range []suite.ConformanceProfile{suite.GatewayHTTPConformanceProfile, suite.GatewayGRPCConformanceProfile, suite.GatewayTLSConformanceProfile} {
		var core, extended count
		for _, test := range tests.ConformanceTests {
			if !ofProfile(p, test) || !s.SupportedFeatures.HasAll(test.Features...) {
				continue
			}
			if p.CoreFeatures.HasAll(test.Features...) {
				core.add(r.of(test))
			} else {
				extended.add(r.of(test))
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, core, extended)
	}
	fmt.Fprintln(t, "\nFeature\tTests passed")
	for _, f := range slices.Sorted(maps.Keys(s.SupportedFeatures)) {
		var c count
		for _, test := range tests.ConformanceTests {
			if slices.Contains(test.Features, f) && s.SupportedFeatures.HasAll(test.Features...) {
				c.add(r.of(test))
			}
		}
		fmt.Fprintf(t, "%s\t%s\n", f, c)
	}
	t.Flush()
	fmt.Fprintf(w, "\nnot claimed: %s\n", strings.Join(unclaimed(s), ", "))
	for _, name := range slices.Sorted(maps.Keys(r.ended)) {
		if r.ended[name] == failed {
			fmt.Fprintln(w, "failed:", name)
		}
	}
	for _, one := range skipped {
		fmt.Fprintf(w, "left out: %s: %s\n", one.test, one.reason)
	}
}

func (r *results) of(test suite.ConformanceTest) outcome {
	if o, ok := r.ended[test.ShortName]; ok {
		return o
	}
	return notRun
}

// ofProfile tells whether a test counts for a profile: whether it needs no feature that the profile does not know.
func ofProfile(p suite.ConformanceProfile, test suite.ConformanceTest) bool {
	for _, f := range test.Features {
		if !p.CoreFeatures.Has(f) && !p.ExtendedFeatures.Has(f) {
			return false
		}
	}
	return true
}

// unclaimed are the features of the profiles that the class does not claim.
func unclaimed(s *suite.ConformanceTestSuite) (out []string) {
	for _, f := range features.AllFeatures.UnsortedList() {
		if !s.SupportedFeatures.Has(f.Name) && !strings.HasPrefix(string(f.Name), "Mesh") {
			out = append(out, string(f.Name))
		}
	}
	slices.Sort(out)
	return out
}

// writeReport writes the suite's own report, in the form in which implementations publish theirs.
func writeReport(t *testing.T, s *suite.ConformanceTestSuite, path string) {
	if path == "" {
		return
	}
	report, err := s.Report()
	if err != nil {
		t.Error(err)
		return
	}
	text, err := yaml.Marshal(report)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// skip is a test that is left out.
type skip struct{ test, reason string }

// readSkips reads lines "TEST: reason"; # begins a comment.
func readSkips(text string) (out []skip, err error) {
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		test, reason, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("skip.txt:%d: %q has no reason; write TEST: why it cannot pass", n+1, line)
		}
		out = append(out, skip{strings.TrimSpace(test), strings.TrimSpace(reason)})
	}
	return out, nil
}
