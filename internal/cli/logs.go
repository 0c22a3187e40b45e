package cli

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Bounds of the log files in a data directory.
const (
	logFileMegabytes = 10
	logFilesKept     = 3
)

// openLog returns the log of a cluster: a file at level warn, or the terminal at level info (-v) or debug (-vv).
func openLog(dir string, verbose int, terminal io.Writer) (*slog.Logger, io.Closer) {
	if verbose > 0 {
		level := slog.LevelInfo
		if verbose > 1 {
			level = slog.LevelDebug
		}
		return slog.New(folding(slog.NewTextHandler(terminal, &slog.HandlerOptions{Level: level}))), io.NopCloser(nil)
	}
	w := &lumberjack.Logger{Filename: filepath.Join(dir, "log", "fairway.log"), MaxSize: logFileMegabytes, MaxBackups: logFilesKept}
	return slog.New(folding(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))), w
}

// foldFor is how long a line that repeats is only counted.
const foldFor = 10 * time.Second

// fold is a handler that counts lines equal to the one before instead of writing them.
type fold struct {
	slog.Handler
	last *lastLine
}

type lastLine struct {
	mu      sync.Mutex
	message string
	level   slog.Level
	at      time.Time
	times   int
}

func folding(h slog.Handler) slog.Handler { return fold{h, &lastLine{}} }

// Handle implements slog.Handler.
func (f fold) Handle(ctx context.Context, r slog.Record) error {
	l := f.last
	l.mu.Lock()
	if r.Message == l.message && r.Level == l.level && r.Time.Sub(l.at) < foldFor {
		l.times++
		l.mu.Unlock()
		return nil
	}
	repeated := l.times
	l.message, l.level, l.at, l.times = r.Message, r.Level, r.Time, 0
	l.mu.Unlock()
	if repeated > 0 {
		again := slog.NewRecord(r.Time, r.Level, "the line above came again", 0)
		again.AddAttrs(slog.Int("times", repeated))
		if err := f.Handler.Handle(ctx, again); err != nil {
			return err
		}
	}
	return f.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (f fold) WithAttrs(a []slog.Attr) slog.Handler { return fold{f.Handler.WithAttrs(a), f.last} }

// WithGroup implements slog.Handler.
func (f fold) WithGroup(name string) slog.Handler { return fold{f.Handler.WithGroup(name), f.last} }
