// Command bench measures Fairway in one run: start-up, memory, API writes, a mass start of pods and the speed of rehearsals,
// where there is one beside a plain etcd, kube-apiserver, kube-controller-manager and kube-scheduler built from the same
// modules. Machines differ and so do days: read the ratios. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// options of a run.
type options struct {
	bin      string // of fairway and fairway-rehearse
	only     []string
	runs     int
	full     bool
	rollouts int    // how many are patched at once
	peer     string // the program of Argo Rollouts' controller; "" = it is built
	work     string // scratch directory, removed at the end
}

// parts in the order in which they run.
var parts = []struct {
	name string
	run  func(context.Context, options) error
}{{"boot", boot}, {"writes", writes}, {"mass", mass}, {"rehearse", rehearse},
	{"updates", updates}, {"idle", idle}, {"reaction", reaction}, {"takeover", takeOver},
	{"changes", changes}, {"restarts", restarts}}

// groups of parts that run only when they, or the group, are asked for.
var groups = map[string][]string{"rollouts": rolloutsParts, "gateway": gatewayParts}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func main() {
	log.SetFlags(0)
	var o options
	only := flag.String("only", "", "comma-separated parts: "+strings.Join(partNames(), ", ")+"; rollouts stands for "+strings.Join(rolloutsParts, ", ")+", gateway for "+strings.Join(gatewayParts, ", ")+" (default all but those)")
	flag.StringVar(&o.bin, "bin", "bin", "directory of fairway and fairway-rehearse")
	flag.IntVar(&o.runs, "runs", 5, "starts of each control plane")
	flag.BoolVar(&o.full, "full", false, "the large cases too: 1,000 nodes with 10,000 pods, and the rehearsal of 500 nodes (half an hour)")
	flag.IntVar(&o.rollouts, "rollouts", 1000, "how many Rollouts are patched at once; ten times as many are idle")
	flag.StringVar(&o.peer, "peer", "", "the program of Argo Rollouts' controller, for rollouts (default: it is built from its module)")
	flag.Parse()
	o.only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		log.Fatal("bench: ", err)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.work, err = os.MkdirTemp("", "fairway-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.work)
	fmt.Printf("%s/%s, %d processors, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	for _, name := range o.only {
		if groups[name] == nil && !slices.Contains(partNames(), name) {
			return fmt.Errorf("-only %s: the parts are %s; rollouts and gateway stand for several", name, strings.Join(partNames(), ", "))
		}
	}
	for _, p := range parts {
		asked, wanted := len(o.only) > 0, slices.Contains(o.only, p.name)
		for name, group := range groups {
			if slices.Contains(group, p.name) {
				asked, wanted = true, wanted || slices.Contains(o.only, name)
			}
		}
		if asked && !wanted {
			continue
		}
		if err := p.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Println()
	}
	return nil
}

// build compiles the commands of the modules this project uses.
func build(ctx context.Context, o options, packages ...string) error {
	fmt.Println("building", strings.Join(packages, ", "), "(the first time takes minutes)")
	for _, p := range packages {
		file := filepath.Join(o.work, commandName(p))
		if _, err := os.Stat(file); err == nil {
			continue
		}
		c := exec.CommandContext(ctx, "go", "build", "-o", file, p)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", p, err, out)
		}
	}
	return nil
}

func commandName(pkg string) string {
	if strings.HasPrefix(pkg, "go.etcd.io/") {
		return "etcd"
	}
	return filepath.Base(pkg)
}

// row is one measured thing: the middle of several values, with the range.
func row(what, unit string, values ...float64) {
	slices.Sort(values)
	text := fmt.Sprintf("  %-66s %10s %s", what, digits(values[len(values)/2]), unit)
	if n := len(values); n > 1 {
		text += fmt.Sprintf("  (%s to %s)", digits(values[0]), digits(values[n-1]))
	}
	fmt.Println(strings.TrimRight(text, " "))
}

// digits writes a number with three of them, and whole numbers whole.
func digits(v float64) string {
	switch {
	case v == math.Trunc(v) || v >= 100:
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[len(v)/2]
}
