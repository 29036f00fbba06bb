package relay

import (
	"strings"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/wire"
)

// Whoever goes to a machine by a name that it has by its own report alone, beside an older envoy, gets there only if it has
// the older one's SSH host key: any agent could say that it is called so.
func TestNameInDoubt(t *testing.T) {
	r := start(t)
	honest := func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	}
	enrolled := func() *machine {
		token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		m, err := enrol(t, r, token, nil) // its hostname is "host"
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ann := newPerson(t, r, "ann", access.Admin)
	opens := func(what, name string, want wire.Code) {
		t.Helper()
		v, err := ann.connect(name)
		if wire.CodeOf(err) != want {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			if err := r.sessions.Kill(t.Context(), audit.Event{}, v.attached.Session); err != nil {
				t.Error(err)
			}
			_ = v.exit(t)
		}
	}
	first := served(t, enrolled(), honest)
	gone := func(e *envoy) {
		if err := e.link.Close(wire.None, ""); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the envoy to be offline", func() bool {
			v, err := r.fleet.Find(t.Context(), e.id.String())
			return err == nil && v.State == fleet.Offline
		})
	}
	opens("the only one", "host", wire.None)
	gone(first)

	liar := served(t, enrolled(), honest)
	opens("one that says that it has the name", "host", wire.HostKeyMismatch)
	opens("the same, by its id", liar.id.String(), wire.None)
	_, err := r.open(t.Context(), access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}, &session.Request{Envoy: "host", Kind: wire.KindVNC, Native: true})
	if wire.CodeOf(err) != wire.AmbiguousEnvoy || !strings.Contains(wire.HintOf(err), liar.id.String()) {
		t.Errorf("a desktop: %v", err)
	}
	// An agent that reports the other's host keys as well does not have them.
	again := func(e *envoy, open *wire.Open, s wire.Stream) {
		keys := [][]byte{e.hostKey.PublicKey().Marshal(), first.hostKey.PublicKey().Marshal()}
		if err := wire.Send(s, &wire.Opened{Login: "deploy", HostKeys: keys}); err != nil {
			t.Error(err)
		}
		e.sshServer(s, open, echo)
	}
	gone(liar)
	if err := r.fleet.Remove(t.Context(), audit.Event{}, liar.id); err != nil {
		t.Fatal(err)
	}
	cunning := served(t, enrolled(), again)
	opens("one that reports the other's keys", "host", wire.HostKeyMismatch)
	gone(cunning)
	if err := r.fleet.Remove(t.Context(), audit.Event{}, cunning.id); err != nil {
		t.Fatal(err)
	}

	// The machine itself, enrolled again, has it.
	same := served(t, enrolled(), func(e *envoy, open *wire.Open, s wire.Stream) {
		e.hostKey = first.hostKey
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	opens("the machine, enrolled again", "host", wire.None)
	if err := r.fleet.Remove(t.Context(), audit.Event{}, first.id); err != nil {
		t.Fatal(err)
	}
	opens("when the older one is removed", "host", wire.None)
	gone(same)
	settled(t, r)
}
