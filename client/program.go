package client

import (
	"context"
	"io"
	"sync"
	"time"

	"scrier/wire"
)

// ProgramRequest is what [Session.Program] needs.
type ProgramRequest struct {
	Command   []byte            // for the login's shell; empty: that shell itself
	Subsystem string            // instead of Command: the subsystem of this name
	Env       map[string]string // LANG and LC_* only; nil: this program's
	Agent     bool              // the program can reach the operator's SSH agent, if [Session.ListenAgent] listens
	PTY       *PTY              // nil: the program has no terminal
}

// PTY is a program's terminal.
type PTY struct {
	Term  string
	Size  wire.Size
	Modes []byte // RFC 4254, 8
}

// Program is a program on the machine. All methods may be called at the same time. Both outputs have to be read, as one that
// waits holds up the other one.
type Program struct {
	session *Session
	f       *wire.Framed
	out     *output // and of a terminal its bytes
	errs    *output
	screen  *progress // of a terminal: what has been read

	mu      sync.Mutex // one Write at a time
	closed  bool       // no more input
	window  *window    // of a terminal: how much input may be sent
	done    chan struct{}
	exit    *wire.Exit // before done is closed
	err     error      // the same
	closing sync.Once
}

func newProgram(s *Session, stream wire.Stream, a *wire.Attached, terminal bool) *Program {
	p := &Program{session: s, f: wire.NewFramed(stream), out: newOutput(), errs: newOutput(), done: make(chan struct{})}
	if terminal {
		p.screen = newProgress(a, func(m *wire.Ack) error { return p.f.Send(m) })
		p.out.taken = func(n int) { _ = p.screen.add(n) } // a link that broke shows when it is read
		p.window = newWindow(a.Typed, uint64(a.Window))
		p.errs.end(io.EOF)
	}
	go p.run()
	return p
}

// run reads what the relay says until the program has ended.
func (p *Program) run() {
	stop := context.AfterFunc(p.session.life.Context(), func() { p.f.Reset(wire.CodeOf(p.session.life.Err())) })
	defer stop()
	p.exit, p.err = p.receive()
	end := p.err
	if end == nil {
		end = io.EOF
	}
	p.out.end(end)
	p.errs.end(end)
	if p.screen != nil {
		p.screen.stop()
		p.window.end()
	}
	p.f.Reset(wire.None)
	close(p.done)
}

func (p *Program) receive() (*wire.Exit, error) {
	for {
		m, err := p.f.Receive()
		if err != nil {
			return nil, p.session.failed(lostEnd(err))
		}
		switch m := m.(type) {
		case *wire.Data:
			p.out.put(m.Bytes)
			continue
		case *wire.Errors:
			if p.screen == nil {
				p.errs.put(m.Bytes)
				continue
			}
		case *wire.Ack:
			if p.screen != nil {
				p.window.ack(m.Offset)
				continue
			}
		case *wire.Pong, *wire.Notice, *wire.Watchers:
			continue
		case *wire.Exit:
			if m.Code != wire.None {
				return nil, ended(m.Code, m.Detail)
			}
			return m, nil
		}
		return nil, wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
	}
}

// Read gives standard output, or what the terminal shows; io.EOF behind all of it.
func (p *Program) Read(b []byte) (int, error) { return p.out.read(b) }

// Stderr is standard error. With a terminal it has nothing.
func (p *Program) Stderr() io.Reader { return readerFunc(p.errs.read) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// Write gives the program input, no faster than it takes it.
func (p *Program) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := make([]byte, wire.DataHeader+min(len(b), wire.MaxData))
	for n < len(b) {
		if p.closed {
			return n, io.ErrClosedPipe
		}
		size := min(len(b)-n, wire.MaxData)
		if p.window != nil {
			if size = p.window.take(size); size == 0 {
				return n, p.over(io.ErrClosedPipe)
			}
		}
		copy(frame[wire.DataHeader:], b[n:n+size])
		if err := p.f.WriteData(wire.DataFrame(frame, size)); err != nil {
			return n, p.over(err)
		}
		n += size
	}
	return n, nil
}

// over is why the program takes no more, where err is all that is known here.
func (p *Program) over(err error) error {
	select {
	case <-p.done:
		if p.err != nil {
			return p.err
		}
		return io.ErrClosedPipe // it has ended
	default:
		return p.session.failed(err)
	}
}

// CloseWrite says that there is no more input.
func (p *Program) CloseWrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return p.last(&wire.EOF{})
}

// CloseOutput says that nobody takes the program's output any more: it learns that as from a broken pipe.
func (p *Program) CloseOutput() error {
	p.out.discard()
	p.errs.discard()
	if p.screen != nil {
		return nil
	}
	return p.last(&wire.Closed{})
}

// last sends a message that may have to wait behind input for as long as the program takes none.
func (p *Program) last(m wire.Message) error {
	if err := p.f.WriteBy(time.Time{}, []wire.Message{m}, nil); err != nil {
		return p.over(err)
	}
	return nil
}

// Resize tells the terminal's new size.
func (p *Program) Resize(size wire.Size) error {
	if p.screen == nil {
		return wire.Errorf(wire.BadRequest, "the program has no terminal")
	}
	if err := p.f.Send(&wire.Resize{Size: size.Clamp()}); err != nil {
		return p.over(err)
	}
	return nil
}

// Wait gives how the program ended. It may have to be read to its end before.
func (p *Program) Wait(ctx context.Context) (*wire.Exit, error) {
	select {
	case <-p.done:
		return p.exit, p.err
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
}

// Close hangs the program up, unless it has ended.
func (p *Program) Close() error {
	p.closing.Do(func() {
		p.out.discard()
		p.errs.discard()
		if p.screen == nil {
			p.f.Reset(wire.Cancelled)
			return
		}
		// A terminal whose stream breaks would wait for its viewer.
		p.window.end()
		if p.f.SetDeadline(time.Now().Add(closeWait)) != nil || p.f.CloseWrite() != nil {
			p.f.Reset(wire.Cancelled)
		}
	})
	<-p.done
	return nil
}
