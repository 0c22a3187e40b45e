package evidence

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/kube/sketch"
	"pgregory.net/rapid"
)

var start = time.Unix(1_800_000_000, 0)

func TestAWindowHoldsWhatEndedInIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		type request struct {
			key     Key
			at      time.Time
			latency time.Duration
			failed  bool
		}
		var all []request
		now := start
		for range rapid.IntRange(0, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "later")))
			r := request{key: Key{Namespace: "shop", Revision: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "revision"), Route: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "route")},
				at: now, latency: time.Duration(rapid.IntRange(1, 10_000).Draw(t, "ms")) * time.Millisecond, failed: rapid.Bool().Draw(t, "failed")}
			s.Series(r.key).Add(r.latency, r.failed, r.at)
			all = append(all, r)
		}
		asked := Key{Namespace: "shop", Revision: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "asked revision"), Route: rapid.SampledFrom([]string{"", "x"}).Draw(t, "asked route")}
		length := time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second
		w := s.Window(asked, length, now)
		var requests, errors, slow float64
		for _, r := range all {
			if age := now.Unix() - r.at.Unix(); age < int64(min(length, Depth)/time.Second) && fits(asked.Revision, r.key.Revision) && fits(asked.Route, r.key.Route) {
				requests++
				if r.failed {
					errors++
				}
				if r.latency > 20*time.Second {
					slow++
				}
			}
		}
		if w.Requests != requests || w.Errors != errors || w.Slower(20) != slow {
			t.Fatalf("%v requests, %v errors, %v slower than all; want %v, %v, %v", w.Requests, w.Errors, w.Slower(20), requests, errors, slow)
		}
		if share, ok := w.SuccessRate(); ok != (requests > 0) || ok && math.Abs(share-(1-errors/requests)) > 1e-9 {
			t.Fatalf("success rate %v %v of %v requests with %v errors", share, ok, requests, errors)
		}
	})
}

func TestLatenciesAreThoseOfTheWindow(t *testing.T) {
	t.Parallel()
	s := New()
	one := s.Series(Key{"shop", "a", "x"})
	for range 100 {
		one.Add(time.Second, false, start)
	}
	for i := range 100 {
		one.Add(time.Duration(i+1)*time.Millisecond, false, start.Add(time.Minute))
	}
	w := s.Window(Key{Revision: "a"}, 10*time.Second, start.Add(65*time.Second))
	if p95, ok := w.Latency(0.95); !ok || math.Abs(p95-0.095) > 0.004 {
		t.Errorf("p95 is %v, want 95 ms", p95)
	}
	if slower := w.Slower(0.090); math.Abs(slower-10) > 3 {
		t.Errorf("%v took longer than 90 ms, want 10", slower)
	}
	if rate := w.Rate(); rate != 10 {
		t.Errorf("%v a second, want 10", rate)
	}
	if _, ok := s.Window(Key{Revision: "b"}, time.Minute, start).Latency(0.5); ok {
		t.Error("a revision without requests has a latency")
	}
}

func TestWhatAModelSaysCountsAsRequestsDo(t *testing.T) {
	t.Parallel()
	s := New()
	var latency sketch.Sketch
	latency.Add(0.02, 12.5)
	for i := range 10 {
		s.Series(Key{"shop", "a", "x"}).AddMany(12.5, 0.25, &latency, start.Add(time.Duration(i)*time.Second))
	}
	w := s.Window(Key{Namespace: "shop"}, time.Minute, start.Add(9*time.Second))
	if w.Requests != 125 || w.Errors != 2.5 {
		t.Errorf("%v requests, %v errors", w.Requests, w.Errors)
	}
	if p50, _ := w.Latency(0.5); math.Abs(p50-0.02) > 0.001 {
		t.Errorf("p50 %v", p50)
	}
}

func TestSeriesAreForgottenAndCountedAnew(t *testing.T) {
	t.Parallel()
	s := New()
	k := Key{"shop", "a", "x"}
	old := s.Series(k)
	old.Add(time.Millisecond, false, start)
	s.Forget(start.Add(Depth))
	if n, _ := s.Len(); n != 1 {
		t.Fatal("a series with a request in the window was forgotten")
	}
	s.Forget(start.Add(Depth + time.Minute))
	if old.Add(time.Millisecond, false, start.Add(Depth+time.Minute)) {
		t.Error("a forgotten series took a request")
	}
	s.Series(k).Add(time.Millisecond, false, start.Add(Depth+time.Minute))
	if got := s.Window(k, time.Minute, start.Add(Depth+time.Minute)).Requests; got != 1 {
		t.Errorf("%v requests, want 1", got)
	}
}

func TestSeriesHaveABound(t *testing.T) {
	t.Parallel()
	s := New()
	for i := range maxSeries {
		s.Series(Key{Revision: fmt.Sprint(i)})
	}
	if s.Series(Key{Revision: "one more"}) != nil {
		t.Error("there is one more than there may be")
	}
	if s.Series(Key{Revision: "7"}) == nil {
		t.Error("one that is there is refused")
	}
}

func TestRequestsAreNotLostWhenManyComeAtOnce(t *testing.T) {
	t.Parallel()
	s := New()
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 1000 {
				s.Series(Key{"shop", fmt.Sprint(i % 3), "x"}).Add(time.Millisecond, false, start.Add(time.Duration(g)*time.Second))
				if i%100 == 0 {
					s.Window(Key{}, time.Minute, start)
				}
			}
		})
	}
	group.Wait()
	if got := s.Window(Key{}, time.Minute, start.Add(7*time.Second)).Requests; got != 8000 {
		t.Errorf("%v of 8000 requests", got)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := New().Series(Key{"shop", "a", "x"})
	b.ReportAllocs()
	for i := range b.N {
		s.Add(time.Duration(i%100)*time.Millisecond, false, start.Add(time.Duration(i/20_000)*time.Second))
	}
}

func BenchmarkWindow(b *testing.B) {
	store := New()
	s := store.Series(Key{"shop", "a", "x"})
	for i := range 900 * 100 {
		s.Add(time.Duration(i%100)*time.Millisecond, false, start.Add(time.Duration(i/100)*time.Second))
	}
	for b.Loop() {
		store.Window(Key{Namespace: "shop", Revision: "a"}, time.Minute, start.Add(900*time.Second))
	}
}
