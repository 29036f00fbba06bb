package session_test

import (
	"maps"
	"testing"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// A session is counted once in each of its phases, whichever it has; its bytes are not forgotten with it.
func TestTallies(t *testing.T) {
	table, j := sessiontest.Table(t)
	is := func(what string, want session.Tally) {
		t.Helper()
		got := table.Tallies()[wire.KindSSH]
		if ended := got.Ended; got.Waiting != want.Waiting || got.Active != want.Active || got.Opened != want.Opened || !maps.Equal(ended, want.Ended) || got.Sent != want.Sent || got.Received != want.Received {
			t.Errorf("%s it is %+v, want %+v", what, got, want)
		}
	}
	is("at first", session.Tally{})
	refused := sessiontest.Reserve(t, table)
	is("before it is open", session.Tally{Waiting: 1})
	s, p := shown(t, table)
	s.Count(3, 4)
	is("with an open one", session.Tally{Waiting: 1, Active: 1, Opened: 1, Sent: 3, Received: 4})
	for range 2 { // the second is none
		if err := refused.Close(wire.EnvoyOffline, ""); err != nil {
			t.Fatal(err)
		}
	}
	is("when one was not opened", session.Tally{Active: 1, Opened: 1, Sent: 3, Received: 4, Ended: map[string]uint64{"envoy_offline": 1}})
	s.Count(1, 1)
	j.Break(errFull) // that its record waits makes no difference
	s.Session.End(&wire.Error{Code: 998})
	<-p.dismissed
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	is("at the end", session.Tally{Opened: 1, Sent: 4, Received: 5, Ended: map[string]uint64{"envoy_offline": 1, "unknown": 1}})
	s.Count(100, 100) // too late
	is("after it", session.Tally{Opened: 1, Sent: 4, Received: 5, Ended: map[string]uint64{"envoy_offline": 1, "unknown": 1}})

	j.Break(nil)
	made, err := table.Reserve(t.Context(), store.Session{Operator: "ann", OperatorID: "1", Envoy: wire.NewEnvoyID(), Kind: "made up"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made.First().Count(7, 8)
	if got := table.Tallies(); len(got) != 4 || got[session.OtherKind].Waiting != 1 || got[session.OtherKind].Sent != 7 {
		t.Errorf("an unknown kind counts as %+v", got)
	}
	if err := made.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
	if got := table.Tallies()[session.OtherKind]; got.Waiting != 0 || got.Received != 8 || got.Ended["ok"] != 1 {
		t.Errorf("%+v", got)
	}
}
