package session_test

import (
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
)

// Whoever changes files without end fills no disk: their channels wait, and those that end make no room for others.
func TestRecordsAtAPace(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	p := newPlayed()
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for range 100_000 {
		s.Pace()
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the first ones took %s", took)
	}
	begun = time.Now()
	for time.Since(begun) < 10*time.Second {
		before := time.Now()
		if s.Pace(); time.Since(before) > time.Millisecond {
			break
		}
	}
	if took := time.Since(begun); took > 9*time.Second {
		t.Error("as many as they like")
	}
	if err := table.Owes("1"); err != nil {
		t.Errorf("who waits owes nothing: %v", err)
	}
	s.Session.End(&wire.Error{Code: wire.Killed})
	for range 12_000 { // nothing waits that has ended
		s.Pace()
	}
	if err := table.Owes("1"); wire.CodeOf(err) != wire.Busy {
		t.Errorf("of one who owes: %v", err)
	}
	if err := table.Owes("2"); err != nil {
		t.Errorf("of another: %v", err)
	}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
