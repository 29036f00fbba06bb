package session_test

import (
	"testing"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// BenchmarkSession opens and ends sessions of a relay that has its state for itself: row, slot, and the end. The log is in
// memory, so that what is measured is the state's and the table's part. With TMPDIR on a file system in memory no disk is in it.
func BenchmarkSession(b *testing.B) {
	table, _ := sessiontest.Table(b)
	table.Max = 1000
	for range 100 { // others are open
		sessiontest.Reserve(b, table)
	}
	envoy := wire.NewEnvoyID()
	for b.Loop() {
		s, err := table.Reserve(b.Context(), store.Session{Operator: "ann", OperatorID: "1", Envoy: envoy, Kind: "ssh", Source: "bench"}, nil)
		if err != nil {
			b.Fatal(err)
		}
		p := newPlayed()
		if err := s.First().Show(b.Context(), session.Shown{Login: "u", Stage: p}); err != nil {
			b.Fatal(err)
		}
		p.end <- &wire.Exit{Code: wire.Left}
		<-p.dismissed
	}
}
