package ssh

import (
	"context"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/allowance"
	"scrier/wire"
)

// PTY is what a shell is opened with.
type PTY struct {
	Term  string
	Size  wire.Size
	Env   map[string]string // see [Env]
	Modes []byte            // see [Modes]
}

// Shell is a channel with a terminal and a shell. Read gives its output; Write takes input and may
// run at the same time.
type Shell struct {
	client  *Client
	channel ssh.Channel
	closing sync.Once

	exit *wire.Exit    // nil: the server has not told
	done chan struct{} // closed when exit is known or the channel is gone
}

// Shell opens a shell. One that would run without a terminal is ended. When ctx ends before that, other
// channels of the connection go on.
func (c *Client) Shell(ctx context.Context, p PTY) (*Shell, error) {
	select { // one at a time, see startAhead
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
	var s *Shell
	step := func() (err error) {
		s, err = c.shell(p)
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

func (c *Client) shell(p PTY) (*Shell, error) {
	alone := c.alone()
	channel, requests, err := c.open("session", nil)
	if err != nil {
		return nil, &wire.Error{Code: wire.AccountNotLoginable, Detail: "the SSH server opens no session: " + words(err), Err: err}
	}
	s := &Shell{client: c, channel: channel, done: make(chan struct{})}
	if !c.run(func() { s.requests(requests) }) {
		close(s.done)
		return s, errClosed
	}
	for name, value := range p.Env { // servers ignore what they do not accept
		if _, err := channel.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value})); err != nil {
			return s, err
		}
	}
	if alone {
		return s, s.startAhead(p)
	}
	return s, s.start(p)
}

var errNoTerminal = wire.Errorf(wire.AccountNotLoginable, "the SSH server gives no terminal").Advise("see PermitTTY in sshd_config on that machine, and the SSH server's log")

// start asks for the terminal, and then for the shell.
func (s *Shell) start(p PTY) error {
	ok, err := s.channel.SendRequest("pty-req", true, ptyRequest(p))
	if err != nil {
		return err
	}
	if !ok {
		return errNoTerminal
	}
	_, err = s.channel.SendRequest("shell", false, nil)
	return err
}

// startAhead asks for the terminal and, right behind it, for the shell: waiting for the first answer
// would cost a round trip. It is for a connection without other channels, where the next packet that
// is sent is the first request.
func (s *Shell) startAhead(p PTY) error {
	type answer struct {
		ok  bool
		err error
	}
	sent := s.client.transport.nextWrite()
	pty := make(chan answer, 1)
	if !s.client.run(func() {
		ok, err := s.channel.SendRequest("pty-req", true, ptyRequest(p))
		pty <- answer{ok, err}
	}) {
		return errClosed
	}
	var a answer
	select {
	case <-sent: // package ssh writes a packet in the goroutine that sends it
		_, err := s.channel.SendRequest("shell", false, nil)
		if a = <-pty; err != nil {
			return err
		}
	case a = <-pty: // refused or broken before the write was seen
		if a.ok && a.err == nil {
			_, a.err = s.channel.SendRequest("shell", false, nil)
		}
	}
	if a.err == nil && !a.ok {
		a.err = errNoTerminal
	}
	return a.err
}

// requests keeps the exit status and refuses everything else a server may ask.
func (s *Shell) requests(in <-chan *ssh.Request) {
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

// Read gives the terminal's output; io.EOF when the shell has closed it.
func (s *Shell) Read(p []byte) (int, error) { return s.channel.Read(p) }

// Write takes input. It blocks while the server takes none.
func (s *Shell) Write(p []byte) (int, error) { return s.channel.Write(p) }

// CloseWrite says that there is no more input.
func (s *Shell) CloseWrite() error { return s.channel.CloseWrite() }

// Resize tells the terminal's new size.
func (s *Shell) Resize(size wire.Size) error {
	size = size.Clamp()
	_, err := s.channel.SendRequest("window-change", false, ssh.Marshal(struct{ Cols, Rows, W, H uint32 }{uint32(size.Cols), uint32(size.Rows), 0, 0}))
	return err
}

// Wait gives how the shell ended, after Read has returned io.EOF; nil: nobody knows.
func (s *Shell) Wait(ctx context.Context) *wire.Exit {
	select {
	case <-s.done:
		return s.exit
	case <-ctx.Done():
		return nil
	}
}

// Close ends the shell, and the connection if nothing else is on it. A server that does not close its
// side soon loses the connection: so a Read or Write that blocks ends in either case.
func (s *Shell) Close() {
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
