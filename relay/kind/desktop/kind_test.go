package desktop

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"scrier/relay/session"
	"scrier/wire"
)

// What an agent says of a desktop is checked: a login may be missing, nothing else may be odd.
func TestOpened(t *testing.T) {
	sum := bytes.Repeat([]byte{7}, 32)
	asks := func(k wire.Kind, s wire.Security) session.Request {
		return session.Request{Kind: k, Desktop: session.DesktopRequest{Security: s}}
	}
	for name, c := range map[string]struct {
		asked  session.Request
		opened wire.Opened
		want   wire.Code
	}{
		"vnc":                     {asks(wire.KindVNC, ""), wire.Opened{}, wire.None},
		"rdp":                     {asks(wire.KindRDP, ""), wire.Opened{Security: wire.NLA, Certificate: sum}, wire.None},
		"rdp, tls as asked":       {asks(wire.KindRDP, wire.TLS), wire.Opened{Security: wire.TLS, Certificate: sum}, wire.None},
		"rdp, any":                {asks(wire.KindRDP, wire.AnySecurity), wire.Opened{Security: wire.TLS, Certificate: sum}, wire.None},
		"a screen":                {session.Request{Kind: wire.KindVNC, Console: &wire.Console{}}, wire.Opened{Login: "bob", View: true}, wire.None},
		"rdp to look at only":     {asks(wire.KindRDP, ""), wire.Opened{Security: wire.NLA, Certificate: sum, View: true}, wire.Protocol},
		"vnc to look at only":     {asks(wire.KindVNC, ""), wire.Opened{View: true}, wire.Protocol},
		"vnc with a certificate":  {asks(wire.KindVNC, ""), wire.Opened{Certificate: sum}, wire.Protocol},
		"vnc with security":       {asks(wire.KindVNC, ""), wire.Opened{Security: wire.TLS}, wire.Protocol},
		"an odd login":            {asks(wire.KindVNC, ""), wire.Opened{Login: "bob\n"}, wire.Protocol},
		"a long login":            {asks(wire.KindVNC, ""), wire.Opened{Login: strings.Repeat("x", 257)}, wire.Protocol},
		"no fingerprint":          {asks(wire.KindRDP, ""), wire.Opened{Security: wire.NLA}, wire.Protocol},
		"a short fingerprint":     {asks(wire.KindRDP, ""), wire.Opened{Security: wire.NLA, Certificate: sum[:20]}, wire.Protocol},
		"a long fingerprint":      {asks(wire.KindRDP, ""), wire.Opened{Security: wire.NLA, Certificate: append(sum, 1)}, wire.Protocol},
		"another security":        {asks(wire.KindRDP, ""), wire.Opened{Security: "rdp", Certificate: sum}, wire.Protocol},
		"any is no answer":        {asks(wire.KindRDP, ""), wire.Opened{Security: wire.AnySecurity, Certificate: sum}, wire.Protocol},
		"tls where nla was asked": {asks(wire.KindRDP, wire.NLA), wire.Opened{Security: wire.TLS, Certificate: sum}, wire.Protocol},
	} {
		if err := checkOpened(&c.asked, &c.opened); wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// An agent may give some reasons for a desktop's end, and no others.
func TestWhy(t *testing.T) {
	for code, want := range map[wire.Code]wire.Code{
		wire.ConsoleEnded: wire.ConsoleEnded, wire.DesktopFailed: wire.DesktopFailed, wire.TargetRefused: wire.TargetRefused,
		wire.None: wire.None, wire.AgentLost: wire.AgentLost,
		wire.ListenerUntrusted: wire.AgentLost, wire.AgentTimeout: wire.AgentLost, wire.Killed: wire.AgentLost, 9999: wire.AgentLost,
	} {
		if got := why(&wire.Error{Code: code}); wire.CodeOf(got) != want {
			t.Errorf("%s becomes %v, want %s", code, got, want)
		}
	}
	if got := why(io.ErrUnexpectedEOF); got != io.ErrUnexpectedEOF {
		t.Errorf("an error without a code becomes %v", got)
	}
}
