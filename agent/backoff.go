package agent

import (
	"math/rand/v2"
	"time"
)

// The waits before the next attempt are random from 0 up to a ceiling ("full jitter"): when a relay
// restarts, its ten thousand agents must not all come back at the same moment.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second
	stableAfter  = 60 * time.Second // after a link that lived this long the ceiling begins low again
)

// backoff yields the waits between attempts.
type backoff struct {
	ceiling time.Duration
}

// next is how long to wait after a link that lived for alive, which is 0 if there never was one: a
// random time below a ceiling that doubles from 0.5 s to 60 s.
func (b *backoff) next(alive time.Duration) time.Duration {
	if alive >= stableAfter || b.ceiling == 0 {
		b.ceiling = backoffFirst
	} else {
		b.ceiling = min(2*b.ceiling, backoffMax)
	}
	return rand.N(b.ceiling)
}
