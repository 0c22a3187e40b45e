package report

import (
	"strings"
	"testing"
)

func TestExplainRunsFromAFailedExpectationToItsRoot(t *testing.T) {
	t.Parallel()
	r := Build(shop(1, false))
	for _, e := range r.Verdict.Expectations {
		if e.Held || len(e.Why) == 0 {
			continue
		}
		text, ok := Explain(r, e.Why[0])
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if !ok || len(lines) != len(e.Why) || !strings.Contains(lines[0], e.Name) || !strings.Contains(lines[len(lines)-1], "zone loss") {
			t.Errorf("%s is explained by\n%s", e.Name, text)
		}
	}
	if _, ok := Explain(r, 1_000_000); ok {
		t.Error("an entry that does not exist was explained")
	}
}
