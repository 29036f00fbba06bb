package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Program is what a [Process] is to be.
type Program struct {
	Command   []byte            // for the login's shell; empty: that shell itself
	Subsystem bool              // Command is the name of a subsystem of the server's
	Env       map[string]string // see [Env]
	PTY       *PTY              // nil: no terminal
	Agent     bool              // it is to reach the agent that [Client.ListenAgent] stands for
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
	channel   *channel
	out, errs *inlet
	in        *outlet
	agent     bool

	exit *wire.Exit // before channel.gone; nil: the server has not told
}

// Start starts a program. One that would run without the terminal that it is to have is ended. When ctx ends before
// that, other channels of the connection go on.
func (c *Client) Start(ctx context.Context, p Program) (*Process, error) {
	if bytes.IndexByte(p.Command, 0) >= 0 { // for sshd that is a broken protocol, which ends the connection with all its channels
		return nil, wire.Errorf(wire.BadRequest, "a command has a zero byte")
	}
	if p.Subsystem && len(p.Command) == 0 {
		return nil, wire.Errorf(wire.BadRequest, "no subsystem is named")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, shellTimeout, tooLate(OpeningShell, shellTimeout)())
	defer cancel()
	s := &Process{client: c, out: newInlet(c), errs: newInlet(c)}
	var err error
	c.mu.Lock()
	c.opening++
	c.mu.Unlock()
	s.channel, err = c.open(ctx, "session", nil, s.request)
	c.mu.Lock()
	c.opening--
	c.sessions = c.sessions || err == nil
	c.mu.Unlock()
	if err != nil {
		return nil, c.noSession(err)
	}
	s.in = newOutlet(c, s.channel)
	begun := make(chan error, 1)
	if !c.run(func() { begun <- s.begin(p) }) {
		begun <- c.Err()
	}
	select {
	case err = <-begun:
	case <-ctx.Done():
		err = wire.Cause(ctx, wire.Cancelled)
	}
	if err == nil && !(c.run(func() { s.out.pump(s.channel, s.came(s.out)) }) && c.run(func() { s.errs.pump(s.channel.Stderr(), s.came(s.errs)) })) {
		err = c.Err()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// noSession is what it means that a session was not opened.
func (c *Client) noSession(err error) error {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	if !ok {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions || c.opening > 0 { // of several at a time, one that is opened may be heard of later
		return (&wire.Error{Code: wire.Busy, Detail: "the SSH server opens no further session on this connection: " + refusal(refused), Err: err}).
			Advise("end another program of the session, open a session of its own (--new), or raise MaxSessions in sshd_config on that machine")
	}
	return &wire.Error{Code: wire.AccountNotLoginable, Detail: "the SSH server opens no session: " + refusal(refused), Err: err}
}

// came is what it means that no more comes of an output.
func (s *Process) came(out *inlet) func(error) {
	return func(err error) {
		switch {
		case !orderly(err):
			err = s.client.fault(err)
		case !s.client.transport.sound():
			err = s.client.Err()
		default:
			err = io.EOF
		}
		out.end(err)
	}
}

// begin asks for all that the program is to have, and for the program.
func (s *Process) begin(p Program) error {
	err := s.ask(p)
	if wire.CodeOf(err) == wire.Internal {
		err = s.client.fault(err)
	}
	return err
}

func (s *Process) ask(p Program) (err error) {
	if p.Agent {
		if err := s.askAgent(); err != nil {
			return err
		}
	}
	for name, value := range p.Env { // servers ignore what they do not accept
		if _, err := s.channel.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value})); err != nil {
			return err
		}
	}
	if p.PTY == nil {
		return s.startPlain(p)
	}
	if over, alone := s.client.goAhead(); alone {
		defer over()
		return s.startAhead(p, over)
	}
	return s.start(p)
}

// askAgent asks for the agent. sshd grants that once for a connection, to all programs that start from then on, and
// refuses it later.
func (s *Process) askAgent() error {
	c := s.client
	select { // one at a time, so that the first answer is noted before the second comes
	case c.asks <- struct{}{}:
		defer func() { <-c.asks }()
	case <-s.channel.gone:
		return io.EOF
	}
	ok, err := s.channel.SendRequest("auth-agent-req@openssh.com", true, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted = c.granted || ok
	s.agent = c.granted
	return err
}

// request is the channel request that starts a program (RFC 4254, 6.5).
func (p *Program) request() (name string, payload []byte) {
	switch {
	case p.Subsystem:
		return "subsystem", ssh.Marshal(struct{ Name string }{string(p.Command)})
	case len(p.Command) == 0:
		return "shell", nil
	}
	return "exec", ssh.Marshal(struct{ Command string }{string(p.Command)})
}

// startPlain starts a program without a terminal. Its output cannot come before the answer.
func (s *Process) startPlain(p Program) error {
	name, payload := p.request()
	ok, err := s.channel.SendRequest(name, true, payload)
	switch {
	case err != nil || ok:
		return err
	case p.Subsystem:
		return wire.Errorf(wire.TargetRefused, "the SSH server has no subsystem %s", wire.Printable(string(p.Command))).Advise("see Subsystem in sshd_config on that machine")
	}
	return wire.Errorf(wire.TargetRefused, "the SSH server starts no program without a terminal")
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

// goAhead gives the connection to one channel, if there is no other: nobody else sends anything until over, which may be
// called more than once.
func (c *Client) goAhead() (over func(), alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels != 1 || c.listening > 0 || c.ahead != nil {
		return nil, false
	}
	ahead := make(chan struct{})
	c.ahead = ahead
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ahead = nil
		close(ahead)
	}), true
}

// startAhead asks for the terminal and, right behind it, for the program: waiting for the first answer
// would cost a round trip. It is for a connection that goes ahead, where the next packet that is sent is the first
// request.
func (s *Process) startAhead(p Program, over func()) error {
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
		return s.client.Err()
	}
	var a answer
	select {
	case <-sent: // package ssh writes a packet in the goroutine that sends it
		over()
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

// request keeps the exit status. Whatever else a server may ask is refused.
func (s *Process) request(r *ssh.Request) {
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
}

// Agent says whether the server lets the program reach the agent that it was to reach. With sshd, programs that start
// later on the same connection reach it too, though they do not ask for it.
func (s *Process) Agent() bool { return s.agent }

// Read gives the program's output; io.EOF when it has closed that.
func (s *Process) Read(p []byte) (int, error) { return s.out.Read(p) }

// Stderr gives what the program writes to standard error, if it has no terminal; io.EOF when it has closed that.
func (s *Process) Stderr() io.Reader { return s.errs }

// Write takes input. It blocks while the server takes none, but for 32 KiB.
func (s *Process) Write(p []byte) (int, error) { return s.in.Write(p) }

// CloseWrite says that there is no more input.
func (s *Process) CloseWrite() error { return s.in.CloseWrite() }

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
	case <-s.channel.gone:
		return s.exit
	case <-ctx.Done():
		return nil
	}
}

// hangupWait is how long a program has to end when it was told that nobody is there any more.
const hangupWait = 2 * time.Second

// Hangup is Close for a program that is still there, and without a terminal that could tell it: it gets SIGHUP, if
// the server can do that (RFC 4254, 6.9), and a moment in which its output is still taken, so that what it does then
// is not ended by a broken pipe.
func (s *Process) Hangup() {
	s.out.discard()
	s.errs.discard()
	if s.client.run(func() {
		_, _ = s.channel.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"HUP"})) // a peer that is gone needs none
	}) {
		select {
		case <-s.channel.gone:
		case <-time.After(hangupWait):
		}
	}
	s.Close()
}

var errLeft = wire.Errorf(wire.Cancelled, "the program was left")

// Close ends the channel, and the connection if nothing else is on it. It frees a Read or Write that blocks, and does
// not wait for the server.
func (s *Process) Close() {
	s.out.stop(errLeft)
	s.errs.stop(errLeft)
	s.in.stop(errLeft)
	s.channel.end()
	s.channel.leave()
}
