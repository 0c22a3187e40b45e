package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/kubernetes/test/conformance/testdata"
	"sigs.k8s.io/yaml"
)

func TestTheSkipListNamesOnlyTestsOfThisVersion(t *testing.T) {
	t.Parallel()
	data, err := testdata.GetConformanceTestdataFS().EmbeddedFS.ReadFile("conformance.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tests []struct{ Codename string }
	if err := yaml.Unmarshal(data, &tests); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range tests {
		names = append(names, c.Codename)
	}
	groups, err := readSkips(skipText)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := makePlan(names, groups)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, g := range groups {
		left += len(g.Tests)
	}
	if left+len(plan.Run) != len(names) || left == 0 || len(plan.Run) == 0 {
		t.Errorf("%d tests are left out and %d run, of %d", left, len(plan.Run), len(names))
	}
}

func TestAPatternThatNamesNoTestIsAnError(t *testing.T) {
	t.Parallel()
	groups, err := readSkips("reason: r\n[a] one *\n[b] *")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makePlan([]string{"[a] one (x)"}, groups); err == nil || !strings.Contains(err.Error(), "[b] *") {
		t.Errorf("got %v, want an error about [b] *", err)
	}
	if _, err := readSkips("[a] one"); err == nil {
		t.Error("a test before the first reason is taken")
	}
}

func TestTheExpressionMatchesTheSelectedTestsAlone(t *testing.T) {
	t.Parallel()
	plan := &selection{Run: []string{"[a] one (x)", "[a] one (x) more", "[b] two"}}
	plan.focus(regexp.MustCompile(`one`))
	e := regexp.MustCompile(plan.expression())
	for name, want := range map[string]bool{"[a] one (x)": true, "[a] one (x) more": true, "[b] two": false, "[a] one (x) most": false} {
		if got := e.MatchString("Kubernetes e2e suite " + name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

func TestASelectedTestWithoutAResultCountsAsFailed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), reportFile)
	report := `[{"SpecReports":[
		{"LeafNodeType":"It","LeafNodeText":"[a] one","NumAttempts":1,"State":"passed"},
		{"LeafNodeType":"It","LeafNodeText":"[a] two","NumAttempts":1,"State":"failed","Failure":{"Message":"it broke\nat length","FailureNodeLocation":{"FileName":"k8s.io/kubernetes/test/e2e/x.go","LineNumber":7}}}]}]`
	if err := os.WriteFile(file, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	results, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if !printReport(&out, &selection{Run: []string{"[a] one", "[a] two", "[a] three"}}, results, time.Minute) {
		t.Error("failures are not told")
	}
	for _, want := range []string{"passed                      1", "failed                      2", "it broke\n", "test/e2e/x.go:7", "[a] three\n    did not run"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
