package lease

import (
	"context"
	"time"
)

// Clock measures how long a lease is still there. It is not the wall's, which may be set.
type Clock interface {
	// Now is how long it has been since some moment.
	Now() time.Duration
	// Sleep returns when d is over, or ctx.
	Sleep(ctx context.Context, d time.Duration) error
}

// machine is this machine's clock. It goes on while the machine sleeps, where the system has such a clock: the lease does, too.
type machine struct{}

func (machine) Now() time.Duration { return boot() }

func (machine) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
