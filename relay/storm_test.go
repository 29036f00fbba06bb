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

// H37: a fleet that comes back all at once gets in, a bounded number of handshakes at a time;
// who is turned away comes again.
func TestStorm(t *testing.T) {
	const agents = 300 // more than twice what is admitted at once
	r := start(t)
	stop := make(chan struct{})
	var most atomic.Int64
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if n := r.listener.handshakes.Load(); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Millisecond)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var turnedAway atomic.Int64
	for range agents {
		wg.Go(func() {
			for ctx.Err() == nil {
				link, err := wire.Dialer{TLS: r.trusting(wire.ALPNClient, nil).TLS()}.Dial(ctx, r.Addr())
				if err == nil {
					if err := link.Close(wire.None, ""); err != nil {
						t.Error(err)
					}
					return
				}
				turnedAway.Add(1)
				time.Sleep(rand.N(500 * time.Millisecond)) // as agent/backoff.go does
			}
			t.Error("an agent did not get in")
		})
	}
	wg.Wait()
	close(stop)
	watch.Wait()
	// admit counts before it refuses, so the counter itself may be above the bound for a moment.
	if n := most.Load(); n > maxHandshakes+16 {
		t.Errorf("%d handshakes at once, the bound is %d", n, maxHandshakes)
	}
	t.Logf("at most %d of %d at once; %d were turned away and came again", most.Load(), maxHandshakes, turnedAway.Load())
}
