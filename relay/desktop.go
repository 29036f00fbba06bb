package relay

import (
	"context"
	"path/filepath"
	"regexp"
	"strconv"

	"scrier/relay/fleet"
	"scrier/relay/guac"
	"scrier/relay/session"
	"scrier/relay/session/desktop"
	"scrier/wire"
)

// desktopPorts are where the desktop servers are usually found.
var desktopPorts = map[wire.Kind]uint16{wire.KindRDP: 3389, wire.KindVNC: 5900}

// Bounds of what a desktop server is told, in bytes.
const (
	maxUsername = 256
	maxPassword = 1024
)

var timezone = regexp.MustCompile(`^[A-Za-z0-9_+/-]{0,64}$`)

// checkDesktop says what of a request for a desktop is not well formed.
func checkDesktop(req *request) error {
	d := &req.Desktop
	switch {
	case req.Login != "":
		return wire.Errorf(wire.BadRequest, "a desktop has no login of ours; its user name belongs into desktop.username")
	case req.Console != nil && req.Kind != wire.KindVNC:
		return wire.Errorf(wire.BadRequest, "the screen of who sits at the machine is shared by vnc, not by %s", req.Kind)
	case req.Console != nil && (len(req.Console.Purpose) > wire.MaxPurpose || wire.Printable(req.Console.Purpose) != req.Console.Purpose):
		return wire.Errorf(wire.BadRequest, "the purpose is one line of at most %d bytes", wire.MaxPurpose)
	case len(d.Username) > maxUsername || len(d.Domain) > maxUsername || len(d.Password.Reveal()) > maxPassword:
		return wire.Errorf(wire.BadRequest, "the user name, the domain or the password is too long")
	case d.Security != "" && d.Security != wire.AnySecurity && d.Security != wire.NLA && d.Security != wire.TLS:
		return wire.Errorf(wire.BadRequest, "security %q is none of any, nla and tls", wire.Printable(string(d.Security)))
	case d.Keyboard != "" && !guac.IsKeyboard(d.Keyboard):
		return wire.Errorf(wire.BadRequest, "there is no keyboard layout %q", wire.Printable(d.Keyboard))
	case !timezone.MatchString(d.Timezone):
		return wire.Errorf(wire.BadRequest, "%q is not the name of a time zone", wire.Printable(d.Timezone))
	}
	return nil
}

// intent is what the audit log says of a request for a desktop, besides its kind. No credentials.
func (req *request) intent() map[string]string {
	if req.Kind == wire.KindSSH {
		return nil
	}
	fields := map[string]string{"viewer": "browser"}
	if req.Native {
		fields["viewer"] = "native"
	}
	if c := req.Console; c != nil {
		fields["console"], fields["purpose"] = "control", c.Purpose
		if c.View {
			fields["console"] = "view"
		}
	} else {
		fields["port"] = strconv.Itoa(int(req.Port))
	}
	return fields
}

// openDesktop makes a desktop of a session that is written down: guacd first, so that nobody at the
// machine is asked for nothing.
func (r *Relay) openDesktop(ctx context.Context, s *session.Session, envoy fleet.Envoy, req *request) error {
	guacd, err := desktop.Dial(ctx, r.Config.Scrier.GuacdAddr)
	if err != nil {
		return err
	}
	tunnel, err := r.openTunnel(ctx, s, envoy, req)
	if err != nil {
		guacd.Close()
		return err
	}
	if req.Console != nil { // somebody took their time to answer, and guacd waits 15 s to be asked for something
		guacd.Close()
		if guacd, err = desktop.Dial(ctx, r.Config.Scrier.GuacdAddr); err != nil {
			tunnel.Reset(wire.CodeOf(err))
			return err
		}
	}
	allowed := r.Config.Scrier.Desktop
	policy := guac.Policy{
		ToEnvoy: allowed.ClipboardToEnvoy, FromEnvoy: allowed.ClipboardFromEnvoy, Audio: allowed.Audio && req.Kind == wire.KindRDP,
		View: tunnel.Opened.View || req.Console != nil && req.Console.View,
	}
	drive := ""
	if req.Kind == wire.KindRDP && (allowed.Drive.Upload || allowed.Drive.Download) {
		policy.Upload, policy.Download = allowed.Drive.Upload, allowed.Drive.Download
		drive = filepath.Join(allowed.Drive.Path, s.ID().String())
	}
	d, err := desktop.Start(ctx, desktop.Params{
		Guacd: guacd, Hostname: r.Config.Scrier.ProxyHostname, Kind: req.Kind, Tunnel: reasoned{tunnel},
		Username: req.Desktop.Username, Domain: req.Desktop.Domain, Password: req.Desktop.Password,
		Keyboard: req.Desktop.Keyboard, Timezone: req.Desktop.Timezone, Security: tunnel.Opened.Security, Certificate: tunnel.Opened.Certificate,
		Width: int(req.Desktop.Width), Height: int(req.Desktop.Height), DPI: int(req.Desktop.DPI),
		Policy: policy, Console: req.Console != nil, DrivePath: drive, Count: s.Count, Log: r.Log.With("session", s.ID()),
	})
	if err != nil {
		return err
	}
	if err := s.Activate(ctx, tunnel.Opened.Login); err != nil {
		d.Close()
		return err
	}
	s.StartDesktop(d)
	return nil
}

// openTunnel asks the envoy for its desktop server.
func (r *Relay) openTunnel(ctx context.Context, s *session.Session, envoy fleet.Envoy, req *request) (*fleet.Tunnel, error) {
	tunnel, err := r.fleet.Open(ctx, envoy.ID, &wire.Open{
		Session: s.ID(), Kind: req.Kind, Port: req.Port, Operator: s.Operator(), Timeout: r.agentTimeout(), Console: req.Console, Security: req.Desktop.Security,
	}, nil)
	if err != nil || len(tunnel.Opened.Certificate) == 0 {
		return tunnel, err
	}
	if err := r.fleet.ReportedCertificate(ctx, envoy.ID, tunnel.Opened.Certificate); err != nil {
		tunnel.Reset(wire.CodeOf(err))
		return nil, err
	}
	return tunnel, nil
}

// openNative gives a native viewer the desktop server's own bytes. The session lasts as long as the
// viewer's stream.
func (r *Relay) openNative(ctx context.Context, s *session.Session, envoy fleet.Envoy, req *request) error {
	tunnel, err := r.openTunnel(ctx, s, envoy, req)
	if err != nil {
		return err
	}
	if err := s.Activate(ctx, tunnel.Opened.Login); err != nil {
		tunnel.Reset(wire.CodeOf(err))
		return err
	}
	s.StartNative(reasoned{tunnel})
	return nil
}

// reasoned is a tunnel whose end the agent may explain.
type reasoned struct{ *fleet.Tunnel }

func (t reasoned) Why(err error) error {
	err = t.Reason(err)
	switch wire.CodeOf(err) {
	case wire.None, wire.Internal, wire.AgentLost, wire.ConsoleEnded, wire.DesktopFailed, wire.TargetRefused:
		return err
	}
	// What ends a session is the relay's to say: a hostile agent must not name the reason.
	return &wire.Error{Code: wire.AgentLost, Detail: "the agent broke off", Err: err}
}
