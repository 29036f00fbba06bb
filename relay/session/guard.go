package session

import (
	"scrier/wire"
)

// Guard calls f, which works for the session: a stage, a seat of its audience, its kind, and every
// goroutine that one of them starts. A panic in f ends the session with [wire.Internal], and neither the
// relay nor another session; what was called and where is in the relay's log alone. f must hold no mutex
// that it would not give back by a deferred call, as others wait for it. The session ends after f's
// deferred calls: one that would make a panic look like an ordinary end belongs to the caller of Guard.
func (s *Session) Guard(f func()) {
	err := s.table.Panics.Contain("session", func() error { f(); return nil },
		"session", s.row.ID, "operator", s.row.Operator, "envoy", s.row.EnvoyName, "kind", s.row.Kind)
	if err != nil {
		s.End(errPanic)
	}
}

// errPanic is how a session ends in which the relay's own code failed.
var errPanic = wire.Errorf(wire.Internal, "a fault of the relay's; its log has the details")
