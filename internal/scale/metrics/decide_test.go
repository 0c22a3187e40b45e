package metrics

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	web   = types.NamespacedName{Namespace: "shop", Name: "web"}
)

func after(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// point is a reading at a second, of something started at another.
func point(at, started float64, cpuSeconds float64, memory uint64) Point {
	return Point{At: after(at), Started: after(started), CPU: uint64(cpuSeconds * 1e9), Memory: memory}
}

// play takes up rounds of one node with one pod's containers, 15 s apart, and returns the last snapshot.
func play(rounds ...map[string]Point) *Snapshot {
	var s State
	for i, containers := range rounds {
		now := after(float64(100 + 15*i))
		var r *Reading
		if containers != nil {
			r = &Reading{Node: point(float64(100+15*i), 0, float64(100+i), 1<<30), Pods: map[types.NamespacedName]map[string]Point{web: containers}}
		}
		s = s.Advance(map[string]*Reading{"n": r}, now, DefaultResolution)
	}
	return s.Snapshot()
}

func TestPodHasUsageOnlyWhenAllItsContainersHaveTwoReadingsThatBelongTogether(t *testing.T) {
	t.Parallel()
	type round = map[string]Point
	old := func(at, cpu float64) Point { return point(at, 1, cpu, 64<<20) }
	cases := map[string]struct {
		rounds []map[string]Point
		cpu    map[string]uint64 // nanocores by container; nil = no usage
		window time.Duration
	}{
		"one reading":                         {[]round{{"a": old(100, 5)}}, nil, 0},
		"two readings":                        {[]round{{"a": old(100, 5)}, {"a": old(115, 8)}}, map[string]uint64{"a": 200_000_000}, 15 * time.Second},
		"second container has one reading":    {[]round{{"a": old(100, 5)}, {"a": old(115, 8), "b": old(115, 1)}}, nil, 0},
		"the counter fell":                    {[]round{{"a": old(100, 5)}, {"a": old(115, 4)}}, nil, 0},
		"the start went back":                 {[]round{{"a": point(100, 50, 5, 1)}, {"a": point(115, 40, 8, 1)}}, nil, 0},
		"restarted between the readings":      {[]round{{"a": old(100, 5)}, {"a": point(115, 106, 1, 1)}}, nil, 0},
		"fresh for ten seconds":               {[]round{{"a": point(100, 90, 1, 1)}}, map[string]uint64{"a": 100_000_000}, 10 * time.Second},
		"fresh for nine seconds":              {[]round{{"a": point(100, 91, 1, 1)}}, nil, 0},
		"no CPU counted yet":                  {[]round{{"a": old(100, 5)}, {"a": old(115, 0)}}, nil, 0},
		"no memory known":                     {[]round{{"a": old(100, 5)}, {"a": point(115, 1, 8, 0)}}, nil, 0},
		"the same reading again is no new":    {[]round{{"a": old(100, 5)}, {"a": old(115, 8)}, {"a": old(115, 8)}}, map[string]uint64{"a": 200_000_000}, 15 * time.Second},
		"node silent for two rounds":          {[]round{{"a": old(100, 5)}, {"a": old(115, 8)}, nil, nil}, map[string]uint64{"a": 200_000_000}, 15 * time.Second},
		"node silent for three rounds":        {[]round{{"a": old(100, 5)}, {"a": old(115, 8)}, nil, nil, nil}, nil, 0},
		"the node no longer names the pod":    {[]round{{"a": old(100, 5)}, {"a": old(115, 8)}, {}}, nil, 0},
		"a container that ended is left out":  {[]round{{"a": old(100, 5), "b": old(100, 5)}, {"a": old(115, 8)}}, map[string]uint64{"a": 200_000_000}, 15 * time.Second},
		"nanocores are cut, not rounded":      {[]round{{"a": point(100, 1, 5, 1)}, {"a": {At: after(115), Started: after(1), CPU: 5e9 + 29, Memory: 1}}}, map[string]uint64{"a": 1}, 15 * time.Second},
		"a missed round makes a wider window": {[]round{{"a": old(100, 5)}, nil, {"a": old(130, 11)}}, map[string]uint64{"a": 200_000_000}, 30 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, ok := play(c.rounds...).Pod(web)
			if ok != (c.cpu != nil) || len(u.Containers) != len(c.cpu) {
				t.Fatalf("usage %+v, %t; want containers %v", u, ok, c.cpu)
			}
			for name, want := range c.cpu {
				if got := u.Containers[name]; got.CPU != want || u.Window != c.window {
					t.Errorf("container %s: %d nanocores over %v; want %d over %v", name, got.CPU, u.Window, want, c.window)
				}
			}
		})
	}
}

func TestNodeNeedsCPUMemoryAndTime(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]Point{"no CPU": {At: after(115), Memory: 1}, "no memory": {At: after(115), CPU: 9e9}, "no time": {CPU: 9e9, Memory: 1}} {
		s := State{}.Advance(map[string]*Reading{"n": {Node: Point{At: after(100), CPU: 5e9, Memory: 1}}}, after(100), DefaultResolution)
		s = s.Advance(map[string]*Reading{"n": {Node: last}}, after(115), DefaultResolution)
		if u, ok := s.Snapshot().Node("n"); ok {
			t.Errorf("%s: usage %+v, want none", name, u)
		}
	}
}

func TestForgottenNodeTakesItsPodsWithIt(t *testing.T) {
	t.Parallel()
	r := func(at float64) map[string]*Reading {
		return map[string]*Reading{"n": {Node: point(at, 0, at, 1), Pods: map[types.NamespacedName]map[string]Point{web: {"a": point(at, 0, at, 1)}}}}
	}
	s := State{}.Advance(r(100), after(100), DefaultResolution).Advance(r(115), after(115), DefaultResolution)
	if _, ok := s.Snapshot().Pod(web); !ok {
		t.Fatal("no usage after two rounds")
	}
	s = s.Advance(map[string]*Reading{}, after(130), DefaultResolution)
	if nodes, containers := s.Snapshot().Sizes(); nodes+containers != 0 {
		t.Errorf("%d nodes and %d containers are left", nodes, containers)
	}
}

// A rate is never more than what the counter can have gained, never reaches back before the start, and never older than
// two resolutions.
func TestRatesFollowFromTheReadings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s State
		now, cpu, started, truth := 100.0, 0.0, 0.0, map[time.Time]uint64{}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			now += rapid.Float64Range(1, 40).Draw(t, "gap")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				s = s.Advance(map[string]*Reading{"n": nil}, after(now), DefaultResolution)
			case 1:
				cpu, started = 0, now-rapid.Float64Range(0, 0.9).Draw(t, "age")
				fallthrough
			default:
				cpu += rapid.Float64Range(0, 50).Draw(t, "used")
				p := point(now, started, cpu, 1)
				truth[p.At] = p.CPU
				s = s.Advance(map[string]*Reading{"n": {Pods: map[types.NamespacedName]map[string]Point{web: {"a": p}}}}, after(now), DefaultResolution)
			}
			u, ok := s.Snapshot().Pod(web)
			if !ok {
				continue
			}
			c := u.Containers["a"]
			if used := float64(c.CPU) * c.Window.Seconds(); used > float64(truth[c.At])+c.Window.Seconds() {
				t.Fatalf("%v nanoseconds used in a window, but the counter stood at %d", used, truth[c.At])
			}
			if c.At.Add(-c.Window).Before(after(started)) && !c.At.Before(after(started)) {
				t.Fatalf("the window %v before %v reaches back before the start %v", c.Window, c.At, after(started))
			}
			if age := after(now).Sub(c.At); age > silentResolutions*DefaultResolution {
				t.Fatalf("a value %v old is served", age)
			}
		}
	})
}

func BenchmarkAdvance1000Pods(b *testing.B) {
	round := func(at float64) map[string]*Reading {
		r := &Reading{Node: point(at, 0, at, 1), Pods: map[types.NamespacedName]map[string]Point{}}
		for i := range 1000 {
			r.Pods[types.NamespacedName{Namespace: "shop", Name: string(rune('a' + i))}] = map[string]Point{"a": point(at, 0, at, 1)}
		}
		return map[string]*Reading{"n": r}
	}
	one, two := round(100), round(115)
	for b.Loop() {
		State{}.Advance(one, after(100), DefaultResolution).Advance(two, after(115), DefaultResolution).Snapshot()
	}
}
