package session

import (
	"sync/atomic"

	"scrier/relay/tally"
	"scrier/wire"
)

// Tally is how it stands with the sessions of one kind, and what became of those that have ended since the relay began.
type Tally struct {
	Waiting, Active int
	Opened          uint64
	Ended           map[string]uint64 // by the name of the code
	Sent, Received  uint64            // bytes to the envoys and from them
}

// OtherKind is what sessions are counted under whose kind this relay does not know.
const OtherKind wire.Kind = "other"

// tallies count the sessions of each kind. The map does not change.
type tallies map[wire.Kind]*kindTally

type kindTally struct {
	waiting, active atomic.Int64
	opened          atomic.Uint64
	ended           tally.Codes
	sent, received  uint64 // of those that are gone; guarded by Table.mu
}

func newTallies() tallies {
	return tallies{wire.KindSSH: {}, wire.KindRDP: {}, wire.KindVNC: {}, OtherKind: {}}
}

func (t tallies) of(kind string) *kindTally {
	if k, ok := t[wire.Kind(kind)]; ok {
		return k
	}
	return t[OtherKind]
}

// phase is how far a session is, for its tally; guarded by Session.mu.
type phase int

const (
	waiting phase = iota
	active
	over
)

// becomes counts the session in another phase. It does not go back, and what is over stays so.
func (s *Session) becomes(p phase) {
	s.mu.Lock()
	before := s.phase
	if p > before {
		s.phase = p
	}
	s.mu.Unlock()
	if p <= before {
		return
	}
	k := s.table.tallies.of(s.row.Kind)
	switch before {
	case waiting:
		k.waiting.Add(-1)
	case active:
		k.active.Add(-1)
	}
	if p == active {
		k.active.Add(1)
		k.opened.Add(1)
	}
}

// Tallies is how it stands now, by kind.
func (t *Table) Tallies() map[wire.Kind]Tally {
	out := make(map[wire.Kind]Tally, len(t.tallies))
	for kind, k := range t.tallies {
		out[kind] = Tally{Waiting: int(k.waiting.Load()), Active: int(k.active.Load()), Opened: k.opened.Load(), Ended: k.ended.Read()}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := func(kind wire.Kind, sent, received uint64) {
		c := out[kind]
		c.Sent, c.Received = c.Sent+sent, c.Received+received
		out[kind] = c
	}
	for kind, k := range t.tallies {
		sum(kind, k.sent, k.received)
	}
	for _, s := range t.live {
		kind := wire.Kind(s.row.Kind)
		if _, known := t.tallies[kind]; !known {
			kind = OtherKind
		}
		sum(kind, s.sent.Load(), s.received.Load())
	}
	return out
}

// Writable says whether the audit log could be written when it was looked at last, some seconds ago.
func (t *Table) Writable() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.down == nil
}
