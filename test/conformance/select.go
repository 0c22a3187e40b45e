package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// group is the tests that are left out for one reason.
type group struct {
	Reason   string
	Patterns []string
	Tests    []string // that the patterns name
}

// selection is what is run and what is left out.
type selection struct {
	Run    []string
	Groups []*group
}

// conformanceTests asks the test program which conformance tests there are.
func conformanceTests(ctx context.Context, dir string) ([]string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "e2e.test"), "--list-conformance-tests").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the conformance tests: %w", err)
	}
	var tests []struct{ Codename string }
	if err := yaml.Unmarshal(out, &tests); err != nil {
		return nil, fmt.Errorf("listing the conformance tests: %w", err)
	}
	var names []string
	for _, t := range tests {
		names = append(names, t.Codename)
	}
	return names, nil
}

// readSkips reads the list of tests that are left out.
func readSkips(text string) ([]*group, error) {
	var out []*group
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		reason, isReason := strings.CutPrefix(line, "reason:")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isReason:
			out = append(out, &group{Reason: strings.TrimSpace(reason)})
		case len(out) == 0:
			return nil, fmt.Errorf("skip.txt:%d: a test before the first reason", i+1)
		default:
			last := out[len(out)-1]
			last.Patterns = append(last.Patterns, line)
		}
	}
	return out, nil
}

// makePlan divides the tests. A pattern that names no test, or only tests of groups before it, is an error.
func makePlan(names []string, groups []*group) (*selection, error) {
	out := &selection{Groups: groups}
	taken := map[string]bool{}
	for _, g := range groups {
		for _, p := range g.Patterns {
			e, found := glob(p), false
			for _, name := range names {
				if !taken[name] && e.MatchString(name) {
					taken[name], found = true, true
					g.Tests = append(g.Tests, name)
				}
			}
			if !found {
				return nil, fmt.Errorf("skip.txt: %q names no conformance test that is not left out already; remove the line", p)
			}
		}
	}
	for _, name := range names {
		if !taken[name] {
			out.Run = append(out.Run, name)
		}
	}
	return out, nil
}

// glob is the expression of a pattern in which * stands for any text.
func glob(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
}

// focus keeps the tests that match.
func (s *selection) focus(e *regexp.Regexp) {
	keep := func(names []string) (out []string) {
		for _, name := range names {
			if e.MatchString(name) {
				out = append(out, name)
			}
		}
		return out
	}
	s.Run = keep(s.Run)
	for _, g := range s.Groups {
		g.Tests = keep(g.Tests)
	}
}

// expression matches exactly the tests to run. Ginkgo matches it against the suite's name, a space and the test's.
func (s *selection) expression() string {
	var quoted []string
	for _, name := range s.Run {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return " (" + strings.Join(quoted, "|") + ")$"
}
