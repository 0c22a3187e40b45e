// Package e2e tries the built program the way users do: as a process, with kubectl built from Kubernetes' own source.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take: far longer than it does, so that a busy machine fails no test.
const patience = 90 * time.Second

// Looks at a cluster begin this close together and grow apart: each is a process, which a busy machine feels.
const (
	lookFirst = 50 * time.Millisecond
	lookLast  = 400 * time.Millisecond
)

// together is how many tests run at once: they wait more than they compute.
const together = "5"

var dir string // the HOME of all processes

func TestMain(m *testing.M) {
	err := flag.Set("test.parallel", together) // what the command line says comes later and wins
	if err == nil {
		dir, err = os.MkdirTemp("", "fairway-e2e-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// readSources looks at every file that the programs are built from: `go test` then knows that a kept result is old once one
// of them has changed.
func readSources() {
	for _, top := range []string{"../../api", "../../cmd", "../../config", "../../internal"} {
		_ = filepath.WalkDir(top, func(file string, _ fs.DirEntry, _ error) error {
			_, err := os.Stat(file)
			return err
		})
	}
}

// bin is where programs are built: one that is there and as new as its source is not linked again, which takes longer than
// most tests.
const bin = "../../bin"

// program builds a package and returns the file, under bin.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join(bin, name))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	once, ok := builds[name]
	if !ok {
		once = sync.OnceValue(func() error {
			readSources()
			c := exec.Command("go", "build", "-o", file, pkg)
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
			}
			return nil
		})
		builds[name] = once
	}
	mu.Unlock()
	if err := once(); err != nil {
		t.Fatal(err)
	}
	return file
}

var (
	mu     sync.Mutex
	builds = map[string]func() error{}
)

func fairway(t *testing.T) string { return program(t, "fairway", "../../cmd/fairway") }
func kubectl(t *testing.T) string {
	return program(t, "e2e/kubectl", "./kubectl")
}

// cluster is a running `fairway up`.
type cluster struct {
	t          *testing.T
	process    *exec.Cmd
	kubeconfig string
	out, err   lockedBuffer
	done       chan struct{}
}

// up starts a cluster and waits until it says that it is up. It is stopped at the test's end.
func up(t *testing.T, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, done: make(chan struct{})}
	c.process = exec.Command(fairway(t), append([]string{"up"}, args...)...)
	c.process.Stdout, c.process.Stderr = &c.out, &c.err
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.process.Wait(); close(c.done) }()
	t.Cleanup(func() { c.stop(syscall.SIGINT) })
	eventually(t, func() string {
		select {
		case <-c.done:
			t.Fatalf("fairway up ended: %v\n%s%s", c.process.ProcessState, c.out.String(), c.err.String())
		default:
		}
		if _, after, ok := strings.Cut(c.out.String(), "export KUBECONFIG="); ok && strings.Contains(after, "Ctrl-C") {
			c.kubeconfig, _, _ = strings.Cut(after, "\n")
			return ""
		}
		return "fairway up does not say that it is up:\n" + c.out.String() + c.err.String()
	})
	return c
}

// stop ends the process and returns its exit code.
func (c *cluster) stop(sig syscall.Signal) int {
	c.process.Process.Signal(sig)
	select {
	case <-c.done:
	case <-time.After(patience):
		c.process.Process.Kill()
		c.t.Errorf("fairway up did not end %v after %v", patience, sig)
		<-c.done
	}
	return c.process.ProcessState.ExitCode()
}

// kubectl runs kubectl and returns what it printed; it must succeed.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apply hands objects to kubectl apply; it must succeed.
func (c *cluster) apply(objects string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := c.command(ctx, "apply", "-f", "-")
	k.Stdin = strings.NewReader(objects)
	if out, err := k.CombinedOutput(); err != nil {
		c.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

func (c *cluster) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := c.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (c *cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	k := exec.CommandContext(ctx, kubectl(c.t), args...)
	k.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "HOME="+dir)
	return k
}

// eventually looks until missing returns "".
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	var last string
	pause := lookFirst
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pause) {
		if last = missing(); last == "" {
			return
		}
		pause = min(pause*5/4, lookLast)
	}
	t.Fatalf("after %v: %s", patience, last)
}

// lockedBuffer is a bytes.Buffer that is read while a process writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
