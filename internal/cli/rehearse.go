package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/fairway-dev/fairway/internal/rehearse"
	"github.com/fairway-dev/fairway/internal/rehearse/record"
	"github.com/fairway-dev/fairway/internal/rehearse/report"
	"github.com/fairway-dev/fairway/internal/rehearse/scenario"
)

// Exit codes of a rehearsal, which stand for its verdict.
const (
	exitHeld     = 0 // all expectations held
	exitNotHeld  = 1 // one did not
	exitNoAnswer = 2 // a bad scenario, or the run could not finish
)

// rehearseFlags are the flags of `fairway rehearse`.
type rehearseFlags struct {
	manifests []string
	load      string
	hours     float64
	start     string
	seed      int64
	seeds     int
	change    string
	at        string
	expect    []string
	json      string
	html      string
	md        string
	junit     string
	sarif     string
	github    bool
	jobs      int
	memory    string
	timeout   time.Duration
	verify    bool
	explain   int
	timeline  bool
	lenient   bool
	quiet     bool
	execution bool
	schedLog  string
	program   string
}

func rehearseCommand(s Streams) *cobra.Command {
	var f rehearseFlags
	c := &cobra.Command{
		Use:   "rehearse [SCENARIO | DIR]",
		Short: "Play a scenario on the real control plane in virtual time, and judge it",
		Long: `Play what happens to a cluster (load, changes, faults) on the real Kubernetes control plane, in virtual time, hundreds of
times faster than the clock, and say what would go wrong, when, and why.

The scenario is a file (docs/scenario.md), a directory with scenario.yaml, or made from --manifests and --load.

Exit codes: 0 all expectations held, 1 one did not, 2 no usable answer (a bad scenario, or the run could not finish).`,
		Example: `  fairway rehearse examples/shop
  fairway rehearse scenario.yaml --seeds 5 --json out.json --html out.html
  fairway rehearse --manifests ./k8s --load requests.csv --hours 24
  fairway rehearse --manifests ./k8s --load requests.csv -f change.yaml --at 09:00    # with and without the change
  fairway rehearse scenario.yaml --explain 17                                         # why entry 17 happened`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args, s) },
	}
	f.add(c.Flags())
	for _, sub := range []func(Streams) *cobra.Command{rehearseBuildCommand, rehearseValidateCommand, rehearseSchemaCommand, rehearseCompareCommand, rehearseReportCommand, rehearseSchedLogCommand} {
		c.AddCommand(sub(s))
	}
	return c
}

func (f *rehearseFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.manifests, "manifests", nil, "file, directory or kustomization to apply before the start (repeatable)")
	fs.StringVar(&f.load, "load", "", "CSV of requests a second: columns time,rps or time,target,rps")
	fs.Float64Var(&f.hours, "hours", 0, "how long to play; default the scenario's duration, the load file's length, or 24")
	fs.StringVar(&f.start, "start", "", "wall clock at the start, such as 2026-11-27T06:00:00")
	fs.Int64Var(&f.seed, "seed", 0, "play this one seed")
	fs.IntVar(&f.seeds, "seeds", 0, "play the seeds 1 to N")
	fs.StringVarP(&f.change, "filename", "f", "", "change to apply during the run; the same run without it is the baseline")
	fs.StringVar(&f.at, "at", "", `when --filename is applied, such as "09:00" or "+2h" (default "+1h")`)
	fs.StringArrayVar(&f.expect, "expect", nil, "CEL expectation over the run (repeatable)")
	fs.StringVar(&f.json, "json", "", "write the report as JSON")
	fs.StringVar(&f.html, "html", "", "write the report as one HTML file")
	fs.StringVar(&f.md, "md", "", "write the report as Markdown")
	fs.StringVar(&f.junit, "junit", "", "write the expectations as JUnit XML")
	fs.StringVar(&f.sarif, "sarif", "", "write the failed expectations as SARIF 2.1.0")
	fs.BoolVar(&f.github, "github", false, "also write GitHub's annotations and step summary")
	fs.IntVar(&f.jobs, "jobs", 0, "runs at once; default one a processor")
	fs.StringVar(&f.memory, "memory-limit", "", "heap of a run, such as 3Gi; part of the input: another limit gives another order of events")
	fs.DurationVar(&f.timeout, "timeout", 10*time.Minute, "real time a run may take")
	fs.BoolVar(&f.verify, "verify", false, "play every seed twice and compare the hashes of all API writes")
	fs.IntVar(&f.explain, "explain", 0, "print the chain of causes of this timeline entry")
	fs.BoolVar(&f.timeline, "timeline", false, "print what happened, entry by entry, after the verdict")
	fs.BoolVar(&f.lenient, "lenient", false, "go on without objects that the API server refuses")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the verdict line alone")
	fs.BoolVar(&f.execution, "with-execution", false, "add real time, speed and memory to the report (differs between equal runs)")
	fs.StringVar(&f.program, "program-file", "", "the fairway-rehearse to use")
	fs.StringVar(&f.schedLog, "schedlog", "", "write every scheduling decision of the one seed to this file (make rehearse-debug builds the program that can)")
	_ = fs.MarkHidden("program-file")
	_ = fs.MarkHidden("schedlog")
}

func (f *rehearseFlags) run(c *cobra.Command, args []string, s Streams) error {
	loaded, err := f.scenario(args)
	if err != nil {
		return exitError{exitNoAnswer, err}
	}
	doc, warnings, err := rehearse.Prepare(loaded, f.lenient)
	if err != nil {
		return exitError{exitNoAnswer, err}
	}
	program := f.program
	if program == "" {
		if program, err = rehearse.FindProgram(); err != nil {
			return exitError{exitNoAnswer, err}
		}
	}
	memory, err := f.memoryLimit(doc.Pods())
	if err != nil {
		return exitError{exitNoAnswer, err}
	}
	if f.schedLog != "" && (len(loaded.Scenario.Spec.Seeds) > 1 || f.verify) {
		return exitError{exitNoAnswer, errors.New("--schedlog records one run: give one seed, and no --verify")}
	}
	show := newProgress(s, f.quiet, len(loaded.Scenario.Spec.Seeds))
	jobs := f.jobs
	if jobs == 0 {
		jobs = runtime.NumCPU()
	}
	o := rehearse.Options{Document: doc.Document, Seeds: loaded.Scenario.Spec.Seeds, Program: program, Jobs: jobs, MemoryLimitBytes: memory, Timeout: f.timeout, Progress: show.event, SchedLog: f.schedLog}
	other, err := doc.Baseline(loaded)
	if err != nil {
		return exitError{exitNoAnswer, err}
	}
	runs, runErr := rehearse.Run(c.Context(), o)
	var baseline []record.Run
	if other != nil && runErr == nil {
		o.Document = *other
		baseline, runErr = rehearse.Run(c.Context(), o)
	}
	show.done()
	if f.verify && runErr == nil {
		o.Document = doc.Document
		if err := verify(c.Context(), o, runs); err != nil {
			return exitError{exitNoAnswer, err}
		}
	}
	r, err := rehearse.Report(loaded, runs, baseline, warnings, f.execution)
	if err != nil {
		return exitError{exitNoAnswer, err}
	}
	r.Asked = report.Asked{Scenario: f.asked(args), JSON: f.json, HTML: f.html}
	if err := f.write(r, s); err != nil {
		return exitError{exitNoAnswer, err}
	}
	if runErr != nil {
		return exitError{exitNoAnswer, runErr}
	}
	if code := r.ExitCode(); code != exitHeld {
		return exitError{code, nil}
	}
	return nil
}

// scenario reads the scenario, or makes one from flags, and lets flags override it.
func (f *rehearseFlags) scenario(args []string) (*scenario.Loaded, error) {
	if len(args) == 0 && len(f.manifests) == 0 {
		return nil, errors.New("what is to be rehearsed? name a scenario, or give --manifests and --load; `fairway rehearse --help` has examples")
	}
	made, err := rehearse.Scenario(rehearse.Request{Path: first(args), Manifests: f.manifests, LoadCSV: f.load, Hours: f.hours, Start: f.start, Seed: f.seed, Seeds: f.seeds,
		Change: f.change, At: f.at, Expect: f.expect})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// asked repeats the arguments that say what is played, for the command proposed next.
func (f *rehearseFlags) asked(args []string) string {
	parts := slices.Clone(args)
	for _, m := range f.manifests {
		parts = append(parts, "--manifests", m)
	}
	for _, x := range []struct{ flag, value string }{{"--load", f.load}, {"-f", f.change}, {"--at", f.at}, {"--start", f.start}} {
		if x.value != "" {
			parts = append(parts, x.flag, x.value)
		}
	}
	if f.hours > 0 {
		parts = append(parts, "--hours", strconv.FormatFloat(f.hours, 'g', -1, 64))
	}
	for i, p := range parts {
		if strings.ContainsAny(p, " '\"$&;|*?()") {
			parts[i] = "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
		}
	}
	return strings.Join(parts, " ")
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (f *rehearseFlags) memoryLimit(pods int) (int64, error) {
	if f.memory == "" {
		return rehearse.MemoryLimit(pods), nil
	}
	n, err := parseBytes(f.memory)
	if err != nil {
		return 0, fmt.Errorf("--memory-limit %q: %w", f.memory, err)
	}
	return n, nil
}

// verify plays the seeds again and compares what they wrote.
func verify(ctx context.Context, o rehearse.Options, runs []record.Run) error {
	o.Progress = nil
	again, err := rehearse.Run(ctx, o)
	if err != nil {
		return err
	}
	for i := range runs {
		a, b := runs[i].End, again[i].End
		if a == nil || b == nil || a.WritesHash != b.WritesHash || a.TimelineHash != b.TimelineHash {
			return fmt.Errorf("seed %d gave another run the second time: %s", o.Seeds[i], firstDifference(runs[i].Timeline, again[i].Timeline))
		}
	}
	return nil
}

func firstDifference(a, b []record.Entry) string {
	for i := range min(len(a), len(b)) {
		if !a[i].Time.Equal(b[i].Time) || a[i].Object != b[i].Object || a[i].What != b[i].What {
			return fmt.Sprintf("first at %s: %q against %q", a[i].Time.Format(time.RFC3339Nano), a[i].Object+" "+a[i].What, b[i].Object+" "+b[i].What)
		}
	}
	return "the timelines agree as far as they go; the API writes do not"
}

// write renders the report. Files are written whole under another name and then renamed.
func (f *rehearseFlags) write(r *report.Report, s Streams) error {
	render := []struct {
		file string
		make func() ([]byte, error)
	}{
		{f.json, func() ([]byte, error) { return report.JSON(r) }},
		{f.html, func() ([]byte, error) { return report.HTML(r) }},
		{f.md, func() ([]byte, error) { return []byte(report.Markdown(r)), nil }},
		{f.junit, func() ([]byte, error) { return report.JUnit(r) }},
		{f.sarif, func() ([]byte, error) { return report.SARIF(r) }},
	}
	for _, x := range render {
		if x.file == "" {
			continue
		}
		b, err := x.make()
		if err == nil {
			err = replaceFile(x.file, b)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", x.file, err)
		}
	}
	if f.github {
		fmt.Fprint(s.Out, report.GitHubAnnotations(r))
		if summary := os.Getenv("GITHUB_STEP_SUMMARY"); summary != "" {
			if err := replaceFile(summary, []byte(report.Markdown(r))); err != nil {
				return err
			}
		}
	}
	switch {
	case f.explain > 0:
		text, ok := report.Explain(r, f.explain)
		if !ok {
			return fmt.Errorf("--explain %d: the timeline has no such entry; the JSON report lists them", f.explain)
		}
		fmt.Fprintln(s.Out, text)
	case f.quiet:
		fmt.Fprintln(s.Out, strings.ToUpper(r.Verdict.Result)+"  "+r.Verdict.Headline)
	default:
		width, colour := terminalOf(s)
		if colour {
			fmt.Fprint(s.Out, report.TerminalInColour(r, width))
		} else {
			fmt.Fprint(s.Out, report.Terminal(r, width))
		}
	}
	if f.timeline {
		width, _ := terminalOf(s)
		fmt.Fprint(s.Out, "\nWhat happened\n"+report.Timeline(r, width))
	}
	return nil
}

// replaceFile writes a file whole or not at all. What is no file, such as /dev/stdout or a named pipe, is written to, and
// what a link points to is replaced in the link's stead.
func replaceFile(name string, b []byte) error {
	if i, err := os.Stat(name); err == nil && !i.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return errors.Join(err, f.Close())
	}
	if to, err := filepath.EvalSymlinks(name); err == nil {
		name = to
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(b); err != nil {
		tmp.Close()
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// terminalOf is the width to print for, and whether colours are welcome.
func terminalOf(s Streams) (int, bool) {
	const plain = 100
	file, ok := s.Out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 40 {
			return n, false
		}
		return plain, false
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width < 40 {
		width = plain
	}
	return width, os.Getenv("NO_COLOR") == ""
}
