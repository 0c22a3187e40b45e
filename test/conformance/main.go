// Command conformance runs Kubernetes' own conformance tests, built from the module this program is built with,
// against `fairway up`, and prints what ran, what passed, what was left out and why. It is apart from `make test`: it
// compiles the end-to-end tests and takes 35 to 40 minutes.
//
//	go run ./test/conformance
//	go run ./test/conformance -focus 'sig-apps' -procs 2
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

//go:embed skip.txt
var skipText string

// options are the flags.
type options struct {
	dir     string
	focus   string
	procs   int
	nodes   int
	timeout time.Duration
	all     bool
	up      []string
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "where programs, logs and reports go (default: a new temporary directory, whose name is printed)")
	flag.StringVar(&o.focus, "focus", "", "a regular expression: run only the conformance tests whose names match")
	flag.IntVar(&o.procs, "procs", 4, "tests at a time; those that upstream marks Serial run alone")
	flag.IntVar(&o.nodes, "nodes", 4, "virtual nodes of the cluster")
	flag.DurationVar(&o.timeout, "timeout", time.Hour, "how long the tests may take in all")
	flag.BoolVar(&o.all, "all", false, "leave nothing out: run what skip.txt names too")
	flag.Parse()
	o.up = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// run builds, starts, tests and reports.
func run(ctx context.Context, o options) (failed bool, err error) {
	focus, err := regexp.Compile(o.focus)
	if err != nil {
		return false, fmt.Errorf("-focus: %w", err)
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "fairway-conformance-"); err != nil {
			return false, err
		}
	} else if o.dir, err = filepath.Abs(o.dir); err != nil {
		return false, err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return false, err
	}
	fmt.Println("programs, logs and reports are in", o.dir)
	if err := build(ctx, o.dir); err != nil {
		return false, err
	}
	names, err := conformanceTests(ctx, o.dir)
	if err != nil {
		return false, err
	}
	groups, err := readSkips(skipText)
	if err != nil {
		return false, err
	}
	plan, err := makePlan(names, groups)
	if err != nil {
		return false, err
	}
	if o.all {
		plan = &selection{Run: names}
	}
	plan.focus(focus)
	if len(plan.Run) == 0 {
		return false, errors.New("no test is left to run; see -focus and skip.txt")
	}
	hooks, err := serveWebhooks(o.dir)
	if err != nil {
		return false, err
	}
	defer hooks.close()
	cluster, err := start(ctx, o, hooks.programs)
	if err != nil {
		return false, err
	}
	defer cluster.stop()
	if err := hooks.connect(cluster.kubeconfig); err != nil {
		return false, err
	}
	begun := time.Now()
	ended := test(ctx, o, cluster.kubeconfig, plan)
	results, err := readReport(filepath.Join(o.dir, reportFile))
	if err != nil {
		return false, errors.Join(fmt.Errorf("the tests left no report; their output is in %s", filepath.Join(o.dir, logFile)), ended, err)
	}
	return printReport(os.Stdout, plan, results, time.Since(begun)), nil
}

const (
	reportFile = "report.json"
	junitFile  = "junit.xml"
	logFile    = "tests.log"
)

// build compiles fairway, kubectl, the test runner and the tests.
func build(ctx context.Context, dir string) error {
	for _, step := range [][]string{
		{"build", "-o", filepath.Join(dir, "fairway"), "./cmd/fairway"},
		{"build", "-o", filepath.Join(dir, "kubectl"), "./test/e2e/kubectl"},
		{"build", "-o", filepath.Join(dir, "ginkgo"), "github.com/onsi/ginkgo/v2/ginkgo"},
		{"test", "-c", "-o", filepath.Join(dir, "e2e.test"), "k8s.io/kubernetes/test/e2e"},
	} {
		c := exec.CommandContext(ctx, "go", step...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("go %v: %w; run it from the repository's root", step, err)
		}
	}
	return nil
}

// test runs the selected tests; that some of them fail is an error too.
func test(ctx context.Context, o options, kubeconfig string, plan *selection) error {
	log, err := os.Create(filepath.Join(o.dir, logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.CommandContext(ctx, filepath.Join(o.dir, "ginkgo"),
		fmt.Sprintf("--procs=%d", o.procs), "--timeout="+o.timeout.String(), "--no-color", "--keep-going",
		"--output-dir="+o.dir, "--json-report="+reportFile, "--junit-report="+junitFile,
		"--focus="+plan.expression(), filepath.Join(o.dir, "e2e.test"), "--",
		"--kubeconfig="+kubeconfig, "--provider=skeleton", "--kubectl-path="+filepath.Join(o.dir, "kubectl"),
		"--dump-logs-on-failure=false", "--disable-log-dump", "--e2e-output-dir="+o.dir)
	c.Dir = o.dir // Ginkgo names its reports by where it is
	c.Env = append(os.Environ(), "HOME="+o.dir)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ginkgo's test programs are of its group
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = stopMax
	err = c.Run()
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // what outlived it
	}
	return err
}
