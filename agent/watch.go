package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"scrier/wire"
)

// watched is a stream whose end is noticed while nobody reads it. What is read meanwhile is kept.
type watched struct {
	wire.Stream
	first []byte
	err   error // behind first
	done  chan struct{}
}

// watch returns a context that ends when the peer resets s. Nobody may read s before stop.
func watch(ctx context.Context, s wire.Stream) (context.Context, *watched) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watched{Stream: s, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		b := make([]byte, 1)
		n, err := s.Read(b)
		w.first = b[:n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if w.err = err; err != nil && !errors.Is(err, io.EOF) {
			cancel(err)
		}
	}()
	return ctx, w
}

// stop ends the watch; s is read through w from now on. It returns the stream's error, if there
// was one.
func (w *watched) stop() error {
	if err := w.SetReadDeadline(time.Now()); err != nil {
		return err
	}
	<-w.done
	if err := w.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if w.err != nil && !errors.Is(w.err, io.EOF) {
		return w.err
	}
	return nil
}

func (w *watched) Read(p []byte) (int, error) {
	if len(w.first) > 0 && len(p) > 0 {
		n := copy(p, w.first)
		w.first = w.first[n:]
		return n, nil
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.Stream.Read(p)
}
