package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"scrier/wire"
)

// Tunnel is a session's stream to an envoy: Opened first, then raw bytes.
type Tunnel struct {
	wire.Stream
	Opened *wire.Opened
	link   wire.Link
}

// NewTunnel makes the tunnel of a stream that is carried by a link to another relay: its end ends the tunnel as an agent's does.
func NewTunnel(s wire.Stream, opened *wire.Opened, carrier wire.Link) *Tunnel {
	return &Tunnel{Stream: s, Opened: opened, link: carrier}
}

// Why is [wire.AgentLost] if the agent's link or the tunnel's lane has ended, as that is what broke the tunnel, and else err.
func (t *Tunnel) Why(err error) error {
	if t.link.Err() != nil || errors.Is(err, wire.ErrLane) {
		return &wire.Error{Code: wire.AgentLost, Err: err}
	}
	return err
}

// Open asks an envoy for a session on a stream of its own. early is sent right behind the
// request and saves a round trip; an agent that refuses discards it; it may be nil. What the agent
// says in Opened is checked by the kind that asked. The caller owns the tunnel and resets it when
// anything fails.
func (f *Fleet) Open(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*Tunnel, error) {
	return f.open(ctx, id, open, early, f.Board != nil)
}

// OpenHere is Open for another relay that has found the envoy here: it goes no further.
func (f *Fleet) OpenHere(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*Tunnel, error) {
	return f.open(ctx, id, open, early, false)
}

func (f *Fleet) open(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte, elsewhere bool) (*Tunnel, error) {
	for {
		l := f.newest(id)
		if elsewhere && (l == nil || l.isTaken()) {
			if t, err := f.openElsewhere(ctx, id, open, early); t != nil || err != nil {
				return t, err
			}
		}
		if l == nil {
			return nil, &wire.Error{Code: wire.EnvoyOffline}
		}
		t, err := l.open(ctx, open, early)
		if err == nil {
			t = l.guarded(t)
		}
		if err != nil && ctx.Err() == nil && l.left() && f.newest(id) != l {
			continue // the agent has moved meanwhile, and has not seen the request
		}
		return t, err
	}
}

func (l *agentLink) open(ctx context.Context, open *wire.Open, early []byte) (*Tunnel, error) {
	s, err := l.link.Open(ctx)
	if err != nil {
		if l.link.Err() != nil {
			return nil, &wire.Error{Code: wire.AgentLost}
		}
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	// What is said of the session itself, Open and Opened, is no part of what may go on over a lane.
	behind := wire.NewLaned(s, 0, nil)
	open.Lane, open.Gates = nil, false
	if lanes := l.fleet.Lanes; lanes != nil && open.Kind == wire.KindSSH && l.link.Peer().Road != wire.TCP { // which needs none
		open.Lane = make([]byte, wire.LaneToken)
		rand.Read(open.Lane) // does not fail
		open.Gates = true
		lanes.Offer(l.link, open.Lane, behind)
	}
	err = wire.Send(s, open)
	if err == nil && len(early) > 0 {
		_, err = behind.Write(early)
	}
	if err != nil {
		if !stop() {
			err = wire.Cause(ctx, wire.Cancelled)
		} else {
			err = l.lost(err)
		}
		behind.Reset(wire.CodeOf(err))
		return nil, err
	}
	t := &Tunnel{Stream: behind, link: l.link}
	t.Opened, err = wire.Expect[wire.Opened](s)
	if !stop() {
		err = wire.Cause(ctx, wire.Cancelled)
		behind.Reset(wire.CodeOf(err))
		return nil, err
	}
	if err != nil {
		behind.Reset(wire.CodeOf(err))
		return nil, l.lost(err)
	}
	if open.Gates && t.Opened.Gates && !behind.Gates(&l.fleet.Lanes.Memory, wire.LineOf(l.link)) {
		behind.Reset(wire.Protocol)
		return nil, wire.Errorf(wire.Protocol, "the agent's lane was there before its answer")
	}
	return t, nil
}

// maxLogin is what Linux allows for a login's name, in bytes, and more than useradd does.
const maxLogin = 256

// CheckLogin refuses what cannot be the name of a login, so that it is in no row, log or page.
func CheckLogin(login string) error {
	if login == "" || len(login) > maxLogin || wire.Printable(login) != login {
		return wire.Errorf(wire.BadRequest, "%.60q is not the name of a login", login)
	}
	return nil
}

// lost is [wire.AgentLost] if the agent's link has ended, as that is what broke the stream. Else it is
// the agent's refusal, if an agent may refuse for that reason.
func (l *agentLink) lost(err error) error {
	if l.link.Err() != nil {
		return &wire.Error{Code: wire.AgentLost, Err: err}
	}
	switch code := wire.CodeOf(err); {
	case code == wire.Busy: // with sessions, most likely: max_sessions
		return (&wire.Error{Code: code, Detail: wire.DetailOf(err), Err: err}).Advise("try again in a moment; if it stays so, end a session that is open on that machine")
	case slices.Contains(agentCodes, code), code == wire.Protocol:
		return &wire.Error{Code: code, Detail: wire.DetailOf(err), Err: err} // what to do about it, no machine tells an operator
	case code == wire.None, code == wire.Cancelled: // Splice resets with Cancelled
		// The server broke off as soon as the agent had opened it. A stream's reset overtakes what was sent
		// before it, here the agent's answer.
		return &wire.Error{Code: wire.TargetRefused, Detail: "the server broke off at once", Err: err}
	case code == wire.Internal:
		return &wire.Error{Code: wire.AgentLost, Detail: "the agent broke off before its answer", Err: err}
	default: // only the relay decides why a session ends: a hostile agent must not choose another reason
		return &wire.Error{Code: wire.Protocol, Detail: "the agent refused with a reason that is not its to give", Err: err}
	}
}

// agentCodes are the reasons for which an agent may refuse a session.
var agentCodes = []wire.Code{
	wire.BadRequest, wire.Conflict, wire.AgentTimeout, wire.PubkeyNotAuthorized, wire.AmbiguousLogin, wire.KeyRestricted,
	wire.AccountNotLoginable, wire.LoginNotAllowed, wire.TargetRefused, wire.PortNotAllowed, wire.ClockSkew, wire.AuthFailed,
	wire.KeyfileSymlink, wire.KeyfileHardlink, wire.KeyfileNotRegular, wire.KeyfileTooBig, wire.KeyfileNoSpace, wire.KeyfileImmutable,
	wire.KeyfileReadOnly, wire.KeyfilePermissions, wire.KeyfileTimeout, wire.KeyfileChanged, wire.KeyfileShared, wire.KeyfileUnsupported,
	wire.ListenerUntrusted, wire.DesktopSecurity, wire.DesktopFailed, wire.ConsoleOff, wire.ConsoleEmpty, wire.ConsoleLocked,
	wire.ConsoleRefused, wire.ConsoleNoAnswer, wire.ConsoleMissing, wire.ConsoleUnsupported, wire.ConsoleEnded, wire.KeyTypeRefused, wire.TurnedAway,
	wire.ChannelNotAllowed,
}

// Authenticated tells the envoy that a session's key is no longer needed.
func (f *Fleet) Authenticated(ctx context.Context, id wire.EnvoyID, session wire.SessionID) error {
	err := f.AuthenticatedHere(id, session)
	if err == nil || f.Board == nil || f.Elsewhere == nil {
		return err
	}
	at, ok, lerr := f.Board.Where(ctx, id)
	if lerr != nil || !ok || at.Relay == f.Board.Lease.Owner().Name {
		return errors.Join(err, lerr)
	}
	return f.Elsewhere.Authenticated(ctx, at, session)
}

// AuthenticatedHere is Authenticated for another relay that has found the envoy here.
func (f *Fleet) AuthenticatedHere(id wire.EnvoyID, session wire.SessionID) error {
	err := error(&wire.Error{Code: wire.AgentLost})
	for _, l := range f.linksOf(id) { // whichever of them the session is on
		if serr := l.control.Send(&wire.Authenticated{Session: session}); serr == nil || err != nil {
			err = serr
		}
	}
	return err
}
