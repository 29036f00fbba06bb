package relay

import (
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// H43, I1: a start closes what a former run left open, each with one record of its end, also
// when that run died between the record and the row.
func TestRestartClosesEachSessionOnce(t *testing.T) {
	r := start(t)
	begin := func() *session.Session {
		t.Helper()
		s, err := r.sessions.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID(), Kind: "ssh", Source: "test"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Intent(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	waiting, active, recorded := begin(), begin(), begin()
	if err := r.kv.Update(t.Context(), func(tx store.Tx) error {
		return store.ActivateSession(tx, active.ID(), "deploy", time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.audit.Append(t.Context(), audit.Event{Type: "scrier.disconnect", Session: recorded.ID().String()}); err != nil {
		t.Fatal(err)
	}
	// A new run knows the state alone.
	again := session.NewTable(r.sessions.Config)
	if err := again.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	for _, row := range rows(t, r) {
		if row.Code != wire.RelayRestart {
			t.Errorf("session %s: %s", row.ID, row.Reason)
		}
	}
	// A second start finds nothing to do.
	if err := again.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	for _, s := range []*session.Session{waiting, active, recorded} {
		_ = s.Close(wire.RelayShutdown, "")
	}
}
