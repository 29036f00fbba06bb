package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"scrier/agent/console"
	"scrier/wire"
)

// serveDesktop joins the stream to a desktop server of this machine, or to its screen. It checks
// neither login nor key: the server asks for a password itself, and before the screen is shown, the
// person who sits at it is asked.
func (l *agentLink) serveDesktop(ctx, prep context.Context, log *slog.Logger, s wire.Stream, open *wire.Open) error {
	if open.Console != nil {
		return l.serveConsole(ctx, prep, log, s, open)
	}
	port := desktopPort(open)
	var opened wire.Opened
	if open.Kind == wire.KindRDP {
		server, err := l.askRDP(prep, port, open.Security)
		if err != nil {
			return err
		}
		opened.Security, opened.Certificate = server.security, server.certificate
	}
	target, err := dialListener(prep, port, l.Config.trusts)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := answer(s, &opened); err != nil {
		return err
	}
	log.Info("session opened", "kind", open.Kind, "port", port)
	sent, received, err := wire.Splice(ctx, s, desktopStream{wire.Conn(target)})
	log.Info("session ended", "kind", open.Kind, "port", port, "in", sent, "out", received)
	return broken(err)
}

// askRDP asks the RDP server in a connection of its own and then breaks that off. Servers log this,
// so it is done once a session.
func (l *agentLink) askRDP(ctx context.Context, port uint16, want wire.Security) (rdpServer, error) {
	conn, err := dialListener(ctx, port, l.Config.trusts)
	if err != nil {
		return rdpServer{}, err
	}
	defer conn.Close()
	return probeRDP(ctx, conn, want)
}

// desktopStream is the connection to a desktop server. When it breaks, the relay gets an error
// that says so (DesktopFailed) instead of an internal one.
type desktopStream struct{ wire.Stream }

func (d desktopStream) Read(p []byte) (int, error) {
	n, err := d.Stream.Read(p)
	return n, serverBroke(err)
}

func (d desktopStream) Write(p []byte) (int, error) {
	n, err := d.Stream.Write(p)
	return n, serverBroke(err)
}

func serverBroke(err error) error {
	if err == nil || errors.Is(err, io.EOF) || wire.CodeOf(err) != wire.Internal {
		return err
	}
	return &wire.Error{Code: wire.DesktopFailed, Detail: "the connection to the desktop server broke", Err: err}
}

// sharing is the part of a [console.Share] that a session's stream needs.
type sharing interface {
	Done() <-chan struct{}
	Err() error
}

// maxEarly is how much an operator may send before the screen is shared. Viewers speak second, so
// it is nothing if all is well.
const maxEarly = 4 << 10

// serveConsole asks who sits at the screen and shares it.
func (l *agentLink) serveConsole(ctx, prep context.Context, log *slog.Logger, s wire.Stream, open *wire.Open) error {
	// When the operator gives up, prep ends, and with it the question on the screen.
	prep, giveUp := context.WithCancelCause(prep)
	defer giveUp(nil)
	early := wire.ReadAhead(s, maxEarly, func(err error) {
		if !errors.Is(err, io.EOF) { // an operator who types nothing more still looks
			giveUp(err)
		}
	})
	share, err := l.console.Share(prep, console.Request{
		Operator: wire.Printable(open.Operator), Purpose: open.Console.Purpose, View: open.Console.View,
		Port: dialOwned,
	})
	if share != nil {
		defer share.Close()
	}
	if werr := early.Stop(); werr != nil { // the reason why Share failed, if it did
		err = werr
	}
	if err != nil {
		return err
	}
	view := share.View || open.Console.View
	if err := answer(s, &wire.Opened{Login: share.Login, View: view}); err != nil {
		return err
	}
	log.Info("screen shared", "login", share.Login, "view", view)
	sent, received, err := spliceShare(ctx, early, share.Conn, share)
	log.Info("screen no longer shared", "login", share.Login, "in", sent, "out", received)
	return broken(err)
}

// dialOwned connects to a port of this machine's loopback at which uid listens, and nobody else.
func dialOwned(ctx context.Context, port uint16, uid uint32) (net.Conn, error) {
	conn, err := dialListener(ctx, port, only(uid))
	if err != nil {
		return nil, err // not conn: a nil *TCPConn in an interface would not be nil
	}
	return conn, nil
}

// spliceShare joins a stream to a screen's bytes until one of the two ends, or the sharing does. In
// the last case the relay gets the reason of the sharing.
func spliceShare(ctx context.Context, s wire.Stream, conn wire.HalfCloser, share sharing) (sent, received int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	screen := &shareStream{Stream: desktopStream{wire.Conn(conn)}, share: share}
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-over:
		case <-share.Done():
			if err := share.Err(); err != nil && !screen.left.Load() {
				cancel(err)
			}
		}
	})
	sent, received, err = wire.Splice(ctx, s, screen)
	close(over)
	wg.Wait()
	return sent, received, err
}

// whyWait is how long to wait for the reason of a sharing's end: its bytes end a little before the
// reason is known.
const whyWait = 2 * time.Second

// shareStream is a screen's bytes.
type shareStream struct {
	wire.Stream
	share sharing
	left  atomic.Bool // the relay has ended its side
}

func (s *shareStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err != nil && s.left.Load() {
		return n, io.EOF
	}
	return n, s.why(err)
}

func (s *shareStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	return n, s.why(err)
}

// why returns the reason why the sharing ended, if it is known in time, and else err, the error
// of its bytes.
func (s *shareStream) why(err error) error {
	if err == nil {
		return nil
	}
	wait := time.NewTimer(whyWait)
	defer wait.Stop()
	select {
	case <-s.share.Done():
		if why := s.share.Err(); why != nil {
			return why
		}
	case <-wait.C:
	}
	return err
}

// CloseWrite ends both directions. When the viewer has ended its side, nobody looks any more, and
// the screen must not be shown for longer than that.
func (s *shareStream) CloseWrite() error {
	s.left.Store(true)
	s.Stream.Reset(wire.None)
	return nil
}
