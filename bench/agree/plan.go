package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// plan is what the scenario says of a run.
type plan struct {
	manifests, programs []string // paths
	nodes               []string // as up's flag has them
	host                string   // that the load asks for
	port                string
	rate                float64 // requests a second
	namespace, rollout  string
	stable              string // image at the beginning
	releases            []release
}

// release is one step of kind setImage.
type release struct{ name, image string }

// Times around the releases of a real run.
const (
	// before the first release there is a window of evidence, and more.
	before = 90 * time.Second
	// between is how long evidence of one release needs to be gone before the next.
	between = 90 * time.Second
	// longest bounds every wait.
	longest = 15 * time.Minute
)

// readPlan reads the part of a scenario that a real run can do too. What else is in it is for the rehearsal alone.
func readPlan(dir string) (*plan, error) {
	file := filepath.Join(dir, "scenario.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s struct {
		Spec struct {
			Cluster struct {
				Pools []struct {
					Name, Type string
					Zones      []string
					Size       int
				}
				Manifests []string
			}
			Virtual struct{ Programs []string }
			Load    []struct {
				To   string
				Rate float64
			}
			Steps []struct {
				Name     string
				SetImage struct{ Workload, Image string }
			}
		}
	}
	if err := yaml.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := &plan{}
	for _, m := range s.Spec.Cluster.Manifests {
		p.manifests = append(p.manifests, filepath.Join(dir, m))
	}
	for _, m := range s.Spec.Virtual.Programs {
		p.programs = append(p.programs, filepath.Join(dir, m))
	}
	for _, pool := range s.Spec.Cluster.Pools {
		p.nodes = append(p.nodes, fmt.Sprintf("name=%s,count=%d,type=%s,zones=%s", pool.Name, pool.Size, pool.Type, strings.Join(pool.Zones, "|")))
	}
	if len(s.Spec.Load) != 1 || s.Spec.Load[0].Rate <= 0 {
		return nil, fmt.Errorf("%s: want one load with a rate", file)
	}
	host, port, found := strings.Cut(s.Spec.Load[0].To, ":")
	if !found || strings.Contains(host, "/") {
		return nil, fmt.Errorf("%s: load to %q; want a host and a port of the Gateway, such as shop.example:8080", file, s.Spec.Load[0].To)
	}
	p.host, p.port, p.rate = host, port, s.Spec.Load[0].Rate
	for _, st := range s.Spec.Steps {
		parts := strings.Split(st.SetImage.Workload, "/")
		if len(parts) != 3 || parts[0] != "Rollout" {
			return nil, fmt.Errorf("%s: step %q is no setImage of a Rollout/NAMESPACE/NAME", file, st.Name)
		}
		p.namespace, p.rollout = parts[1], parts[2]
		p.releases = append(p.releases, release{st.Name, st.SetImage.Image})
	}
	if len(p.releases) == 0 {
		return nil, errors.New(file + ": no step is a release")
	}
	return p, nil
}

// takes is about how long the real run will be.
func (p *plan) takes(rehearsed []outcome, repeat int) time.Duration {
	sum := before
	for i := range p.releases {
		o := &rehearsed[i]
		one := between
		for _, name := range []string{untilAbort, healthy} {
			if s := o.step(name); s != nil {
				one += middle(s.after)
			}
		}
		sum += time.Duration(p.times(o, repeat)) * one
	}
	return sum.Round(time.Minute)
}

// times is how often a release is made for real.
func (p *plan) times(o *outcome, repeat int) int {
	if o.verdicts[aborted] > 0 {
		return max(1, repeat)
	}
	return 1
}
