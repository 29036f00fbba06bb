package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/relay/session/shell"
	"scrier/relay/store"
	"scrier/relay/web"
	"scrier/wire"
)

// sshPort stands for the SSH server in the lists of allowed ports, wherever it listens.
const sshPort = 22

// request is what is asked for, whichever way it came.
type request struct {
	wire.Connect
	Desktop web.DesktopRequest // kinds rdp and vnc
	Native  bool               // the same kinds: the caller is a viewer by itself
	// prove gives the operator's keys that count, kind ssh.
	prove func(context.Context) ([]ssh.PublicKey, error)
}

// open makes a session of a request, in the order of the design: may they, is there room, is it
// written down; then a tunnel, and a shell or a desktop. Each step's undo runs when a later one fails.
func (r *Relay) open(ctx context.Context, who access.Operator, req *request) (_ *session.Session, err error) {
	if err := who.May(access.OpenSessions); err != nil {
		return nil, err
	}
	if err := r.Config.Scrier.allow(req); err != nil {
		return nil, err
	}
	if req.Login != "" {
		if err := fleet.CheckLogin(req.Login); err != nil {
			return nil, err
		}
	}
	envoy, err := r.fleet.Find(ctx, req.Envoy)
	if err != nil {
		return nil, err
	}
	if envoy.State == fleet.Revoked {
		return nil, wire.Errorf(wire.Revoked, "envoy %s was revoked on %s", envoy.Hostname, envoy.Revoked.Format(time.RFC3339))
	}
	var keys []ssh.PublicKey
	if req.Kind == wire.KindSSH {
		if keys, err = req.prove(ctx); err != nil {
			return nil, err
		}
	}

	s, err := r.sessions.Reserve(ctx, store.Session{
		Operator: who.Username, OperatorID: who.ID, Envoy: envoy.ID, EnvoyName: envoy.Hostname,
		Login: req.Login, Kind: string(req.Kind),
	}, who.Source)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if s.Context().Err() != nil { // it was ended, and what failed is the effect
				err = errors.Join(wire.Cause(s.Context(), wire.Cancelled), err)
			}
			err = r.explain(ctx, envoy.ID, err)
			err = errors.Join(err, s.Close(wire.CodeOf(err), wire.DetailOf(err)))
		}
	}()
	if err := s.Intent(ctx, req.intent()); err != nil {
		return nil, err
	}

	limit := time.Duration(r.Config.Scrier.AgentTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, wire.Errorf(wire.AgentTimeout, "no answer within %s", limit))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.Context(), func() { end(context.Cause(s.Context())) })()

	switch {
	case req.Kind == wire.KindSSH:
		err = r.openShell(ctx, s, envoy, req, keys)
	case req.Native:
		err = r.openNative(ctx, s, envoy, req)
	default:
		err = r.openDesktop(ctx, s, envoy, req)
	}
	return s, err
}

// openShell makes a shell of a session that is written down.
func (r *Relay) openShell(ctx context.Context, s *session.Session, envoy fleet.Envoy, req *request, keys []ssh.PublicKey) error {
	signer, err := ephemeral()
	if err != nil {
		return err
	}
	tunnel, err := r.fleet.Open(ctx, envoy.ID, &wire.Open{
		Session: s.ID(), Kind: req.Kind, Login: req.Login, Keys: marshal(keys),
		Ephemeral: signer.PublicKey().Marshal(), Operator: s.Operator(), Timeout: r.agentTimeout(),
	}, shell.Greeting)
	if err != nil {
		return err
	}
	if err := r.fleet.Reported(ctx, envoy.ID, tunnel.Opened.HostKeys); err != nil {
		tunnel.Reset(wire.CodeOf(err))
		return err
	}
	sh, err := shell.Start(ctx, tunnel.Stream, shell.Params{
		Signer: signer, Login: tunnel.Opened.Login, HostKeys: tunnel.Opened.HostKeys,
		Term: req.Term, Size: req.Size, Env: shell.Env(req.Env),
		Authenticated: func() {
			if err := r.fleet.Authenticated(envoy.ID, s.ID()); err != nil {
				r.Log.Debug("tell the envoy that authentication is over", "session", s.ID(), "err", err)
			}
		},
	})
	if err != nil {
		return tunnel.Why(err)
	}
	if err := s.Activate(ctx, tunnel.Opened.Login); err != nil {
		sh.Close()
		return err
	}
	s.Start(sh, req.Size)
	return nil
}

// agentTimeout is how long an envoy may take, in milliseconds.
func (r *Relay) agentTimeout() uint32 {
	return uint32(time.Duration(r.Config.Scrier.AgentTimeout) / time.Millisecond)
}

// allow is the relay's half of the policy; the agent has its own. It fills in the port.
func (c *Scrier) allow(req *request) error {
	if !c.Enabled {
		return wire.Errorf(wire.Disabled, "scrier.enabled is false in server.yaml")
	}
	port := req.Port
	switch req.Kind {
	case wire.KindSSH:
		if port == 0 {
			port = sshPort
		}
	case wire.KindRDP, wire.KindVNC:
		if err := checkDesktop(req); err != nil {
			return err
		}
		if req.Native && !c.Desktop.NativeViewers {
			return wire.Errorf(wire.NativeOff, "scrier.desktop.native_viewers is false in server.yaml")
		}
		if !req.Native && len(c.GuacdAddr) == 0 {
			return wire.Errorf(wire.GuacdUnavailable, "scrier.guacd_addr of server.yaml is empty")
		}
		if port == 0 || req.Console != nil { // the screen counts as the usual port, though none is opened
			port = desktopPorts[req.Kind]
		}
		req.Port = port
	default:
		return wire.Errorf(wire.BadRequest, "sessions of kind %q are not served", wire.Printable(string(req.Kind)))
	}
	if !slices.Contains(c.AllowedPorts, port) {
		return wire.Errorf(wire.PortNotAllowed, "port %d is not in scrier.allowed_ports of server.yaml", port)
	}
	return nil
}

// explain adds to an envoy's failure what is known of the envoy: its clock, its disk, its silence.
func (r *Relay) explain(ctx context.Context, id wire.EnvoyID, err error) error {
	code, detail := wire.CodeOf(err), wire.DetailOf(err)
	switch code {
	case wire.Internal:
		r.Log.Error("open session", "envoy", id, "err", err)
	case wire.Cancelled, wire.Killed, wire.OperatorChanged, wire.RelayShutdown, wire.AuditUnavailable, wire.Revoked, wire.GuacdUnavailable:
		return err // the envoy has no part in it
	}
	v, verr := r.fleet.Find(context.WithoutCancel(ctx), id.String())
	if verr != nil {
		return err
	}
	if code == wire.AgentTimeout && v.State == fleet.Online { // a warning from a while on anyway
		v.Warnings = append([]string{fmt.Sprintf("last seen %s ago", r.Now().Sub(v.LastSeen).Round(time.Second))}, v.Warnings...)
	}
	if notes := strings.Join(v.Warnings, "; "); notes != "" {
		detail = strings.TrimPrefix(fmt.Sprintf("%s (known of %s: %s)", detail, v.Hostname, notes), " ")
	}
	return &wire.Error{Code: code, Detail: detail, Err: err}
}

// ephemeral makes the session's key. It exists in this process's memory only.
func ephemeral() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

func marshal(keys []ssh.PublicKey) (out [][]byte) {
	for _, k := range keys {
		out = append(out, k.Marshal())
	}
	return out
}
