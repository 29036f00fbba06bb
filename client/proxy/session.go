package proxy

import (
	"context"
	"io"
	"net"

	"scrier/wire"
)

// Session is the machine's side: a session through a relay, whose channels become those of an SSH connection. All methods may
// be called at the same time. A right that the session does not have is an error with a code.
type Session interface {
	// Program starts a program. SFTP is a program of its own.
	Program(ctx context.Context, req ProgramRequest) (Program, error)
	SFTP(ctx context.Context) (Conn, error)
	// Dial connects from the machine, over "tcp" or "unix"; of the latter host is the path.
	Dial(ctx context.Context, network, host string, port uint16, origin net.Addr) (Conn, error)
	// Listen listens at the machine, as Dial connects. Port 0 is any.
	Listen(ctx context.Context, network, host string, port uint16) (Listener, error)
	// ListenAgent takes what programs want of the operator's SSH agent.
	ListenAgent(ctx context.Context) (Listener, error)
	// Done is closed when the session has ended; then Err says how.
	Done() <-chan struct{}
	Err() error
	Close() error
}

// ProgramRequest is what [Session.Program] needs.
type ProgramRequest struct {
	Command   []byte            // for the login's shell; empty: that shell itself
	Subsystem string            // instead of Command: the subsystem of this name
	Env       map[string]string // LANG and LC_* only
	Agent     bool              // the program can reach the operator's SSH agent
	PTY       *PTY              // nil: it has no terminal
}

// PTY is a program's terminal.
type PTY struct {
	Term  string
	Size  wire.Size
	Modes []byte // RFC 4254, 8
}

// Program is a program on the machine. Its methods may be called at the same time. Read gives standard output; both outputs
// have to be read.
type Program interface {
	io.ReadWriter
	Stderr() io.Reader
	CloseWrite() error  // no more input
	CloseOutput() error // nobody takes the output any more: the program learns that as from a broken pipe
	Resize(wire.Size) error
	Wait(context.Context) (*wire.Exit, error) // behind the end of both outputs
	Close() error                             // hangs the program up, unless it has ended
}

// Conn is a channel of raw bytes. Close resets what is not finished.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Listener is a port or socket at which the machine listens.
type Listener interface {
	// Accept waits for a connection. origin and originPort say where from; they may be empty.
	Accept(ctx context.Context) (c Conn, origin string, originPort uint16, err error)
	Port() uint16
	Close() error // what was accepted goes on
}
