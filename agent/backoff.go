package agent

import (
	"math/rand/v2"
	"time"

	"scrier/wire"
)

// The waits before the next attempt are random from 0 up to a ceiling ("full jitter"): when a relay
// restarts, its ten thousand agents must not all come back at the same moment.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second
	backoffBusy  = 5 * time.Second  // the highest ceiling while the relay says that it is busy, in a fleet of which it tells nothing
	stableAfter  = 60 * time.Second // after a link that lived this long the ceiling begins low again
)

// backoff yields the waits between attempts.
type backoff struct {
	ceiling time.Duration
	spread  time.Duration // over which the fleet comes back, from the relay's end to the next link
}

// ending is how an attempt came to its end.
type ending struct {
	alive  time.Duration // how long there was a link; 0: there never was one
	gone   bool          // the link ended because the relay did: so have all others
	busy   bool          // the relay is there, and has no place at the moment
	spread time.Duration // over which the relay wants its fleet to come back; 0: it has not said
}

// next is how long to wait: a random time below a ceiling that doubles from 0.5 s to 60 s. If the whole fleet
// comes back, it is over the time at least that the relay has asked for, and, if nobody answers then, over half
// of that, and so on. Who was turned away has waited for that already, and must not fall behind the others by
// more than that.
func (b *backoff) next(e ending) time.Duration {
	highest := backoffMax
	if e.busy {
		highest = max(backoffBusy, min(e.spread, wire.MaxSpread))
	}
	if e.alive >= stableAfter || b.ceiling == 0 {
		b.ceiling = backoffFirst
	} else {
		b.ceiling = min(2*b.ceiling, highest)
	}
	if e.alive > 0 {
		b.spread = 0
	}
	if e.gone {
		b.spread = min(e.spread, wire.MaxSpread)
	}
	if e.busy {
		return rand.N(b.ceiling)
	}
	wait := rand.N(max(b.ceiling, b.spread))
	b.spread /= 2
	return wait
}
