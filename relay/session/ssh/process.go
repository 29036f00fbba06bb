package ssh

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/allowance"
	"scrier/wire"
)

// Program is what a [Process] is to be.
type Program struct {
	Command []byte            // for the login's shell; empty: that shell itself
	Env     map[string]string // see [Env]
	PTY     *PTY              // nil: no terminal
}

// PTY is the terminal of a [Program].
type PTY struct {
	Term  string
	Size  wire.Size
	Modes []byte // see [Modes]
}

// Process is a channel with a program. Read gives its output, and Stderr without a terminal its errors: both must
// be read, as they have one window (RFC 4254, 5.2). Write takes input. All of these may run at the same time.
type Process struct {
	client    *Client
	channel   ssh.Channel
	out, errs output
	closing   sync.Once

	exit *wire.Exit    // nil: the server has not told
	done chan struct{} // closed when exit is known or the channel is gone
}

// output is what a program writes. When it ends, package ssh wakes one of those who wait for more in it, and no other: so
// there is never more than one.
type output struct {
	io.Reader
	turn chan struct{} // held while it is read
}

func newOutput(r io.Reader) output { return output{r, make(chan struct{}, 1)} }

func (o output) Read(p []byte) (int, error) {
	o.turn <- struct{}{}
	defer func() { <-o.turn }()
	return o.Reader.Read(p)
}

// Start starts a program. One that would run without the terminal that it is to have is ended. When ctx ends before
// that, other channels of the connection go on.
func (c *Client) Start(ctx context.Context, p Program) (*Process, error) {
	select { // one at a time, see startAhead
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
	var s *Process
	step := func() (err error) {
		s, err = c.start(p)
		return err
	}
	alone := func(context.Context, *allowance.Limit) error { return step() }
	undo := func() {
		if s != nil {
			s.Close()
		}
	}
	var err error
	if c.alone() {
		if err = c.within(ctx, OpeningShell, shellTimeout, alone); err != nil {
			undo()
		}
	} else {
		err = c.beside(ctx, step, undo)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Client) start(p Program) (*Process, error) {
	alone := c.alone()
	channel, requests, err := c.open("session", nil)
	if err != nil {
		return nil, &wire.Error{Code: wire.AccountNotLoginable, Detail: "the SSH server opens no session: " + words(err), Err: err}
	}
	s := &Process{client: c, channel: channel, out: newOutput(channel), errs: newOutput(channel.Stderr()), done: make(chan struct{})}
	if !c.run(func() { s.requests(requests) }) {
		close(s.done)
		return s, errClosed
	}
	for name, value := range p.Env { // servers ignore what they do not accept
		if _, err := channel.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value})); err != nil {
			return s, err
		}
	}
	switch {
	case p.PTY == nil:
		return s, s.startPlain(p)
	case alone:
		return s, s.startAhead(p)
	}
	return s, s.start(p)
}

// request is the channel request that starts a program (RFC 4254, 6.5).
func (p *Program) request() (name string, payload []byte) {
	if len(p.Command) == 0 {
		return "shell", nil
	}
	return "exec", ssh.Marshal(struct{ Command string }{string(p.Command)})
}

// startPlain starts a program without a terminal. Its output cannot come before the answer.
func (s *Process) startPlain(p Program) error {
	name, payload := p.request()
	ok, err := s.channel.SendRequest(name, true, payload)
	if err == nil && !ok {
		err = wire.Errorf(wire.TargetRefused, "the SSH server starts no program without a terminal")
	}
	return err
}

var errNoTerminal = wire.Errorf(wire.AccountNotLoginable, "the SSH server gives no terminal").Advise("see PermitTTY in sshd_config on that machine, and the SSH server's log")

// start asks for the terminal, and then for the program.
func (s *Process) start(p Program) error {
	ok, err := s.channel.SendRequest("pty-req", true, ptyRequest(p.PTY))
	if err != nil {
		return err
	}
	if !ok {
		return errNoTerminal
	}
	name, payload := p.request()
	_, err = s.channel.SendRequest(name, false, payload)
	return err
}

// startAhead asks for the terminal and, right behind it, for the program: waiting for the first answer
// would cost a round trip. It is for a connection without other channels, where the next packet that
// is sent is the first request.
func (s *Process) startAhead(p Program) error {
	name, payload := p.request()
	type answer struct {
		ok  bool
		err error
	}
	sent := s.client.transport.nextWrite()
	pty := make(chan answer, 1)
	if !s.client.run(func() {
		ok, err := s.channel.SendRequest("pty-req", true, ptyRequest(p.PTY))
		pty <- answer{ok, err}
	}) {
		return errClosed
	}
	var a answer
	select {
	case <-sent: // package ssh writes a packet in the goroutine that sends it
		_, err := s.channel.SendRequest(name, false, payload)
		if a = <-pty; err != nil {
			return err
		}
	case a = <-pty: // refused or broken before the write was seen
		if a.ok && a.err == nil {
			_, a.err = s.channel.SendRequest(name, false, payload)
		}
	}
	if a.err == nil && !a.ok {
		a.err = errNoTerminal
	}
	return a.err
}

// requests keeps the exit status and refuses everything else a server may ask.
func (s *Process) requests(in <-chan *ssh.Request) {
	defer close(s.done)
	for r := range in {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil && s.exit == nil {
				s.exit = &wire.Exit{Status: m.Status}
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Message    string
				Lang       string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil && s.exit == nil {
				s.exit = &wire.Exit{Signal: wire.Printable(m.Signal)}
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // the peer may be gone
		}
	}
}

// Read gives the program's output; io.EOF when it has closed that.
func (s *Process) Read(p []byte) (int, error) { return s.out.Read(p) }

// Stderr gives what the program writes to standard error, if it has no terminal; io.EOF when it has closed that.
func (s *Process) Stderr() io.Reader { return s.errs }

// Write takes input. It blocks while the server takes none.
func (s *Process) Write(p []byte) (int, error) { return s.channel.Write(p) }

// CloseWrite says that there is no more input.
func (s *Process) CloseWrite() error { return s.channel.CloseWrite() }

// Resize tells the terminal's new size.
func (s *Process) Resize(size wire.Size) error {
	size = size.Clamp()
	_, err := s.channel.SendRequest("window-change", false, ssh.Marshal(struct{ Cols, Rows, W, H uint32 }{uint32(size.Cols), uint32(size.Rows), 0, 0}))
	return err
}

// CloseOutput says that nobody takes the output any more: what the program writes from now on fails as in a broken
// pipe, if the server can do that. What has come must still be read.
func (s *Process) CloseOutput() error {
	_, err := s.channel.SendRequest("eow@openssh.com", false, nil) // OpenSSH's PROTOCOL, 2.1
	return err
}

// Wait gives how the program ended, after Read has returned io.EOF; nil: nobody knows.
func (s *Process) Wait(ctx context.Context) *wire.Exit {
	select {
	case <-s.done:
		return s.exit
	case <-ctx.Done():
		return nil
	}
}

// Hangup is Close for a program that is still there, and without a terminal that could tell it: it gets SIGHUP, if
// the server can do that (RFC 4254, 6.9), and a moment in which its output is still taken, so that what it does then
// is not ended by a broken pipe.
func (s *Process) Hangup() {
	if s.client.run(func() {
		_, _ = s.channel.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"HUP"})) // a peer that is gone needs none
	}) && s.client.run(func() { _, _ = io.Copy(io.Discard, s.out) }) && s.client.run(func() { _, _ = io.Copy(io.Discard, s.errs) }) {
		select {
		case <-s.done:
		case <-time.After(closeWait):
		}
	}
	s.Close()
}

// Close ends the channel, and the connection if nothing else is on it. A server that does not close its
// side soon loses the connection: so a Read or Write that blocks ends in either case.
func (s *Process) Close() {
	s.closing.Do(func() {
		if !s.client.single() {
			s.client.run(func() { _ = s.channel.Close() }) // it may have to wait for the server; shut ends that
			select {
			case <-s.done:
			case <-time.After(closeWait):
				s.client.shut()
			}
		}
		s.client.leave()
	})
}
