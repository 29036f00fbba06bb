package relay

import (
	"context"
	"time"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/relay/web"
	"scrier/wire"
)

// attach serves an Attach message on an operator's link. The ticket must be the operator's own.
func (c *client) attach(ctx context.Context, f *wire.Framed, a *wire.Attach) error {
	who, err := c.who(ctx)
	if err != nil {
		return err
	}
	s, v, err := c.sessions.Redeem(a.Ticket)
	if err != nil {
		return err
	}
	if v.OperatorID != who.ID {
		return &wire.Error{Code: wire.TicketInvalid}
	}
	return c.show(ctx, s, f, v, a)
}

// show serves a viewer of a session, or of one of its channels, on an operator's link.
func (c *client) show(ctx context.Context, what interface {
	Serve(context.Context, *wire.Framed, session.Viewer, *wire.Attach) error
}, f *wire.Framed, v session.Viewer, a *wire.Attach) error {
	defer c.counts.viewer(string(c.link.Peer().Road), v)()
	return what.Serve(ctx, f, v, a)
}

func viewerOf(who access.Operator) session.Viewer {
	return session.Viewer{OperatorID: who.ID, Operator: who.Username, Source: who.Source}
}

const (
	// A browser's first frame holds a ticket and nothing before it: strangers get no more.
	firstViewerFrame = 5 * time.Second
	maxFirstFrame    = 1 << 10
)

// attachBrowser serves a stream of a browser, whose ticket says who it is, at the address of a
// session.
func (r *Relay) attachBrowser(ctx context.Context, s wire.Stream, over web.Transport, source string, id wire.SessionID) error {
	leave, err := r.strangers.enter(source)
	if err != nil {
		return err
	}
	defer leave()
	f := wire.NewFramed(s)
	if err := s.SetDeadline(time.Now().Add(firstViewerFrame)); err != nil {
		return err
	}
	m, err := f.ReceiveSmall(maxFirstFrame)
	if err != nil {
		return err
	}
	a, ok := m.(*wire.Attach)
	if !ok {
		return wire.Errorf(wire.Protocol, "%T does not begin a viewer's stream", m)
	}
	if err := s.SetDeadline(time.Time{}); err != nil {
		return err
	}
	session, v, err := r.sessions.Redeem(a.Ticket)
	leave() // with a ticket they are no stranger; it does nothing when it is called again
	if visit := web.VisitOf(ctx); err == nil && visit != nil && !visit.Identified(v.OperatorID) {
		err = wire.Errorf(wire.Busy, "you have %d connections of browsers, and no more can be; close some pages", maxSignedInPerUser)
	}
	if err == nil && session.ID() != id {
		err = &wire.Error{Code: wire.TicketInvalid}
	}
	if err == nil {
		left := r.counts.page(over, v)
		defer left()
		err = session.Serve(ctx, f, v, a)
	}
	if err != nil {
		r.Log.Info("viewer refused", "session", id, "code", wire.CodeOf(err), "err", err)
		if serr := f.Send(wire.Refuse(err)); serr != nil {
			return serr
		}
	}
	return nil
}
