package session

import (
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// TicketLife is how long the right to attach is good for.
	TicketLife = 10 * time.Second
	ticketSize = 32

	// maxTickets is how many one operator may hold at once: a page with many tabs that all come
	// back in one moment.
	maxTickets = 128
)

// tickets are the rights to attach that were given out and not used yet. They are in memory, and
// so of this relay alone, and only as hashes.
type tickets struct {
	mu sync.Mutex
	by map[[sha256.Size]byte]ticket
}

type ticket struct {
	session *Session
	viewer  Viewer
	expires time.Time
}

// Ticket gives v the right to attach to a session once, within 10 s.
func (t *Table) Ticket(id wire.SessionID, v Viewer) ([]byte, error) {
	s := t.find(id)
	if s == nil {
		return nil, wire.Errorf(wire.NotFound, "there is no open session %s", id).Advise("see `scrier sessions list`")
	}
	return s.Ticket(v)
}

// Ticket gives v the right to attach to s once, within 10 s. If s has not opened and its viewer has not been told why,
// they are told then.
func (s *Session) Ticket(v Viewer) ([]byte, error) {
	t := s.table
	secret := make([]byte, ticketSize)
	rand.Read(secret)
	now := t.Now()
	t.tickets.mu.Lock()
	defer t.tickets.mu.Unlock()
	held := 0
	for hash, old := range t.tickets.by {
		if !now.Before(old.expires) {
			delete(t.tickets.by, hash)
		} else if old.viewer.OperatorID == v.OperatorID {
			held++
		}
	}
	if held >= maxTickets {
		return nil, wire.Errorf(wire.Busy, "%d rights to attach wait to be used", held)
	}
	if t.tickets.by == nil {
		t.tickets.by = map[[sha256.Size]byte]ticket{}
	}
	t.tickets.by[sha256.Sum256(secret)] = ticket{session: s, viewer: v, expires: now.Add(TicketLife)}
	return secret, nil
}

// Redeem spends a ticket. It is gone then, whatever becomes of the viewer.
func (t *Table) Redeem(secret []byte) (*Session, Viewer, error) {
	hash := sha256.Sum256(secret)
	t.tickets.mu.Lock()
	k, ok := t.tickets.by[hash]
	delete(t.tickets.by, hash)
	t.tickets.mu.Unlock()
	if !ok || !t.Now().Before(k.expires) {
		return nil, Viewer{}, &wire.Error{Code: wire.TicketInvalid}
	}
	if t.find(k.session.ID()) == nil && !k.session.dialogue.untold() {
		return nil, Viewer{}, wire.Errorf(wire.NotFound, "there is no open session %s", k.session.ID()).Advise("see `scrier sessions list`")
	}
	return k.session, k.viewer, nil
}

// EndViewers ends the viewers that match, and takes back their unused tickets; their sessions go
// on for as long as others see them, or the grace lasts.
func (t *Table) EndViewers(match func(Viewer) bool, why error) {
	t.tickets.mu.Lock()
	for hash, k := range t.tickets.by {
		if match(k.viewer) {
			delete(t.tickets.by, hash)
		}
	}
	t.tickets.mu.Unlock()
	t.mu.Lock()
	live := slices.Collect(maps.Values(t.live))
	t.mu.Unlock() // a stage may be busy for a moment
	for _, s := range live {
		s.dialogue.end(match, why)
		for _, c := range s.shown() {
			c.stage.Audience().End(match, why)
		}
	}
}
