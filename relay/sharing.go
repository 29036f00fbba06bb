package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/wire"
)

// shareWait is how long a request that would share a session waits for one that is being opened.
const shareWait = 15 * time.Second

// openings are the sessions that are being opened and may be shared, so that of many requests that come at the same time one
// opens a session and the others join it. Its methods may be called at the same time.
type openings struct {
	mu sync.Mutex
	by map[string]*shareable // by what those who may join have in common
}

type shareable struct {
	over chan struct{} // closed when it is open, or is not to be
	open bool          // before over
}

// enter gives what is being opened; nil: the caller opens one, and says with done whether it is open. done may be called
// more than once.
func (o *openings) enter(of string) (under *shareable, done func(open bool)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if under = o.by[of]; under != nil {
		return under, nil
	}
	if o.by == nil {
		o.by = map[string]*shareable{}
	}
	mine := &shareable{over: make(chan struct{})}
	o.by[of] = mine
	var once sync.Once
	return nil, func(open bool) {
		once.Do(func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			delete(o.by, of)
			mine.open = open
			close(mine.over)
		})
	}
}

// errFull is that a session has no room for another channel.
var errFull = errors.New("the session is full")

// join opens a channel on a session of the operator's own.
func (c *client) join(ctx context.Context, who access.Operator, s *session.Session, req *session.Request) (*session.Channel, error) {
	if err := c.access.Channel(who); err != nil {
		return nil, err
	}
	if err := c.sessions.Owes(who.ID); err != nil {
		return nil, err
	}
	channel, err := s.More(ctx, req)
	if code := wire.CodeOf(err); code == wire.Busy || code == wire.Limit {
		err = fmt.Errorf("%w: %w", errFull, err)
	}
	return channel, err
}

// share opens a channel on a session of the operator's own that will do. If there is none, the caller opens one, and calls
// opened when it is open or is not to be.
func (c *client) share(ctx context.Context, who access.Operator, envoy wire.EnvoyID, req *session.Request) (_ *session.Channel, opened func(bool), _ error) {
	late := time.NewTimer(shareWait)
	defer late.Stop()
	of := fmt.Sprintf("%s %s %s %s %t", who.ID, who.Source, envoy, req.Login, req.Named)
	for begun := time.Now(); time.Since(begun) < shareWait; {
		if s := c.sessions.Shared(who.ID, envoy, who.Source, req); s != nil {
			channel, err := c.join(ctx, who, s, req)
			// It may have ended just now, or have no room. Of what failed otherwise something may have run.
			if errors.Is(err, session.ErrOver) || errors.Is(err, errFull) {
				continue // there may be another
			}
			return channel, nil, err
		}
		under, done := c.openings.enter(of)
		if under == nil {
			if c.sessions.Shared(who.ID, envoy, who.Source, req) != nil { // it has opened meanwhile
				done(true)
				continue
			}
			return nil, done, nil
		}
		select {
		case <-under.over:
			if !under.open {
				return nil, alone, nil
			}
		case <-late.C: // a person may be asked there
		case <-ctx.Done():
			return nil, nil, wire.Cause(ctx, wire.Cancelled)
		}
	}
	return nil, alone, nil
}

// alone is for who opens a session without regard to others.
func alone(bool) {}
