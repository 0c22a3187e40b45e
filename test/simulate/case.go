package simulate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/fairway-dev/fairway/internal/rehearse/play"
)

// Case is one generated rehearsal.
type Case struct {
	Seed      int64
	Scenario  []byte // scenario.yaml
	Manifests []byte // manifests.yaml, which the scenario names
	// Unrest fails Fairway's own controllers; nil = nothing does.
	Unrest *play.Unrest
}

// Size is how much a case holds and how long it goes on.
type Size struct {
	// Services at most; at least half as many are made.
	Services int
	// Faults at most.
	Faults int
	// Rollouts at most, of which at least half as many are made, and Actions on them.
	Rollouts, Actions int
	// Idle Rollouts get one update that nobody promotes, and then nothing happens: there are neither autoscalers nor actions.
	Idle bool
	// Duration measured, of which the last PeaceAtEnd is free of faults.
	Duration time.Duration
}

// Sizes: what fits into a minute of tests together, and what a night looks for.
var (
	Tiny  = Size{Services: 4, Faults: 12, Duration: 80 * time.Minute}
	Small = Size{Services: 6, Faults: 10, Duration: 2 * time.Hour}
	Large = Size{Services: 14, Faults: 40, Duration: 12 * time.Hour}
	// Fleet is mostly Rollouts, and IdleFleet many that stand still; the others are more of them for longer.
	Fleet        = Size{Services: 1, Faults: 4, Rollouts: 8, Actions: 50, Duration: 150 * time.Minute}
	LongFleet    = Size{Services: 1, Faults: 4, Rollouts: 8, Actions: 70, Duration: 3 * time.Hour}
	IdleFleet    = Size{Services: 1, Rollouts: 30, Idle: true, Duration: 80 * time.Minute}
	LargeIdle    = Size{Services: 1, Rollouts: 60, Idle: true, Duration: 2 * time.Hour}
	FleetAtNight = Size{Services: 2, Faults: 12, Rollouts: 16, Actions: 400, Duration: 10 * time.Hour}
)

// PeaceAtEnd is how long nothing happens before the end, for every controller to come to rest: longer than the crash
// back-off's 5 minutes, the deletion of a dead node and the launch of another, and the 5 minutes a pod is tolerated on a
// node that is silent.
const PeaceAtEnd = 45 * time.Minute

// Write puts the case into a directory and returns the path of its scenario.
func (c *Case) Write(dir string) (string, error) {
	path := filepath.Join(dir, "scenario.yaml")
	if err := os.WriteFile(filepath.Join(dir, "manifests.yaml"), c.Manifests, 0o600); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, c.Scenario, 0o600)
}

// Generate makes the case of a seed. Every choice is a draw of its own by name, so that a larger Size adds to a case and
// leaves the rest of it as it was.
func Generate(seed int64, size Size) (*Case, error) {
	g := &generator{dice: dice(seed), size: size}
	g.pools()
	g.services()
	g.extras()
	g.loads()
	g.rollouts()
	g.faults()
	scenario := obj{"apiVersion": "fairway.dev/v1alpha1", "kind": "Scenario", "metadata": obj{"name": fmt.Sprintf("simulate-%d", seed)}, "spec": obj{
		"duration": size.Duration.String(), "settle": "10m", "seeds": []any{seed},
		"cluster": obj{"pools": g.poolList, "manifests": []any{"manifests.yaml"}},
		"load":    g.loadList, "services": g.models, "steps": g.steps,
		"virtual": obj{"podWrites": pick(g.dice, "pod-writes", "lean", "lean", "observable", "full"), "podEvents": pick(g.dice, "pod-events", "none", "warnings", "all")},
	}}
	c := &Case{Seed: seed}
	var err error
	if c.Scenario, err = yaml.Marshal(scenario); err != nil {
		return nil, err
	}
	var docs [][]byte
	for _, o := range g.objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		docs = append(docs, b)
	}
	c.Manifests = bytes.Join(docs, []byte("---\n"))
	return c, nil
}

// obj is a mapping of a YAML document.
type obj = map[string]any

// generator collects a case.
type generator struct {
	dice
	size     Size
	poolList []any
	zones    []string
	spot     bool
	apps     []app
	ships    []ship
	objects  []obj
	models   []any
	loadList []any
	steps    []any
	quotas   []string // namespaces with a quota
}

// app is one service with its workload.
type app struct {
	ns, name, kind string
	hpa, rollable  bool
	touched        bool // a fault already changes its size or template
}

func (a *app) workload() string { return a.kind + "/" + a.ns + "/" + a.name }

func (g *generator) add(o obj) { g.objects = append(g.objects, o) }

func meta(ns, name string) obj {
	m := obj{"name": name}
	if ns != "" {
		m["namespace"] = ns
	}
	return m
}
