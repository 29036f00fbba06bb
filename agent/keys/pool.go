package keys

import (
	"context"
	"sync"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

const maxAbandoned = 32 // workers of all logins that were killed and do not die

// pool bounds the workers that run, and those that were killed and do not die.
type pool struct {
	slots chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	stuck map[uint32]int       // by uid: killed and not gone
	slow  map[uint32]time.Time // by uid: until when its home is left out of scans
}

// slowTime is how long a home that did not answer is left out of scans.
const slowTime = 30 * time.Second

func newPool(n int) pool {
	return pool{slots: make(chan struct{}, n), stuck: map[uint32]int{}, slow: map[uint32]time.Time{}}
}

func (p *pool) close(wait time.Duration) error {
	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(wait):
		return wire.Errorf(wire.KeyfileTimeout, "workers are stuck in a file system that does not answer")
	}
}

func (p *pool) isSlow(uid uint32, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck[uid] > 0 || now.Before(p.slow[uid])
}

func (p *pool) setSlow(uid uint32, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.slow) > maxHomes {
		clear(p.slow)
	}
	p.slow[uid] = until
}

// enter waits for a free slot. It refuses a login whose last worker has not died yet, so that a
// dead file system costs one process and not one a session.
func (p *pool) enter(ctx context.Context, a account.Account) error {
	p.mu.Lock()
	total := 0
	for _, n := range p.stuck {
		total += n
	}
	stuck := p.stuck[a.UID] > 0 || total >= maxAbandoned
	p.mu.Unlock()
	if stuck {
		return wire.Errorf(wire.KeyfileTimeout, "the home of %s does not answer", a.Login)
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return wire.Cause(ctx, wire.KeyfileTimeout)
	}
}
