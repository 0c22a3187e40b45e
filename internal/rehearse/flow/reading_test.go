package flow

import (
	"testing"
	"time"
)

// A run that reads counters at other instants, or takes samples more often, must not become another run.
func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	run := func(read bool) []Counts {
		s, ids := town(t, 8, 24)
		at := begin
		for i := range 40 {
			for l := range s.Loads() {
				_ = s.SetRate(l, 200+float64(i*7%50))
			}
			if read {
				for _, id := range ids {
					s.CPUSeconds(id, at.Add(7*time.Second))
					s.MemoryBytes(id, at.Add(8*time.Second))
				}
				s.Next()
				s.NextMemoryCrossing()
			}
			at = at.Add(15 * time.Second)
			s.Advance(at)
		}
		var out []Counts
		for _, w := range s.Sample().Services {
			out = append(out, w.Counts)
		}
		return out
	}
	a, b := run(false), run(true)
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("service %d counts %+v, when read in between %+v", i, a[i], b[i])
		}
	}
}

func TestSteadyWindowsAllocateNothing(t *testing.T) {
	s, _ := town(t, 20, 100)
	at := begin
	i := 0
	step := func() {
		i++
		for l := range s.Loads() {
			_ = s.SetRate(l, 300+float64(i%30))
		}
		at = at.Add(15 * time.Second)
		s.Advance(at)
		if i%4 == 0 {
			s.Sample()
		}
	}
	for range 200 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n > 0 {
		t.Errorf("a window allocates %v times", n)
	}
}
