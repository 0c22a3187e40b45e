package flow

import (
	"testing"
	"time"
)

// storm plays ten pods of one core under 350 requests a second that double for a minute, and returns the share of good
// replies in each minute.
func storm(t *testing.T, c Client, minutes int) []float64 {
	t.Helper()
	m := single(20 * time.Millisecond)
	s, _ := one(t, m, Load{Name: "users", RatePerSec: 350, Client: c}, 10, Pod{})
	at := begin.Add(5 * time.Minute)
	s.Advance(at)
	s.Sample()
	var good []float64
	for i := range minutes {
		rate := 350.0
		if i == 0 {
			rate = 700
		}
		if err := s.SetRate(0, rate); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			at = at.Add(15 * time.Second)
			s.Advance(at)
		}
		w := s.Sample()
		good = append(good, float64(w.Loads[0].Counts.Served)/float64(w.Loads[0].Counts.Offered))
	}
	return good
}

func TestRetryStormOutlivesItsTriggerWithoutBudget(t *testing.T) {
	t.Parallel()
	good := storm(t, Client{Timeout: time.Second, Retries: 3}, 61)
	if g := good[60]; g > 0.10 {
		t.Errorf("an hour after the trigger %.0f %% of requests are served, want less than 10 %%: %v", 100*g, good[:10])
	}
}

func TestRetryStormEndsWithinSixMinutesUnderABudget(t *testing.T) {
	t.Parallel()
	good := storm(t, Client{Timeout: time.Second, Retries: 3, RetryBudget: 0.2}, 10)
	if good[2] > 0.5 {
		t.Errorf("a minute after the trigger %.0f %% are served; the backlog of 20,400 needs 255 s: %v", 100*good[2], good)
	}
	if good[7] < 0.98 {
		t.Errorf("six minutes after the trigger only %.0f %% are served: %v", 100*good[7], good)
	}
}

func TestRetryStormEndsAtOnceWhenCallersCancel(t *testing.T) {
	t.Parallel()
	good := storm(t, Client{Timeout: time.Second, Retries: 3, RetryBudget: 0.2, Cancel: true}, 4)
	if good[2] < 0.98 {
		t.Errorf("a minute after the trigger only %.0f %% are served: %v", 100*good[2], good)
	}
	if good[1] < 0.5 {
		t.Errorf("in the minute after the trigger only %.0f %% are served: %v", 100*good[1], good)
	}
}

func TestOverloadFollowsTheFluid(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Second, 15 * time.Second} {
		m := single(20 * time.Millisecond)
		m.Threads = 2
		s, ids := one(t, m, Load{Name: "users", RatePerSec: 50}, 1, Pod{})
		at := begin.Add(time.Minute)
		s.Advance(at)
		_ = s.SetRate(0, 130)
		for e := at.Add(time.Minute); at.Before(e); {
			at = at.Add(step)
			s.Advance(at)
		}
		near(t, "requests inside after a minute of ρ 1.3", s.Requests(ids[0], at), 1819, 40)
		_ = s.SetRate(0, 50)
		at = at.Add(2 * time.Minute)
		s.Advance(at)
		near(t, "requests inside after the drain", s.Requests(ids[0], at), 1.33, .2)
	}
}
