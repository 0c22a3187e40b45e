package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Options of a Host.
type Options struct {
	// Dir is where copies of the programs are kept, for this process alone. "" = a new temporary directory that Close removes.
	Dir string
	// Secret reads a secret of the controller's namespace, for headersFrom. nil = a plugin that names one is an error.
	Secret func(ctx context.Context, name string) (map[string][]byte, error)
	// Env is the environment of the plugins. nil = this process's, without Fairway's own variables (FAIRWAY_…).
	Env []string
	// Refuse, if not "", says why plugins do not run here: every call is an error that says so.
	Refuse string
	// Log gets what plugins write to stderr. nil = slog.Default().
	Log *slog.Logger
}

// Host owns the processes of plugins. It does nothing until Configure names plugins and one of them is called.
type Host struct {
	options Options
	log     *slog.Logger

	mu        sync.Mutex
	config    Config
	processes map[key]*process
	dir       string // made when first needed
	closed    bool
}

type key struct {
	kind Kind
	name string
}

// ErrUnknown is wrapped by errors of calls of plugins that the config map does not name.
var ErrUnknown = errors.New("not configured in config map " + ConfigMapName)

// NewHost returns a Host without plugins. It must be closed.
func NewHost(o Options) *Host {
	h := &Host{options: o, log: o.Log, processes: map[key]*process{}}
	if h.log == nil {
		h.log = slog.Default()
	}
	if h.options.Env == nil {
		h.options.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FAIRWAY_") })
	}
	return h
}

// Configure replaces the configuration. Processes of plugins that are gone or changed are ended; the others run on.
func (h *Host) Configure(c Config) {
	h.mu.Lock()
	h.config = c
	var gone []*process
	for k, p := range h.processes {
		if item, ok := c.Find(k.kind, k.name); !ok || !reflect.DeepEqual(item, p.item) {
			gone = append(gone, p)
			delete(h.processes, k)
		}
	}
	h.mu.Unlock()
	endAll(gone)
}

// Config is the configuration in force.
func (h *Host) Config() Config {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.config
}

// Close ends all processes, waits for them, and removes their programs. Calls after it are errors.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	var all []*process
	for _, p := range h.processes {
		all = append(all, p)
	}
	h.processes = nil
	dir := h.dir
	h.mu.Unlock()
	endAll(all)
	if h.options.Dir == "" && dir != "" {
		return os.RemoveAll(dir)
	}
	return nil
}

func endAll(processes []*process) {
	var wg sync.WaitGroup
	for _, p := range processes {
		wg.Go(p.end)
	}
	wg.Wait()
}

// directory is where programs are kept. Nobody else can write to it.
func (h *Host) directory() (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return "", errors.New("plugins: the host is closed")
	}
	if h.dir != "" {
		return h.dir, nil
	}
	if h.options.Dir != "" {
		if err := os.MkdirAll(h.options.Dir, 0o700); err != nil {
			return "", fmt.Errorf("plugins: making their directory: %w", err)
		}
		h.dir = h.options.Dir
		return h.dir, nil
	}
	dir, err := os.MkdirTemp("", "fairway-plugins-")
	if err != nil {
		return "", fmt.Errorf("plugins: making their directory: %w", err)
	}
	h.dir = dir
	return dir, nil
}

// process returns the process of a plugin, which may not have been started.
func (h *Host) process(kind Kind, name string) (*process, error) {
	if h.options.Refuse != "" {
		return nil, fmt.Errorf("plugin %s: %s", name, h.options.Refuse)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("plugin %s: the host of plugins is closed", name)
	}
	k := key{kind, name}
	if p := h.processes[k]; p != nil {
		return p, nil
	}
	item, ok := h.config.Find(kind, name)
	if !ok {
		return nil, fmt.Errorf("plugin %s %w; add it under %s", name, ErrUnknown, kind)
	}
	p := &process{host: h, kind: kind, item: item}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	h.processes[k] = p
	return p, nil
}
