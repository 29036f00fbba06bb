package roads

import (
	"context"
	"math/rand/v2"
	"time"
)

// Who is on a road that is not the best one, as UDP got no answer, tries the better one in the background.
const (
	probeFirst = 30 * time.Second
	probeMost  = 10 * time.Minute
)

// firstProbe is a shorter probeFirst, for the build of the stories: go build -ldflags "-X scrier/roads.firstProbe=1s".
var firstProbe string

// FirstProbe is how long to wait before the better road is tried for the first time.
func FirstProbe() time.Duration {
	if d, err := time.ParseDuration(firstProbe); err == nil && d > 0 {
		return d
	}
	return probeFirst
}

// Probes yields the waits before the better road is tried: the first one, and then twice as long each time, up to ten minutes. They have jitter:
// machines of one network must not all try at the same moment.
type Probes struct {
	First   time.Duration
	ceiling time.Duration
}

// Next is how long to wait before the next attempt.
func (p *Probes) Next() time.Duration {
	p.ceiling = min(max(2*p.ceiling, p.First), probeMost)
	return p.ceiling*3/4 + rand.N(p.ceiling/2)
}

// Elsewhere begins anew, as this machine has come into another network, where UDP may pass: it says how long to wait there, if the last attempt was
// at a time. Not all machines of a network come at the same moment, and none tries more often than usual if its network changes all the time.
func (p *Probes) Elsewhere(tried time.Time) time.Duration {
	p.ceiling = 0
	return max(rand.N(p.First/10+1), p.First-time.Since(tried))
}

// Elsewhere tells when this machine comes into another network, until ctx ends. changed tells when its addresses or routes may be others.
func Elsewhere(ctx context.Context, changed <-chan struct{}) <-chan struct{} {
	came := make(chan struct{})
	go func() {
		for here := Network(); ; {
			select {
			case <-changed: // mostly by something else, such as a container that begins
			case <-ctx.Done():
				return
			}
			now := Network()
			if now == here {
				continue
			}
			here = now
			select {
			case came <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return came
}
