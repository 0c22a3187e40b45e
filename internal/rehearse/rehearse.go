// Package rehearse runs a scenario's seeds, each in a process of its own that lives in virtual time, and folds what they
// record. In: a checked scenario and its manifests. Out: one record a seed, from which package report makes every answer.
package rehearse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairway-dev/fairway/api/v1alpha1"
	"github.com/fairway-dev/fairway/internal/rehearse/play"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/virtualclock"
)

// Options of a rehearsal.
type Options struct {
	Document play.Document // its Seed is set by Seeds
	Seeds    []int64
	// Program is the path of fairway-rehearse.
	Program string
	// Jobs is how many runs go at once; 0 means as many as processors.
	Jobs int
	// MemoryLimitBytes of each run, at which garbage is collected; 0 means a size that follows from the scenario alone. It is
	// part of the input: another limit moves collections, and with them the order of events.
	MemoryLimitBytes int64
	// Timeout of real time for each run; 0 means none.
	Timeout time.Duration
	// Stall is the real time without any word from a run after which it counts as stuck when it does nothing, and six
	// times as much CPU when it is busy. 0 means a minute.
	Stall time.Duration
	// SchedLog is a file for the scheduler's decisions, for a program built to record them and one seed; empty for none.
	SchedLog string
	// Progress hears how the runs go on, from several goroutines.
	Progress func(seed int64, e record.Event)
}

// Limits of a run's memory.
const (
	memoryBase   = 1500 << 20
	memoryPerPod = 150 << 10 // measured: caches, histories and the garbage of a start
	memoryMax    = 12 << 30
)

// MemoryLimit is the limit that follows from a scenario: from the pods its manifests ask for, with room for autoscalers.
func MemoryLimit(pods int) int64 {
	return min(memoryBase+int64(pods)*memoryPerPod, memoryMax)
}

// Run plays every seed and returns the records in the order of the seeds. A run that breaks off is among them, with what
// was known; the error then says why.
func Run(ctx context.Context, o Options) ([]record.Run, error) {
	if o.Jobs <= 0 {
		o.Jobs = 1
	}
	runs, errs := make([]record.Run, len(o.Seeds)), make([]error, len(o.Seeds))
	slots := make(chan struct{}, o.Jobs)
	var wg sync.WaitGroup
	for i, seed := range o.Seeds {
		slots <- struct{}{} // here, so that they begin in their order
		wg.Go(func() {
			defer func() { <-slots }()
			if err := runSeed(ctx, o, seed, &runs[i]); err != nil {
				errs[i] = fmt.Errorf("seed %d: %w", seed, err)
			}
		})
	}
	wg.Wait()
	return runs, errors.Join(errs...)
}

func runSeed(ctx context.Context, o Options, seed int64, run *record.Run) error {
	doc := o.Document
	doc.Seed, doc.Shape = seed, play.Shape()
	doc.Scenario.Spec.Seeds = v1alpha1.Seeds{seed} // so that a seed is the same run alone and among others
	input, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	start, err := play.ClockStart(&doc.Scenario)
	if err != nil {
		return err
	}
	run.Start.Seed = seed
	program, err := filepath.Abs(o.Program) // the run has another working directory
	if err != nil {
		return err
	}
	if run.Start.PlayFrom, run.Start.PlayTo, err = play.Played(&doc.Scenario); err != nil {
		return err
	}
	ctx, stuck := context.WithCancelCause(ctx)
	defer stuck(nil)
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("the run took longer than %s", o.Timeout))
		defer cancel()
	}
	stream, streamIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stream.Close()
	controlOut, control, err := os.Pipe()
	if err != nil {
		streamIn.Close()
		return err
	}
	defer control.Close()
	var stderr tail
	// Everything the run can see of this machine is the same for equal input: its name, its environment, and a directory of
	// its own in which paths are relative.
	scratch, err := os.MkdirTemp("", "fairway-rehearse-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	stdin, err := inputFile(scratch, input)
	if err != nil {
		return err
	}
	defer stdin.Close()
	cmd := &exec.Cmd{Path: program, Args: []string{ProgramName}, Dir: scratch, Stdin: stdin, Stderr: &stderr}
	cmd.ExtraFiles = []*os.File{streamIn, controlOut}
	if o.SchedLog != "" {
		log, err := os.Create(o.SchedLog)
		if err != nil {
			return err
		}
		defer log.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, log)
	}
	cmd.Env = environment(start, seed, o.MemoryLimitBytes)
	err = cmd.Start()
	streamIn.Close()
	controlOut.Close()
	if err != nil {
		return fmt.Errorf("starting %s: %w", o.Program, err)
	}
	// The first request to end closes the control pipe and leaves the run time to write its end; then it is killed.
	stop := context.AfterFunc(ctx, func() {
		control.Close()
		if errors.As(context.Cause(ctx), new(*stall)) {
			_ = cmd.Process.Signal(syscall.SIGQUIT) // the runtime writes where every goroutine stands
		}
		time.AfterFunc(endGrace, func() { _ = cmd.Process.Kill() })
	})
	defer stop()
	w := watch(cmd.Process.Pid, o.Stall, stuck)
	defer w.stop()
	readErr := fold(stream, run, func(e record.Event) {
		w.heard(e)
		if o.Progress != nil {
			o.Progress(seed, e)
		}
	})
	waitErr := cmd.Wait()
	switch {
	case run.End != nil && run.End.Incomplete != "":
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return fmt.Errorf("%w: %s", cause, run.End.Incomplete)
		}
		return errors.New(run.End.Incomplete)
	case errors.As(context.Cause(ctx), new(*stall)):
		return fmt.Errorf("%w\n%s", context.Cause(ctx), stderr.String())
	case errors.Is(context.Cause(ctx), context.Canceled):
		return fmt.Errorf("%w%s", errStopped, w.where())
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case run.End == nil && waitErr == nil:
		return fmt.Errorf("%s ended%s and said nothing: it is another program, or an old one; `fairway rehearse build -o FILE` makes it", o.Program, w.where())
	case run.End == nil:
		said := stderr.String()
		if said == "" {
			said = "it had no time to say why; somebody ended it, or the kernel did because memory ran out (its log says so): --jobs 1 or a smaller --memory-limit needs less"
		}
		return fmt.Errorf("the run broke off (%v)%s: %s", waitErr, w.where(), said)
	}
	return errors.Join(readErr, waitErr)
}

// inputFile holds the document: a file is read the same way each time, a pipe in pieces that depend on real time.
func inputFile(dir string, input []byte) (*os.File, error) {
	name := filepath.Join(dir, "document.json")
	if err := os.WriteFile(name, input, 0o600); err != nil {
		return nil, err
	}
	return os.Open(name)
}

// errStopped is a run that was told to end and did not do so in time.
var errStopped = errors.New("stopped")

// endGrace is how long a run that was told to end may take to write what it knows.
const endGrace = 10 * time.Second

func fold(stream io.Reader, run *record.Run, heard func(record.Event)) error {
	r := record.NewReader(stream)
	for {
		e, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, stream) // a run whose stream nobody reads would hang
			return err
		}
		run.Add(e)
		heard(e)
	}
}

// environment is all a run gets: another one already orders maps of pointers otherwise.
func environment(start time.Time, seed, memory int64) []string {
	return []string{
		"TZ=UTC", "HOME=/", "TMPDIR=/tmp", "PWD=/proc/self/cwd", // the directory's name is a random one
		"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=" + strconv.FormatInt(memory, 10),
		"GODEBUG=asyncpreemptoff=1,randautoseed=0,gcstoptheworld=2,containermaxprocs=0,updatemaxprocs=0",
		"KUBE_FEATURE_WatchListClient=true",
		virtualclock.StartVariable + "=" + start.UTC().Format(time.RFC3339),
		virtualclock.SeedVariable + "=" + strconv.FormatInt(seed, 10),
	}
}

// tail keeps the beginning and the end of what a run says on standard error, without the frames that the runtime writes in
// virtual time: a panic says what it is first, a dump of all goroutines is long.
type tail struct{ head, b []byte }

const (
	headMax = 48 << 10 // framed, a line of a dump takes three times its length
	tailMax = 8 << 10
)

func (t *tail) Write(p []byte) (int, error) {
	n := min(len(p), headMax-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.b = append(t.b, p[n:]...)
	if len(t.b) > 2*tailMax {
		t.b = append(t.b[:0], t.b[len(t.b)-tailMax:]...)
	}
	return len(p), nil
}

// String strips the playback headers: two zero bytes, "PB", eight bytes of time, four of length.
func (t *tail) String() string {
	b := append(slices.Clone(t.head), t.b...)
	var out strings.Builder
	for len(b) > 0 {
		i := bytes.Index(b, []byte("\x00\x00PB"))
		if i < 0 || len(b) < i+16 {
			out.Write(b)
			break
		}
		out.Write(b[:i])
		b = b[i+16:]
	}
	return strings.TrimSpace(out.String())
}
