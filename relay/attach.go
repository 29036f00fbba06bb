package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/session/shell"
	"scrier/wire"
)

// exitWait is how long a shell that has closed its output may take to say how it ended.
const exitWait = 2 * time.Second

// connect serves a Connect message: it opens the session and stays its viewer until it ends. An
// error that is returned has not been told to the viewer yet.
func (c *client) connect(ctx context.Context, f *wire.Framed, req *wire.Connect) error {
	who, err := c.who(ctx)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, who, req, func(ctx context.Context) ([]ssh.PublicKey, error) {
		if len(req.Key) == 0 {
			return c.access.Keys(ctx, who)
		}
		key, err := c.access.VerifyKey(ctx, who, c.link.Peer(), req)
		return []ssh.PublicKey{key}, err
	})
	if err != nil {
		return err
	}
	if err := f.Send(&wire.Attached{Session: s.ID(), Envoy: s.envoy.Hostname, Login: s.login}); err != nil {
		s.shell.Close()
		return errors.Join(err, s.Close(wire.ViewerLost, ""))
	}
	code, detail, exit := s.attach(f)
	err = s.Close(code, detail)
	c.Log.Info("session closed", "session", s.ID(), "operator", who.Username, "envoy", s.envoy.Hostname, "code", code, "err", err)
	if code == wire.ViewerLost || code == wire.Left {
		f.Reset(code)
		return nil
	}
	if f.Send(&wire.Exit{Code: code, Detail: detail, Status: exit.Status, Signal: exit.Signal}) != nil {
		f.Reset(code)
	}
	return nil
}

// attach carries bytes between a viewer and the shell until one of them, or the session, ends.
// There is no queue: a viewer that does not read stops the shell by flow control alone.
func (s *connected) attach(f *wire.Framed) (wire.Code, string, shell.Exit) {
	ctx, end := context.WithCancelCause(s.Context())
	defer end(nil)
	var wg sync.WaitGroup
	wg.Go(func() { end(s.input(f)) })
	wg.Go(func() { end(s.output(f)) })
	<-ctx.Done()
	why := context.Cause(ctx)
	var exit shell.Exit
	if errors.Is(why, errShellEnded) {
		wait, cancel := context.WithTimeout(context.Background(), exitWait)
		defer cancel()
		exit = s.shell.Wait(wait)
	}
	// Both goroutines end with what they wait for: the shell, and the viewer's sending side.
	s.shell.Close()
	// What the viewer still sends is discarded later (wire.Finish): a stream that is read to its end
	// is one whose last frame has arrived.
	if f.SetReadDeadline(time.Now()) != nil {
		f.CloseRead(wire.None)
	}
	unblock := time.AfterFunc(exitWait, func() { f.Reset(wire.CodeOf(why)) })
	wg.Wait()
	unblock.Stop()
	if f.SetReadDeadline(time.Time{}) != nil {
		f.CloseRead(wire.None)
	}
	if !exit.Known && s.Context().Err() != nil {
		why = context.Cause(s.Context()) // it was ended, and the shell's end is the effect
	}
	switch {
	case !errors.Is(why, errShellEnded):
		return wire.CodeOf(why), wire.DetailOf(why), exit
	case !exit.Known:
		return wire.AgentLost, "the shell's connection broke", exit
	}
	return wire.None, "", exit
}

var errShellEnded = errors.New("the shell ended")

// output copies the shell's output into the viewer's stream, each read as one frame.
func (s *connected) output(f *wire.Framed) error {
	buf := make([]byte, wire.DataHeader+wire.MaxData)
	for {
		n, err := s.shell.Read(buf[wire.DataHeader:])
		if n > 0 {
			s.Received(n)
			if werr := f.WriteData(wire.DataFrame(buf, n)); werr != nil {
				return &wire.Error{Code: wire.ViewerLost, Err: werr}
			}
		}
		if err != nil { // io.EOF or a broken transport: how the shell ended tells them apart
			return errShellEnded
		}
	}
}

// input takes the viewer's keystrokes and sizes.
func (s *connected) input(f *wire.Framed) error {
	for {
		m, err := f.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return &wire.Error{Code: wire.Left}
			}
			return &wire.Error{Code: wire.ViewerLost, Err: err}
		}
		switch m := m.(type) {
		case *wire.Data:
			if _, err := s.shell.Write(m.Bytes); err != nil {
				return errShellEnded
			}
			s.Sent(len(m.Bytes))
		case *wire.Resize:
			if s.shell.Resize(m.Size) != nil {
				return errShellEnded
			}
		case *wire.EOF:
			if s.shell.CloseWrite() != nil {
				return errShellEnded
			}
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T from a viewer", m)
		}
	}
}
