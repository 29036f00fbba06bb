package lease

import (
	"context"
	"sync"
	"time"

	"scrier/relay/store"
)

// term is the time in which a relay has one lease.
//
//	Register --> held --- ErrLost, or not renewed within two thirds of its time --> lost, for ever
//
// It is over for this relay before it is for the others: what is left of its time is for clocks that differ, and for what is
// under way. Whoever asks whether it is held looks at the clock: a process that stood still finds that it has lost it before a
// timer says so.
type term struct {
	owner store.Owner
	clock Clock
	ctx   context.Context // ends, with [store.ErrLost], when it is lost
	end   context.CancelCauseFunc

	mu    sync.Mutex
	until time.Duration // by the clock
	lost  bool
}

func newTerm(o store.Owner, c Clock, asked, ttl time.Duration) *term {
	t := &term{owner: o, clock: c}
	t.ctx, t.end = context.WithCancelCause(context.Background())
	t.until = asked + ours(ttl)
	return t
}

// ours is how much of a lease's time its relay uses.
func ours(ttl time.Duration) time.Duration { return ttl - ttl/3 }

// renewed takes the answer to a request that was sent at asked. One that comes when the time is over does not bring it back: others may
// have been told already.
func (t *term) renewed(asked, ttl time.Duration) {
	if !t.held() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = max(t.until, asked+ours(ttl))
}

// held says whether the lease is there now.
func (t *term) held() bool { return t.left() > 0 }

// left is for how long it is still there, if it is not renewed.
func (t *term) left() time.Duration {
	now := t.clock.Now() // before the lock: a process may stand still here
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return 0
	}
	if now < t.until {
		return t.until - now
	}
	t.loseLocked()
	return 0
}

func (t *term) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loseLocked()
}

func (t *term) loseLocked() {
	t.lost = true
	t.end(store.ErrLost)
}
