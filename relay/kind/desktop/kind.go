package desktop

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"scrier/relay/fleet"
	"scrier/relay/guac"
	"scrier/relay/kind"
	"scrier/relay/session"
	"scrier/relay/session/display"
	"scrier/relay/session/raw"
	"scrier/wire"
)

// Kind opens desktops. It implements [kind.Kind].
type Kind struct {
	Fleet   *fleet.Fleet
	Ports   kind.Ports
	Timeout time.Duration // how long an envoy may take
	Log     *slog.Logger

	Guacd    []string // host:port, tried in order; none: no desktops in browsers
	Hostname string   // where guacd reaches this relay
	Native   bool     // native viewers are allowed
	Policy   guac.Policy
	Drive    string // a folder on guacd's host; empty: desktops have no drive
}

// usualPort is where a desktop server is usually found.
func usualPort(k wire.Kind) uint16 {
	if k == wire.KindRDP {
		return 3389
	}
	return 5900
}

// Bounds of what a desktop server is told, in bytes.
const (
	maxUsername = 256
	maxPassword = 1024
)

var timezone = regexp.MustCompile(`^[A-Za-z0-9_+/-]{0,64}$`)

// Check implements [kind.Kind].
func (k *Kind) Check(req *session.Request) error {
	if err := check(req); err != nil {
		return err
	}
	if req.Native && !k.Native {
		return &wire.Error{Code: wire.NativeOff}
	}
	if !req.Native && len(k.Guacd) == 0 {
		return wire.Errorf(wire.GuacdUnavailable, "scrier.guacd_addr of server.yaml is empty")
	}
	if req.Port == 0 || req.Console != nil { // the screen counts as the usual port, though none is opened
		req.Port = usualPort(req.Kind)
	}
	return k.Ports.Allow(req.Port)
}

// check says what of a request is not well formed.
func check(req *session.Request) error {
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

// Intent implements [kind.Kind].
func (k *Kind) Intent(req *session.Request) map[string]string {
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

// Open implements [kind.Kind].
func (k *Kind) Open(ctx context.Context, s *session.Channel, req *session.Request) (session.Shown, error) {
	if req.Native {
		return k.openNative(ctx, s, req)
	}
	return k.openDisplay(ctx, s, req)
}

// openDisplay asks guacd first, so that nobody at the machine is asked for nothing.
func (k *Kind) openDisplay(ctx context.Context, s *session.Channel, req *session.Request) (session.Shown, error) {
	guacd, err := Dial(ctx, k.Guacd)
	if err != nil {
		return session.Shown{}, err
	}
	opened, tunnel, err := k.tunnel(ctx, s, req)
	if err != nil {
		guacd.Close()
		return session.Shown{}, err
	}
	var whole bool // it is not after an error, nor after a panic
	defer func() {
		if !whole {
			tunnel.Reset(wire.Internal) // unless it was before, with a better reason
		}
	}()
	if req.Console != nil { // somebody took their time to answer, and guacd waits 15 s to be asked for something
		guacd.Close()
		if guacd, err = Dial(ctx, k.Guacd); err != nil {
			tunnel.Reset(wire.CodeOf(err))
			return session.Shown{}, err
		}
	}
	d, err := Start(ctx, Params{
		Guacd: guacd, Hostname: k.Hostname, Kind: req.Kind, Tunnel: tunnel,
		Username: req.Desktop.Username, Domain: req.Desktop.Domain, Password: req.Desktop.Password,
		Keyboard: req.Desktop.Keyboard, Timezone: req.Desktop.Timezone, Security: opened.Security, Certificate: opened.Certificate,
		Width: int(req.Desktop.Width), Height: int(req.Desktop.Height), DPI: int(req.Desktop.DPI),
		Policy: k.policy(req, opened), Console: req.Console != nil, DrivePath: k.drive(s, req), Log: s.Log(), Guard: s.Guard,
	})
	if err != nil {
		return session.Shown{}, err
	}
	whole = true
	return session.Shown{Stage: display.New(s, d), Login: opened.Login}, nil
}

// policy is what the viewers of a desktop may do: sound and files exist with RDP alone.
func (k *Kind) policy(req *session.Request, opened *wire.Opened) guac.Policy {
	p := k.Policy
	if req.Kind != wire.KindRDP {
		p.Audio, p.Upload, p.Download = false, false, false
	}
	p.View = opened.View || req.Console != nil && req.Console.View
	return p
}

// drive is the session's own folder on guacd's host; empty: it has none.
func (k *Kind) drive(s *session.Channel, req *session.Request) string {
	if req.Kind != wire.KindRDP || !k.Policy.Upload && !k.Policy.Download {
		return ""
	}
	return filepath.Join(k.Drive, s.ID().String())
}

// openNative gives a native viewer the desktop server's own bytes. The session lasts as long as the
// viewer's stream.
func (k *Kind) openNative(ctx context.Context, s *session.Channel, req *session.Request) (session.Shown, error) {
	opened, tunnel, err := k.tunnel(ctx, s, req)
	if err != nil {
		return session.Shown{}, err
	}
	return session.Shown{Stage: raw.New(s, tunnel), Login: opened.Login}, nil
}

// tunnel asks the envoy for its desktop server. Its bytes are the session's.
func (k *Kind) tunnel(ctx context.Context, s *session.Channel, req *session.Request) (*wire.Opened, *session.Tunnel, error) {
	t, err := k.Fleet.Open(ctx, s.Envoy(), &wire.Open{
		Session: s.ID(), Kind: req.Kind, Port: req.Port, Operator: s.Operator(), Timeout: uint32(k.Timeout / time.Millisecond),
		Console: req.Console, Security: req.Desktop.Security,
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	err = checkOpened(req, t.Opened)
	if err == nil && len(t.Opened.Certificate) > 0 {
		err = k.Fleet.ReportedCertificate(ctx, s.Envoy(), t.Opened.Certificate)
	}
	if err != nil {
		t.Reset(wire.CodeOf(err))
		return nil, nil, err
	}
	return t.Opened, &session.Tunnel{Stream: t.Stream, Count: s.Count, Why: func(err error) error { return why(t.Why(err)) }}, nil
}

// checkOpened says what an agent's answer must not be.
func checkOpened(req *session.Request, o *wire.Opened) error {
	asked := req.Desktop.Security
	switch {
	case o.Login != "" && fleet.CheckLogin(o.Login) != nil:
		return wire.Errorf(wire.Protocol, "the agent named no login")
	case len(o.Certificate) != 0 && len(o.Certificate) != sha256.Size:
		return wire.Errorf(wire.Protocol, "the agent reported a certificate's fingerprint of %d bytes", len(o.Certificate))
	case o.View && req.Console == nil: // no guacd is asked for a desktop that its own operator may only look at
		return wire.Errorf(wire.Protocol, "the agent allows to look only, and nobody's screen was asked for")
	case req.Kind != wire.KindRDP && (len(o.Certificate) != 0 || o.Security != ""):
		return wire.Errorf(wire.Protocol, "the agent reported what only an RDP server has")
	case req.Kind == wire.KindRDP && (len(o.Certificate) == 0 || o.Security == ""):
		return wire.Errorf(wire.Protocol, "the agent reported no certificate of the RDP server")
	case o.Security != "" && o.Security != wire.NLA && o.Security != wire.TLS:
		return wire.Errorf(wire.Protocol, "the agent reported security %.60q", o.Security)
	case o.Security != "" && (asked == wire.NLA || asked == wire.TLS) && o.Security != asked:
		return wire.Errorf(wire.Protocol, "the agent reported security %s, not %s", o.Security, asked)
	}
	return nil
}

// endCodes are the reasons that an agent may give for the end of a desktop that was opened, by the
// code with which it resets the tunnel.
var endCodes = []wire.Code{wire.ConsoleEnded, wire.DesktopFailed, wire.TargetRefused}

// why explains an error of the tunnel that is not the end of the agent's link. A session's end has no
// other reasons of the agent's: a hostile one must not say that, for example, the relay had killed it.
func why(err error) error {
	code := wire.CodeOf(err)
	switch {
	case slices.Contains(endCodes, code):
		return &wire.Error{Code: code, Err: err}
	case code == wire.None, code == wire.Internal, code == wire.AgentLost:
		return err
	}
	return &wire.Error{Code: wire.AgentLost, Detail: "the agent broke off", Err: err}
}
