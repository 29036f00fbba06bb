package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Of what etcd says again and again, such as that a member does not answer, this many lines a minute are kept, and then one of
// sampleRest: a member that is away for a night must not fill a disk.
const (
	sampleEvery = time.Minute
	sampleFirst = 5
	sampleRest  = 1000
)

// zapLogger writes what etcd says into our log. Its own levels are those of a program that is all etcd: what it calls info is
// debug here. fatal is told why etcd cannot go on; without it such a line would end the process on the spot.
func zapLogger(log *slog.Logger, fatal func(error)) *zap.Logger {
	core := zapcore.NewSamplerWithOptions(slogCore{log}, sampleEvery, sampleFirst, sampleRest)
	return zap.New(core, zap.WithFatalHook(onFatal{fatal}), zap.WithPanicHook(onFatal{fatal}))
}

type slogCore struct{ log *slog.Logger }

func levelOf(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l >= zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), levelOf(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), levelOf(e.Level), "etcd: "+e.Message, attributes(fields)...)
	return nil
}

func (slogCore) Sync() error { return nil }

// attributes are zap's fields in the order of their names.
func attributes(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	var all []any
	for _, f := range fields {
		if v, ok := m.Fields[f.Key]; ok {
			all = append(all, f.Key, v)
			delete(m.Fields, f.Key)
		}
	}
	return all
}

// onFatal ends the goroutine in which etcd cannot go on, and not the process: it is the relay that has to end, in its own order. What
// etcd calls a panic is the same, and may be in a goroutine where nobody could recover it. Nothing that etcd had not written is
// acknowledged, as who would do so is gone.
type onFatal struct{ tell func(error) }

func (o onFatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := fmt.Errorf("etcd cannot go on: %s", e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	o.tell(err)
	runtime.Goexit()
}

// once is an error that is set once and waited for.
type once struct {
	mu   sync.Mutex
	err  error
	done chan struct{}
}

func newOnce() *once { return &once{done: make(chan struct{})} }

// set sets the error, unless there is one already.
func (o *once) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
		close(o.done)
	}
}

func (o *once) get() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
