package analysis

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

func TestConditionsMakeAPhaseOfAResult(t *testing.T) {
	t.Parallel()
	one, none := 1.5, (*float64)(nil)
	object := map[string]any{"data": map[string]any{"ok": true, "n": float64(3)}, "text": "7"}
	for _, c := range []struct {
		result           any
		success, failure string
		want             argo.AnalysisPhase
		fail             string
	}{
		{1.0, "", "", argo.AnalysisPhaseSuccessful, ""},
		{nil, "", "", argo.AnalysisPhaseSuccessful, ""},
		{1.0, "result < 2", "", argo.AnalysisPhaseSuccessful, ""},
		{3.0, "result < 2", "", argo.AnalysisPhaseFailed, ""},
		{1.0, "", "result > 2", argo.AnalysisPhaseSuccessful, ""},
		{3.0, "", "result > 2", argo.AnalysisPhaseFailed, ""},
		{1.0, "result < 2", "result > 4", argo.AnalysisPhaseSuccessful, ""},
		{3.0, "result < 2", "result > 4", argo.AnalysisPhaseInconclusive, ""},
		{5.0, "result < 2", "result > 4", argo.AnalysisPhaseFailed, ""},
		{5.0, "true", "true", argo.AnalysisPhaseFailed, ""},
		{[]float64{0.5, 0.7}, "result[0] < 0.6 && all(result, # < 1)", "", argo.AnalysisPhaseSuccessful, ""},
		{[]float64{}, "len(result) == 0 || result[0] > 1", "", argo.AnalysisPhaseSuccessful, ""},
		{[]float64{}, "result[0] > 1", "", argo.AnalysisPhaseError, "metric result is nil or empty: no data returned from the metric provider"},
		{none, "result > 1", "", argo.AnalysisPhaseError, "metric result is nil or empty"},
		{none, "isNil(result)", "", argo.AnalysisPhaseSuccessful, ""},
		{none, "default(result, 0) < 1", "", argo.AnalysisPhaseSuccessful, ""},
		{&one, "default(result, 0) < 1", "", argo.AnalysisPhaseFailed, ""},
		{&one, "result == 1.5 && !isNil(result)", "", argo.AnalysisPhaseSuccessful, ""},
		{math.NaN(), "isNaN(result)", "", argo.AnalysisPhaseSuccessful, ""},
		{math.Inf(-1), "isInf(result)", "", argo.AnalysisPhaseSuccessful, ""},
		{"12", "asInt(result) == 12 && asFloat(result) > 11.9", "", argo.AnalysisPhaseSuccessful, ""},
		{2.9, "asInt(result) == 2", "", argo.AnalysisPhaseSuccessful, ""},
		{object, "result.data.ok && result.data.n == 3 && asInt(result.text) == 7", "", argo.AnalysisPhaseSuccessful, ""},
		{object, "asInt(result.none) == 7", "", argo.AnalysisPhaseError, "asInt() not supported on <nil>"},
		{"x", "asInt(result) == 7", "", argo.AnalysisPhaseError, "invalid syntax"},
		{1.0, "result + 1", "", argo.AnalysisPhaseError, "expected bool, but got float64"},
		{1.0, "unknown > 1", "", argo.AnalysisPhaseError, "unknown name unknown"},
		{[]float64{1}, "result < 0.5", "", argo.AnalysisPhaseError, `could not evaluate successCondition "result < 0.5": invalid operation: <`},
		{1.0, "", "result >", argo.AnalysisPhaseError, `could not evaluate failureCondition "result >"`},
	} {
		for range 2 { // compiled, then from the cache
			got, err := judge(&argo.Metric{SuccessCondition: c.success, FailureCondition: c.failure}, c.result)
			if got != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%v with success %q, failure %q: %s, %v; want %s, %q", c.result, c.success, c.failure, got, err, c.want, c.fail)
			}
		}
	}
}

func TestOneConditionIsCompiledForEachTypeOfResult(t *testing.T) {
	t.Parallel()
	p := programs{max: 10}
	if ok, err := p.holds("result > 1", 2.0); !ok || err != nil {
		t.Errorf("a number: %v, %v", ok, err)
	}
	if _, err := p.holds("result > 1", []float64{2}); err == nil {
		t.Error("a list was compared with a number")
	}
	if ok, err := p.holds("result > 1", 0.5); ok || err != nil {
		t.Errorf("another number: %v, %v", ok, err)
	}
}

func TestCompiledConditionsAreBoundedAndTheLastUsedStay(t *testing.T) {
	t.Parallel()
	p := programs{max: 3}
	for i := range 10 {
		for _, c := range []string{"result > 0", fmt.Sprintf("result > %d", i+1)} {
			if _, err := p.holds(c, 1.0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(p.byKey) != 3 || p.used.Len() != 3 {
		t.Errorf("%d, %d programs are kept, want 3", len(p.byKey), p.used.Len())
	}
	if p.used.Front().Next().Value.(*program).key.condition != "result > 0" {
		t.Error("the condition used again and again was forgotten")
	}
}

func TestRangesOfTimeAreExpressions(t *testing.T) {
	t.Parallel()
	at, err := Instant(`now() - duration("1h")`)
	if ago := time.Since(at); err != nil || ago < time.Hour || ago > time.Hour+time.Minute {
		t.Errorf("%v, %v", at, err)
	}
	if at, err := Instant(`date("2026-01-02T03:04:05Z")`); err != nil || at.Unix() != time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix() {
		t.Errorf("%v, %v", at, err)
	}
	for _, bad := range []string{"1 + 1", "now(", "nothing"} {
		if _, err := Instant(bad); err == nil {
			t.Errorf("%s was taken for a time", bad)
		}
	}
}

func TestCheckConditionFindsBadSyntaxOnly(t *testing.T) {
	t.Parallel()
	if CheckCondition("result[0] >") == nil {
		t.Error("bad syntax passed")
	}
	if err := CheckCondition("anything.at.all > foo(1)"); err != nil {
		t.Error(err)
	}
}
