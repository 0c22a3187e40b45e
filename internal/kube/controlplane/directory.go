package controlplane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	utilversion "k8s.io/apimachinery/pkg/util/version"

	"github.com/fairway-dev/fairway/internal/kube/kubeversion"
)

// format is what a data directory says of itself.
type format struct {
	Format     int    `json:"format"`
	Kubernetes string `json:"kubernetes"`
}

// formatNow counts incompatible layouts of the data directory.
const formatNow = 1

// LockedError is a data directory in use by another process.
type LockedError struct {
	Dir string
	PID int // 0 when unknown
}

func (e *LockedError) Error() string {
	by := "another process"
	if e.PID > 0 {
		by = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the data directory %s is in use by %s; stop it, or run a second one beside it with --name NAME", e.Dir, by)
}

// lockDir makes the directory and locks it for this process. The lock goes with the process, however it ends.
func lockDir(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w; choose another with --data DIR", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be written: %w; choose another with --data DIR", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := os.ReadFile(f.Name())
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		f.Close()
		return nil, &LockedError{Dir: dir, PID: pid}
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintf("%d\n", os.Getpid()))); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the lock of %s: %w", dir, err)
	}
	return f.Close, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// checkFormat refuses data that a newer program wrote, before anything touches it, and notes who writes it now.
func checkFormat(dir string) error {
	file := filepath.Join(dir, "format.json")
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading %s: %w", file, err)
	default:
		var f format
		if err := json.Unmarshal(b, &f); err != nil {
			return fmt.Errorf("%s is damaged: %w; `fairway up --reset` starts afresh", file, err)
		}
		if err := f.readable(dir); err != nil {
			return err
		}
	}
	b, err = json.Marshal(format{Format: formatNow, Kubernetes: kubeversion.String()})
	if err != nil {
		return err
	}
	return write(file, append(b, '\n'))
}

func (f format) readable(dir string) error {
	ours, err := utilversion.ParseSemantic(kubeversion.String())
	if err != nil {
		return err
	}
	theirs, err := utilversion.ParseSemantic(f.Kubernetes)
	if err != nil {
		return fmt.Errorf("%s names the Kubernetes version %q: %w; `fairway up --reset` starts afresh", filepath.Join(dir, "format.json"), f.Kubernetes, err)
	}
	if f.Format > formatNow || theirs.Major() > ours.Major() || (theirs.Major() == ours.Major() && theirs.Minor() > ours.Minor()) {
		return fmt.Errorf("the data directory %s was written by Kubernetes %s (format %d), newer than this program's %s (format %d); use a newer fairway, or another directory with --name NAME",
			dir, f.Kubernetes, f.Format, kubeversion.String(), formatNow)
	}
	if theirs.Major() == ours.Major() && ours.Minor() > theirs.Minor()+1 {
		return fmt.Errorf("the data directory %s was written by Kubernetes %s; Kubernetes goes up one minor version at a time, and this program has %s",
			dir, f.Kubernetes, kubeversion.String())
	}
	return nil
}

// OwnFiles are what a cluster's data directory may hold. Anything else in it is not ours.
var OwnFiles = []string{"format.json", "format.json.new", "gateway.json", "gateway.json.new", "kubeconfig", "kubeconfig.new", "lock", "log", "pki", "port", "scheduler.yaml", "store"}

// refuseForeign refuses a directory that is not Fairway's before anything is written to it: one without a format file that
// holds what is not its own, or a store, which comes after the format file.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the data directory: %w; choose another with --data DIR", err)
	}
	foreign := ""
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "format.json":
			return nil
		case foreign == "" && (name == "store" || !slices.Contains(OwnFiles, name)):
			foreign = name
		}
	}
	if foreign == "" {
		return nil
	}
	return fmt.Errorf("the directory %s holds %q and no data of Fairway; choose an empty directory with --data DIR", dir, foreign)
}

// listen opens the port for other programs: the asked one, or the one of the last start, or a free one.
func (p *ControlPlane) listen() (net.Listener, error) {
	if p.opts.Profile == Rehearsal {
		return newDeafListener(), nil
	}
	addr := p.opts.Listen
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	file := filepath.Join(p.dir, "port")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("--listen %q: %w; write HOST:PORT", addr, err)
	}
	if port == "0" && p.opts.DataDir != "" {
		if b, err := os.ReadFile(file); err == nil {
			if l, err := net.Listen("tcp", net.JoinHostPort(host, strings.TrimSpace(string(b)))); err == nil {
				return l, nil
			}
		}
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s of %s is in use%s; choose another with --port N, or a free one with --port 0", port, host, portOwner(port))
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	if err := os.WriteFile(file, []byte(port+"\n"), 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("the data directory %s cannot be written: %w; choose another with --data DIR", p.dir, err)
	}
	return l, nil
}

// deafListener stands where the API server wants a listener and nobody else is to reach it.
type deafListener struct{ closed chan struct{} }

func newDeafListener() *deafListener { return &deafListener{closed: make(chan struct{})} }

func (l *deafListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }

func (l *deafListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *deafListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443} }
