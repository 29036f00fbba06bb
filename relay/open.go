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
		wire.KindSSH: &shell.Kind{
			Fleet: r.fleet, Ports: ports, Timeout: timeout, Log: r.Log, Commands: shell.Commands(r.Config.Audit.Commands), Allow: c.Allow,
			Memory: r.programs,
		},
		wire.KindRDP: desktops,
		wire.KindVNC: desktops,
	}
}

// opening is a session that has a row and a slot, and no stage yet.
type opening struct {
	*session.Session
	kind  kind.Kind
	req   *session.Request
	asked time.Time
}

// open makes a session of a request, for a caller who waits and cannot be asked. This is the order of the design; what
// a step has done is undone when a later one fails.
func (r *Relay) open(ctx context.Context, who access.Operator, req *session.Request) (*session.Session, error) {
	o, err := r.reserve(ctx, who, req)
	if err != nil {
		return nil, err
	}
	if err := r.finish(ctx, o); err != nil {
		return nil, err
	}
	return o.Session, nil
}

// reserve does what comes before anything is asked of the envoy. Whoever reserves must finish.
func (r *Relay) reserve(ctx context.Context, who access.Operator, req *session.Request) (*opening, error) {
	asked := time.Now()
	k, envoy, err := r.found(ctx, who, req)
	if err != nil {
		return nil, err
	}
	return r.take(ctx, who, req, k, envoy, asked)
}

// found does the first two steps: who may what, and where.
func (r *Relay) found(ctx context.Context, who access.Operator, req *session.Request) (_ kind.Kind, _ *fleet.Envoy, err error) {
	defer func() { r.counts.refuse(err) }()
	// 1. May they, and does the relay allow it?
	if err := who.May(access.OpenSessions); err != nil {
		return nil, nil, err
	}
	k, err := r.check(req)
	if err != nil {
		return nil, nil, err
	}
	// 2. Which envoy?
	envoy, doubt, err := r.fleet.FindLive(ctx, req.Envoy)
	if err != nil {
		return nil, nil, err
	}
	if doubt != nil {
		if req.Kind != wire.KindSSH { // nothing proves there that it is the same machine
			return nil, nil, wire.Errorf(wire.AmbiguousEnvoy, "%q is also the name of an envoy that is not connected", req.Envoy).
				Advise("give the id, %s, or remove the other with `scrier envoys remove`", envoy.ID)
		}
		req.HostKeys = doubt.HostKeys
	}
	switch envoy.State {
	case fleet.Revoked:
		return nil, nil, wire.Errorf(wire.Revoked, "envoy %s was revoked on %s", envoy.Hostname, envoy.Revoked.Format(time.RFC3339)).
			Advise("to use the machine again, enrol it anew with a token")
	case fleet.Quarantined:
		return nil, nil, wire.Errorf(wire.Quarantined, "envoy %s is in quarantine since %s", envoy.Hostname, envoy.Quarantine.Since.Format(time.RFC3339))
	}
	return k, &envoy, nil
}

// take does the third, for what was asked for at some time.
func (r *Relay) take(ctx context.Context, who access.Operator, req *session.Request, k kind.Kind, envoy *fleet.Envoy, asked time.Time) (*opening, error) {
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
		r.counts.refuse(err)
		return nil, err
	}
	return &opening{Session: s, kind: k, req: req, asked: asked}, nil
}

// finish opens what was reserved, or ends it. Its viewers hear what became of it.
func (r *Relay) finish(ctx context.Context, o *opening) (err error) {
	defer func() { o.Dialogue().Over(err) }()
	// 4. What is about to happen is written down; 5. then it happens.
	err = &wire.Error{Code: wire.Internal} // of a panic
	o.Guard(func() { err = r.begin(ctx, o) })
	if err != nil {
		if o.Context().Err() != nil { // it was ended, and what failed is the effect
			err = errors.Join(wire.Cause(o.Context(), wire.Cancelled), err)
		}
		err = r.explain(ctx, o.Envoy(), o.req.Kind, err)
		return errors.Join(err, o.Close(wire.CodeOf(err), wire.DetailOf(err)))
	}
	return nil
}

// check finds the kind of a request, which checks it.
func (r *Relay) check(req *session.Request) (kind.Kind, error) {
	if !r.Config.Scrier.Enabled {
		return nil, &wire.Error{Code: wire.Disabled}
	}
	k := r.kind[req.Kind]
	if k == nil {
		return nil, wire.Errorf(wire.BadRequest, "sessions of kind %q are not served", wire.Printable(string(req.Kind)))
	}
	return k, k.Check(req)
}

func (r *Relay) begin(ctx context.Context, o *opening) error {
	if err := o.Intent(ctx, o.kind.Intent(o.req)); err != nil {
		return err
	}
	return r.show(ctx, o)
}

// show asks the envoy, within the time that it may take, and shows what became of it. The time in which a person is
// asked does not count.
func (r *Relay) show(ctx context.Context, o *opening) error {
	limit := time.Duration(r.Config.Scrier.AgentTimeout)
	ctx, stop := o.Dialogue().Within(ctx, limit, func(step string) error {
		if step == "" {
			return wire.Errorf(wire.AgentTimeout, "no answer within %s", wire.Period(limit))
		}
		return wire.Errorf(wire.AgentTimeout, "no answer within %s: it waited for %s", wire.Period(limit), step)
	})
	defer stop()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(o.Context(), func() { end(context.Cause(o.Context())) })()
	shown, err := o.kind.Open(ctx, o.First(), o.req)
	if err != nil {
		return err
	}
	if err := o.First().Show(ctx, shown); err != nil {
		return err
	}
	r.counts.took(o.req.Kind, o.asked)
	return nil
}
