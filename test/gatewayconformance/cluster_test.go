package gatewayconformance

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startMax and stopMax bound how long the cluster may take to start and to end, on a busy machine.
const (
	startMax = 2 * time.Minute
	stopMax  = time.Minute
)

// start runs `fairway up` until the test ends, and returns its kubeconfig.
func start(t *testing.T, program string) string {
	t.Helper()
	program, err := filepath.Abs(program)
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("%v; `make build` builds it, -fairway names another", err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "fairway.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	process := exec.Command(program, "up", "--data", filepath.Join(dir, "cluster"), "--gateway-address-pool", pool, "--gateway-drain", "2s",
		"--pod-start", "100ms", "--pod-stop", "100ms")
	process.Stderr = log
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	found, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
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
		_ = process.Wait()
	}()
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(stopMax):
			_ = process.Process.Kill()
			<-done
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of fairway up's log:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	select {
	case kubeconfig := <-found:
		return kubeconfig
	case <-done:
		t.Fatalf("fairway up ended: %v", process.ProcessState)
	case <-time.After(startMax):
		t.Fatalf("fairway up is not up after %v", startMax)
	}
	return ""
}
