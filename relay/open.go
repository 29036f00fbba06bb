package relay

import (
	"context"
	"errors"
	"time"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/guac"
	"scrier/relay/kind"
	"scrier/relay/kind/desktop"
	"scrier/relay/kind/shell"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// kinds are what sessions can be for. A new kind is a room below relay/kind, a line here, a rule in
// the agent's policy, and what shows it.
func (r *Relay) kinds() map[wire.Kind]kind.Kind {
	c := r.Config.Scrier
	timeout, ports := time.Duration(c.AgentTimeout), kind.Ports(c.AllowedPorts)
	desktops := &desktop.Kind{
		Fleet: r.fleet, Ports: ports, Timeout: timeout,
		Guacd: c.GuacdAddr, Hostname: c.ProxyHostname, Native: c.Desktop.NativeViewers, Drive: c.Desktop.Drive.Path,
		Policy: guac.Policy{
			ToEnvoy: c.Desktop.ClipboardToEnvoy, FromEnvoy: c.Desktop.ClipboardFromEnvoy, Audio: c.Desktop.Audio,
			Upload: c.Desktop.Drive.Upload, Download: c.Desktop.Drive.Download,
		},
	}
	return map[wire.Kind]kind.Kind{
		wire.KindSSH: &shell.Kind{Fleet: r.fleet, Ports: ports, Timeout: timeout, Log: r.Log},
		wire.KindRDP: desktops,
		wire.KindVNC: desktops,
	}
}

// open makes a session of a request. This is the order of the design; what a step has done is undone
// when a later one fails.
func (r *Relay) open(ctx context.Context, who access.Operator, req *session.Request) (*session.Session, error) {
	// 1. May they, and does the relay allow it?
	if err := who.May(access.OpenSessions); err != nil {
		return nil, err
	}
	k, err := r.check(req)
	if err != nil {
		return nil, err
	}
	// 2. Which envoy?
	envoy, doubt, err := r.fleet.FindLive(ctx, req.Envoy)
	if err != nil {
		return nil, err
	}
	if doubt != nil {
		if req.Kind != wire.KindSSH { // nothing proves there that it is the same machine
			return nil, wire.Errorf(wire.AmbiguousEnvoy, "%q is also the name of an envoy that is not connected; give the id, %s, or remove the other", req.Envoy, envoy.ID)
		}
		req.HostKeys = doubt.HostKeys
	}
	switch envoy.State {
	case fleet.Revoked:
		return nil, wire.Errorf(wire.Revoked, "envoy %s was revoked on %s", envoy.Hostname, envoy.Revoked.Format(time.RFC3339))
	case fleet.Quarantined:
		return nil, wire.Errorf(wire.Quarantined, "envoy %s is in quarantine since %s", envoy.Hostname, envoy.Quarantine.Since.Format(time.RFC3339))
	}
	// 3. A slot and the row, in one transaction, in which the operator and the envoy still count.
	s, err := r.sessions.Reserve(ctx, store.Session{
		Operator: who.Username, OperatorID: who.ID, Envoy: envoy.ID, EnvoyName: envoy.Hostname,
		Login: req.Login, Kind: string(req.Kind), Source: who.Source,
	}, func(tx store.Tx) error {
		if err := access.Current(tx, who); err != nil {
			return err
		}
		return fleet.Current(tx, envoy.ID)
	})
	if err != nil {
		return nil, err
	}
	// 4. What is about to happen is written down; 5. then it happens.
	err = &wire.Error{Code: wire.Internal} // of a panic
	s.Guard(func() { err = r.begin(ctx, k, s, req) })
	if err != nil {
		if s.Context().Err() != nil { // it was ended, and what failed is the effect
			err = errors.Join(wire.Cause(s.Context(), wire.Cancelled), err)
		}
		err = r.explain(ctx, envoy.ID, err)
		return nil, errors.Join(err, s.Close(wire.CodeOf(err), wire.DetailOf(err)))
	}
	return s, nil
}

// check finds the kind of a request, which checks it.
func (r *Relay) check(req *session.Request) (kind.Kind, error) {
	if !r.Config.Scrier.Enabled {
		return nil, wire.Errorf(wire.Disabled, "scrier.enabled is false in server.yaml")
	}
	k := r.kind[req.Kind]
	if k == nil {
		return nil, wire.Errorf(wire.BadRequest, "sessions of kind %q are not served", wire.Printable(string(req.Kind)))
	}
	return k, k.Check(req)
}

func (r *Relay) begin(ctx context.Context, k kind.Kind, s *session.Session, req *session.Request) error {
	if err := s.Intent(ctx, k.Intent(req)); err != nil {
		return err
	}
	return r.show(ctx, k, s, req)
}

// show asks the envoy, within the time that it may take, and shows what became of it.
func (r *Relay) show(ctx context.Context, k kind.Kind, s *session.Session, req *session.Request) error {
	limit := time.Duration(r.Config.Scrier.AgentTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, wire.Errorf(wire.AgentTimeout, "no answer within %s", limit))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.Context(), func() { end(context.Cause(s.Context())) })()
	opened, err := k.Open(ctx, s, req)
	if err != nil {
		return err
	}
	return s.Show(ctx, opened.Login, opened.Stage)
}
