package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster is a control plane as one or more processes.
type cluster struct {
	kubeconfig string
	processes  []*process
	began      time.Time
}

type process struct {
	*exec.Cmd
	log   string
	ended chan struct{} // closed when it has
}

// patience bounds every wait.
const patience = 10 * time.Minute

func (c *cluster) start(dir, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	file := filepath.Join(dir, fmt.Sprintf("%d-%s.log", len(c.processes), filepath.Base(program)))
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd, file, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	c.processes = append(c.processes, p)
	return nil
}

// stop ends the processes, the last started first.
func (c *cluster) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		p := c.processes[i]
		_ = p.Process.Signal(syscall.SIGINT)
		kill := time.AfterFunc(15*time.Second, func() { _ = p.Process.Kill() })
		<-p.ended
		kill.Stop()
	}
}

// client waits for the kubeconfig to be there.
func (c *cluster) client(ctx context.Context) (*kubernetes.Clientset, error) {
	var client *kubernetes.Clientset
	return client, until(ctx, func() (bool, error) {
		if err := c.alive(); err != nil {
			return false, err
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
		if err != nil {
			return false, nil
		}
		cfg.QPS = -1
		client, err = kubernetes.NewForConfig(cfg)
		return err == nil, err
	})
}

// ready waits for what a first `kubectl apply` needs and returns the time since the start.
func (c *cluster) ready(ctx context.Context) (*kubernetes.Clientset, time.Duration, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, 0, err
	}
	err = until(ctx, func() (bool, error) {
		if err := c.alive(); err != nil {
			return false, err
		}
		b, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil || string(b) != "ok" {
			return false, nil
		}
		_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, nil
	})
	return client, time.Since(c.began), err
}

func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// alive fails with its log when a process has ended.
func (c *cluster) alive() error {
	for _, p := range c.processes {
		select {
		case <-p.ended:
			out, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s has ended:\n%s", p.Path, out)
		default:
		}
	}
	return nil
}

// memory is the resident set of all processes in MB.
func (c *cluster) memory() (mb float64) {
	for _, p := range c.processes {
		mb += p.memory()
	}
	return mb
}

// memory is the resident set of one process in MB.
func (p *process) memory() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}

// cpu is the time all processes have used, in seconds.
func (c *cluster) cpu() (s float64) {
	for _, p := range c.processes {
		s += p.cpu()
	}
	return s
}

// cpu is the time one process has used, in seconds.
func (p *process) cpu() float64 {
	const ticksPerSecond = 100 // USER_HZ on every Linux that Go supports
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) <= 12 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / ticksPerSecond
}

// fairway starts `fairway up` in a new directory.
func fairway(o options, dir string, args ...string) (*cluster, error) {
	data := filepath.Join(dir, "data")
	c := &cluster{kubeconfig: filepath.Join(data, "kubeconfig"), began: time.Now()}
	return c, c.start(dir, filepath.Join(o.bin, "fairway"), append([]string{"up", "--data", data}, args...)...)
}
