package relay

import (
	"io"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/wire"
)

// native is a stream of a CLI that asks for a desktop's own bytes.
func native(t *testing.T, p *person, c *wire.Connect) (*wire.Framed, *wire.Attached, error) {
	t.Helper()
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dial(t, p.relay, wire.ALPNClient, cert).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := f.Send(c); err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	a, err := wire.Expect[wire.Attached](f)
	return f, a, err
}

// parrot is a desktop server that says what it hears, until it hears nothing more.
func parrot(e *envoy, _ *wire.Open, s wire.Stream) {
	if err := wire.Send(s, &wire.Opened{}); err != nil {
		e.t.Error(err)
		return
	}
	_, _ = io.Copy(s, s) // ends with the session, however that does
}

// A native viewer has the tunnel for itself: all bytes pass, both ends half-close, and the row counts.
func TestNativeViewer(t *testing.T) {
	r := start(t)
	serve(t, r, "web1", parrot)
	f, a, err := native(t, newPerson(t, r, "ann", access.Admin), &wire.Connect{Envoy: "web1", Kind: wire.KindVNC})
	if err != nil || a.Kind != wire.KindVNC || a.Envoy != "web1" || a.Desktop != nil {
		t.Fatalf("attached as %+v, %v", a, err)
	}
	if _, err := io.WriteString(f, "RFB 003.008\n"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12)
	if _, err := io.ReadFull(f, got); err != nil || string(got) != "RFB 003.008\n" {
		t.Errorf("came back %q, %v", got, err)
	}
	// Nobody joins it.
	if _, err := r.sessions.Ticket(a.Session, viewerOf(admin(t, r, "bob"))); err != nil {
		t.Fatal(err)
	}
	if err := f.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(f); len(rest) != 0 || err != nil {
		t.Errorf("behind the end came %q, %v", rest, err)
	}
	settled(t, r)
	if row := rows(t, r)[0]; row.Sent != 12 || row.Received != 12 || row.Reason != "exit" {
		t.Errorf("the row is %+v", row)
	}
}

// However it ends, the viewer learns the code.
func TestNativeEnds(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(r *Relay, id wire.SessionID, agent wire.Stream) error
		code wire.Code
	}{
		"killed": {func(r *Relay, id wire.SessionID, _ wire.Stream) error {
			return r.sessions.Kill(t.Context(), audit.Event{Operator: "root"}, id)
		}, wire.Killed},
		"the user at the screen ends it": {func(_ *Relay, _ wire.SessionID, agent wire.Stream) error {
			agent.Reset(wire.ConsoleEnded)
			return nil
		}, wire.ConsoleEnded},
		"the agent names a reason that is not its to give": {func(_ *Relay, _ wire.SessionID, agent wire.Stream) error {
			agent.Reset(wire.Killed)
			return nil
		}, wire.AgentLost},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			agent := make(chan wire.Stream, 1)
			serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
				agent <- s
				parrot(e, open, s)
			})
			f, a, err := native(t, newPerson(t, r, "ann", access.Admin), &wire.Connect{Envoy: "web1", Kind: wire.KindVNC})
			if err != nil {
				t.Fatal(err)
			}
			if err := end.do(r, a.Session, <-agent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(f); wire.CodeOf(err) != end.code {
				t.Errorf("ended with %v, not %s", err, end.code)
			}
			settled(t, r)
		})
	}
}

func TestNativeOff(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.Desktop.NativeViewers = false })
	serve(t, r, "web1", parrot)
	if _, _, err := native(t, newPerson(t, r, "ann", access.Admin), &wire.Connect{Envoy: "web1", Kind: wire.KindVNC}); wire.CodeOf(err) != wire.NativeOff {
		t.Errorf("connect: %v", err)
	}
}
