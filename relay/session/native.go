package session

import (
	"context"
	"errors"
	"io"
	"sync"

	"scrier/wire"
)

// Tunnel is a stream to an envoy, with what is behind its errors.
type Tunnel interface {
	wire.Stream
	Why(error) error
}

// native is a desktop's tunnel for one native viewer, which speaks the desktop's own protocol.
type native struct {
	session *Session
	tunnel  Tunnel
	once    sync.Once
}

// StartNative gives a session its tunnel, which it owns from now on. The first viewer gets it, and
// the session ends with that viewer.
func (s *Session) StartNative(t Tunnel) {
	n := &native{session: s, tunnel: t}
	s.shows(n)
	context.AfterFunc(s.ctx, func() { n.once.Do(func() { n.over(nil) }) }) // nobody came
}

// serve implements [stage]: the viewer's stream is raw behind Attached.
func (n *native) serve(ctx context.Context, f *wire.Framed, who Viewer, _ *wire.Attach) error {
	var err error = wire.Errorf(wire.Conflict, "the session belongs to a native viewer, which cannot be joined")
	n.once.Do(func() { err = n.carry(ctx, f) })
	return err
}

func (n *native) carry(ctx context.Context, f *wire.Framed) error {
	s := n.session
	if err := f.Send(&wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: s.loginName(), Size: wire.Size{}.Clamp(),
	}); err != nil {
		n.over(&wire.Error{Code: wire.ViewerLost, Err: err})
		f.Reset(wire.ViewerLost)
		return nil
	}
	s.table.changed(s.row.ID)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	_, _, err := wire.Splice(ctx, f, Counted(n.tunnel, s.Count))
	n.over(err)
	return nil
}

// over closes the session.
func (n *native) over(err error) {
	s := n.session
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	n.tunnel.Reset(wire.CodeOf(err))
	cerr := s.Close(wire.CodeOf(err), wire.DetailOf(err))
	s.table.Log.Info("session closed", "session", s.row.ID, "operator", s.row.Operator, "envoy", s.row.EnvoyName, "code", wire.CodeOf(err), "err", cerr)
	s.table.forget(s)
}

func (n *native) endViewers(match func(Viewer) bool, why error) {
	if match(Viewer{OperatorID: n.session.row.OperatorID, Operator: n.session.row.Operator}) {
		n.session.End(why)
	}
}

func (n *native) admits(Viewer) error { return nil } // serve knows

func (n *native) viewers() (attached bool, watchers []string) { return true, []string{} }

// Counted is a tunnel that counts its bytes as they pass, and explains its errors.
func Counted(t Tunnel, count func(sent, received int)) wire.Stream { return &counted{t, count} }

type counted struct {
	Tunnel
	count func(sent, received int)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Tunnel.Read(p)
	if n > 0 {
		c.count(0, n)
	}
	return n, c.why(err)
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Tunnel.Write(p)
	if n > 0 {
		c.count(n, 0)
	}
	return n, c.why(err)
}

func (c *counted) why(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return c.Why(err)
}
