package store

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logBridge writes etcd's log lines, of level warning and above unless the logger wants more, to slog. Where etcd
// would end the process, it reports the cause on died and ends the goroutine; while the server is being made, on the
// goroutine that makes it, it panics instead, which boot turns into an error.
type logBridge struct {
	logger *slog.Logger
	fields []zapcore.Field
	died   chan error
	booted *atomic.Bool
}

func newLogBridge(logger *slog.Logger) *logBridge {
	return &logBridge{logger: logger.With("component", "etcd"), died: make(chan error, 1), booted: &atomic.Bool{}}
}

func (b *logBridge) zap() *zap.Logger { return zap.New(b, zap.WithFatalHook(b)) }

// Enabled implements zapcore.Core. etcd talks at level info about each step; that is our debug.
func (b *logBridge) Enabled(l zapcore.Level) bool {
	return b.logger.Enabled(context.Background(), slogLevel(l))
}

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// With implements zapcore.Core.
func (b *logBridge) With(fields []zapcore.Field) zapcore.Core {
	with := *b
	with.fields = append(slices.Clip(b.fields), fields...)
	return &with
}

// expected are lines that etcd holds to be worth a warning, and that say nothing about a single member without
// sockets whose login tokens nobody uses, or about the first seconds of a new database.
var expected = map[string]bool{
	"simple token is not cryptographically signed": true,
	"Failed to detect schema version":              true,
	"failed to update storage version":             true,
}

// Check implements zapcore.Core.
func (b *logBridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if expected[e.Message] && e.Level < zapcore.DPanicLevel {
		return c
	}
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write implements zapcore.Core.
func (b *logBridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	b.logger.Log(context.Background(), slogLevel(e.Level), e.Message, b.attributes(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (b *logBridge) Sync() error { return nil }

func (b *logBridge) attributes(fields []zapcore.Field) []any {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(b.fields), fields...) {
		f.AddTo(values)
	}
	var out []any
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		out = append(out, key, values.Fields[key])
	}
	return out
}

// OnWrite implements zapcore.CheckWriteHook, for lines that etcd holds to be fatal.
func (b *logBridge) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	cause := error(fatal{e.Message, fields})
	if !b.booted.Load() {
		panic(cause)
	}
	select {
	case b.died <- cause:
	default: // the first cause is the one to know
	}
	runtime.Goexit()
}

// fatal is a line that etcd meant to die with.
type fatal struct {
	message string
	fields  []zapcore.Field
}

func (f fatal) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "etcd: %s", f.message)
	for _, field := range f.fields {
		if err, ok := field.Interface.(error); ok {
			fmt.Fprintf(&s, ": %v", err)
		}
	}
	return s.String()
}

// Unwrap gives the error of the line, such as ENOSPC.
func (f fatal) Unwrap() error {
	for _, field := range f.fields {
		if err, ok := field.Interface.(error); ok {
			return err
		}
	}
	return nil
}
