package simulate

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-dev/fairway/internal/rehearse"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
)

// broken plays the drained cluster with something that goes wrong.
func broken(t *testing.T, ctx context.Context, change func(*rehearse.Options)) (record.Run, error) {
	t.Helper()
	_, doc := prepare(t, drained(), t.TempDir())
	o := rehearse.Options{Document: doc.Document, Seeds: []int64{7}, MemoryLimitBytes: rehearse.MemoryLimit(doc.Pods()), Timeout: runTimeout}
	change(&o)
	if o.Program == "" {
		o.Program = program(t)
	}
	playing <- struct{}{}
	defer func() { <-playing }()
	runs, err := rehearse.Run(ctx, o)
	return runs[0], err
}

func TestARunThatBreaksOffSaysWhyAndLeavesWhatIsKnown(t *testing.T) {
	t.Parallel()
	const someTime = 2 * time.Second
	for _, c := range []struct {
		name   string
		change func(o *rehearse.Options)
		says   []string
		knows  bool // something of the measured time is left
	}{
		{"a panic", func(o *rehearse.Options) { o.Document.Check, o.Document.Plant = true, play.PlantPanic }, []string{"broke off", "after 2026-01-05 00:0", "a planted panic", "goroutine"}, true},
		{"a wait for what never comes", func(o *rehearse.Options) {
			o.Document.Check, o.Document.Plant, o.Stall = true, play.PlantWait, someTime
		}, []string{"stuck after 2026-01-05 00:0", "goroutine", "chan receive"}, true},
		{"a loop without end", func(o *rehearse.Options) {
			o.Document.Check, o.Document.Plant, o.Stall = true, play.PlantSpin, someTime
		}, []string{"stuck after 2026-01-05 00:0", "it is busy", "goroutine"}, true},
		{"too little time", func(o *rehearse.Options) {
			o.Document.Scenario.Spec.Duration.Duration, o.Timeout = 60*24*time.Hour, 4*time.Second
		}, []string{"longer than 4s"}, true},
		{"a program that is not there", func(o *rehearse.Options) { o.Program = filepath.Join(t.TempDir(), "none") }, []string{"starting", "no such file"}, false},
		{"a program that is something else", func(o *rehearse.Options) { o.Program = "/bin/true" }, []string{"ended before it was set up", "rehearse build"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			run, err := broken(t, t.Context(), c.change)
			if err == nil {
				t.Fatal("nothing was said")
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q is not said:\n%.3000s", s, err)
				}
			}
			if c.knows && len(run.Samples) == 0 {
				t.Error("nothing is known of the time before")
			}
			if run.End != nil && run.End.Incomplete == "" {
				t.Error("the run counts as whole")
			}
		})
	}
}

func TestARunThatIsToldToStopEndsSoonWithWhatIsKnown(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var run record.Run
	run, err := broken(t, ctx, func(o *rehearse.Options) {
		o.Document.Scenario.Spec.Duration.Duration = 60 * 24 * time.Hour
		o.Progress = func(_ int64, e record.Event) {
			if e.Progress != nil && !e.Progress.Settling && e.Progress.FinishedShare > 0 {
				cancel()
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "stopped at 2026-01-05") {
		t.Errorf("error %v, want when it was stopped", err)
	}
	if run.End == nil || run.End.Incomplete == "" || len(run.Samples) == 0 {
		t.Errorf("end %+v after %d samples, want an incomplete run with what was known", run.End, len(run.Samples))
	}
}

func TestARunThatIsKilledSaysSo(t *testing.T) {
	t.Parallel()
	var once sync.Once
	run, err := broken(t, t.Context(), func(o *rehearse.Options) {
		o.Program = longer(t, program(t)) // by whose path its process is found
		o.Document.Scenario.Spec.Duration.Duration = 60 * 24 * time.Hour
		o.Progress = func(_ int64, e record.Event) {
			if e.Progress != nil && !e.Progress.Settling {
				once.Do(func() { killAll(t, o.Program) })
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "signal: killed") || !strings.Contains(err.Error(), "memory ran out") {
		t.Errorf("error %v, want that it was killed and what may be the cause", err)
	}
	if run.End != nil || len(run.Samples) == 0 {
		t.Errorf("end %+v after %d samples, want no end and what was known", run.End, len(run.Samples))
	}
}

// killAll ends the processes that run the program of this path.
func killAll(t *testing.T, program string) {
	found, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range found {
		if to, err := os.Readlink(exe); err == nil && to == program {
			id, err := strconv.Atoi(filepath.Base(filepath.Dir(exe)))
			if err == nil {
				err = syscall.Kill(id, syscall.SIGKILL)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAProgramOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	doc := &play.Document{Shape: "another"}
	err := play.Run(t.Context(), doc, io.Discard, nil, nil, "")
	if err == nil || !strings.Contains(err.Error(), "make build") || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want advice to build both anew", err)
	}
}
