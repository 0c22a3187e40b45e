package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

var logsOnce sync.Once

// routeLogs sends upstream's process-wide log to l; nil drops it, but for what a fatal error said.
func routeLogs(l *slog.Logger) {
	logsOnce.Do(func() {
		h := slog.DiscardHandler
		if l != nil {
			h = l.Handler()
		}
		klog.SetSlogLogger(slog.New(listener{h}))
	})
}

// lastWords is the newest message of upstream's log. A fatal error's is the newest when it asks the process to exit.
var lastWords atomic.Pointer[string]

// listener remembers the newest message and passes everything on.
type listener struct{ slog.Handler }

func (listener) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h listener) Handle(ctx context.Context, r slog.Record) error {
	lastWords.Store(&r.Message)
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h listener) WithAttrs(a []slog.Attr) slog.Handler { return listener{h.Handler.WithAttrs(a)} }
func (h listener) WithGroup(name string) slog.Handler   { return listener{h.Handler.WithGroup(name)} }

var (
	exitMu   sync.Mutex
	exitHook func(error)
)

// routeExit turns upstream's own os.Exit on some errors into a death that the plane reports, so that the store is closed
// in order and the cause is told.
func routeExit(die func(error)) {
	exitMu.Lock()
	defer exitMu.Unlock()
	exitHook = die
	klog.OsExit = func(code int) {
		exitMu.Lock()
		hook := exitHook
		exitMu.Unlock()
		hook(fmt.Errorf("a component of Kubernetes asked the process to exit with code %d: %s", code, said()))
		runtime.Goexit()
	}
}

// said is the newest message without the stacks of goroutines that klog adds to a fatal one.
func said() string {
	m := lastWords.Load()
	if m == nil {
		return "it did not say why"
	}
	first, _, _ := strings.Cut(*m, "\n")
	return first
}

// Quiet drops logs; it keeps contexts that upstream logs through from formatting anything.
func Quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }
