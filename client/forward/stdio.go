package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"scrier/client"
	"scrier/wire"
)

// Stdio carries one connection over in and out, as ssh -W does, until both directions have ended or nobody is at the other
// end any more. It owns the connection, and closes out when no more comes. Reading in cannot be interrupted in every case:
// what does so ends with the process at the latest.
func Stdio(ctx context.Context, c client.Conn, in io.Reader, out io.WriteCloser) error {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	w := &locked{c: c}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		carry(w, in) // that nobody takes it is an ordinary end
	}()
	switch err := receive(out, c); {
	case errors.Is(err, errNobody):
		return nil
	case ctx.Err() != nil:
		return wire.Cause(ctx, wire.Cancelled)
	case err != nil:
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-sent:
			return nil
		case <-ctx.Done():
			return wire.Cause(ctx, wire.Cancelled)
		case <-look.C:
			if w.gone() {
				return nil
			}
		}
	}
}

// lookEvery is how often it is looked whether somebody still reads, when no more comes and standard input goes on.
const lookEvery = 200 * time.Millisecond

// locked is a connection of which one goroutine writes and another asks whether that makes sense.
type locked struct {
	mu sync.Mutex // one Write at a time
	c  client.Conn
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.Write(p)
}

func (l *locked) CloseWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c.CloseWrite()
}

// gone says that nobody reads any more: then a Write of nothing fails too. One that waits shows it by itself.
func (l *locked) gone() bool {
	if !l.mu.TryLock() {
		return false
	}
	defer l.mu.Unlock()
	_, err := l.c.Write(nil)
	return err != nil
}

// errNobody says that nobody reads what comes.
var errNobody = errors.New("nobody reads it")

// receive passes on what comes, and closes out behind it.
func receive(out io.WriteCloser, c io.Reader) error {
	buf := make([]byte, passBuffer)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, werr := out.Write(buf[:n]); client.NoReader(werr) {
				return errNobody
			} else if werr != nil {
				return fmt.Errorf("write what came: %w", werr)
			}
		}
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.None {
			return &wire.Error{Code: wire.ForwardFailed, Detail: "the connection broke", Err: err}
		}
		if err != nil {
			return err
		}
	}
}
