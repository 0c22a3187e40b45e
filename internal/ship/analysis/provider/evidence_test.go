package provider

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"pgregory.net/rapid"

	"github.com/fairway-dev/fairway/internal/ship/analysis"
)

// witness answers every question alike.
type witness struct {
	asked  *analysis.Question
	answer analysis.Answer
}

func (w witness) Measure(_ context.Context, q analysis.Question) (analysis.Answer, error) {
	if w.asked != nil {
		*w.asked = q
	}
	return w.answer, nil
}

func known(context.Context, *argo.AnalysisRun) (Revisions, error) {
	return Revisions{Rollout: "web", Stable: "sss", Latest: "lll"}, nil
}

func plugin(name, config string) argo.MetricProvider {
	return argo.MetricProvider{Plugin: map[string]json.RawMessage{name: json.RawMessage(config)}}
}

func TestEvidenceIsAskedAboutTheRevisionsOfTheRollout(t *testing.T) {
	t.Parallel()
	var q analysis.Question
	c := Config{Evidence: witness{&q, analysis.Answer{Value: 0.99}}, Revisions: known}
	got, err := measure(t, c, plugin("fairway/gateway", `{"metric":"success-rate","route":"shop"}`))
	expect(t, got, err, 0.99, "0.99")
	if q != (analysis.Question{Source: "fairway/gateway", Namespace: "shop", Rollout: "web", Metric: "success-rate", Hash: "lll", Route: "shop", Window: time.Minute}) {
		t.Errorf("%+v", q)
	}
	if _, err = measure(t, c, plugin("fairway/gateway", `{"metric":"latency-p95","hash":"abc","window":"5m","compare":{"against":"Stable","maxRatio":1.2}}`)); err != nil {
		t.Fatal(err)
	}
	if q.Hash != "abc" || q.Against != "sss" || q.MaxRatio != 1.2 || q.Window != 5*time.Minute {
		t.Errorf("%+v", q)
	}
	if _, err = measure(t, c, plugin("fairway/kube", `{"metric":"restarts"}`)); err != nil || q.Source != "fairway/kube" {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestEvidenceFailsInWords(t *testing.T) {
	t.Parallel()
	c := Config{Evidence: witness{}, Revisions: known}
	for text, config := range map[string]string{
		`metric is "speed"; there are success-rate`:     `{"metric":"speed"}`,
		`unknown field "hsah"`:                          `{"metric":"rps","hsah":"x"}`,
		"window \"x\" is not a positive duration":       `{"metric":"rps","window":"x"}`,
		"compare needs shares of requests; rps is none": `{"metric":"rps","compare":{}}`,
		"either maxDelta or maxRatio":                   `{"metric":"success-rate","compare":{"maxDelta":1,"maxRatio":1}}`,
		"compare.confidence must be between 0.5 and 1":  `{"metric":"success-rate","compare":{"confidence":95}}`,
	} {
		_, err := measure(t, c, plugin("fairway/gateway", config))
		expectFault(t, err, text)
	}
	for text, config := range map[string]string{
		"there are restarts, oom-kills, readiness-flaps, pod-start-p95": `{"metric":"success-rate"}`,
		"it is empty: give a metric, one of restarts":                   ``,
		"route is of requests, not of pods":                             `{"metric":"restarts","route":"HTTPRoute/shop/web"}`,
		"window \"2h\" is longer than 1h0m0s":                           `{"metric":"restarts","window":"2h"}`,
		"give a successCondition such as result == 0":                   `{"metric":"restarts","compare":{}}`,
	} {
		_, err := measure(t, c, plugin("fairway/kube", config))
		expectFault(t, err, text)
	}
	_, err := measure(t, Config{}, plugin("fairway/gateway", `{"metric":"rps"}`))
	expectFault(t, err, "there is no evidence for fairway/gateway in this process")
	_, err = measure(t, Config{Evidence: witness{}}, plugin("fairway/kube", `{"metric":"restarts"}`))
	expectFault(t, err, "the Latest revision is not known")
}

func TestComparisonsFailOnlyWhenChanceIsUnlikely(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  analysis.Answer
		compare string
		want    argo.AnalysisPhase
	}{
		"the same":               {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 10, AgainstBad: 10}, `{}`, argo.AnalysisPhaseSuccessful},
		"a little worse":         {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 13, AgainstBad: 10}, `{}`, argo.AnalysisPhaseSuccessful},
		"clearly worse":          {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 30, AgainstBad: 10}, `{}`, argo.AnalysisPhaseFailed},
		"better":                 {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 1, AgainstBad: 100}, `{}`, argo.AnalysisPhaseSuccessful},
		"worse within the delta": {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 30, AgainstBad: 10}, `{"maxDelta":0.02}`, argo.AnalysisPhaseSuccessful},
		"worse past the delta":   {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 80, AgainstBad: 10}, `{"maxDelta":0.02}`, argo.AnalysisPhaseFailed},
		"worse within the ratio": {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 30, AgainstBad: 20}, `{"maxRatio":2}`, argo.AnalysisPhaseSuccessful},
		"worse past the ratio":   {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 90, AgainstBad: 20}, `{"maxRatio":2}`, argo.AnalysisPhaseFailed},
		"too few":                {analysis.Answer{Count: 99, AgainstCount: 1000, Bad: 99}, `{}`, argo.AnalysisPhaseInconclusive},
		"too few to compare to":  {analysis.Answer{Count: 1000, AgainstCount: 99, Bad: 1000}, `{}`, argo.AnalysisPhaseInconclusive},
		"fewer are asked for":    {analysis.Answer{Count: 50, AgainstCount: 50, Bad: 50}, `{"minSamples":10}`, argo.AnalysisPhaseFailed},
		"nothing at all":         {analysis.Answer{}, `{"minSamples":0}`, argo.AnalysisPhaseInconclusive},
		"more confidence":        {analysis.Answer{Count: 1000, AgainstCount: 1000, Bad: 20, AgainstBad: 10}, `{"confidence":0.999}`, argo.AnalysisPhaseSuccessful},
	} {
		got, err := measure(t, Config{Evidence: witness{answer: c.answer}, Revisions: known}, plugin("fairway/gateway", `{"metric":"success-rate","compare":`+c.compare+`}`))
		if err != nil || got.Phase != c.want || !strings.Contains(got.Message, "requests against") {
			t.Errorf("%s: %s %q, %v; want %s", name, got.Phase, got.Message, err, c.want)
		}
	}
}

func TestTheChanceFallsAsTheDifferenceGrows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 10000).Draw(t, "n")
		m := rapid.Uint64Range(1, 10000).Draw(t, "m")
		bad := rapid.Uint64Range(0, n-1).Draw(t, "bad")
		other := rapid.Uint64Range(0, m).Draw(t, "other")
		less := worseByChance(analysis.Answer{Count: n, AgainstCount: m, Bad: bad, AgainstBad: other}, 0, 0)
		more := worseByChance(analysis.Answer{Count: n, AgainstCount: m, Bad: bad + 1, AgainstBad: other}, 0, 0)
		if math.IsNaN(less) || less < 0 || less > 1 || more > less+1e-9 {
			t.Fatalf("one bad request more raises p from %v to %v", less, more)
		}
	})
}
