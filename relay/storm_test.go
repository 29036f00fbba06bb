package relay

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/wire"
)

// H37: a fleet that comes back all at once gets in; who is turned away comes again. That a bounded
// number of handshakes goes on at a time is for TestHandshakesAreBoundedInAStorm, which can see every one.
func TestStorm(t *testing.T) {
	const agents = 300 // more than twice what is admitted at once
	r := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var turnedAway atomic.Int64
	for range agents {
		wg.Go(func() {
			for ctx.Err() == nil {
				link, err := dialQUIC(ctx, r.Addr(), r.trusting(wire.ALPNClient, nil).TLS())
				if err == nil {
					if err := link.Close(wire.None, ""); err != nil {
						t.Error(err)
					}
					return
				}
				turnedAway.Add(1)
				again, stop := context.WithTimeout(ctx, rand.N(500*time.Millisecond)) // as agent/backoff.go does
				<-again.Done()
				stop()
			}
			t.Error("an agent did not get in")
		})
	}
	wg.Wait()
	waitFor(t, "the slots to come back", func() bool { return r.listener.handshakes.count() == 0 })
	t.Logf("%d were turned away and came again", turnedAway.Load())
}
