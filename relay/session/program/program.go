// Package program is a stage: a program without a terminal that one viewer, a CLI, has for itself. Its bytes pass as
// they are, and standard error is apart. The session ends with the program, and the program with that viewer. If the viewer can come
// back ([Numbered]), the program outlives its links.
package program

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Process is the program. Read, Stderr's Read, Write and the other methods may run at the same time; Close ends all
// of them.
type Process interface {
	io.ReadWriter
	Stderr() io.Reader
	CloseWrite() error
	CloseOutput() error
	// Wait gives how it ended, after both outputs have; nil: nobody knows.
	Wait(ctx context.Context) *wire.Exit
	Close()
	// Hangup is Close for one that has not ended by itself.
	Hangup()
}

// errPiece is how much of standard error is passed on at once, in bytes: most programs write little to it.
const errPiece = 4 << 10

// Program joins a process to the viewer that started it. It implements [session.Stage] and [session.Audience].
type Program struct {
	session *session.Channel
	process Process
	client  []byte        // whose it is
	taken   atomic.Bool   // somebody has it, or nobody may come any more
	over    chan struct{} // closed when the process or its viewer has gone, or nobody came
	exit    *wire.Exit    // how, before over
	final   chan *wire.Exit
	gone    chan struct{} // closed when the viewer has been told, or there is none
}

// New makes a session's stage of a process, which it owns from now on. client is the viewer that it is for, as in
// [wire.Attach].
func New(s *session.Channel, p Process, client []byte) *Program {
	return &Program{session: s, process: p, client: client, over: make(chan struct{}), final: make(chan *wire.Exit, 1), gone: make(chan struct{})}
}

// Audience implements [session.Stage].
func (p *Program) Audience() session.Audience { return p }

// Admit implements [session.Stage].
func (p *Program) Admit(who session.Viewer) error { return admit(who) }

func admit(who session.Viewer) error {
	if who.Watch {
		return wire.Errorf(wire.Conflict, "a program without a terminal cannot be watched")
	}
	return nil
}

// Run implements [session.Stage]. A viewer that was lost before it came here has the usual grace.
func (p *Program) Run(ctx context.Context) *wire.Exit {
	defer p.process.Close()
	nobody := time.NewTimer(p.session.Grace())
	defer nobody.Stop()
	select {
	case <-p.over:
	case <-ctx.Done():
		p.leave()
	case <-nobody.C:
		p.leave()
		select {
		case <-p.over:
		case <-ctx.Done():
		}
	}
	exit := audience.Ended(ctx)
	if ctx.Err() == nil {
		exit = p.exit
	}
	if exit.Code != wire.None {
		p.process.Hangup() // where the server cannot do that the program sees broken pipes
	}
	return exit
}

// leave ends the stage if nobody came, and nobody may come any more.
func (p *Program) leave() {
	if p.taken.CompareAndSwap(false, true) {
		p.exit = &wire.Exit{Code: wire.ViewerLost}
		close(p.over)
		close(p.gone)
	}
}

// Serve implements [session.Stage].
func (p *Program) Serve(ctx context.Context, f *wire.Framed, _ session.Viewer, a *wire.Attach) error {
	if !bytes.Equal(a.Client, p.client) || !p.taken.CompareAndSwap(false, true) {
		return errNotMine
	}
	defer close(p.gone)
	p.serve(ctx, f)
	return nil
}

// serve carries the bytes until the program has ended or the viewer has gone, and tells the viewer how.
func (p *Program) serve(ctx context.Context, f *wire.Framed) {
	ended := sync.OnceFunc(func() { close(p.over) })
	defer ended()
	p.exit = &wire.Exit{Code: wire.Internal} // of a panic
	attached := p.session.Attached()
	attached.Size = wire.Size{}.Clamp()
	err := f.StopAhead() // from here on nobody else reads it
	if err == nil {
		err = f.Send(attached)
	}
	if err != nil {
		p.exit = &wire.Exit{Code: wire.ViewerLost}
		f.Reset(wire.ViewerLost)
		return
	}
	p.session.Changed()
	c := &conn{Program: p, Framed: f}
	why := c.carry(ctx)
	if p.exit = wire.ExitOf(why); why == nil {
		p.exit = c.exit
	}
	ended()
	if wire.CodeOf(why) == wire.ViewerLost {
		f.Reset(wire.ViewerLost)
		c.wait.Wait()
		return
	}
	exit := <-p.final
	stuck := time.AfterFunc(audience.ExitWait, func() { f.Reset(exit.Code) })
	defer stuck.Stop()
	if f.SetReadDeadline(time.Now()) != nil { // what it still sends is discarded later, see wire.Finish
		f.Reset(exit.Code)
	}
	c.wait.Wait()
	if f.SetReadDeadline(time.Time{}) != nil || f.Send(exit) != nil {
		f.Reset(exit.Code)
	}
}

// errUntold is how a program ended of which nobody knows that.
var errUntold = wire.Errorf(wire.TargetRefused, "the SSH server did not say how the program ended")

// conn is the viewer's connection with the program.
type conn struct {
	*Program
	*wire.Framed
	wait sync.WaitGroup
	exit *wire.Exit // how the program ended, if carry gives no error
}

// carry returns when the program has ended, or why it has to.
func (c *conn) carry(ctx context.Context) error {
	link := ctx
	ctx, end := context.WithCancelCause(context.WithoutCancel(link))
	defer end(nil)
	defer context.AfterFunc(link, func() { end(lost(context.Cause(link))) })()
	defer context.AfterFunc(c.session.Context(), func() { end(context.Cause(c.session.Context())) })()
	run := func(f func() error) {
		c.wait.Go(func() {
			var err error = &wire.Error{Code: wire.Internal} // of a panic
			c.session.Guard(func() { err = f() })
			if err != nil {
				end(err)
			}
		})
	}
	var outputs sync.WaitGroup
	outputs.Add(2)
	run(func() error {
		defer outputs.Done()
		return c.output(c.process, wire.MaxData, wire.DataFrame)
	})
	run(func() error {
		defer outputs.Done()
		return c.output(c.process.Stderr(), errPiece, wire.ErrorsFrame)
	})
	run(func() error { return c.input(ctx) })
	told := make(chan *wire.Exit, 1)
	run(func() error {
		outputs.Wait()
		told <- c.process.Wait(ctx)
		return nil
	})
	select {
	case c.exit = <-told:
		if ctx.Err() != nil {
			return wire.Cause(ctx, wire.Cancelled)
		}
		if c.exit == nil {
			return errUntold
		}
		return nil
	case <-ctx.Done():
		return wire.Cause(ctx, wire.Cancelled)
	}
}

// output passes on what the program writes, until it writes no more.
func (c *conn) output(from io.Reader, piece int, frame func([]byte, int) []byte) error {
	buf := make([]byte, wire.DataHeader+piece)
	for {
		n, err := from.Read(buf[wire.DataHeader:])
		if n > 0 {
			c.session.Count(0, n)
			if err := c.WriteData(frame(buf, n)); err != nil {
				return lost(err)
			}
		}
		if err != nil { // the end of the channel too: how it ended is told, or not
			return nil
		}
	}
}

// input gives the program what the viewer sends, until the viewer has gone. What a program does not take any more is
// thrown away, and so is what comes behind the end of ctx or of the session, which others see before ctx does: whoever is
// put out does nothing more there.
func (c *conn) input(ctx context.Context) error {
	open := true
	for {
		m, err := c.Receive()
		if err != nil {
			return lost(err)
		}
		switch m := m.(type) {
		case *wire.Data:
			if open && ctx.Err() == nil && c.session.Context().Err() == nil {
				n, err := c.process.Write(m.Bytes)
				c.session.Count(n, 0)
				open = err == nil
			}
		case *wire.EOF:
			if open {
				_ = c.process.CloseWrite() // a program that has ended needs none
				open = false
			}
		case *wire.Closed:
			_ = c.process.CloseOutput() // the same
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T from the viewer of a program", m)
		}
	}
}

// lost is the end of the viewer's connection, unless the viewer broke the protocol.
func lost(err error) error {
	if wire.CodeOf(err) == wire.Protocol {
		return err
	}
	return &wire.Error{Code: wire.ViewerLost, Err: err}
}

// End implements [session.Audience]: the session ends with its only viewer.
func (p *Program) End(match func(session.Viewer) bool, why error) {
	if match(session.Viewer{OperatorID: p.session.OperatorID(), Operator: p.session.Operator()}) {
		p.session.End(why)
	}
}

// Present implements [session.Audience].
func (p *Program) Present() (attached bool, watchers []string) { return true, []string{} }

// Ends implements [session.Audience]: its viewer is its life.
func (p *Program) Ends() time.Time { return time.Time{} }

// Dismiss implements [session.Audience].
func (p *Program) Dismiss(exit *wire.Exit) {
	p.final <- exit
	<-p.gone
}
