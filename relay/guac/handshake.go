package guac

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"scrier/wire"
)

// How long guacd may take. It loads a library before it sends args, and starts threads before it sends
// ready; both take milliseconds. If it does not have the protocol it sends nothing at all.
const (
	argsTimeout  = 10 * time.Second
	readyTimeout = 10 * time.Second
)

// Connection is a connection through guacd whose handshake is over. Whether the desktop server accepts
// it shows later, by a picture or by an error.
type Connection struct {
	ID      string // by which others join: "$" and a UUID
	Version string // guacd's protocol version, "1.3.0"
	*Reader        // goes on behind `ready`

	version version
}

// Handshake opens a connection through guacd, or joins one. It sets deadlines on c and clears
// them; it ends early when ctx does. c stays the caller's, who closes it whatever comes out.
func Handshake(ctx context.Context, c net.Conn, p Params) (*Connection, error) {
	return timing{argsTimeout, readyTimeout}.handshake(ctx, c, p)
}

// timing is how long each half of the handshake may take.
type timing struct{ args, ready time.Duration }

func (t timing) handshake(ctx context.Context, c net.Conn, p Params) (*Connection, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	conn := &Connection{Reader: NewReader(c)}
	var v version
	var asked []string
	err := within(ctx, c, t.args, func() (err error) {
		v, asked, err = selectProtocol(c, conn.Reader, p.Protocol)
		return err
	})
	if err != nil {
		if p.join() && errors.Is(err, io.EOF) {
			return nil, &wire.Error{Code: wire.NotFound, Detail: "guacd has no such connection", Err: err}
		}
		return nil, explain(err, "guacd does not say what it needs for "+wire.Printable(p.Protocol)+"; perhaps its support for that is not installed")
	}
	conn.version, conn.Version = v, v.dotted()
	answer, err := p.answer(v.spoken(), asked)
	if err != nil {
		return nil, err
	}
	err = within(ctx, c, t.ready, func() (err error) {
		if _, err := c.Write(answer); err != nil {
			return err
		}
		conn.ID, err = awaitReady(conn.Reader)
		return err
	})
	if err != nil {
		return nil, explain(err, "guacd does not get ready")
	}
	return conn, nil
}

// selectProtocol asks guacd what it needs for a protocol, or for joining a connection.
func selectProtocol(w io.Writer, r *Reader, protocol string) (v version, asked []string, err error) {
	if _, err := w.Write(Append(nil, "select", protocol)); err != nil {
		return v, nil, err
	}
	i, err := expect(r, "args")
	if err != nil {
		return v, nil, err
	}
	v = unnamed
	for n := range i.Len() {
		name := string(i.Arg(n))
		if n == 0 {
			var isVersion bool
			if v, isVersion, err = parseVersion(name); err != nil {
				return v, nil, err
			}
			if isVersion {
				continue
			}
		}
		asked = append(asked, name)
	}
	return v, asked, nil
}

// awaitReady reads the id of the connection.
func awaitReady(r *Reader) (id string, err error) {
	i, err := expect(r, "ready")
	if err != nil {
		return "", err
	}
	b := i.Arg(0)
	if len(b) < 2 || len(b) > 64 || b[0] != '$' {
		return "", wire.Errorf(wire.Protocol, "guacd's connection has no usable id")
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return "", wire.Errorf(wire.Protocol, "guacd's connection has no usable id")
		}
	}
	return string(b), nil
}

// expect reads an instruction of this opcode. nop may stand before it.
func expect(r *Reader, opcode string) (*Instruction, error) {
	for range 100 {
		i, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case i.Is(opcode):
			return i, nil
		case i.Is("nop"):
			continue
		case i.Is("error"):
			e := StatusOf(i)
			if e.Code == wire.None {
				e.Code = wire.DesktopFailed // too early for an orderly end
			}
			return nil, e
		case i.Is("disconnect"):
			return nil, io.EOF
		}
		got := i.Opcode()
		return nil, wire.Errorf(wire.Protocol, "guacd says %q instead of %s", got[:min(len(got), 32)], opcode)
	}
	return nil, wire.Errorf(wire.Protocol, "guacd does not come to the point")
}

// within runs one step of the handshake with a deadline on c, and cuts it short when ctx ends. It
// returns ctx's cause then.
func within(ctx context.Context, c net.Conn, limit time.Duration, step func() error) error {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Unix(1, 0))
		close(cut)
	})
	err := step()
	if !stop() {
		<-cut // else the deadline might be set after this function has returned
		if err == nil || isTimeout(err) {
			return context.Cause(ctx)
		}
	}
	if clearErr := c.SetDeadline(time.Time{}); err == nil {
		err = clearErr
	}
	return err
}

// explain gives an error of the connection a code; silence is what it means if guacd said nothing.
func explain(err error, silence string) error {
	var coded *wire.Error
	switch {
	case errors.As(err, &coded):
		return err
	case isTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return &wire.Error{Code: wire.GuacdUnavailable, Detail: silence, Err: err}
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &wire.Error{Code: wire.GuacdUnavailable, Detail: "guacd closed the connection", Err: err}
	}
	return &wire.Error{Code: wire.GuacdUnavailable, Detail: "the connection to guacd broke", Err: err}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
