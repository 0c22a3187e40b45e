package evidence

import (
	"math"
	"testing"
	"time"
)

func TestQuestionsAreAnsweredByTheWindowOfTheRevision(t *testing.T) {
	t.Parallel()
	s := New()
	fill := func(revision, route string, n, failed int, latency time.Duration) {
		for i := range n {
			if !s.Series(Key{Namespace: "shop", Revision: revision, Route: route}).Add(latency, i < failed, start) {
				t.Fatal("a series was forgotten")
			}
		}
	}
	fill("new", "HTTPRoute/shop/web", 180, 4, 30*time.Millisecond)
	fill("new", "HTTPRoute/shop/api", 20, 0, 300*time.Millisecond)
	fill("old", "HTTPRoute/shop/web", 1000, 2, 20*time.Millisecond)
	near := func(a, b float64) bool { return math.Abs(a-b) <= 0.04*math.Abs(b) || math.IsNaN(a) && math.IsNaN(b) }
	for what, c := range map[string]struct {
		q    Question
		want Answer
	}{
		"success of all routes":        {Question{Metric: SuccessRate, Revision: "new"}, Answer{Value: 0.98, Count: 200, Bad: 4}},
		"success of a route":           {Question{Metric: SuccessRate, Revision: "new", Route: "HTTPRoute/shop/api"}, Answer{Value: 1, Count: 20}},
		"rate":                         {Question{Metric: RPS, Revision: "old"}, Answer{Value: 1000.0 / 60, Count: 1000, Bad: 2}},
		"latency":                      {Question{Metric: LatencyP50, Revision: "new"}, Answer{Value: 0.030, Count: 200}},
		"nobody asked it":              {Question{Metric: SuccessRate, Revision: "none"}, Answer{Value: math.NaN()}},
		"errors against errors":        {Question{Metric: SuccessRate, Revision: "new", Against: "old"}, Answer{Value: 0.98, Count: 200, Bad: 4, AgainstValue: 0.998, AgainstCount: 1000, AgainstBad: 2}},
		"slower than by a delta":       {Question{Metric: LatencyP95, Revision: "new", Against: "old", MaxDelta: 0.1}, Answer{Value: 0.3, Count: 200, Bad: 20, AgainstValue: 0.02, AgainstCount: 1000}},
		"slower than by a ratio":       {Question{Metric: LatencyP95, Revision: "new", Against: "old", MaxRatio: 1.2}, Answer{Value: 0.3, Count: 200, Bad: 200, AgainstValue: 0.02, AgainstCount: 1000}},
		"against one without requests": {Question{Metric: LatencyP95, Revision: "new", Against: "none"}, Answer{Value: 0.3, Count: 200, AgainstValue: math.NaN()}},
	} {
		c.q.Namespace, c.q.Window = "shop", time.Minute
		got, err := s.Measure(c.q, start)
		if err != nil {
			t.Fatal(err)
		}
		if !near(got.Value, c.want.Value) || !near(got.AgainstValue, c.want.AgainstValue) || got.Count != c.want.Count || got.AgainstCount != c.want.AgainstCount || got.Bad != c.want.Bad || got.AgainstBad != c.want.AgainstBad {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
	if _, err := s.Measure(Question{Metric: "restarts"}, start); err == nil {
		t.Error("a metric that the gateway does not have was answered")
	}
}
