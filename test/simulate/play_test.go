package simulate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// programVariable names another fairway-rehearse than the one beside.
const programVariable = "FAIRWAY_REHEARSE"

// program is the fairway-rehearse that is played. That of `make build` is made anew when it is missing or older than the
// source.
func program(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(programVariable); path != "" {
		return path
	}
	path, err := built()
	if err != nil {
		t.Fatalf("%v\nthese tests play it: run `make build`, or name another with %s", err, programVariable)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", rehearse.ProgramName)
	is, err := os.Stat(path)
	if err == nil {
		newest, err := newestSource(root)
		if err != nil || !newest.After(is.ModTime()) {
			return path, err
		}
	}
	return path, rehearse.Build(context.Background(), root, path, false, os.Stderr)
})

// newestSource is when a file was changed last that the program is built from.
func newestSource(root string) (newest time.Time, err error) {
	for _, dir := range []string{"api", "cmd", "config", "internal"} {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			i, err := e.Info()
			if err == nil && i.ModTime().After(newest) {
				newest = i.ModTime()
			}
			return err
		}))
	}
	return newest, err
}

// playing limits how many runs go at once: each has a core for itself.
var playing = make(chan struct{}, 2)

// runTimeout of real time for one run; a run that hangs is a failure of its own.
const runTimeout = 10 * time.Minute

// played is what came of a case.
type played struct {
	run    record.Run
	loaded *scenario.Loaded
}

// prepare writes a case into a directory and reads it back as a user's scenario.
func prepare(t testing.TB, c *Case, dir string) (*scenario.Loaded, *rehearse.Document) {
	t.Helper()
	path, err := c.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := rehearse.Scenario(rehearse.Request{Path: path})
	if err != nil {
		t.Fatalf("the scenario of seed %d is not one:\n%v", c.Seed, err)
	}
	doc, _, err := rehearse.Prepare(loaded, false)
	if err != nil {
		t.Fatalf("the scenario of seed %d does not hold together:\n%v", c.Seed, err)
	}
	return loaded, doc
}

// runCase plays a case with every invariant watched.
func runCase(t testing.TB, c *Case, dir, plant string) (*played, error) {
	t.Helper()
	return runProgram(t, program(t), c, dir, plant)
}

// runProgram plays a case with a program of the caller's.
func runProgram(t testing.TB, program string, c *Case, dir, plant string) (*played, error) {
	t.Helper()
	loaded, doc := prepare(t, c, dir)
	doc.Check, doc.Plant, doc.Unrest = true, plant, c.Unrest
	playing <- struct{}{}
	defer func() { <-playing }()
	runs, err := rehearse.Run(t.Context(), rehearse.Options{Document: doc.Document, Seeds: []int64{c.Seed}, Program: program,
		MemoryLimitBytes: rehearse.MemoryLimit(doc.Pods()), Timeout: runTimeout})
	return &played{run: runs[0], loaded: loaded}, err
}

// json is the report of a run.
func (p *played) json(t testing.TB) []byte {
	t.Helper()
	r, err := rehearse.Report(p.loaded, []record.Run{p.run}, nil, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := report.JSON(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describe says what happened last, for a failure.
func (p *played) describe() string {
	text := fmt.Sprintf("timeline of %d entries, the last:\n", len(p.run.Timeline))
	for _, e := range p.run.Timeline[max(0, len(p.run.Timeline)-15):] {
		text += fmt.Sprintf("  %s %s %s: %s (%s)\n", e.Time.Format(time.TimeOnly), e.Kind, e.Object, e.What, e.Why)
	}
	return text
}

// seedsVariable names the seeds to play instead: one (42) or a range (5-34).
const seedsVariable = "FAIRWAY_SIMULATE_SEEDS"

// wanted are the seeds to play: those that were asked for, or the first n.
func wanted(t testing.TB, n int64) []int64 {
	t.Helper()
	first, last := int64(1), n
	if s := os.Getenv(seedsVariable); s != "" {
		from, to, isRange := strings.Cut(s, "-")
		if !isRange {
			to = from
		}
		var err, err2 error
		first, err = strconv.ParseInt(from, 10, 64)
		last, err2 = strconv.ParseInt(to, 10, 64)
		if err = errors.Join(err, err2); err != nil || last < first {
			t.Fatalf("%s=%s is neither a seed (42) nor a range of seeds (5-34): %v", seedsVariable, s, err)
		}
	}
	var out []int64
	for seed := first; seed <= last; seed++ {
		out = append(out, seed)
	}
	return out
}

// countVariable is how many seeds are played of each kind; then, what is played is larger as well.
const countVariable = "FAIRWAY_SEEDS"

// explored is how many seeds are asked for; 0 when `make test` decides.
func explored(t testing.TB) int64 {
	t.Helper()
	s := os.Getenv(countVariable)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is not a number of seeds (12): %v", countVariable, s, err)
	}
	return n
}

func nightly() bool { return os.Getenv("FAIRWAY_NIGHTLY") != "" }
