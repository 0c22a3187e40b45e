package controlplane

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"sync"

	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

var logsOnce sync.Once

// routeLogs sends upstream's process-wide log to l.
func routeLogs(l *slog.Logger) {
	logsOnce.Do(func() {
		if l == nil {
			l = slog.New(slog.NewTextHandler(io.Discard, nil))
		}
		klog.SetSlogLogger(l)
	})
}

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
		hook(fmt.Errorf("a component asked the process to exit with code %d; its last log lines say why", code))
		runtime.Goexit()
	}
}

// Quiet drops logs; it keeps contexts that upstream logs through from formatting anything.
func Quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }
