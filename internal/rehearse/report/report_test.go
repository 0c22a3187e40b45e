package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/cost"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/record/recordtest"
)

func shop(seeds int, withBaseline bool) Source {
	s := Source{Scenario: Scenario{Name: "friday-peak", SHA256: strings.Repeat("5f0d", 16), TimeZone: "Europe/Berlin", Fidelity: "flow", File: "scenario.yaml", Inputs: []Input{{Name: "scenario.yaml", SHA256: strings.Repeat("ab", 32)}}},
		Prices: cost.Default(), Expectations: expectations()}
	for i := range seeds {
		s.Runs = append(s.Runs, recordtest.Day(recordtest.Options{Seed: int64(i + 1)}))
		if withBaseline {
			s.Scenario.Change = "release"
			s.Baseline = append(s.Baseline, recordtest.Day(recordtest.Options{Seed: int64(i + 1), NoRelease: true}))
		}
	}
	return s
}

// expectations are those of a shop that takes itself seriously; some fail when a zone is lost.
func expectations() []v1alpha1.Expectation {
	var list []v1alpha1.Expectation
	text := `[
		{"slo": {"load": "shoppers", "availability": "99.9%", "p95": "300ms"}, "source": {"file": "scenario.yaml", "line": 36}},
		{"slo": {"service": "shop/cart", "availability": "99.95%"}, "source": {"file": "scenario.yaml", "line": 37}},
		{"cost": {"max": 45}, "source": {"file": "scenario.yaml", "line": 38}},
		{"pending": {"p95": "60s", "max": "5m"}, "source": {"file": "scenario.yaml", "line": 39}},
		{"recovery": {"after": "zone loss", "within": "5m"}, "source": {"file": "scenario.yaml", "line": 40}},
		{"replicas": {"workload": "shop/frontend", "min": 2, "max": 30, "reversals": "4/h"}},
		{"name": "no eviction below a PDB", "severity": "warn", "cel": "evictions.all(e, e.budgetKept)"}
	]`
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		panic(err)
	}
	return list
}

// thin keeps every twentieth sample, for tests that need no fine series.
func thin(s Source) Source {
	for _, runs := range [][]record.Run{s.Runs, s.Baseline} {
		for i := range runs {
			var kept []record.Sample
			for k, sample := range runs[i].Samples {
				if k%20 == 19 {
					kept = append(kept, sample)
				}
			}
			runs[i].Samples, runs[i].Start.SampleStep = kept, 20*time.Minute
		}
	}
	return s
}

func mustJSON(t testing.TB, r *Report) []byte {
	t.Helper()
	b, err := JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run go test -update, read the change, and keep it if it is meant.\ngot:\n%.3000s", file, got)
	}
}

func TestEqualRunsGiveEqualBytesInAnyOrder(t *testing.T) {
	t.Parallel()
	a, b := shop(3, true), shop(3, true)
	b.Runs[0], b.Runs[2] = b.Runs[2], b.Runs[0]
	b.Baseline[0], b.Baseline[1] = b.Baseline[1], b.Baseline[0]
	x, y := Build(a), Build(b)
	if !bytes.Equal(mustJSON(t, x), mustJSON(t, y)) {
		t.Error("the order in which runs finished shows in the JSON")
	}
	hx, err := HTML(x)
	if err != nil {
		t.Fatal(err)
	}
	hy, err := HTML(y)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hx, hy) {
		t.Error("equal reports give different pages")
	}
}

func TestEveryReportFitsThePublishedSchemaAndReadsBack(t *testing.T) {
	t.Parallel()
	broken := thin(shop(1, false))
	broken.Runs[0].End = nil
	noLoad := thin(shop(1, false))
	noLoad.Runs[0].Loads, noLoad.Runs[0].Samples, noLoad.Runs[0].Nodes = nil, nil, nil
	for name, source := range map[string]Source{"one seed": thin(shop(1, false)), "five seeds and a baseline": thin(shop(5, true)), "nothing run": {Scenario: Scenario{Name: "empty"}}, "broken off": broken, "nothing recorded": noLoad} {
		r := Build(source)
		b := mustJSON(t, r)
		validates(t, b)
		back, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := mustJSON(t, back); !bytes.Equal(b, again) {
			t.Errorf("%s: reading and writing changed the report", name)
		}
		if _, err := HTML(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		Terminal(r, 80)
		Markdown(r)
	}
}

func TestParseSaysWhyADocumentIsNoReport(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{`{}`: "its schema is missing", `{"schema":"fairway.dev/rehearsal-report/v2"}`: "this program reads", `[`: "not a rehearsal report"} {
		if _, err := Parse([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v, want %q", doc, err, want)
		}
	}
}

func TestTerminalFitsFortyLinesAndTheWidth(t *testing.T) {
	t.Parallel()
	many := thin(shop(2, true))
	for range 30 {
		many.Expectations = append(many.Expectations, v1alpha1.Expectation{CEL: "cost.total < 1.0"})
	}
	many.Warnings = []string{"no load reaches shop/email", strings.Repeat("a long warning ", 40), "a third"}
	for name, source := range map[string]Source{"plain": thin(shop(1, false)), "compared": thin(shop(5, true)), "crowded": many} {
		r := Build(source)
		for _, width := range []int{60, 80, 100, 200} {
			text := Terminal(r, width)
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if len(lines) > 40 {
				t.Errorf("%s at %d columns has %d lines", name, width, len(lines))
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > min(width, 120) {
					t.Errorf("%s: %d columns in %q", name, utf8.RuneCountInString(l), l)
				}
			}
			if !strings.Contains(text, "FAIL") || !strings.Contains(strings.Join(lines[len(lines)-2:], " "), "Next: ") {
				t.Errorf("%s at %d columns lost its verdict or its next step:\n%s", name, width, text)
			}
		}
	}
}

func TestRenderingsOfAShopsDayStayAsTheyAre(t *testing.T) {
	r := Build(shop(5, true))
	golden(t, "shop.txt", []byte(Terminal(r, 100)))
	golden(t, "shop.md", []byte(Markdown(r)))
	junit, err := JUnit(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "shop.junit.xml", junit)
	sarif, err := SARIF(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "shop.sarif", sarif)
	golden(t, "shop.annotations.txt", []byte(GitHubAnnotations(r)))
}

func TestIncompleteRunNeverPasses(t *testing.T) {
	t.Parallel()
	s := shop(2, false)
	s.Expectations = []v1alpha1.Expectation{{Cost: &v1alpha1.CostExpectation{Max: ptr(1e9)}}}
	s.Runs[1].End = nil
	s.Runs[1].Samples = s.Runs[1].Samples[:200]
	r := Build(s)
	if r.Verdict.Result != Incomplete || r.ExitCode() != 2 {
		t.Errorf("a run that broke off gives %s, exit %d", r.Verdict.Result, r.ExitCode())
	}
	if !strings.Contains(r.Verdict.Headline, "09:20") || !strings.Contains(r.Verdict.Headline, "seed 2") {
		t.Errorf("the headline %q does not say when and where it stopped", r.Verdict.Headline)
	}
	for _, e := range r.Verdict.Expectations {
		if e.Held {
			t.Errorf("%s is said to have held in a run that did not finish", e.Name)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestExitCodeIsOneOnlyWhenAnErrorExpectationFails(t *testing.T) {
	t.Parallel()
	s := shop(1, false)
	s.Expectations = []v1alpha1.Expectation{{Severity: v1alpha1.SeverityWarn, Cost: &v1alpha1.CostExpectation{Max: ptr(1.0)}}}
	if r := Build(s); r.Verdict.Result != Pass || r.ExitCode() != 0 {
		t.Errorf("a broken warning gives %s, exit %d", r.Verdict.Result, r.ExitCode())
	}
	s.Expectations[0].Severity = ""
	if r := Build(s); r.Verdict.Result != Fail || r.ExitCode() != 1 {
		t.Errorf("a broken expectation gives %s, exit %d", r.Verdict.Result, r.ExitCode())
	}
}

const hostile = `</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&]]>` + "\x00\x1b[31m|*_@everyone\n## heading"

// withHostileStrings puts markup wherever a name or text comes from the outside.
func withHostileStrings() Source {
	s := shop(1, false)
	s.Scenario.Name, s.Scenario.Title = hostile, hostile
	s.Warnings = []string{hostile}
	run := &s.Runs[0]
	run.Timeline[0].What, run.Timeline[0].Why, run.Timeline[0].Object, run.Timeline[0].Actor, run.Timeline[0].Severity = hostile, hostile, hostile, hostile, record.Severe
	for i := range run.Columns {
		if run.Columns[i].Labels["service"] == "shop/cart" {
			run.Columns[i].Labels = map[string]string{"service": hostile}
		}
	}
	run.Workloads[0].Service, run.Workloads[0].BalanceNote = hostile, hostile
	run.Steps[0].Name, run.Steps[0].Message, run.Steps[0].State = hostile, hostile, record.StepFailed
	run.Assumptions[0].What, run.Calls[0].To, run.Evictions[0].Pod, run.Nodes[0].Pool = hostile, hostile, hostile, hostile
	return s
}

func TestHostileStringsStayTextInEveryRendering(t *testing.T) {
	t.Parallel()
	r := Build(withHostileStrings())
	page, err := HTML(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>alert", "<img", "onerror=alert(2)>\""} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page contains %q", bad)
		}
	}
	if n := bytes.Count(page, []byte("<script")); n != 2 {
		t.Errorf("the page has %d script blocks, want data and code", n)
	}
	md := Markdown(r)
	if strings.Contains(md, "<img") || strings.Contains(md, "@everyone") || strings.Contains(md, "\n## heading") {
		t.Error("text became markup in Markdown")
	}
	junit, err := JUnit(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(junit, new(struct{})); err != nil {
		t.Errorf("JUnit is no XML: %v", err)
	}
	if strings.Contains(GitHubAnnotations(r), "\n## heading") {
		t.Error("a line break in a text starts a new workflow command")
	}
}

func TestPageCarriesAPolicyThatNamesItsBlocksByHash(t *testing.T) {
	t.Parallel()
	page, err := HTML(Build(shop(1, false)))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	between := func(from, to string) string {
		_, rest, _ := strings.Cut(text, from)
		block, _, _ := strings.Cut(rest, to)
		return block
	}
	policy := between(`Content-Security-Policy" content="`, `"`)
	if !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	if !strings.Contains(policy, digest(between("<style>", "</style>"))) || !strings.Contains(policy, digest(between("<script>", "</script>"))) {
		t.Error("a block's hash is not the one in the policy: the browser would refuse it")
	}
	for _, bad := range []string{" style=\"", " onclick=", "http://", "https://", "url("} {
		if strings.Contains(strings.NewReplacer("http://www.w3.org/2000/svg", "", "url(#c-", "").Replace(text), bad) {
			t.Errorf("the page contains %q, which the policy forbids or which needs a network", bad)
		}
	}
}

func TestPageStaysBelowOneMebibyteHoweverMuchHappened(t *testing.T) {
	t.Parallel()
	s := Source{Scenario: Scenario{Name: "big", TimeZone: "UTC"}, Prices: cost.Default()}
	run := recordtest.Day(recordtest.Options{Services: 150})
	for i := range 20000 {
		run.Add(record.Event{Entry: &record.Entry{ID: len(run.Timeline) + 1, Time: run.Start.PlayFrom.Add(time.Duration(i) * 3 * time.Second), Kind: record.KindEvent, Object: strings.Repeat("x", 200), What: strings.Repeat("word ", 60), Severity: record.Severe}})
	}
	s.Runs = []record.Run{run}
	page, err := HTML(Build(s))
	if err != nil {
		t.Fatal(err)
	}
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if !bytes.Contains(page, []byte("the JSON report has them all")) {
		t.Error("the page does not say what it left out")
	}
	if md := Markdown(Build(s)); len(md) > 60_000 {
		t.Errorf("Markdown has %d bytes", len(md))
	}
}

func TestExecutionIsShownOnlyOnRequest(t *testing.T) {
	t.Parallel()
	s := shop(1, false)
	if bytes.Contains(mustJSON(t, Build(s)), []byte("wallSeconds")) {
		t.Error("real time is in a report nobody asked it for")
	}
	s.WithExecution = true
	if !bytes.Contains(mustJSON(t, Build(s)), []byte("wallSeconds")) {
		t.Error("real time was asked for and is missing")
	}
}

// BenchmarkReport is an 18-hour run of 20 services to JSON and HTML.
func BenchmarkReport(b *testing.B) {
	s := Source{Scenario: Scenario{Name: "bench", TimeZone: "Europe/Berlin"}, Prices: cost.Default(), Expectations: expectations(), Runs: []record.Run{recordtest.Day(recordtest.Options{Services: 20})}}
	var size int
	for b.Loop() {
		r := Build(s)
		if _, err := JSON(r); err != nil {
			b.Fatal(err)
		}
		page, err := HTML(r)
		if err != nil {
			b.Fatal(err)
		}
		size = len(page)
	}
	b.ReportMetric(float64(size), "HTML-bytes")
}

func TestTheTimelineHasTheStepsOfAReleaseAndEachReasonOnce(t *testing.T) {
	t.Parallel()
	r := Build(shop(1, false))
	at := r.Scenario.Start.Add(26 * time.Minute)
	why := "5 of 100 requests failed"
	r.Timeline = []Entry{
		{ID: 1, Seed: 1, T: at, Kind: record.KindRollout, What: "the router of shop/web sends 5 %", Severity: record.Info},
		{ID: 2, Seed: 1, T: at, Kind: record.KindPodReady, What: "pod ready", Severity: record.Info, Count: 3},
		{ID: 3, Seed: 1, T: at.Add(time.Second), Kind: record.KindAnalysis, What: "the analysis has failed", Why: why, Severity: record.Warning},
		{ID: 4, Seed: 1, T: at.Add(time.Second), Kind: record.KindRollout, What: "the update is aborted", Why: "analysis: " + why, Severity: record.Severe},
		{ID: 5, Seed: 2, T: at, Kind: record.KindRollout, What: "of another seed", Severity: record.Severe},
	}
	r.Verdict.ShownSeed = 1
	got := Timeline(r, 80)
	for _, want := range []string{r.clock(at) + " ", "sends 5 %", "the analysis has failed", "the update is aborted"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Count(got, why) != 1 || strings.Contains(got, "pod ready") || strings.Contains(got, "another seed") {
		t.Errorf("reasons twice, details of pods, or another seed are in\n%s", got)
	}
	r.Timeline = nil
	if got := Timeline(r, 80); !strings.Contains(got, "Nothing happened") {
		t.Errorf("an empty timeline is %q", got)
	}
}
