// Package panics keeps a panic to the one conversation in which it happened. A mistake of ours in one
// stream, request or connection ends that one, with [wire.Internal] for the peer and the stack in the
// log, and never the relay with everybody's sessions.
//
// A boundary holds for its own goroutine: one that a conversation starts needs its own.
package panics

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"

	"scrier/wire"
)

// Boundary is where panics end. Its methods may be called concurrently.
type Boundary struct {
	Log *slog.Logger

	n atomic.Int64
}

// Contain runs f, and makes an error of its panic. args are for the log, as slog takes them.
// [http.ErrAbortHandler] is no mistake and goes on.
func (b *Boundary) Contain(what string, f func() error, args ...any) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			b.Log.Error("panic", append([]any{"in", what, "panics", b.n.Add(1), "err", p, "stack", string(debug.Stack())}, args...)...)
			err = &wire.Error{Code: wire.Internal, Err: fmt.Errorf("%w in %s: %v", ErrPanic, what, p)}
		}
	}()
	return f()
}

// ErrPanic is in the chain of an error that was a panic.
var ErrPanic = errors.New("panic")

// Count is how many panics there were since the relay started.
func (b *Boundary) Count() int64 { return b.n.Load() }

// Handler is a boundary around next. What was answered so far may be half an answer, so the request's
// stream or connection is broken off.
func (b *Boundary) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.Contain("request", func() error { next.ServeHTTP(w, r); return nil }, "method", r.Method, "path", wire.Printable(r.URL.Path), "source", r.RemoteAddr) != nil {
			panic(http.ErrAbortHandler)
		}
	})
}
