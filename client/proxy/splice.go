package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/client"
)

const (
	// smallBuffer is enough for a channel on which people type, and largeBuffer for one that is in a hurry. There may be a
	// thousand of the first kind.
	smallBuffer = 4 << 10
	largeBuffer = 128 << 10

	// drainWait is how long what the client has sent may take to where it goes, when the client has closed the channel.
	drainWait = 30 * time.Second
)

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

// notTaken is the error of a destination.
type notTaken struct{ error }

// pour copies until src ends, which is no error. An error of dst is a [notTaken].
func pour(dst io.Writer, src io.Reader) error {
	buf := make([]byte, smallBuffer)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return &notTaken{err}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == smallBuffer && len(buf) == smallBuffer {
			large := largeBuffers.Get().(*[]byte)
			defer largeBuffers.Put(large)
			buf = *large
		}
	}
}

// ignore answers no to all that is asked of a channel. It ends when the client has closed the channel, or has gone.
func ignore(requests <-chan *ssh.Request) {
	for r := range requests {
		_ = r.Reply(false, nil) // fails only on a channel that has ended
	}
}

// splice joins a channel with what the machine has. Each direction goes on up to its own end, as with sshd: who has said
// all may still hear something.
func splice(ctx context.Context, ch ssh.Channel, requests <-chan *ssh.Request, c client.Conn) {
	closed := start(func() { ignore(requests) })
	full := make(chan struct{})
	up := start(func() { feed(c, ch, func() { close(full) }) })
	whole := false
	down := start(func() { whole = pour(ch, c) == nil })
	select {
	case <-down:
		if whole {
			_ = ch.CloseWrite() // fails only on a channel that has ended
			select {
			case <-up:
			case <-full:
			case <-closed:
			case <-ctx.Done():
			}
		}
	case <-closed:
	case <-ctx.Done():
	}
	drain(ctx, up, closed)
	_ = c.Close() // what was not finished is none of the client's business any more
	_ = ch.Close()
	<-up
	<-down
	<-closed
}

// input is what takes what the client sends.
type input interface {
	io.Writer
	CloseWrite() error
}

// feed gives the machine what the client sends, and its end. When the machine takes no more, full is called and the rest
// is thrown away: the machine may still have something to say.
func feed(c input, ch ssh.Channel, full func()) {
	err := pour(c, ch)
	if err == nil {
		err = c.CloseWrite()
	}
	if err != nil {
		full()
		_, _ = io.Copy(io.Discard, ch)
	}
}

// drain waits, if the client has closed the channel, until what it had sent has arrived; but not for ever.
func drain(ctx context.Context, up, closed <-chan struct{}) {
	select {
	case <-closed:
	default:
		return
	}
	late := time.NewTimer(drainWait)
	defer late.Stop()
	select {
	case <-up:
	case <-late.C:
	case <-ctx.Done():
	}
}

// start runs f by itself. What it returns is closed when f has ended.
func start(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}
