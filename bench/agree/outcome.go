package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse/stat"
)

// How a release ended.
const (
	healthy = "Healthy"
	aborted = "Aborted"
)

// untilAbort is the time from the first request to an update to its abort, a matter of chance: of which requests fail.
const untilAbort = "aborted, after its first requests"

// realSeed is the seed of the real run: how long each of its pods takes to be ready is what a rehearsal with that seed draws.
const realSeed = 1

// outcome is what came of one release, in all runs of it.
type outcome struct {
	runs     int
	verdicts map[string]int
	steps    []*step // in the order in which they were first seen
}

// step is a change of weight, or the end.
type step struct {
	name  string
	after []time.Duration // since the release, a run
}

func newOutcome() outcome { return outcome{verdicts: map[string]int{}} }

// saw a step so long after the release. What happens twice in a run counts once.
func (o *outcome) saw(name string, after time.Duration, seen map[string]bool) {
	if seen[name] {
		return
	}
	seen[name] = true
	s := o.step(name)
	if s == nil {
		s = &step{name: name}
		o.steps = append(o.steps, s)
	}
	s.after = append(s.after, after)
}

func (o *outcome) step(name string) *step {
	if i := slices.IndexFunc(o.steps, func(s *step) bool { return s.name == name }); i >= 0 {
		return o.steps[i]
	}
	return nil
}

func (o *outcome) verdict() string {
	var out []string
	for _, v := range []string{healthy, aborted} {
		if n := o.verdicts[v]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d of %d", v, n, o.runs))
		}
	}
	return strings.Join(out, ", ")
}

// ends are the verdicts there were.
func (o *outcome) ends() [2]bool { return [2]bool{o.verdicts[healthy] > 0, o.verdicts[aborted] > 0} }

func weightName(share float64) string {
	return fmt.Sprintf("%g %% of requests", math.Round(share*1000)/10)
}

// middle is the mean.
func middle(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	var sum time.Duration
	for _, one := range d {
		sum += one
	}
	return sum / time.Duration(len(d))
}

// most is how far the means of a step may be apart, in percent.
const most = 10

// table prints what happened beside what was rehearsed and tells whether they agree: the same verdicts, and times of steps
// within most. Steps are held against the rehearsal of the same seed, and what is a matter of chance against the mean of all.
func table(p *plan, real, rehearsed, same []outcome) bool {
	agreed := true
	fmt.Printf("\n%-40s %26s %16s %28s %11s\n", "", "real", "rehearsed, seed 1", "all seeds", "difference")
	for i, r := range p.releases {
		a, b := &real[i], &rehearsed[i]
		word := "same"
		if a.ends() != b.ends() {
			word, agreed = "DIFFERENT", false
		}
		fmt.Printf("%-40s %26s %16s %28s %11s\n", r.name+" ("+r.image+")", a.verdict(), same[i].verdict(), b.verdict(), word)
		for _, s := range b.steps {
			if !row(s, a.step(s.name), same[i].step(s.name), b.runs) {
				agreed = false
			}
		}
	}
	if agreed {
		fmt.Printf("\nthey agree: the same verdicts, steps within %d %%\n", most)
	} else {
		fmt.Printf("\nthey do not agree\n")
	}
	return agreed
}

// row prints a step, and tells whether it agrees.
func row(all, real, same *step, runs int) bool {
	against, text := all, ""
	if same != nil {
		text = spread(same.after)
		if all.name != untilAbort {
			against = same
		}
	}
	name := "  " + all.name
	if len(all.after) < runs {
		name += fmt.Sprintf(" (%d of %d seeds)", len(all.after), runs)
	}
	if real == nil { // a weight that only some updates get to, because others are aborted before, need not be seen
		fmt.Printf("%-40s %26s %16s %28s\n", name, "not met", text, spread(all.after))
		return len(all.after) < runs
	}
	difference := 100 * (middle(real.after).Seconds()/middle(against.after).Seconds() - 1)
	fmt.Printf("%-40s %26s %16s %28s %+10.1f%%", name, spread(real.after), text, spread(all.after), difference)
	agrees := math.Abs(difference) <= most
	if all.name == untilAbort {
		p := byChance(real.after, all.after)
		fmt.Printf("  p = %.2f", p)
		agrees = agrees || p > significance
	}
	fmt.Println()
	return agrees
}

// significance is below what probability two means that differ by more than most do not differ by chance.
const significance = 0.05

// byChance is the probability that means are so far apart, or farther, when both are of one distribution (Welch's t-test). With
// a single value it is 1: nothing can be said.
func byChance(a, b []time.Duration) float64 {
	x, y := inSeconds(a), inSeconds(b)
	if len(x) < 2 || len(y) < 2 {
		return 1
	}
	u, v := math.Pow(stat.Deviation(x), 2)/float64(len(x)), math.Pow(stat.Deviation(y), 2)/float64(len(y))
	if u+v == 0 {
		return 0
	}
	df := (u + v) * (u + v) / (u*u/float64(len(x)-1) + v*v/float64(len(y)-1))
	return stat.TwoSided(math.Abs(stat.Mean(x)-stat.Mean(y))/math.Sqrt(u+v), df)
}

func inSeconds(d []time.Duration) []float64 {
	out := make([]float64, len(d))
	for i := range d {
		out[i] = d[i].Seconds()
	}
	return out
}

// spread is the mean, with the range.
func spread(d []time.Duration) string {
	text := fmt.Sprintf("%.1f s", middle(d).Seconds())
	if len(d) > 1 {
		text += fmt.Sprintf(" (%.1f to %.1f)", slices.Min(d).Seconds(), slices.Max(d).Seconds())
	}
	return text
}
