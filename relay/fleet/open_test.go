package fleet

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// What an agent answers reaches whoever asked; a refusal has a reason that is the agent's to give.
func TestOpen(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	for name, c := range map[string]struct {
		opened wire.Message
		want   wire.Code
	}{
		"opened":             {&wire.Opened{Login: "bob", View: true}, wire.None},
		"a stranger listens": {wire.Refuse(wire.Errorf(wire.ListenerUntrusted, "bob")), wire.ListenerUntrusted},
		"weak":               {wire.Refuse(&wire.Error{Code: wire.DesktopSecurity}), wire.DesktopSecurity},
		"no":                 {wire.Refuse(&wire.Error{Code: wire.ConsoleRefused}), wire.ConsoleRefused},
		"not its to say":     {wire.Refuse(&wire.Error{Code: wire.CertificateMismatch}), wire.Protocol},
	} {
		tunnel, err := b.opens(id, link, &wire.Open{Kind: wire.KindVNC}, func(s wire.Stream) {
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

// What an agent would have operators do reaches none of them: a machine that was taken over is not believed that much.
func TestNoHintOfAnAgents(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	for _, code := range []wire.Code{wire.KeyfilePermissions, wire.Protocol, wire.Killed} {
		_, err := b.opens(id, link, &wire.Open{Kind: wire.KindSSH}, func(s wire.Stream) {
			if err := wire.Send(s, wire.Refuse(wire.Errorf(code, "no").Advise("run this"))); err != nil {
				t.Error(err)
			}
		})
		if got := wire.Refuse(err); got.Hint != "" || wire.HintOf(err) != wire.CodeOf(err).Hint() {
			t.Errorf("%s: the hint is %q", code, wire.HintOf(err))
		}
	}
}

// A machine that has as many sessions as it may is no matter of a moment.
func TestHintOfAFullMachine(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	_, err := b.opens(id, link, &wire.Open{Kind: wire.KindSSH}, func(s wire.Stream) {
		if err := wire.Send(s, wire.Refuse(wire.Errorf(wire.Busy, "256 sessions are open").Advise("run this"))); err != nil {
			t.Error(err)
		}
	})
	if got := wire.Refuse(err); got.Code != wire.Busy || got.Detail != "256 sessions are open" || !strings.Contains(got.Hint, "end a session") {
		t.Errorf("%+v", got)
	}
}

// A server that breaks off at once makes the agent reset what it has just opened, and the reset overtakes
// the answer; without an answer any other reset is the agent's own.
func TestResetBeforeTheAnswer(t *testing.T) {
	b := newBase(t)
	id, link := b.machine()
	for code, want := range map[wire.Code]wire.Code{wire.None: wire.TargetRefused, wire.Cancelled: wire.TargetRefused, wire.Internal: wire.AgentLost, wire.Killed: wire.Protocol} {
		_, err := b.opens(id, link, &wire.Open{Kind: wire.KindSSH}, func(s wire.Stream) { s.Reset(code) })
		if wire.CodeOf(err) != want {
			t.Errorf("reset with %s: %v, want %s", code, err, want)
		}
	}
}

// How a tunnel ends reaches the relay: in order, with the agent's code, or because its link ended.
func TestEndOfATunnel(t *testing.T) {
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
	for _, code := range []wire.Code{wire.ConsoleEnded, wire.DesktopFailed, wire.Internal, wire.ListenerUntrusted, 9999} {
		tunnel := open(func(s wire.Stream) { s.Reset(code) })
		_, err := tunnel.Read(make([]byte, 1))
		if got := wire.CodeOf(tunnel.Why(err)); got != code {
			t.Errorf("read behind a reset with %s: %v, which is %s", code, err, got)
		}
		// The writing side learns it too, when the reset has arrived there.
		for err = nil; err == nil; {
			_, err = tunnel.Write(make([]byte, 1<<10))
		}
		if got := wire.CodeOf(tunnel.Why(err)); got != code {
			t.Errorf("write behind a reset with %s: %v, which is %s", code, err, got)
		}
		tunnel.Reset(wire.None)
	}
	tunnel := open(func(s wire.Stream) {
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	_, err := tunnel.Read(make([]byte, 1))
	if got := tunnel.Why(err); !errors.Is(got, io.EOF) {
		t.Errorf("an orderly end is %v", got)
	}
	tunnel.Reset(wire.None)
	tunnel = open(func(wire.Stream) { _ = link.Close(wire.ConsoleEnded, "") })
	_, err = tunnel.Read(make([]byte, 1))
	if got := tunnel.Why(err); wire.CodeOf(got) != wire.AgentLost {
		t.Errorf("the link's end is %v", got)
	}
}
