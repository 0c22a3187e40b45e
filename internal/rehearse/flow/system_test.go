package flow

import (
	"fmt"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// one is a system of one service with n equal pods under an open load.
func one(t testing.TB, m Model, l Load, n int, p Pod) (*System, []PodID) {
	t.Helper()
	s, err := New(Config{Seed: 1, Start: begin, Services: []Service{{Name: "shop/web", Model: m}}, Loads: []Load{l}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []PodID
	for i := range n {
		p.Key = fmt.Sprintf("shop/web/%d", i)
		p.Running, p.Serving, p.StartedAt = true, true, begin.Add(-time.Hour)
		ids = append(ids, s.AddPod(p))
	}
	return s, ids
}

func single(cpu time.Duration) Model {
	return Model{Routes: []Route{{Name: "*", CPU: cpu, CPUScv: 1}}, Threads: 1}
}

func TestSteadyLoadUsesItsWork(t *testing.T) {
	t.Parallel()
	s, ids := one(t, single(10*time.Millisecond), Load{Name: "users", RatePerSec: 100}, 2, Pod{})
	s.Advance(begin.Add(time.Minute))
	for _, id := range ids {
		near(t, "CPU seconds", s.CPUSeconds(id, begin.Add(time.Minute)), 30, 1e-6)
		near(t, "requests inside", s.Requests(id, begin.Add(time.Minute)), 1, 1e-6)
	}
	w := s.Sample()
	c := w.Services[0].Counts
	near(t, "requests", float64(c.Offered), 6000, 400)
	near(t, "median", w.Loads[0].Latency.Quantile(.5), .0125, .002)
	if c.Offered != w.Loads[0].Counts.Offered {
		t.Errorf("the load offered %d requests, its only service saw %d", w.Loads[0].Counts.Offered, c.Offered)
	}
	if c.Offered != c.ended()+c.Inside || c.Failed != 0 {
		t.Errorf("account %+v does not add up, or requests failed", c)
	}
}
