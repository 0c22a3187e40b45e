package flow

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a random system and what was done to it.
type world struct {
	s    *System
	ids  []PodID
	at   time.Time
	conf Config
}

func drawConfig(t *rapid.T) Config {
	n := rapid.IntRange(1, 5).Draw(t, "services")
	c := Config{Seed: rapid.Int64Range(1, 100).Draw(t, "seed"), Start: begin}
	for i := range n {
		m := Model{Threads: rapid.IntRange(0, 4).Draw(t, "threads"), IdleCores: .005,
			Balance: Balance(rapid.IntRange(0, 3).Draw(t, "balance")),
			Client: Client{Timeout: time.Duration(rapid.IntRange(0, 3).Draw(t, "timeout")) * time.Second, Retries: rapid.IntRange(0, 3).Draw(t, "retries"),
				RetryBudget: float64(rapid.IntRange(0, 2).Draw(t, "budget")) * .1, Cancel: rapid.Bool().Draw(t, "cancel")}}
		if rapid.Bool().Draw(t, "workers") {
			m.Concurrency, m.QueueMax = rapid.IntRange(1, 20).Draw(t, "concurrency"), rapid.IntRange(0, 50).Draw(t, "queue")
		}
		if rapid.Bool().Draw(t, "jvm") {
			m.Warmup = Warmup{Factor: 3, HalfLife: 45 * time.Second, StartCores: 1, StartFor: 20 * time.Second}
		}
		for r := range rapid.IntRange(1, 2).Draw(t, "routes") {
			rt := Route{Name: fmt.Sprint("r", r), CPU: time.Duration(rapid.IntRange(0, 20).Draw(t, "cpu")) * time.Millisecond,
				CPUScv: float64(rapid.IntRange(0, 4).Draw(t, "scv")), Errors: float64(rapid.IntRange(0, 3).Draw(t, "errors")) * .1,
				LatencyP50: time.Duration(rapid.IntRange(0, 30).Draw(t, "p50")) * time.Millisecond}
			rt.LatencyP99 = 4 * rt.LatencyP50
			for to := i + 1; to < n; to++ {
				if rapid.Bool().Draw(t, "calls") {
					rt.Calls = append(rt.Calls, Call{Service: to, Count: float64(rapid.IntRange(1, 4).Draw(t, "count")) / 2, Optional: rapid.Bool().Draw(t, "optional"),
						Parallel: rapid.IntRange(0, 1).Draw(t, "parallel")})
				}
			}
			m.Routes = append(m.Routes, rt)
		}
		c.Services = append(c.Services, Service{Name: fmt.Sprint("w/s", i), Model: m})
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "loads") {
		l := Load{Name: fmt.Sprint("l", i), Service: rapid.IntRange(0, n-1).Draw(t, "to"), RatePerSec: float64(rapid.IntRange(0, 400).Draw(t, "rate")),
			Client: Client{Timeout: time.Duration(rapid.IntRange(0, 2).Draw(t, "timeout")) * time.Second, Retries: rapid.IntRange(0, 2).Draw(t, "retries")},
			GiveUp: time.Duration(rapid.IntRange(0, 3).Draw(t, "giveUp")) * time.Second}
		if rapid.IntRange(0, 3).Draw(t, "closed") == 0 {
			l.Users, l.Think = 100, time.Second
		}
		c.Loads = append(c.Loads, l)
	}
	return c
}

func drawWorld(t *rapid.T) *world {
	w := &world{conf: drawConfig(t), at: begin}
	s, err := New(w.conf)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	var nodes []NodeID
	for i := range 3 {
		nodes = append(nodes, s.AddNode(Node{Name: fmt.Sprint("n", i), Cores: 4}))
	}
	for i := range w.conf.Services {
		for k := range rapid.IntRange(0, 4).Draw(t, "pods") {
			n := rapid.IntRange(0, 2).Draw(t, "node")
			w.ids = append(w.ids, s.AddPod(Pod{Key: fmt.Sprintf("s%d/%d", i, k), Service: i, Revision: rapid.IntRange(0, 1).Draw(t, "revision"),
				Zone: string('a' + rune(n)), Node: nodes[n], Running: true, Serving: true,
				CPULimitCores: float64(rapid.IntRange(0, 4).Draw(t, "limit")) / 2, CPURequestMilli: int64(rapid.IntRange(0, 2).Draw(t, "request")) * 250, StartedAt: begin}))
		}
		s.SetRevision(i, 1, Revision{Name: "v2", CPUFactor: 1.5, Errors: .05})
	}
	return w
}

// act changes something at random and moves time on.
func (w *world) act(t *rapid.T) {
	switch rapid.IntRange(0, 5).Draw(t, "act") {
	case 0:
		if err := w.s.SetRate(0, float64(rapid.IntRange(0, 2000).Draw(t, "rate"))); err != nil {
			t.Fatal(err)
		}
	case 1, 2:
		if len(w.ids) > 0 {
			id := w.ids[rapid.IntRange(0, len(w.ids)-1).Draw(t, "pod")]
			p := w.s.PodOf(id)
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				p.Serving = !p.Serving
			case 1:
				p.Down = !p.Down
			case 2:
				p.StartedAt = w.at
			}
			w.s.SetPod(id, p)
		}
	case 3:
		if len(w.ids) > 0 {
			i := rapid.IntRange(0, len(w.ids)-1).Draw(t, "pod")
			w.s.RemovePod(w.ids[i])
			w.ids = slices.Delete(w.ids, i, i+1)
		}
	}
	w.at = w.at.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	w.s.Advance(w.at)
}

func sane(t *rapid.T, what string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		t.Fatalf("%s is %v", what, v)
	}
}

func TestRequestsAreConserved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		inside := map[string]int64{}
		check := func(name string, c Counts) {
			if in := inside[name]; in+c.Offered != c.ended()+c.Inside {
				t.Fatalf("%s: %d inside before and %+v do not add up", name, in, c)
			}
			for _, v := range []int64{c.Offered, c.Served, c.Failed, c.Rejected, c.Abandoned, c.Inside} {
				if v < 0 {
					t.Fatalf("%s: %+v has a negative count", name, c)
				}
			}
			inside[name] = c.Inside
		}
		for range rapid.IntRange(1, 6).Draw(t, "samples") {
			for range rapid.IntRange(1, 3).Draw(t, "acts") {
				w.act(t)
			}
			win := w.s.Sample()
			calls := map[int]int64{}
			for _, e := range win.Edges {
				calls[e.ToService] += e.Counts.Attempts
				if e.Counts.Failed > e.Counts.Attempts {
					t.Fatalf("edge %+v fails more often than it is tried", e)
				}
			}
			for i := range win.Loads {
				check(fmt.Sprint("load ", i), win.Loads[i].Counts)
				sane(t, "p99 of a load", win.Loads[i].Latency.Quantile(.99))
			}
			for i := range win.Services {
				sv := &win.Services[i]
				check(fmt.Sprint("service ", i), sv.Counts)
				for _, c := range sv.Cells {
					check(fmt.Sprint("service ", i, c.Revision, c.Route), c.Counts)
				}
				if calls[i] != sv.Counts.Offered {
					t.Fatalf("service %d was offered %d requests over edges, it counts %d", i, calls[i], sv.Counts.Offered)
				}
				sane(t, "requests inside", sv.RequestsInside)
				sane(t, "utilisation", sv.Utilisation)
				sane(t, "p99 of a service", sv.Latency.Quantile(.99))
			}
		}
	})
}

func TestCPUStaysWithinNodesAndLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := map[PodID]float64{}
		for range rapid.IntRange(1, 6).Draw(t, "acts") {
			w.act(t)
			from := w.at
			for _, id := range w.ids {
				before[id] = w.s.CPUSeconds(id, from)
			}
			to := from.Add(time.Second)
			node := map[NodeID]float64{}
			for _, id := range w.ids {
				p := w.s.PodOf(id)
				use := w.s.CPUSeconds(id, to) - before[id]
				if use < 0 || math.IsNaN(use) {
					t.Fatalf("the counter of %s moves by %v", p.Key, use)
				}
				if p.CPULimitCores > 0 && use > p.CPULimitCores+1e-6 {
					t.Fatalf("%s uses %v cores, its limit is %v", p.Key, use, p.CPULimitCores)
				}
				node[p.Node] += use
			}
			for n, use := range node {
				if use > 4+0.35 {
					t.Fatalf("pods of node %d use %v of 4 cores", n, use)
				}
			}
			w.at = to
			w.s.Advance(to)
		}
	})
}

func TestPermutedPodsGiveThePermutedResult(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		run := func(order []int) (map[string]float64, []Counts) {
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			ids := map[string]PodID{}
			for _, k := range order {
				i := k % len(c.Services)
				key := fmt.Sprintf("s%d/%d", i, k)
				ids[key] = s.AddPod(Pod{Key: key, Service: i, Zone: string('a' + rune(k%3)), Running: true, Serving: true, CPULimitCores: float64(k % 3), StartedAt: begin})
			}
			at := begin.Add(3 * time.Minute)
			s.Advance(at)
			out := map[string]float64{}
			for key, id := range ids {
				out[key] = s.CPUSeconds(id, at)
			}
			var counts []Counts
			for _, sv := range s.Sample().Services {
				counts = append(counts, sv.Counts)
			}
			return out, counts
		}
		order := make([]int, 12)
		for i := range order {
			order[i] = i
		}
		a, ca := run(order)
		b, cb := run(rapid.Permutation(order).Draw(t, "order"))
		for k, v := range a {
			if math.Abs(v-b[k]) > 1e-9*(1+v) {
				t.Fatalf("pod %s used %v, in another order %v", k, v, b[k])
			}
		}
		if !slices.Equal(ca, cb) {
			t.Fatalf("counts %v, in another order %v", ca, cb)
		}
	})
}

func TestAdvancingInTwoStepsChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		steps := rapid.IntRange(1, 4).Draw(t, "acts")
		for range steps {
			w.act(t)
		}
		whole := rapid.IntRange(2, 60).Draw(t, "seconds")
		part := rapid.IntRange(1, whole-1).Draw(t, "part")
		// A reading at the middle instead of the same system twice: reading must not move anything either.
		type state struct{ cpu, x []float64 }
		read := func(at time.Time) (r state) {
			for _, id := range w.ids {
				r.cpu = append(r.cpu, w.s.CPUSeconds(id, at))
				r.x = append(r.x, w.s.Requests(id, at))
			}
			return r
		}
		if next := w.s.Next(); !next.IsZero() && !next.After(w.at.Add(time.Duration(whole)*time.Second)) {
			return // the model itself ends a window in between
		}
		end := w.at.Add(time.Duration(whole) * time.Second)
		want := read(end)
		w.s.Advance(w.at.Add(time.Duration(part) * time.Second))
		w.s.Advance(end)
		got := read(end)
		for i := range w.ids {
			if math.Abs(got.cpu[i]-want.cpu[i]) > 1e-6*(1+want.cpu[i]) || math.Abs(got.x[i]-want.x[i]) > 1e-6*(1+want.x[i]) {
				t.Fatalf("pod %d: CPU %v, x %v in two steps; %v, %v in one", i, got.cpu[i], got.x[i], want.cpu[i], want.x[i])
			}
		}
	})
}

func TestLatencyAndUtilisationNeverFallWhenLoadRises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := Model{Threads: rapid.IntRange(1, 4).Draw(t, "threads"), Balance: Balance(rapid.IntRange(0, 1).Draw(t, "balance")),
			Routes: []Route{{Name: "*", CPU: 10 * time.Millisecond, CPUScv: 1, LatencyP50: 15 * time.Millisecond, LatencyP99: 60 * time.Millisecond}}}
		if rapid.Bool().Draw(t, "workers") {
			m.Concurrency, m.QueueMax = rapid.IntRange(1, 30).Draw(t, "concurrency"), 100
		}
		n := rapid.IntRange(1, 5).Draw(t, "pods")
		limit := float64(rapid.IntRange(0, 3).Draw(t, "limit")) / 2
		at := func(rate float64, pods int) (util, mean float64) {
			s, _ := one2(m, Load{Name: "u", RatePerSec: rate}, pods, Pod{CPULimitCores: limit})
			s.Advance(begin.Add(10 * time.Minute))
			s.Solve()
			return s.services[0].groups[0].st.rate * s.services[0].groups[0].st.cpu, s.services[0].groups[0].total[0].mean
		}
		rate := float64(rapid.IntRange(1, 600).Draw(t, "rate"))
		u1, t1 := at(rate, n)
		u2, t2 := at(rate*1.1, n)
		// The formula for a finite queue joins two approximations near saturation; elsewhere the law is exact.
		tolerance := 1e-6
		if m.Concurrency > 0 {
			tolerance = 0.05
		}
		if u2 < u1-1e-9 || t2 < t1*(1-tolerance) {
			t.Fatalf("at %v/s: demand %v, time %v; a tenth more: %v, %v", rate, u1, t1, u2, t2)
		}
		if _, t3 := at(rate, n+1); t3 > t1*(1+tolerance) && m.Balance == Random && m.Concurrency == 0 {
			t.Fatalf("one pod more raises the mean time from %v to %v", t1, t3)
		}
	})
}

// one2 is one without a test's context.
func one2(m Model, l Load, n int, p Pod) (*System, []PodID) {
	s, err := New(Config{Seed: 1, Start: begin, Services: []Service{{Name: "shop/web", Model: m}}, Loads: []Load{l}})
	if err != nil {
		panic(err)
	}
	var ids []PodID
	for i := range n {
		p.Key, p.Running, p.Serving, p.StartedAt = fmt.Sprint("shop/web/", i), true, true, begin.Add(-time.Hour)
		ids = append(ids, s.AddPod(p))
	}
	return s, ids
}

func TestUnrelatedServicesChangeNoDrawOfOthers(t *testing.T) {
	t.Parallel()
	run := func(more bool) []Counts {
		c := Config{Seed: 3, Start: begin, Services: []Service{{Name: "a/web", Model: single(5 * time.Millisecond)}},
			Loads: []Load{{Name: "users", RatePerSec: 100}}}
		if more {
			c.Services = append(c.Services, Service{Name: "a/other", Model: single(time.Millisecond)})
			c.Loads = append(c.Loads, Load{Name: "bots", Service: 1, RatePerSec: 7})
		}
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		s.AddPod(Pod{Key: "web/0", Running: true, Serving: true, StartedAt: begin})
		var out []Counts
		for i := range 5 {
			if more {
				s.AddPod(Pod{Key: fmt.Sprint("other/", i), Service: 1, Running: true, Serving: true, StartedAt: begin})
			}
			s.Advance(begin.Add(time.Duration(i+1) * time.Minute))
			out = append(out, s.Sample().Services[0].Counts)
		}
		return out
	}
	if a, b := run(false), run(true); !slices.Equal(a, b) {
		t.Errorf("counts are %v, beside an unrelated service %v", a, b)
	}
}

func TestZeroLoadMeansZeroErrorsAndIdleUse(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.IdleCores = .005
	m.Routes[0].Errors = .5
	s, ids := one(t, m, Load{Name: "nobody"}, 2, Pod{})
	s.Advance(begin.Add(time.Hour))
	near(t, "idle CPU seconds", s.CPUSeconds(ids[0], begin.Add(time.Hour)), 18, 1e-6)
	w := s.Sample()
	if w.Services[0].Counts != (Counts{}) || w.Loads[0].Counts != (Counts{}) {
		t.Errorf("without load there are counts: %+v %+v", w.Services[0].Counts, w.Loads[0].Counts)
	}
}

func TestCPUCountersAddUpToWorkIdleAndStart(t *testing.T) {
	t.Parallel()
	m := single(10 * time.Millisecond)
	m.IdleCores = .01
	m.Warmup = Warmup{StartCores: 1, StartFor: 20 * time.Second}
	s, ids := one(t, m, Load{Name: "users", RatePerSec: 50}, 1, Pod{})
	late := s.AddPod(Pod{Key: "shop/web/9", Running: true, StartedAt: begin})
	at := begin.Add(10 * time.Minute)
	s.Advance(at)
	near(t, "work and idle", s.CPUSeconds(ids[0], at), 600*(.5+.01), 1e-6)
	near(t, "start and idle", s.CPUSeconds(late, at), 20+600*.01, 1e-6)
}

func TestRevisionsShareRequestsByTheirPods(t *testing.T) {
	t.Parallel()
	m := single(time.Millisecond)
	s, err := New(Config{Seed: 1, Start: begin, Services: []Service{{Name: "w/s", Model: m}}, Loads: []Load{{Name: "u", RatePerSec: 1000}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		s.AddPod(Pod{Key: fmt.Sprint(i), Revision: i / 19, Running: true, Serving: true, StartedAt: begin})
	}
	s.SetRevision(0, 1, Revision{Name: "bad", Errors: .3})
	s.Advance(begin.Add(1000 * time.Second))
	w := s.Sample().Services[0]
	good, bad := w.Cells[0].Counts, w.Cells[1].Counts
	share := 1000 * float64(bad.Offered) / float64(good.Offered+bad.Offered)
	near(t, "requests of the canary in a thousand", share, 50, 2)
	near(t, "errors of the canary", float64(bad.Failed)/float64(bad.Offered), .3, .01)
	if good.Failed != 0 {
		t.Errorf("the good revision fails %d requests", good.Failed)
	}
}
