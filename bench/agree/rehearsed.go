package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// rehearse plays the scenario with each seed, and reads what came of its releases from the reports: in all seeds, and in the
// first, whose draws are those of the real run.
func rehearse(ctx context.Context, o options, p *plan) (all, first []outcome, err error) {
	all, first = make([]outcome, len(p.releases)), make([]outcome, len(p.releases))
	for i := range all {
		all[i], first[i] = newOutcome(), newOutcome()
	}
	for seed := 1; seed <= o.seeds; seed++ {
		file := filepath.Join(o.work, "report.json")
		c := exec.CommandContext(ctx, filepath.Join(o.bin, "fairway"), "rehearse", o.example, "--seed", strconv.Itoa(seed), "--quiet", "--json", file)
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: an expectation does not hold
			return nil, nil, fmt.Errorf("seed %d: %w\n%s", seed, err, out)
		}
		into := [][]outcome{all}
		if seed == realSeed {
			into = append(into, first)
		}
		for _, one := range into {
			if err := readReport(file, p, one); err != nil {
				return nil, nil, fmt.Errorf("seed %d: %w", seed, err)
			}
		}
	}
	return all, first, nil
}

// readReport adds the updates of one report.
func readReport(file string, p *plan, all []outcome) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var report struct {
		Updates []struct {
			Workload, Image, Outcome string
			Began, Ended             time.Time
			Weights                  []struct {
				At    time.Time
				Share float64
			}
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return err
	}
	for i, r := range p.releases {
		found := false
		for _, u := range report.Updates {
			if u.Workload != "Rollout/"+p.namespace+"/"+p.rollout || u.Image != r.image {
				continue
			}
			found = true
			o, seen := &all[i], map[string]bool{}
			o.runs++
			o.verdicts[u.Outcome]++
			for _, w := range u.Weights {
				if w.Share > 0 {
					o.saw(weightName(w.Share), w.At.Sub(u.Began), seen)
				}
			}
			switch {
			case u.Outcome == healthy:
				o.saw(healthy, u.Ended.Sub(u.Began), seen)
			case u.Outcome == aborted && len(u.Weights) > 0:
				o.saw(untilAbort, u.Ended.Sub(u.Weights[0].At), seen)
			}
		}
		if !found {
			return fmt.Errorf("the report has no update to %s", r.image)
		}
	}
	return nil
}
