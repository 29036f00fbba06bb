package proxy

import (
	"context"
	"sync"
)

// agent is the machine's way to the client's SSH agent: one for all programs of the connection that may use it.
type agent struct {
	once  sync.Once
	ready chan struct{}
	ok    bool // before ready is closed
}

// forwardAgent begins to take what programs want of the client's agent, if that has not begun.
func (s *server) forwardAgent(ctx context.Context) {
	s.agent.once.Do(func() {
		s.agent.ready = make(chan struct{})
		s.wg.Go(func() {
			l, err := s.session.ListenAgent(ctx)
			s.agent.ok = err == nil
			close(s.agent.ready)
			if err != nil {
				if ctx.Err() == nil {
					s.note("your SSH agent is not forwarded: %s", words(err))
				}
				return
			}
			defer l.Close()
			s.arrivals(ctx, l, func(string, uint16) (string, []byte) { return "auth-agent@openssh.com", nil })
		})
	})
}

// forwards says whether programs can reach the client's agent, once that is known.
func (s *server) forwards(ctx context.Context) bool {
	select {
	case <-s.agent.ready:
		return s.agent.ok
	case <-ctx.Done():
		return false
	}
}
