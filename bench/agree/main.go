// Command agree holds a real run of an example against its rehearsal: `fairway up` with the example's files, load through its
// Gateway, and the releases of its scenario; then the scenario itself, with many seeds. It prints when each step of the
// releases came about in both, and how they ended.
//
//	go run ./bench/agree [-bin bin] [-example examples/canary] [-repeat 3] [-seeds 20]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
)

// options of a run.
type options struct {
	bin     string // of fairway and fairway-rehearse
	example string // directory with scenario.yaml and what it names
	repeat  int    // real releases that are aborted: when that is is a matter of chance
	seeds   int
	pool    string // addresses of Gateways
	work    string // scratch directory, removed at the end
}

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`directory` of fairway and fairway-rehearse")
	flag.StringVar(&o.example, "example", "examples/canary", "`directory` with scenario.yaml: a Rollout behind a Gateway, one load through it, releases as setImage steps")
	flag.IntVar(&o.repeat, "repeat", 3, "how often a release that is aborted is made for real; more tell more of when that is")
	flag.IntVar(&o.seeds, "seeds", 20, "seeds of the rehearsal")
	flag.StringVar(&o.pool, "gateway-address-pool", "127.44.0.0/16", "addresses of Gateways of the real run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	agreed, err := run(ctx, o)
	if err != nil {
		stop()
		log.Fatal("bench/agree: ", err)
	}
	if !agreed {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (agreed bool, err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return false, err
	}
	if o.work, err = os.MkdirTemp("", "fairway-bench-agree-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(o.work)
	p, err := readPlan(o.example)
	if err != nil {
		return false, err
	}
	fmt.Printf("rehearsing %s with %d seeds\n", o.example, o.seeds)
	rehearsed, first, err := rehearse(ctx, o, p)
	if err != nil {
		return false, fmt.Errorf("rehearsing: %w", err)
	}
	fmt.Printf("playing it for real, with %g requests a second: about %v\n", p.rate, p.takes(rehearsed, o.repeat))
	happened, err := play(ctx, o, p, rehearsed)
	if err != nil {
		return false, fmt.Errorf("playing it for real: %w", err)
	}
	return table(p, happened, rehearsed, first), nil
}
