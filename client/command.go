package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// CommandRequest is what [Relay.Command] needs.
type CommandRequest struct {
	Envoy    string
	Login    string
	Key      ssh.Signer // only this key counts; nil: all that are registered
	Command  string     // for the login's shell; empty: that shell itself
	In       io.Reader  // standard input; nil: it is empty
	Out, Err io.Writer
	Terminal *Terminal // for what the machine may ask before it lets the person in; nil: it cannot ask
	Messages io.Writer // for what else is said to the person, usually standard error

	// Share, Session, Agent and Rejoined are those of a [ShellRequest].
	Share    bool
	Session  *Session
	Agent    bool
	Rejoined func(r *Relay)
}

// Command runs a command without a terminal until it ends, and gives its exit status: that of a program which a signal
// ended is 128 and the signal's number. An error means that it did not run, or that nobody knows how it ended. When
// nobody takes its output any more (EPIPE) it learns that as from a broken pipe; at the end of ctx it is hung up. When the
// connection to the relay is lost it goes on over another one, if the relay can do that.
func (r *Relay) Command(ctx context.Context, req CommandRequest) (status int, err error) {
	c := &wire.Connect{
		Envoy: req.Envoy, Kind: wire.KindSSH, Login: req.Login, Env: language(os.Environ()), Answers: true,
		Channel: &wire.Channel{Command: []byte(req.Command), Plain: true, Agent: req.Agent}, Share: req.Share,
		Numbered: true, Client: newClient(),
	}
	if req.Session != nil {
		c.Session = req.Session.ID()
	} else if req.Key != nil {
		if err := r.prove(c, req.Key); err != nil {
			return 0, err
		}
	}
	r.beat() // a link that dies now, too, is to be noticed soon
	f, attached, err := r.join(ctx, c, dialogue{terminal: req.Terminal, messages: req.Messages})
	if err != nil {
		return 0, err
	}
	if attached.Numbered {
		return newNumbered(r, req, c.Client, attached).status(ctx, f, attached)
	}
	stop := context.AfterFunc(ctx, func() { f.Reset(wire.Cancelled) })
	defer stop()
	run := &command{Framed: f, in: req.In, out: req.Out, err: req.Err}
	// Reading standard input cannot be interrupted in every case; this goroutine ends with the process at the latest.
	go run.send()
	exit, err := run.receive()
	f.Reset(wire.None)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, wire.Cause(ctx, wire.Cancelled)
	case err != nil && run.untold.Load():
		return 0, &wire.Error{Code: wire.Cancelled, Detail: "nobody takes the command's output, and it could not be told so: it takes no input", Err: err}
	case err != nil:
		return 0, r.ended(err)
	case exit.Code != wire.None:
		return 0, &wire.Error{Code: exit.Code, Detail: wire.Printable(exit.Detail)}
	}
	return statusOf(exit), nil
}

// closedWait is how long a command may keep its input waiting, and what stands behind it, when nobody takes its output.
const closedWait = 15 * time.Second

// command is one that runs.
type command struct {
	*wire.Framed
	in       io.Reader
	out, err io.Writer
	untold   atomic.Bool // it was hung up, as it could not be told that nobody takes its output
}

// send passes standard input on, up to its end or the end of the stream.
func (c *command) send() {
	buf := make([]byte, wire.DataHeader+wire.MaxData)
	for c.in != nil {
		n, err := c.in.Read(buf[wire.DataHeader:])
		if n > 0 && c.WriteData(wire.DataFrame(buf, n)) != nil {
			return // receive sees why
		}
		if err != nil { // one that fails is one that has ended
			break
		}
	}
	_ = c.last(&wire.EOF{}) // the same here
}

// last sends a message that may have to wait behind standard input for as long as the command takes none.
func (c *command) last(m wire.Message) error { return c.WriteBy(time.Time{}, []wire.Message{m}, nil) }

// tell has the command learn that nobody takes its output. One that takes no input either would go on for ever: it is hung
// up.
func (c *command) tell() {
	late := time.AfterFunc(closedWait, func() {
		c.untold.Store(true)
		c.Reset(wire.Cancelled)
	})
	defer late.Stop()
	_ = c.last(&wire.Closed{}) // receive sees why it fails
}

// receive passes the command's output on until it has ended.
func (c *command) receive() (*wire.Exit, error) {
	for {
		m, err := c.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, lost(err)
		}
		switch m := m.(type) {
		case *wire.Data:
			if err := c.write(m.Bytes); err != nil {
				return nil, err
			}
		case *wire.Errors:
			_, _ = c.err.Write(m.Bytes) // whoever closes it wants to hear nothing
		case *wire.Exit:
			return m, nil
		default:
			return nil, wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
		}
	}
}

// write passes output on. Without a reader it goes nowhere, and the command learns that.
func (c *command) write(b []byte) error {
	_, err := c.out.Write(b)
	switch {
	case err == nil:
	case NoReader(err):
		c.out = io.Discard // from now on, so that it is told once
		go c.tell()        // behind standard input, which may wait for the output to be taken
	default:
		return fmt.Errorf("write the command's output: %w", err)
	}
	return nil
}

// signals are the numbers of the signals that have a name in SSH (RFC 4254, 6.10), as most systems have them.
func signals() map[string]int {
	return map[string]int{
		"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
		"TRAP": 5, "BUS": 7, "XCPU": 24, "XFSZ": 25, "SYS": 31, // names that servers add, with a domain behind them
	}
}

// statusOf is the exit status of a program, as a shell tells it.
func statusOf(e *wire.Exit) int {
	if e.Signal == "" {
		return int(e.Status)
	}
	name, _, _ := strings.Cut(e.Signal, "@")
	if n := signals()[name]; n != 0 {
		return 128 + n
	}
	return wire.NoStatus
}
