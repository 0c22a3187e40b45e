package flow

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// town is a call graph of services in four layers, each with pods on nodes of 16 cores, and a load on each of the first
// layer.
func town(t testing.TB, services, pods int) (*System, []PodID) {
	t.Helper()
	c := Config{Seed: 7, Start: begin, Network: Network{SameZone: 300 * time.Microsecond, CrossZone: time.Millisecond}}
	layer := services / 4
	for i := range services {
		m := Model{Threads: 2, IdleCores: .005, Noise: .05, Client: Client{Timeout: 15 * time.Second}}
		for r := range 3 {
			rt := Route{Name: fmt.Sprint("r", r), CPU: time.Duration(2+r) * time.Millisecond, CPUScv: 1, LatencyP50: 8 * time.Millisecond, LatencyP99: 40 * time.Millisecond}
			if i+layer < services {
				rt.Calls = []Call{{Service: i + layer, Count: 1}, {Service: (i/layer+1)*layer + (i+1)%layer, Route: 1, Count: .5}}
			}
			m.Routes = append(m.Routes, rt)
		}
		c.Services = append(c.Services, Service{Name: fmt.Sprintf("town/s%03d", i), Model: m})
		if i < layer {
			c.Loads = append(c.Loads, Load{Name: fmt.Sprint("l", i), Service: i, RatePerSec: 300, Client: Client{Timeout: 30 * time.Second},
				Mix: []RouteShare{{0, 5}, {1, 3}, {2, 2}}})
		}
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []NodeID
	for i := range max(1, pods/10) {
		nodes = append(nodes, s.AddNode(Node{Name: fmt.Sprint("n", i), Cores: 16}))
	}
	var ids []PodID
	for i := range pods {
		ids = append(ids, s.AddPod(Pod{Key: fmt.Sprintf("town/s%03d/%d", i%services, i/services), Service: i % services, Node: nodes[i%len(nodes)],
			Zone: string('a' + rune(i%3)), Running: true, Serving: true, CPURequestMilli: 500, CPULimitCores: 1, StartedAt: begin.Add(-time.Hour)}))
	}
	return s, ids
}

func BenchmarkWindowWithAllServicesChanged(b *testing.B) {
	s, _ := town(b, 100, 1000)
	at := begin
	b.ReportAllocs()
	i := 0
	step := func() {
		i++
		for l := range s.Loads() {
			_ = s.SetRate(l, 300+30*math.Sin(float64(i)))
		}
		at = at.Add(15 * time.Second)
		s.Advance(at)
	}
	for range 50 {
		step()
	}
	b.ResetTimer()
	for range b.N {
		step()
	}
}

func BenchmarkWindowWithOneServiceChanged(b *testing.B) {
	s, ids := town(b, 100, 1000)
	at := begin
	b.ReportAllocs()
	i := 0
	step := func() {
		i++
		p := s.PodOf(ids[90])
		p.Serving = i%2 == 0
		s.SetPod(ids[90], p)
		at = at.Add(time.Second)
		s.Advance(at)
	}
	for range 50 {
		step()
	}
	b.ResetTimer()
	for range b.N {
		step()
	}
}

// BenchmarkDay is a day of 100 services × 27 pods on a daily curve: rates move every 15 s to 60 s, every pod's counter is
// read every 15 s, samples are taken every minute.
func BenchmarkDay(b *testing.B) {
	for range b.N {
		s, ids := town(b, 100, 2700)
		at := begin
		for k := range 5760 {
			r := 500 - 300*math.Cos(2*math.Pi*float64(k)/5760)
			for l := range s.Loads() {
				_ = s.SetRate(l, r)
			}
			at = at.Add(15 * time.Second)
			s.Advance(at)
			s.Next()
			for _, id := range ids {
				s.CPUSeconds(id, at)
			}
			if k%4 == 3 {
				s.Sample()
			}
		}
		b.ReportMetric(float64(s.Stats().Iterations), "passes")
		b.ReportMetric(float64(s.Stats().Windows), "windows")
	}
}

func BenchmarkSampleOfHundredServices(b *testing.B) {
	s, _ := town(b, 100, 1000)
	at := begin
	b.ReportAllocs()
	for range b.N {
		at = at.Add(time.Minute)
		s.Advance(at)
		s.Sample()
	}
}
