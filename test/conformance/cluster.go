package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startMax and stopMax bound how long the cluster may take to start and to end, on a busy machine.
const (
	startMax = 2 * time.Minute
	stopMax  = 30 * time.Second
)

// cluster is a running `fairway up`.
type cluster struct {
	process    *exec.Cmd
	kubeconfig string
	done       chan struct{}
}

// start runs a new `fairway up` and waits until it says that it is up.
func start(ctx context.Context, o options, programs string) (*cluster, error) {
	args := append([]string{"up", "--reset", "--data", filepath.Join(o.dir, "cluster"), "--nodes", fmt.Sprint(o.nodes), "--programs", programs}, o.up...)
	log, err := os.Create(filepath.Join(o.dir, "fairway.err"))
	if err != nil {
		return nil, err
	}
	c := &cluster{process: exec.Command(filepath.Join(o.dir, "fairway"), args...), done: make(chan struct{})}
	c.process.Stderr = log
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer close(c.done)
		defer log.Close()
		readKubeconfig(out, found)
		c.process.Wait()
	}()
	select {
	case c.kubeconfig = <-found:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("fairway up ended: %v; see %s", c.process.ProcessState, log.Name())
	case <-time.After(startMax):
		err = fmt.Errorf("fairway up is not up after %v; see %s", startMax, log.Name())
	case <-ctx.Done():
		err = errors.New("interrupted")
	}
	c.stop()
	return nil, err
}

// readKubeconfig reads what fairway up prints to its end, and sends the kubeconfig's path once all is up.
func readKubeconfig(out io.Reader, found chan<- string) {
	path := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, after, ok := strings.Cut(lines.Text(), "export KUBECONFIG="); ok {
			path = strings.TrimSpace(after)
		}
		if path != "" && strings.Contains(lines.Text(), "Ctrl-C") {
			found <- path
			path = ""
		}
	}
}

// stop ends the cluster.
func (c *cluster) stop() {
	c.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(stopMax):
		c.process.Process.Kill()
		<-c.done
	}
}
