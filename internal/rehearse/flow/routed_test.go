package flow

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
	"pgregory.net/rapid"
)

// canary is a service with pods of two revisions behind a gateway; those of the second fail a share of their requests.
func canary(t testing.TB, stable, fresh int, errors float64, l Load) (s *System, old, new []PodID) {
	t.Helper()
	l.Name, l.Routed = "users", true
	s, err := New(Config{Seed: 7, Start: begin, Services: []Service{{Name: "shop/web", Model: single(time.Millisecond)}}, Loads: []Load{l}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetRevision(0, 0, Revision{Name: "old"})
	s.SetRevision(0, 1, Revision{Name: "new", Errors: errors})
	for i := range stable + fresh {
		p := Pod{Key: fmt.Sprintf("shop/web/%d", i), Running: true, Serving: true, StartedAt: begin.Add(-time.Hour)}
		if i >= stable {
			p.Revision = 1
			new = append(new, s.AddPod(p))
		} else {
			old = append(old, s.AddPod(p))
		}
	}
	return s, old, new
}

func even(pods []PodID) (out []PodShare) {
	for _, p := range pods {
		out = append(out, PodShare{Pod: p, Share: 1 / float64(len(pods))})
	}
	return out
}

func split(t testing.TB, s *System, weight float64, old, new []PodID, r Retry) {
	t.Helper()
	if err := s.SetPaths(0, 0, Routes{Paths: []Path{{Backend: "stable", Share: 1 - weight, Pods: even(old), Retry: r}, {Backend: "canary", Share: weight, Pods: even(new), Retry: r}}}); err != nil {
		t.Fatal(err)
	}
}

// accounts are the requests and errors by revision since the last call.
func accounts(s *System) (requests, errors [2]float64) {
	s.Accounts(func(_, _ int, _ string, _, rev int, n, bad int64, l *sketch.Sketch) {
		if math.Abs(l.Count()-float64(n)) > 1e-6*float64(n) {
			panic(fmt.Sprintf("%d requests and %v latencies", n, l.Count()))
		}
		requests[rev] += float64(n)
		errors[rev] += float64(bad)
	})
	return requests, errors
}

func TestARoutedLoadFollowsItsWeightsWhateverThePods(t *testing.T) {
	t.Parallel()
	s, old, fresh := canary(t, 3, 1, 0.1, Load{RatePerSec: 200})
	at := begin
	for _, weight := range []float64{0, .05, .5, 1, 0} {
		split(t, s, weight, old, fresh, Retry{})
		at = at.Add(10 * time.Minute)
		s.Advance(at)
		n, bad := accounts(s)
		near(t, fmt.Sprintf("requests to the canary at %v", weight), n[1], 120_000*weight, 5*math.Sqrt(120_000*weight)+1e-9)
		near(t, "requests in all", n[0]+n[1], 120_000, 2000)
		near(t, "errors of the canary", bad[1], .1*n[1], 5*math.Sqrt(.1*n[1])+1e-9)
		if bad[0] != 0 || weight == 0 && n[1] != 0 {
			t.Errorf("weight %v: %v requests and %v errors", weight, n, bad)
		}
		w := s.Sample()
		if c := w.Loads[0].Counts; math.Abs(float64(c.Failed)-bad[1]) > 6*math.Sqrt(bad[1]+1) {
			t.Errorf("weight %v: users saw %d failures, the gateway counted %v", weight, c.Failed, bad[1])
		}
		near(t, "share of the canary's CPU", s.CPUCores(fresh[0]), 200*weight*.001, 1e-6)
	}
}

func TestAGatewayRetriesWithinItsBudget(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		retry  Retry
		errors float64
		tries  float64 // a request
		fail   float64 // of requests
	}{
		"none":                        {errors: .5, tries: 1, fail: .5},
		"two for errors":              {retry: Retry{Attempts: 2, Errors: true}, errors: .2, tries: 1.24, fail: .008},
		"only for overload":           {retry: Retry{Attempts: 2, Overload: true}, errors: .2, tries: 1, fail: .2},
		"bounded by a share":          {retry: Retry{Attempts: 3, Errors: true, BudgetShare: .2, BudgetPerSecond: 1}, errors: .5, tries: 1.2, fail: .4},
		"bounded by a rate":           {retry: Retry{Attempts: 3, Errors: true, BudgetShare: .2, BudgetPerSecond: 30}, errors: .5, tries: 1.3, fail: .35},
		"all tries fail":              {retry: Retry{Attempts: 3, Errors: true, BudgetShare: .1}, errors: 1, tries: 1.1, fail: 1},
		"the budget is not used up":   {retry: Retry{Attempts: 1, Errors: true, BudgetShare: .2}, errors: .1, tries: 1.1, fail: .01},
		"as many as may be, all fail": {retry: Retry{Attempts: 2, Errors: true}, errors: 1, tries: 3, fail: 1},
	} {
		s, old, fresh := canary(t, 0, 4, c.errors, Load{RatePerSec: 100})
		split(t, s, 1, old, fresh, c.retry)
		s.Advance(begin.Add(time.Hour))
		n, bad := accounts(s)
		w := s.Sample()
		if got := float64(w.Services[0].Counts.Offered) / n[1]; math.Abs(got-c.tries) > .01 {
			t.Errorf("%s: %v tries a request, want %v", name, got, c.tries)
		}
		if got := bad[1] / n[1]; math.Abs(got-c.fail) > .005 {
			t.Errorf("%s: %v of the requests fail, want %v", name, got, c.fail)
		}
		if l := w.Loads[0].Counts; math.Abs(float64(l.Failed)/float64(l.Offered)-c.fail) > .005 {
			t.Errorf("%s: users saw %+v fail, want %v", name, l, c.fail)
		}
	}
}

func TestWithoutWaysAndWithoutPodsRoutedRequestsFail(t *testing.T) {
	t.Parallel()
	s, old, _ := canary(t, 2, 0, 0, Load{RatePerSec: 100})
	s.Advance(begin.Add(time.Minute))
	first := s.Sample().Loads[0].Counts
	if first.Served != 0 || first.Failed < 5000 {
		t.Errorf("without ways: %+v", first)
	}
	step := func(what string, to Routes, served, failed float64) {
		t.Helper()
		if err := s.SetPaths(0, 0, to); err != nil {
			t.Fatal(err)
		}
		s.Advance(s.Now().Add(10 * time.Minute))
		c := s.Sample().Loads[0].Counts
		near(t, what+": served", float64(c.Served)/float64(c.Offered), served, .01)
		near(t, what+": failed", float64(c.Failed)/float64(c.Offered), failed, .01)
	}
	step("all pods", Routes{Paths: []Path{{Backend: "a", Share: 1, Pods: even(old)}}}, 1, 0)
	step("one backend is empty", Routes{Paths: []Path{{Backend: "a", Share: .7, Pods: even(old)}, {Backend: "b", Share: .3}}}, .7, .3)
	step("a part is redirected, a part broken", Routes{Paths: []Path{{Backend: "a", Share: .5, Pods: even(old)}}, Answered: .4, Failing: .1}, .9, .1)
	s.RemovePod(old[0])
	step("a pod is gone that the gateway still has", Routes{Paths: []Path{{Backend: "a", Share: 1, Pods: even(old[1:])}}}, 1, 0)
	if err := s.SetPaths(0, 0, Routes{Paths: []Path{{Backend: "a", Share: 1.2}}}); err == nil {
		t.Error("shares of more than all requests were taken")
	}
	if err := s.SetPaths(0, 1, Routes{}); err == nil {
		t.Error("a route that the load does not have was taken")
	}
}

func TestRoutedRequestsAreConservedAndSharesNeverExceedTheirWeights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		retries := rapid.IntRange(0, 2).Draw(t, "retries of users")
		s, err := New(Config{Seed: int64(rapid.IntRange(1, 99).Draw(t, "seed")), Start: begin,
			Services: []Service{{Name: "a", Model: single(2 * time.Millisecond)}, {Name: "b", Model: single(time.Millisecond)}},
			Loads: []Load{{Name: "users", Routed: true, RatePerSec: 100, Mix: []RouteShare{{0, 1}, {0, 3}}, Client: Client{Timeout: time.Second, Retries: retries}},
				{Name: "inside", Service: 0, RatePerSec: 20}}})
		if err != nil {
			t.Fatal(err)
		}
		var pods [2][]PodID
		for sv := range 2 {
			s.SetRevision(sv, 1, Revision{Name: "new", Errors: .2})
			for i := range rapid.IntRange(1, 4).Draw(t, "pods") {
				pods[sv] = append(pods[sv], s.AddPod(Pod{Key: fmt.Sprint(sv, "/", i), Service: sv, Revision: i % 2, Running: true, Serving: true, StartedAt: begin}))
			}
		}
		inside := map[string]int64{}
		check := func(name string, c Counts) {
			if c.Offered+inside[name] != c.ended()+c.Inside || c.Served < 0 || c.Failed < 0 || c.Inside < 0 {
				t.Fatalf("%s: %d inside before and %+v do not add up", name, inside[name], c)
			}
			inside[name] = c.Inside
		}
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			var all Routes
			left := 1.0
			for sv := range 2 {
				share := left * rapid.Float64Range(0, 1).Draw(t, "share")
				left -= share
				all.Paths = append(all.Paths, Path{Backend: fmt.Sprint("to ", rapid.IntRange(0, 2).Draw(t, "backend"), "/", sv), Service: sv, Share: share, Pods: even(pods[sv][:rapid.IntRange(0, len(pods[sv])).Draw(t, "endpoints")]),
					Retry: Retry{Attempts: rapid.IntRange(0, 3).Draw(t, "attempts"), Errors: true, Timeouts: true, BudgetShare: .2}})
			}
			all.Answered = left * rapid.Float64Range(0, 1).Draw(t, "answered")
			if err := s.SetPaths(0, rapid.IntRange(0, 1).Draw(t, "route"), all); err != nil {
				t.Fatal(err)
			}
			sv := rapid.IntRange(0, 1).Draw(t, "service")
			id := pods[sv][rapid.IntRange(0, len(pods[sv])-1).Draw(t, "pod")]
			p := s.PodOf(id)
			p.Down = rapid.Bool().Draw(t, "down")
			s.SetPod(id, p)
			s.Advance(s.Now().Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second))
			for i := range s.edges {
				if e := &s.edges[i]; e.via != nil && e.via.tries > 1.2+1e-9 {
					t.Fatalf("%v tries a request with a budget of a fifth", e.via.tries)
				}
			}
			if rapid.Bool().Draw(t, "sample") {
				n, bad := accounts(s)
				if bad[0] > n[0] || bad[1] > n[1] {
					t.Fatalf("%v errors of %v requests", bad, n)
				}
				w := s.Sample()
				for i := range w.Loads {
					check(fmt.Sprint("load ", i), w.Loads[i].Counts)
				}
				for i := range w.Services {
					for _, c := range w.Services[i].Cells {
						check(fmt.Sprint("service ", i, " ", c.Revision), c.Counts)
					}
				}
			}
		}
	})
}
