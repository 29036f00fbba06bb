package fleet

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// What an agent says of a desktop is checked: a login may be missing, nothing else may be odd.
func TestOpenedDesktops(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	sum := bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct {
		open   wire.Open
		opened wire.Message
		want   wire.Code
	}{
		"vnc":                     {wire.Open{Kind: wire.KindVNC}, &wire.Opened{}, wire.None},
		"rdp":                     {wire.Open{Kind: wire.KindRDP}, &wire.Opened{Security: wire.NLA, Certificate: sum}, wire.None},
		"rdp, tls as asked":       {wire.Open{Kind: wire.KindRDP, Security: wire.TLS}, &wire.Opened{Security: wire.TLS, Certificate: sum}, wire.None},
		"rdp, any":                {wire.Open{Kind: wire.KindRDP, Security: wire.AnySecurity}, &wire.Opened{Security: wire.TLS, Certificate: sum}, wire.None},
		"a screen":                {wire.Open{Kind: wire.KindVNC, Console: &wire.Console{}}, &wire.Opened{Login: "bob", View: true}, wire.None},
		"ssh without a login":     {wire.Open{Kind: wire.KindSSH}, &wire.Opened{}, wire.Protocol},
		"ssh":                     {wire.Open{Kind: wire.KindSSH}, &wire.Opened{Login: "bob"}, wire.None},
		"an odd login":            {wire.Open{Kind: wire.KindVNC}, &wire.Opened{Login: "bob\n"}, wire.Protocol},
		"a long login":            {wire.Open{Kind: wire.KindVNC}, &wire.Opened{Login: strings.Repeat("x", 257)}, wire.Protocol},
		"a short fingerprint":     {wire.Open{Kind: wire.KindRDP}, &wire.Opened{Security: wire.NLA, Certificate: sum[:20]}, wire.Protocol},
		"a long fingerprint":      {wire.Open{Kind: wire.KindRDP}, &wire.Opened{Security: wire.NLA, Certificate: append(sum, 1)}, wire.Protocol},
		"another security":        {wire.Open{Kind: wire.KindRDP}, &wire.Opened{Security: "rdp", Certificate: sum}, wire.Protocol},
		"any is no answer":        {wire.Open{Kind: wire.KindRDP}, &wire.Opened{Security: wire.AnySecurity, Certificate: sum}, wire.Protocol},
		"tls where nla was asked": {wire.Open{Kind: wire.KindRDP, Security: wire.NLA}, &wire.Opened{Security: wire.TLS, Certificate: sum}, wire.Protocol},
		"a stranger listens":      {wire.Open{Kind: wire.KindVNC}, wire.Refuse(wire.Errorf(wire.ListenerUntrusted, "bob")), wire.ListenerUntrusted},
		"weak":                    {wire.Open{Kind: wire.KindRDP}, wire.Refuse(&wire.Error{Code: wire.DesktopSecurity}), wire.DesktopSecurity},
		"no":                      {wire.Open{Kind: wire.KindVNC}, wire.Refuse(&wire.Error{Code: wire.ConsoleRefused}), wire.ConsoleRefused},
		"not its to say":          {wire.Open{Kind: wire.KindVNC}, wire.Refuse(&wire.Error{Code: wire.CertificateMismatch}), wire.Protocol},
	} {
		tunnel, err := b.opens(id, link, &c.open, func(s wire.Stream) {
			if err := wire.Send(s, c.opened); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err == nil {
			tunnel.Reset(wire.None)
		}
	}
}

// How a desktop's tunnel ends reaches the relay: in order, or with a reason if it is the agent's to
// give.
func TestReasonOfATunnelsEnd(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	opened := func(s wire.Stream) {
		if err := wire.Send(s, &wire.Opened{}); err != nil {
			t.Error(err)
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	open := func(then func(wire.Stream)) *Tunnel {
		var s wire.Stream
		tunnel, err := b.opens(id, link, &wire.Open{Kind: wire.KindVNC}, func(stream wire.Stream) { s = stream; opened(s) })
		if err != nil {
			t.Fatal(err)
		}
		if err := tunnel.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(tunnel, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		then(s)
		return tunnel
	}
	for _, code := range []wire.Code{wire.ConsoleEnded, wire.DesktopFailed, wire.TargetRefused} {
		tunnel := open(func(s wire.Stream) { s.Reset(code) })
		_, err := tunnel.Read(make([]byte, 1))
		if got := wire.CodeOf(tunnel.Reason(err)); got != code {
			t.Errorf("read behind a reset with %s: %v, which is %s", code, err, got)
		}
		// The writing side learns it too, when the reset has arrived there.
		for err = nil; err == nil; {
			_, err = tunnel.Write(make([]byte, 1<<10))
		}
		if got := wire.CodeOf(tunnel.Reason(err)); got != code {
			t.Errorf("write behind a reset with %s: %v, which is %s", code, err, got)
		}
		tunnel.Reset(wire.None)
	}
	for _, code := range []wire.Code{wire.Internal, wire.ListenerUntrusted, wire.AgentTimeout, 9999} {
		tunnel := open(func(s wire.Stream) { s.Reset(code) })
		_, err := tunnel.Read(make([]byte, 1))
		if got := tunnel.Reason(err); got != err {
			t.Errorf("a reset with %s becomes %v", code, got)
		}
		tunnel.Reset(wire.None)
	}
	tunnel := open(func(s wire.Stream) {
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	_, err := tunnel.Read(make([]byte, 1))
	if got := tunnel.Reason(err); !errors.Is(got, io.EOF) {
		t.Errorf("an orderly end is %v", got)
	}
	tunnel.Reset(wire.None)
	tunnel = open(func(wire.Stream) { _ = link.Close(wire.ConsoleEnded, "") })
	_, err = tunnel.Read(make([]byte, 1))
	if got := tunnel.Reason(err); wire.CodeOf(got) != wire.AgentLost {
		t.Errorf("the link's end is %v", got)
	}
}
