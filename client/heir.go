package client

import (
	"context"
	"sync"

	"scrier/wire"
)

// heir is the session that takes the place of one whose link was lost.
type heir struct {
	once    *sync.Once
	known   chan struct{} // closed when it is known whether there is one
	session *Session      // nil: there is none; set before known is closed
}

func newHeir() heir { return heir{once: new(sync.Once), known: make(chan struct{})} }

func (h *heir) is(s *Session) {
	h.once.Do(func() {
		h.session = s
		close(h.known)
	})
}

func (h *heir) none() { h.is(nil) }

// Over holds the same session over a link of r.
func (s *Session) Over(ctx context.Context, r *Relay) (*Session, error) {
	return r.hold(ctx, &wire.Connect{Kind: wire.KindSSH, Session: s.is.Session}, nil, s.messages, s.kept)
}

// Succeed has the connections of s that last ([SessionRequest]) go on with next, which is the same session of the relay's over another
// link. s is to be closed behind it.
func (s *Session) Succeed(next *Session) {
	if next.ID() != s.ID() {
		next = nil
	}
	s.heir.is(next)
}
