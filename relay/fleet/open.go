package fleet

import (
	"context"
	"crypto/sha256"
	"slices"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Tunnel is a session's stream to an envoy: Opened first, then raw bytes.
type Tunnel struct {
	wire.Stream
	Opened *wire.Opened
	link   wire.Link
}

// Why prefers the end of the agent's link to an error that it caused on the tunnel.
func (t *Tunnel) Why(err error) error {
	if t.link.Err() != nil {
		return &wire.Error{Code: wire.AgentLost, Err: err}
	}
	return err
}

// Reason is Why for what an agent tells of a desktop's end: it resets the tunnel with a code then.
// Of an error of the tunnel's Read or Write it gives the agent's reason if it is one that is the
// agent's to give after Opened; every other error stays as it is.
func (t *Tunnel) Reason(err error) error {
	err = t.Why(err)
	if code := wire.CodeOf(err); slices.Contains(endCodes, code) {
		return &wire.Error{Code: code, Err: err}
	}
	return err
}

// endCodes are the reasons for which an agent may end a desktop that was opened.
var endCodes = []wire.Code{wire.ConsoleEnded, wire.DesktopFailed, wire.TargetRefused}

// Open asks an envoy for a session on a stream of its own. early is sent right behind the
// request and saves a round trip; an agent that refuses discards it; it may be nil. The caller owns the tunnel
// and resets it when ctx ends or anything fails.
func (f *Fleet) Open(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*Tunnel, error) {
	a := f.agent(id)
	if a == nil {
		return nil, wire.Errorf(wire.EnvoyOffline, "its agent is not connected")
	}
	s, err := a.link.Open(ctx)
	if err != nil {
		if a.link.Err() != nil {
			return nil, &wire.Error{Code: wire.AgentLost}
		}
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	err = wire.Send(s, open)
	if err == nil && len(early) > 0 {
		_, err = s.Write(early)
	}
	if err != nil {
		if !stop() {
			err = wire.Cause(ctx, wire.Cancelled)
		} else {
			err = a.lost(err)
		}
		s.Reset(wire.CodeOf(err))
		return nil, err
	}
	t := &Tunnel{Stream: s, link: a.link}
	t.Opened, err = wire.Expect[wire.Opened](s)
	if !stop() {
		err = wire.Cause(ctx, wire.Cancelled)
		s.Reset(wire.CodeOf(err))
		return nil, err
	}
	if err == nil {
		err = checkOpened(open, t.Opened)
	}
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return nil, a.lost(err)
	}
	return t, nil
}

// checkOpened says what an agent's answer must not be.
func checkOpened(asked *wire.Open, o *wire.Opened) error {
	switch {
	case (asked.Kind == wire.KindSSH || o.Login != "") && CheckLogin(o.Login) != nil:
		return wire.Errorf(wire.Protocol, "the agent named no login")
	case len(o.Certificate) != 0 && len(o.Certificate) != sha256.Size:
		return wire.Errorf(wire.Protocol, "the agent reported a certificate's fingerprint of %d bytes", len(o.Certificate))
	case asked.Kind == wire.KindRDP && (len(o.Certificate) == 0 || o.Security == ""):
		return wire.Errorf(wire.Protocol, "the agent reported no certificate of the RDP server")
	case o.Security != "" && o.Security != wire.NLA && o.Security != wire.TLS:
		return wire.Errorf(wire.Protocol, "the agent reported security %.60q", o.Security)
	case o.Security != "" && (asked.Security == wire.NLA || asked.Security == wire.TLS) && o.Security != asked.Security:
		return wire.Errorf(wire.Protocol, "the agent reported security %s, not %s", o.Security, asked.Security)
	}
	return nil
}

// maxLogin is what Linux allows for a login's name, in bytes, and more than useradd does.
const maxLogin = 256

// CheckLogin keeps what is no login's name out of rows, logs and pages.
func CheckLogin(login string) error {
	if login == "" || len(login) > maxLogin || wire.Printable(login) != login {
		return wire.Errorf(wire.BadRequest, "%.60q is not the name of a login", login)
	}
	return nil
}

// lost prefers the end of the link to the error it caused on a stream.
func (a *agent) lost(err error) error {
	if a.link.Err() != nil {
		return &wire.Error{Code: wire.AgentLost, Err: err}
	}
	switch code := wire.CodeOf(err); {
	case slices.Contains(agentCodes, code), code == wire.Protocol:
		return err
	case code == wire.Internal:
		return &wire.Error{Code: wire.AgentLost, Detail: "the agent broke off before its answer", Err: err}
	default: // what ends a session is the relay's to say: a hostile agent must not name the reason
		return &wire.Error{Code: wire.Protocol, Detail: "the agent refused with a reason that is not its to give", Err: err}
	}
}

// agentCodes are the reasons for which an agent may refuse a session.
var agentCodes = []wire.Code{
	wire.BadRequest, wire.Conflict, wire.Busy, wire.AgentTimeout, wire.PubkeyNotAuthorized, wire.AmbiguousLogin, wire.KeyRestricted,
	wire.AccountNotLoginable, wire.LoginNotAllowed, wire.TargetRefused, wire.PortNotAllowed, wire.ClockSkew, wire.AuthFailed,
	wire.KeyfileSymlink, wire.KeyfileHardlink, wire.KeyfileNotRegular, wire.KeyfileTooBig, wire.KeyfileNoSpace, wire.KeyfileImmutable,
	wire.KeyfileReadOnly, wire.KeyfilePermissions, wire.KeyfileTimeout, wire.KeyfileChanged, wire.KeyfileShared, wire.KeyfileUnsupported,
	wire.ListenerUntrusted, wire.DesktopSecurity, wire.DesktopFailed, wire.ConsoleOff, wire.ConsoleEmpty, wire.ConsoleLocked,
	wire.ConsoleRefused, wire.ConsoleNoAnswer, wire.ConsoleMissing, wire.ConsoleUnsupported, wire.ConsoleEnded,
}

// Authenticated tells the envoy that a session's key is no longer needed.
func (f *Fleet) Authenticated(id wire.EnvoyID, session wire.SessionID) error {
	a := f.agent(id)
	if a == nil {
		return &wire.Error{Code: wire.AgentLost}
	}
	return a.control.Send(&wire.Authenticated{Session: session})
}

// Revoke ends an envoy's identity for good: its certificates count no more, its link and its
// sessions end.
func (f *Fleet) Revoke(ctx context.Context, by audit.Event, id wire.EnvoyID) error {
	return f.end(ctx, by, "envoy.revoke", id, func(tx store.Tx, e store.Envoy) error {
		if e.Revoked.IsZero() {
			e.Revoked = f.Now()
		}
		return store.PutEnvoy(tx, e)
	})
}

// Remove revokes an envoy and forgets it.
func (f *Fleet) Remove(ctx context.Context, by audit.Event, id wire.EnvoyID) error {
	return f.end(ctx, by, "envoy.remove", id, func(tx store.Tx, e store.Envoy) error {
		return store.DeleteEnvoy(tx, e.ID)
	})
}

func (f *Fleet) end(ctx context.Context, by audit.Event, what string, id wire.EnvoyID, change func(store.Tx, store.Envoy) error) error {
	var e store.Envoy
	look := func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, id)
		return err
	}
	if err := f.KV.View(ctx, look); err != nil {
		return err
	}
	by.Type, by.Envoy, by.EnvoyName = what, id.String(), e.Hostname
	if _, err := f.Journal.AppendEnd(ctx, by); err != nil {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		return change(tx, e)
	})
	if err != nil {
		f.notDone(ctx, by, err)
		return err
	}
	if a := f.agent(id); a != nil {
		f.drop(a, &wire.Error{Code: wire.Revoked})
	}
	f.changed(id, false)
	return nil
}
