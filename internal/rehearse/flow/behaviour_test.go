package flow

import (
	"fmt"
	"testing"
	"time"
)

func pods(s *System, service, from, n int, change func(i int, p *Pod)) []PodID {
	var ids []PodID
	for i := from; i < from+n; i++ {
		p := Pod{Key: fmt.Sprintf("w/s%d/%d", service, i), Service: service, Running: true, Serving: true, StartedAt: begin.Add(-time.Hour)}
		if change != nil {
			change(i, &p)
		}
		ids = append(ids, s.AddPod(p))
	}
	return ids
}

func pair(t testing.TB, callee Model, rate float64) *System {
	t.Helper()
	s, err := New(Config{Seed: 1, Start: begin, Services: []Service{
		{Name: "w/front", Model: Model{Threads: 2, Routes: []Route{{Name: "*", CPU: time.Millisecond, CPUScv: 1, Calls: []Call{{Service: 1, Count: 1}}}}}},
		{Name: "w/back", Model: callee}}, Loads: []Load{{Name: "u", RatePerSec: rate}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewPodsGetNothingWhenClientsKeepTheirConnections(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Balance, m.ConnectionsPerClient = Connection, 2
	s := pair(t, m, 200)
	pods(s, 0, 0, 3, nil)
	old := pods(s, 1, 0, 3, nil)
	at := begin.Add(5 * time.Minute)
	s.Advance(at)
	fresh := pods(s, 1, 3, 3, nil)
	at = at.Add(5 * time.Minute)
	s.Advance(at)
	for _, id := range fresh {
		near(t, "CPU of a new pod", s.CPUSeconds(id, at), 0, 1e-9)
	}
	if w := s.Sample().Services[1]; w.ShareLow != 0 || w.ShareHigh < 1 {
		t.Errorf("shares of pods are %v…%v of an even one, want 0 for new pods", w.ShareLow, w.ShareHigh)
	}
	gone := s.PodOf(old[0])
	gone.Serving = false
	s.SetPod(old[0], gone)
	s.RemovePod(old[1])
	s.RemovePod(old[2])
	at = at.Add(5 * time.Minute)
	s.Advance(at)
	sum := 0.0
	for _, id := range fresh {
		sum += s.CPUSeconds(id, at)
	}
	near(t, "CPU of the new pods once the old ones are gone", sum, 300, 1)
}

func TestConnectionsSpreadAgainWhenTheyAge(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Balance, m.ConnectionsPerClient, m.ConnectionMaxAge = Connection, 20, 10*time.Minute
	s := pair(t, m, 100)
	pods(s, 0, 0, 4, nil)
	pods(s, 1, 0, 1, nil)
	s.Advance(begin.Add(time.Minute))
	fresh := pods(s, 1, 1, 1, nil)
	at := begin.Add(time.Hour)
	s.Advance(at)
	before := s.CPUSeconds(fresh[0], at)
	at = at.Add(time.Minute)
	s.Advance(at)
	near(t, "CPU of the younger of two pods", s.CPUSeconds(fresh[0], at)-before, 15, 6)
}

func TestZoneBalancingKeepsCallersInTheirZoneAndOverflows(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Balance = Zone
	s := pair(t, m, 100)
	zone := func(z ...string) func(int, *Pod) { return func(i int, p *Pod) { p.Zone = z[i%len(z)] } }
	pods(s, 0, 0, 4, zone("a", "a", "b", "c"))
	back := pods(s, 1, 0, 3, zone("a", "b", "b"))
	at := begin.Add(100 * time.Second)
	s.Advance(at)
	// a: half of the callers and a third of zone c's quarter; the two pods of b share the rest.
	near(t, "CPU in zone a", s.CPUSeconds(back[0], at), 50*(.5+.25/3), 1e-6)
	near(t, "CPU of a pod in zone b", s.CPUSeconds(back[1], at), 50*(.25/2+.25/3), 1e-6)
}

func TestRoundRobinWaitsLessThanRandom(t *testing.T) {
	t.Parallel()
	mean := func(b Balance) float64 {
		m := single(10 * time.Millisecond)
		m.Balance = b
		s, _ := one(t, m, Load{Name: "u", RatePerSec: 320}, 4, Pod{})
		s.Advance(begin.Add(time.Hour))
		return s.Sample().Loads[0].Latency.Mean()
	}
	random, turn := mean(Random), mean(RoundRobin)
	near(t, "random: 10 ms ÷ (1−0.8)", random, .05, .004)
	near(t, "in turn: 10 ms + 40 ms·(1+1/4)/2", turn, .035, .003)
}

func TestLimitThrottlesBeforeItIsUsedUp(t *testing.T) {
	t.Parallel()
	m := single(40 * time.Millisecond)
	m.Threads = 8
	s, _ := one(t, m, Load{Name: "u", RatePerSec: 12.5}, 1, Pod{CPULimitCores: 1})
	events := append([]Event(nil), s.Advance(begin.Add(time.Hour))...)
	w := s.Sample()
	near(t, "throttled periods at half the limit", w.Services[0].ThrottledShare, .24, .03)
	near(t, "mean latency", w.Loads[0].Latency.Mean(), .040+.023, .005)
	if err := s.SetRate(0, 17.5); err != nil {
		t.Fatal(err)
	}
	events = append(events, s.Advance(begin.Add(2*time.Hour))...)
	if len(events) != 1 || events[0].Kind != Throttled || !events[0].On {
		t.Errorf("events are %+v, want that throttling began", events)
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	m := single(10 * time.Millisecond)
	m.Concurrency, m.QueueMax = 1, 9
	s, _ := one(t, m, Load{Name: "u", RatePerSec: 120}, 1, Pod{})
	s.Advance(begin.Add(time.Hour))
	c := s.Sample().Services[0].Counts
	near(t, "share refused (M/M/1/10 at ρ 1.2)", float64(c.Rejected)/float64(c.Offered), .1926, .02)
}

func TestClosedLoopOffersLessToASlowSystem(t *testing.T) {
	t.Parallel()
	m := single(20 * time.Millisecond)
	s, _ := one(t, m, Load{Name: "u", Users: 100, Think: time.Second}, 1, Pod{})
	s.Advance(begin.Add(time.Hour))
	w := s.Sample()
	// 100 users on a pod that serves 50 a second: the response time law gives 100/50 − 1 = 1 s.
	near(t, "rate", w.Loads[0].RatePerSec, 50, 2.5)
	near(t, "response time", s.loads[0].time.mean, 1, .12)
}

func TestYoungPodsCostMoreAndSolveByAge(t *testing.T) {
	t.Parallel()
	m := single(10 * time.Millisecond)
	m.Warmup = Warmup{Factor: 3, HalfLife: 45 * time.Second}
	s, ids := one(t, m, Load{Name: "u", RatePerSec: 10}, 1, Pod{})
	p := s.PodOf(ids[0])
	p.StartedAt = begin
	s.SetPod(ids[0], p)
	s.Advance(begin.Add(10 * time.Minute))
	// ∫ 0.1·(1 + 2·2^(−t/45)) dt over five half-lives and beyond.
	near(t, "CPU of the first ten minutes", s.CPUSeconds(ids[0], begin.Add(10*time.Minute)), 60+.1*2*45/.6931*(1-1./32), .15)
}

func TestMemoryCrossingIsComputed(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Memory = Memory{BaseBytes: 100 << 20, LeakBytesPerSec: 1 << 20}
	s, ids := one(t, m, Load{Name: "u", RatePerSec: 10}, 1, Pod{MemoryLimitBytes: 4000 << 20})
	id, at, ok := s.NextMemoryCrossing()
	if !ok || id != ids[0] || !at.Equal(begin.Add(300*time.Second)) {
		t.Errorf("crossing is %v at %v (%v), want after 3,900 s of life, 300 s from now", id, at, ok)
	}
	near(t, "working set", s.MemoryBytes(ids[0], begin.Add(100*time.Second)), 3800<<20, 1)
	if next := s.Next(); !next.Equal(at) {
		t.Errorf("next change is %v, want the crossing", next)
	}
	m.Memory = Memory{BaseBytes: 100 << 20, PerRequestBytes: 1 << 20}
	m.Routes[0].CPU = 20 * time.Millisecond
	s, _ = one(t, m, Load{Name: "u", RatePerSec: 60}, 1, Pod{MemoryLimitBytes: 600 << 20})
	// Ten a second more than it can serve: 500 requests inside after 50 s.
	crossed := false
	for now := begin; now.Before(begin.Add(2 * time.Minute)); now = now.Add(time.Second) {
		s.Advance(now)
		if _, at, ok := s.NextMemoryCrossing(); ok && !at.After(now) {
			near(t, "seconds to the crossing", now.Sub(begin).Seconds(), 50, 4)
			crossed = true
			break
		}
	}
	if !crossed {
		t.Error("a pod in overload never crosses its memory limit")
	}
}

func TestAPodAboveItsLimitThatIsSnoozedHoldsNothingUp(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Memory = Memory{BaseBytes: 100 << 20, LeakBytesPerSec: 1 << 20}
	s, ids := one(t, m, Load{Name: "u", RatePerSec: 10}, 1, Pod{MemoryLimitBytes: 200 << 20})
	later := begin.Add(5 * time.Second)
	s.SnoozeMemory(ids[0], later)
	if _, at, ok := s.NextMemoryCrossing(); !ok || !at.Equal(later) {
		t.Errorf("it is named at %v (%v), want %v", at, ok, later)
	}
	if next := s.Next(); !next.After(begin) {
		t.Errorf("the next change is %v, not after the present", next)
	}
	again := s.PodOf(ids[0])
	again.StartedAt = begin
	s.SetPod(ids[0], again)
	if _, at, ok := s.NextMemoryCrossing(); !ok || !at.Equal(begin.Add(100*time.Second)) {
		t.Errorf("after a restart it is named at %v (%v), want 100 s later", at, ok)
	}
}

func TestEventsAreToldWhateverFoundThem(t *testing.T) {
	t.Parallel()
	s, ids := one(t, single(10*time.Millisecond), Load{Name: "u", RatePerSec: 50}, 1, Pod{})
	s.Advance(begin.Add(time.Minute))
	if err := s.SetRate(0, 200); err != nil {
		t.Fatal(err)
	}
	s.CPUSeconds(ids[0], begin.Add(61*time.Second)) // solves, and so finds the saturation
	if e := s.Advance(begin.Add(2 * time.Minute)); len(e) != 1 || e[0].Kind != Saturated || !e[0].On || !e[0].Time.Equal(begin.Add(time.Minute)) {
		t.Errorf("events are %+v, want that saturation began after a minute", e)
	}
}

func TestConnectionsBreakWhenTheirPodRestarts(t *testing.T) {
	t.Parallel()
	m := single(5 * time.Millisecond)
	m.Balance = Connection
	s := pair(t, m, 100)
	pods(s, 0, 0, 8, nil)
	back := pods(s, 1, 0, 1, nil)
	s.Advance(begin.Add(time.Minute))
	pods(s, 1, 1, 1, nil)
	p := s.PodOf(back[0])
	p.StartedAt = begin.Add(time.Minute)
	s.SetPod(back[0], p)
	at := begin.Add(2 * time.Minute)
	before := s.CPUSeconds(back[0], begin.Add(time.Minute))
	s.Advance(at)
	if used := s.CPUSeconds(back[0], at) - before; used > 29 {
		t.Errorf("the pod that restarted still has all connections: it used %v s", used)
	}
}

func TestNobodyThereFailsEverything(t *testing.T) {
	t.Parallel()
	s, ids := one(t, single(5*time.Millisecond), Load{Name: "u", RatePerSec: 100}, 1, Pod{})
	s.Advance(begin.Add(time.Minute))
	s.Sample()
	p := s.PodOf(ids[0])
	p.Down = true
	s.SetPod(ids[0], p)
	events := s.Advance(begin.Add(2 * time.Minute))
	if len(events) != 1 || events[0].Kind != NoPod {
		t.Errorf("events are %+v, want that there is no pod", events)
	}
	w := s.Sample()
	if c := w.Loads[0].Counts; c.Served > 5 || c.Failed < 5000 {
		t.Errorf("with the only pod down the load counts %+v", c)
	}
}

func TestLateRepliesFailAtTheLoadAndAreAbandonedAtTheService(t *testing.T) {
	t.Parallel()
	m := single(20 * time.Millisecond)
	s, _ := one(t, m, Load{Name: "u", RatePerSec: 45, Client: Client{Timeout: 200 * time.Millisecond}}, 1, Pod{})
	s.Advance(begin.Add(time.Hour))
	w := s.Sample()
	c, l := w.Services[0].Counts, w.Loads[0].Counts
	late := float64(c.Abandoned) / float64(c.Offered)
	if late < .2 || late > .4 {
		t.Errorf("%.2f of the requests at ρ 0.9 take more than 200 ms, want about 0.3", late)
	}
	near(t, "share failed at the load", float64(l.Failed)/float64(l.Offered), late, .02)
	if q := w.Loads[0].Latency.Quantile(.999); q > .21 {
		t.Errorf("a good reply came after %v s, later than the timeout", q)
	}
}

func TestUnreachedPodsUseTheirConstant(t *testing.T) {
	t.Parallel()
	s, err := New(Config{Start: begin, Services: []Service{{Name: "w/agent", Constant: true, Usage: Usage{CPURequestShare: .5, MemoryRequestShare: .7}}}})
	if err != nil {
		t.Fatal(err)
	}
	a := s.AddPod(Pod{Key: "a", Running: true, CPURequestMilli: 200, MemoryRequestBytes: 100 << 20, StartedAt: begin})
	b := s.AddPod(Pod{Key: "b", Running: true, StartedAt: begin})
	at := begin.Add(100 * time.Second)
	near(t, "half of the request", s.CPUSeconds(a, at), 10, 1e-9)
	near(t, "without a request", s.CPUSeconds(b, at), 1, 1e-9)
	near(t, "memory", s.MemoryBytes(a, at), 70<<20, 1)
	near(t, "memory without a request", s.MemoryBytes(b, at), 64<<20, 1)
}

func TestSetModelKeepsWhatIsInside(t *testing.T) {
	t.Parallel()
	s, ids := one(t, single(10*time.Millisecond), Load{Name: "u", RatePerSec: 50}, 1, Pod{})
	at := begin.Add(time.Minute)
	s.Advance(at)
	m := s.ModelOf(0)
	m.Routes[0].CPU = 16 * time.Millisecond
	if err := s.SetModel(0, m); err != nil {
		t.Fatal(err)
	}
	s.Advance(at.Add(time.Minute))
	near(t, "CPU before and after", s.CPUSeconds(ids[0], at.Add(time.Minute)), 30+48, .5)
	if c := s.Sample().Services[0].Counts; c.Offered != c.ended()+c.Inside {
		t.Errorf("account %+v does not add up", c)
	}
}

func TestAServiceThatNeverHadAPodFailsEverything(t *testing.T) {
	t.Parallel()
	s, _ := one(t, single(10*time.Millisecond), Load{Name: "users", RatePerSec: 20}, 0, Pod{})
	s.Advance(begin.Add(time.Minute))
	w := s.Sample()
	if c := w.Loads[0].Counts; c.Offered == 0 || c.Served != 0 || c.Failed != c.Offered {
		t.Errorf("of %d requests %d were served and %d failed, want all failed: there was nobody", c.Offered, c.Served, c.Failed)
	}
}
