package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/client"
	"scrier/wire"
)

const (
	// maxEnv is how many variables a program may get.
	maxEnv = 64

	// endWait is how long the machine may take to say how a program ended whose outputs have ended.
	endWait = 30 * time.Second
)

// program is a channel of the type session (RFC 4254, 6), for one program of the machine.
type program struct {
	*server
	ch      ssh.Channel
	replies *replies
	req     client.ProgramRequest
	agent   bool            // it wants the client's
	ended   <-chan struct{} // nil: the client has not said what to start
	closed  chan struct{}   // the client has closed the channel
	unread  chan struct{}   // the client reads no more of the output
	sizes   chan wire.Size  // of the terminal, the newest
}

func (s *server) program(ctx context.Context, c ssh.NewChannel) {
	ch, requests, err := c.Accept()
	if err != nil {
		return // the connection has ended
	}
	p := &program{
		server: s, ch: ch, replies: newReplies(s), req: client.ProgramRequest{Env: map[string]string{}},
		closed: make(chan struct{}), unread: make(chan struct{}, 1), sizes: make(chan wire.Size, 1),
	}
	for r := range requests {
		p.hear(ctx, r)
	}
	close(p.closed)
	if p.ended != nil {
		<-p.ended
	}
	p.replies.close()
	_ = ch.Close()
}

// hear takes a request of the client's. It does not wait for the machine.
func (p *program) hear(ctx context.Context, r *ssh.Request) {
	ok := false
	switch {
	case r.Type == "window-change":
		ok = p.resize(r.Payload)
	case r.Type == "eow@openssh.com":
		select {
		case p.unread <- struct{}{}:
		default: // it was said
		}
	case p.ended != nil: // the rest comes before the program
	case r.Type == "env":
		ok = p.setEnv(r.Payload)
	case r.Type == "pty-req":
		ok = p.setPTY(r.Payload)
	case r.Type == "auth-agent-req@openssh.com":
		p.agent, ok = true, true
		p.forwardAgent(ctx)
	case r.Type == "shell", r.Type == "exec", r.Type == "subsystem":
		if !p.named(r) {
			break
		}
		answer := make(chan reply, 1)
		sent := p.replies.later(r, answer)
		p.ended = start(func() {
			p.run(ctx, func() {
				answer <- reply{ok: true}
				<-sent
			})
		})
		return
	}
	p.replies.add(r, func() (bool, []byte) { return ok, nil })
}

// named takes what is to be started.
func (p *program) named(r *ssh.Request) bool {
	if r.Type == "shell" {
		return true
	}
	var m struct{ Name []byte }
	if ssh.Unmarshal(r.Payload, &m) != nil {
		return false
	}
	if r.Type == "exec" {
		p.req.Command = m.Name
	} else {
		p.req.Subsystem = string(m.Name)
	}
	return true
}

// setEnv takes the variables that sshd takes too unless it is told otherwise.
func (p *program) setEnv(payload []byte) bool {
	var m struct{ Name, Value string }
	if ssh.Unmarshal(payload, &m) != nil || m.Name != "LANG" && !strings.HasPrefix(m.Name, "LC_") || len(p.req.Env) >= maxEnv {
		return false
	}
	p.req.Env[m.Name] = m.Value
	return true
}

func (p *program) setPTY(payload []byte) bool {
	var m struct {
		Term          string
		Cols, Rows    uint32
		Width, Height uint32
		Modes         []byte
	}
	if ssh.Unmarshal(payload, &m) != nil {
		return false
	}
	p.req.PTY = &client.PTY{Term: m.Term, Size: sizeOf(m.Cols, m.Rows), Modes: m.Modes}
	return true
}

func (p *program) resize(payload []byte) bool {
	var m struct{ Cols, Rows, Width, Height uint32 }
	if ssh.Unmarshal(payload, &m) != nil || p.req.PTY == nil {
		return false
	}
	size := sizeOf(m.Cols, m.Rows)
	if p.ended == nil {
		p.req.PTY.Size = size
		return true
	}
	select { // the size from before, if it was not sent yet
	case <-p.sizes:
	default:
	}
	p.sizes <- size // nobody else puts one there
	return true
}

// sizeOf is a terminal's size; one that the client does not know is the usual.
func sizeOf(cols, rows uint32) wire.Size {
	if cols == 0 || rows == 0 {
		return wire.Size{Cols: 80, Rows: 24}
	}
	return wire.Size{Cols: uint16(min(cols, 65535)), Rows: uint16(min(rows, 65535))}
}

// open starts the program.
func (p *program) open(ctx context.Context) (Program, error) {
	if p.agent {
		p.req.Agent = p.forwards(ctx)
	}
	if p.req.Subsystem != "sftp" {
		return p.session.Program(ctx, p.req)
	}
	c, err := p.session.SFTP(ctx)
	if err != nil {
		return nil, err
	}
	return subsystem{c}, nil
}

// run runs the program to its end, and closes the channel. started answers the client.
func (p *program) run(ctx context.Context, started func()) {
	defer p.ch.Close()
	running, err := p.open(ctx)
	started() // also if it was not: a plain no would not say why
	if err != nil {
		if ctx.Err() == nil {
			p.Report(p.stderr(), err)
			p.exit(&wire.Exit{Status: wire.NoStatus})
		}
		return
	}
	up := start(func() {
		feed(running, p.ch, func() { _, _ = p.ch.SendRequest("eow@openssh.com", false, nil) }) // not heard by a client that has gone
	})
	outputs := start(func() {
		errs := start(func() { pass(p.ch.Stderr(), running.Stderr()) })
		pass(p.ch, running)
		<-errs
	})
	over := make(chan struct{})
	told := start(func() { p.tell(running, over) })
	select {
	case <-outputs:
		p.finish(ctx, running)
	case <-p.closed:
		if p.req.PTY == nil { // it has to write down what it was sent
			drain(ctx, up, p.closed)
			drain(ctx, outputs, p.closed)
		}
	case <-ctx.Done():
	}
	close(over)
	_ = running.Close()
	_ = p.ch.Close()
	<-told
	<-up
	<-outputs
}

// pass passes output on. What the client takes no more of is read all the same: the other output comes the same way.
func pass(dst io.Writer, src io.Reader) {
	if pour(dst, src) != nil {
		_, _ = io.Copy(io.Discard, src)
	}
}

// tell passes on what the client has to say beside the input, until the program is over.
func (p *program) tell(running Program, over <-chan struct{}) {
	unread := p.unread
	for {
		select {
		case size := <-p.sizes:
			_ = running.Resize(size) // fails only for a program that has ended
		case <-unread:
			unread = nil
			p.wg.Go(func() { _ = running.CloseOutput() }) // it may have to wait behind the input, up to the program's end
		case <-over:
			return
		}
	}
}

// finish tells the client how the program ended.
func (p *program) finish(ctx context.Context, running Program) {
	waiting, cancel := context.WithTimeoutCause(ctx, endWait, wire.Errorf(wire.RelayUnreachable, "the relay does not say how the program ended"))
	defer cancel()
	exit, err := running.Wait(waiting)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		if p.Unseen {
			p.Report(p.stderr(), err)
		} else {
			p.report(err)
		}
		exit = &wire.Exit{Status: wire.NoStatus}
	}
	p.exit(exit)
}

// exit says how the program ended, before the end of its output: a client that knows of both ends closes the channel, and
// then hears nothing any more. It fails only if the client has done that before.
func (p *program) exit(e *wire.Exit) {
	if e.Signal != "" {
		_, _ = p.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal     string
			Core       bool
			Text, Lang string
		}{Signal: e.Signal}))
	} else {
		_, _ = p.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{e.Status}))
	}
	_ = p.ch.CloseWrite()
}

// stderr is where the person reads what is about this channel.
func (p *program) stderr() io.Writer {
	if p.req.PTY == nil {
		return p.ch.Stderr()
	}
	return Lines(p.ch.Stderr())
}

// Lines makes a writer to a terminal in raw mode, which has to be told to begin a line at its left.
func Lines(w io.Writer) io.Writer { return crlf{w} }

type crlf struct{ io.Writer }

func (w crlf) Write(b []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// subsystem makes a program of a channel of raw bytes.
type subsystem struct{ client.Conn }

func (subsystem) Stderr() io.Reader      { return strings.NewReader("") }
func (c subsystem) CloseOutput() error   { return c.Close() }
func (subsystem) Resize(wire.Size) error { return fmt.Errorf("a subsystem has no terminal") }

// Wait has nothing to wait for: its output has ended.
func (subsystem) Wait(context.Context) (*wire.Exit, error) { return new(wire.Exit), nil }
