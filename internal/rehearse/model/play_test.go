package model

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/flow"
)

// With nothing but manifests and a rate, the assumed costs must make a cluster that works: half of the CPU requests in use
// at the mean rate, nobody saturated.
func TestAssumedCostsUseHalfOfTheRequestsAtTheMeanRate(t *testing.T) {
	t.Parallel()
	top, err := Build(Input{Scenario: spec(t, `load: [{name: users, to: bakery/shop, rate: 100}]`),
		Objects: read(t, filepath.Join("testdata", "bakery.yaml")), MeanRate: []float64{100}, Start: begin, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := flow.New(top.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetRate(0, 100); err != nil {
		t.Fatal(err)
	}
	var all []flow.PodID
	for i, c := range top.components {
		for _, w := range c.workloads {
			for k := range w.replicas {
				all = append(all, s.AddPod(flow.Pod{Key: w.key() + string(rune('0'+k)), Service: i, Running: true, Serving: true,
					CPURequestMilli: int64(1000 * requestOf(&w.template)), StartedAt: begin.Add(-time.Hour)}))
			}
		}
	}
	at := begin.Add(time.Hour)
	s.Advance(at)
	for _, id := range all {
		p := s.PodOf(id)
		sv := top.Config.Services[p.Service]
		if p.CPURequestMilli == 0 || sv.Constant {
			continue
		}
		share := s.CPUSeconds(id, at) / 3600 / (float64(p.CPURequestMilli) / 1000)
		if share < .35 || share > .6 {
			t.Errorf("%s uses %.0f %% of its request, want about half", p.Key, 100*share)
		}
	}
	w := s.Sample()
	for i := range w.Services {
		if w.Services[i].Saturated {
			t.Errorf("%s is saturated at the mean rate", top.Config.Services[i].Name)
		}
	}
	c := w.Loads[0].Counts
	if c.Served < c.Offered*99/100 {
		t.Errorf("of %d requests only %d are served", c.Offered, c.Served)
	}
}
