package agent

import (
	"math/rand/v2"
	"time"
)

// Reconnecting: full jitter keeps ten thousand agents of a restarted relay apart.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second
	stableAfter  = 60 * time.Second // a link that lived this long was a good one
)

// backoff yields the waits between attempts.
type backoff struct {
	ceiling time.Duration
}

// next is how long to wait after a link that lived for alive, 0 when it never came to be: a
// random time below a ceiling that doubles from 0.5 s to 60 s.
func (b *backoff) next(alive time.Duration) time.Duration {
	if alive >= stableAfter || b.ceiling == 0 {
		b.ceiling = backoffFirst
	} else {
		b.ceiling = min(2*b.ceiling, backoffMax)
	}
	return rand.N(b.ceiling)
}
