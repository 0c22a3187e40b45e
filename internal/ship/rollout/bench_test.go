package rollout

import (
	"testing"
	"time"

	argo "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
)

// BenchmarkDecide decides on five ReplicaSets: at rest, and in the middle of an update that waits for a pause to end.
func BenchmarkDecide(b *testing.B) {
	for name, routing := range map[string]*argo.RolloutTrafficRouting{"basic": nil, "routed": {SMI: &argo.SMITrafficRouting{}}} {
		w := newWorld(b, canaryRollout(10, argo.CanaryStrategy{CanaryService: "canary", StableService: "stable", TrafficRouting: routing,
			Steps: []argo.CanaryStep{weight(10), pauseFor("1h"), weight(50)}}))
		for _, image := range []string{"v1", "v2", "v3", "v4"} {
			w.update(image)
			w.pass(2 * time.Hour)
		}
		measure := func(state string) {
			s := w.snapshot()
			if len(s.ReplicaSets) != 5 {
				b.Fatalf("%d ReplicaSets", len(s.ReplicaSets))
			}
			b.Run(name+"/"+state, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p := Decide(s, w.now); len(p.Ops) > 0 {
						b.Fatal(describe(p.Ops[0]))
					}
				}
			})
		}
		w.update("v5")
		w.settle()
		measure("paused")
		w.pass(2 * time.Hour)
		measure("healthy")
	}
}
