package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/fairway-dev/fairway/internal/kube/controlplane"
)

// dataDir says which embedded cluster is meant.
type dataDir struct {
	dir  string
	name string
}

func (d *dataDir) add(f *pflag.FlagSet) {
	f.StringVar(&d.dir, "data", "", "the cluster's data directory (default: fairway/NAME in your state directory)")
	f.StringVar(&d.name, "name", "default", "the cluster's name, to have several at once")
}

var clusterName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// path returns the directory, $XDG_STATE_HOME/fairway/NAME or ~/.local/state/fairway/NAME unless --data says otherwise.
func (d *dataDir) path() (string, error) {
	if d.dir != "" {
		return filepath.Abs(d.dir)
	}
	if !clusterName.MatchString(d.name) {
		return "", usage(fmt.Errorf("--name %q: use up to 63 lower-case letters, digits and dashes", d.name))
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "fairway", d.name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding your state directory: %w; name one with --data DIR", err)
	}
	return filepath.Join(home, ".local", "state", "fairway", d.name), nil
}

// kubeconfigOf returns the path of a cluster's kubeconfig, which exists once the cluster has run.
func kubeconfigOf(dir string) string { return filepath.Join(dir, "kubeconfig") }

// reset empties a data directory, unless a process uses it or it holds what Fairway did not write.
func reset(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--reset: reading the data directory: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains(controlplane.OwnFiles, e.Name()) {
			return fmt.Errorf("--reset: the directory %s holds %q, which Fairway did not write; nothing was removed. Remove it yourself or choose another directory with --data DIR", dir, e.Name())
		}
	}
	if len(entries) == 0 {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("--reset: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := os.ReadFile(lock.Name())
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return fmt.Errorf("--reset: %w", &controlplane.LockedError{Dir: dir, PID: pid})
	}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue // held until the end
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("--reset: %w", err)
		}
	}
	return nil
}
