package proxy

import (
	"context"
	"io"
	"net"

	"scrier/client"
	"scrier/wire"
)

// Session is the machine's side: a [client.Session], or what stands for one, whose channels become those of an SSH
// connection. All methods may be called at the same time. A right that the session does not have is an error with a code.
type Session interface {
	// Program starts a program. SFTP is a program of its own.
	Program(ctx context.Context, req client.ProgramRequest) (Program, error)
	SFTP(ctx context.Context) (client.Conn, error)
	// Dial connects from the machine, over "tcp" or "unix"; of the latter host is the path.
	Dial(ctx context.Context, network, host string, port uint16, origin net.Addr) (client.Conn, error)
	// Listen listens at the machine, as Dial connects. Port 0 is any.
	Listen(ctx context.Context, network, host string, port uint16) (Listener, error)
	// ListenAgent takes what programs want of the operator's SSH agent.
	ListenAgent(ctx context.Context) (Listener, error)
	// Done is closed when the session has ended; then Err says how.
	Done() <-chan struct{}
	Err() error
	Close() error
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

// Listener is a port or socket at which the machine listens.
type Listener interface {
	// Accept waits for a connection. origin and originPort say where from; they may be empty.
	Accept(ctx context.Context) (c client.Conn, origin string, originPort uint16, err error)
	Port() uint16
	Close() error // what was accepted goes on
}
