package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"scrier/wire"
)

// DesktopRequest is what [Relay.Desktop] needs.
type DesktopRequest struct {
	Envoy    string
	Kind     wire.Kind // wire.KindRDP or wire.KindVNC
	Port     uint16    // 0: the kind's usual one
	Console  *wire.Console
	Listen   string        // host:port on loopback; empty: a free port of 127.0.0.1
	Viewer   *Viewer       // is started; nil: the person starts one
	Wait     time.Duration // for the viewer to connect; 0: viewerWait
	Out      io.Writer     // is told the address
	Messages io.Writer     // for what else is said to the person, usually standard error
}

const (
	// viewerWait is below what VNC and RDP servers wait for a client that says nothing.
	viewerWait = 60 * time.Second
	// viewerLinger is how long one side may still send after the other has ended its direction.
	viewerLinger = 5 * time.Second
	// goneLinger is the same when the viewer is gone, so that nobody sees what is sent.
	goneLinger = time.Second
)

// Desktop opens a session and passes its bytes to one native viewer on this machine, until one of
// the two ends it. The port is bound first, then the session is opened, and the viewer comes last:
// so everything that can go wrong without a viewer is known before the person is asked to start one.
func (r *Relay) Desktop(ctx context.Context, req DesktopRequest) error {
	d, err := newDoor(ctx, req.Listen)
	if err != nil {
		return err
	}
	defer d.close()
	if req.Console != nil {
		fmt.Fprintf(req.Messages, "Waiting for whoever sits at the screen of %s to allow it.\n", wire.Printable(req.Envoy))
	}
	stream, a, err := r.desktop(ctx, req)
	if err != nil {
		return err
	}
	who := ""
	if a.Login != "" {
		who = ", the screen of " + wire.Printable(a.Login)
	}
	fmt.Fprintf(req.Messages, "Connected to %s%s%s.\n", wire.Printable(a.Envoy), who, r.overTCP())
	return r.desktopEnded(ctx, lend(ctx, stream, d, req))
}

// desktop opens the session; what follows on the stream is the desktop server's own bytes.
func (r *Relay) desktop(ctx context.Context, req DesktopRequest) (wire.Stream, *wire.Attached, error) {
	stream, err := r.link.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset(wire.Cancelled) })
	defer stop()
	if err := wire.Send(stream, &wire.Connect{Envoy: req.Envoy, Kind: req.Kind, Port: req.Port, Console: req.Console}); err != nil {
		return nil, nil, r.ended(err)
	}
	a, err := wire.Expect[wire.Attached](stream)
	if err == nil && stop() {
		r.beat()
		return stream, a, nil
	}
	stream.Reset(wire.Cancelled)
	if ctx.Err() != nil {
		return nil, nil, wire.Cause(ctx, wire.Cancelled)
	}
	return nil, nil, r.ended(err)
}

// desktopEnded finds the reason that the relay had for the end of a session.
func (r *Relay) desktopEnded(ctx context.Context, err error) error {
	e, coded := errors.AsType[*wire.Error](err)
	switch {
	case err == nil || coded && e.Code == wire.None && !errors.Is(err, r.link.Err()):
		return nil
	case coded && e.Code != wire.None:
		return err
	case ctx.Err() != nil:
		return wire.Cause(ctx, wire.Cancelled)
	case r.link.Err() != nil:
		return r.why()
	}
	return &wire.Error{Code: wire.RelayUnreachable, Detail: "the connection to the relay was lost", Err: err}
}

// lend waits for the viewer and copies both ways to the end. It owns the stream.
func lend(ctx context.Context, stream wire.Stream, d *door, req DesktopRequest) error {
	wait := req.Wait
	if wait == 0 {
		wait = viewerWait
	}
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	timer := time.AfterFunc(wait, func() {
		giveUp(wire.Errorf(wire.Cancelled, "no viewer connected to %s within %s", d.addr(), wire.Period(wait)))
	})
	defer timer.Stop()
	held := wire.ReadAhead(stream, heldMax, func(err error) {
		if errors.Is(err, io.EOF) {
			err = wire.Errorf(wire.DesktopFailed, "the desktop server closed the connection before a viewer connected")
		}
		giveUp(err)
	})
	if req.Viewer == nil {
		fmt.Fprintf(req.Out, "Connect your %s viewer to %s (one connection, within %.0f s).\n", kindName(req.Kind), d.addr(), wait.Seconds())
	} else {
		program, err := req.Viewer.start(d.addr(), req.Messages, giveUp)
		if err != nil {
			giveUp(err)
		}
		defer program.end()
	}
	conn, err := d.accept(waiting, req.Messages)
	d.close() // one connection: the next is refused
	timer.Stop()
	_ = held.Stop() // the splice reads the error again
	if err != nil {
		wire.Finish(held, goneLinger)
		return err
	}
	v := &viewerEnd{Stream: wire.Conn(conn), session: held}
	stop := context.AfterFunc(ctx, v.leave)
	defer stop()
	_, _, err = wire.Splice(context.WithoutCancel(ctx), held, v)
	_ = conn.Close() // it was read to its end, or is broken
	if v.left() && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		return ctx.Err() // closing the viewer and Ctrl-C both are ordinary ends
	}
	return err
}

func kindName(k wire.Kind) string {
	if k == wire.KindRDP {
		return "RDP"
	}
	return "VNC"
}

// viewerEnd is the viewer's connection. If it breaks, in whatever way, this counts as the viewer's
// ordinary end: the session is told that no more comes, and what the session still sends is thrown
// away.
type viewerEnd struct {
	wire.Stream
	session wire.Stream

	mu   sync.Mutex
	done bool
}

// gone begins the end.
func (v *viewerEnd) gone(linger time.Duration) {
	v.mu.Lock()
	v.done = true
	v.mu.Unlock()
	_ = v.session.SetReadDeadline(time.Now().Add(linger)) // fails only on a stream that has ended
}

func (v *viewerEnd) left() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.done
}

// leave closes the connection from this side.
func (v *viewerEnd) leave() { v.Stream.Reset(wire.None) }

func (v *viewerEnd) Read(p []byte) (int, error) {
	n, err := v.Stream.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		v.gone(viewerLinger)
	case err != nil:
		v.gone(goneLinger)
		err = io.EOF
	}
	return n, err
}

func (v *viewerEnd) Write(p []byte) (int, error) {
	if _, err := v.Stream.Write(p); err != nil {
		v.gone(goneLinger)
	}
	return len(p), nil
}

// CloseWrite half-closes the connection, unless it is gone. Many viewers then tell the person that
// the desktop has ended, and keep the connection open until the person closes that message.
func (v *viewerEnd) CloseWrite() error {
	_ = v.Stream.SetReadDeadline(time.Now().Add(viewerLinger)) // fails only on a closed one
	if err := v.Stream.CloseWrite(); err != nil && !v.left() {
		return err
	}
	return nil
}

// heldMax is how many bytes a session may send before its viewer has connected. A VNC server sends
// 12, an RDP server none.
const heldMax = 64 << 10
