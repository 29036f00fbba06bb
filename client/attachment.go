package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"scrier/wire"
)

// attachment is one connection of a terminal with its session. There is no queue for output: if the terminal is
// slow, flow control stops the stream.
type attachment struct {
	*wire.Framed
	life  *lifeline
	shown *progress
	paint []byte // what has come of a repaint: it is shown as a whole, or not at all

	heard atomic.Int64 // when output came last, Unix nanoseconds

	mu   sync.Mutex // a size, and the key behind it
	size wire.Size  // as the relay knows it
}

const (
	// maxPaint is the longest repaint that is taken, in bytes.
	maxPaint = 8 << 20

	// stuckTerminal is how long a terminal that takes no more output may hold up the end.
	stuckTerminal = time.Second
)

var errExit = errors.New("the session ended")

func newAttachment(l *lifeline, f *wire.Framed, a *wire.Attached) *attachment {
	c := &attachment{Framed: f, life: l}
	c.shown = newProgress(a, func(m *wire.Ack) error { return f.Send(m) })
	return c
}

// run shows the session until the connection or the session ends, or ctx. why is errExit, with the session's end,
// or what broke, or the cause of ctx. free says that nobody writes to the terminal any more.
func (c *attachment) run(ctx context.Context) (exit *wire.Exit, free bool, why error) {
	conn, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer c.shown.stop()
	var wg sync.WaitGroup
	var last *wire.Exit // exit is not output's: what is stuck may still come to it
	wg.Go(func() {
		var err error
		last, err = c.output()
		end(err)
	})
	wg.Go(func() {
		if err := c.send(conn); err != nil {
			end(err)
		}
	})
	wg.Go(func() {
		for size := range c.life.terminal.Resizes(conn) {
			if err := c.resize(size); err != nil {
				return // output sees the end of the stream
			}
		}
	})
	wg.Go(func() {
		if err := c.watch(conn); err != nil {
			end(err)
		}
	})
	<-conn.Done()
	why = context.Cause(conn)
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	switch {
	case errors.Is(why, errExit):
		<-done
		return last, true, why
	case ctx.Err() == nil: // the connection broke, and the session stays open
		c.Reset(wire.ViewerLost)
		select { // until the terminal has taken what came
		case <-done:
			return nil, true, why
		case <-ctx.Done():
			why = context.Cause(ctx)
		}
	default: // a person who disconnects, or ends this program, ends the session
		c.life.restore()
		if !c.life.leaves(why) || c.SetDeadline(time.Now().Add(stuckTerminal)) != nil || c.CloseWrite() != nil {
			c.Reset(wire.ViewerLost)
		}
	}
	select {
	case <-done:
		free = true
	case <-time.After(stuckTerminal):
	}
	return nil, free, why
}

// send sends what is typed, once history has been shown.
func (c *attachment) send(ctx context.Context) error {
	for {
		p, eof, err := c.life.input.next(ctx)
		if err != nil {
			return nil // this attachment is over
		}
		if eof {
			if err := c.Send(&wire.EOF{}); err != nil {
				return lost(err)
			}
			return nil
		}
		if err := c.write(p); err != nil {
			return err
		}
	}
}

// write sends a piece of input, which has room for a header, behind the size that the terminal has by then.
func (c *attachment) write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.resizeLocked(c.life.terminal.Size()); err != nil {
		return err
	}
	if err := c.WriteData(wire.DataFrame(p, len(p)-wire.DataHeader)); err != nil {
		return lost(err)
	}
	return nil
}

// resize tells the terminal's size, if the relay knows another one.
func (c *attachment) resize(size wire.Size) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resizeLocked(size)
}

func (c *attachment) resizeLocked(size wire.Size) error {
	if size == c.size {
		return nil
	}
	c.size = size
	if err := c.Send(&wire.Resize{Size: size}); err != nil {
		return lost(err)
	}
	return nil
}

// watch looks whether the relay still answers, and for a better link.
func (c *attachment) watch(ctx context.Context) error {
	silence, better := c.life.relay.pulse.silence(), c.life.relay.prober.isNews()
	look := time.NewTicker(lookForQuiet)
	defer look.Stop()
	look.Stop()
	var since time.Time
	for {
		select {
		case <-silence:
			return errSilent
		case <-better:
			better, since = nil, time.Now()
			look.Reset(lookForQuiet)
		case <-look.C:
			if c.isQuiet() || time.Since(since) > maxQuietWait {
				return errBetter
			}
		case <-ctx.Done():
			return nil
		}
	}
}

const (
	// lookForQuiet is how often it is looked whether a terminal can move to a better link, and quiet how long nothing may have been
	// shown before it does. Nothing is lost at another moment either, but somebody who types, or watches, would notice that it waits.
	lookForQuiet = 100 * time.Millisecond
	quiet        = 500 * time.Millisecond

	// maxQuietWait is how long it waits for such a moment.
	maxQuietWait = 10 * time.Second
)

// isQuiet says that nothing that was typed is on its way, and nothing has been shown for a moment.
func (c *attachment) isQuiet() bool {
	return c.life.input.idle() && time.Since(time.Unix(0, c.heard.Load())) >= quiet
}

// errSilent says that the relay did not answer: the link is no good any more.
var errSilent = lost(errors.New("the relay does not answer"))

// output writes what the session shows, until its end.
func (c *attachment) output() (*wire.Exit, error) {
	l := c.life
	for live := false; ; {
		if !live && c.shown.live() {
			live = true
			l.input.goLive()
		}
		m, err := c.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, lost(err)
		}
		switch m := m.(type) {
		case *wire.Data:
			c.heard.Store(time.Now().UnixNano())
			if err := l.show(m.Bytes); err != nil {
				return nil, err
			}
			l.offset += uint64(len(m.Bytes))
			if err := c.shown.add(len(m.Bytes)); err != nil {
				return nil, lost(err)
			}
		case *wire.Skip:
			if c.paint = append(c.paint, m.Screen...); len(c.paint) > maxPaint {
				return nil, wire.Errorf(wire.Protocol, "the relay sent a screen of more than %d bytes", maxPaint)
			}
			if m.More {
				continue
			}
			if err := l.show(c.paint); err != nil {
				return nil, err
			}
			c.paint = nil
			l.offset = max(l.offset, m.To)
			if err := c.shown.skip(m.To); err != nil {
				return nil, lost(err)
			}
		case *wire.Ack:
			l.input.shown(m.Offset)
		case *wire.Pong:
		case *wire.Watchers:
			l.say("%s", watching(m.Names))
		case *wire.Notice:
			l.say("%s", wire.Printable(m.Text))
		case *wire.Exit:
			return m, errExit
		default:
			return nil, wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
		}
	}
}

// lost is the end of the connection to the relay.
func lost(err error) error {
	return &wire.Error{Code: wire.RelayUnreachable, Detail: "the connection to the relay was lost", Err: err}
}

// say tells the person something between what the session shows.
func (l *lifeline) say(format string, args ...any) {
	fmt.Fprintf(l.req.Messages, "\r\n[scrier] "+format+"\r\n", args...)
}
