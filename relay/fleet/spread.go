package fleet

import (
	"context"
	"runtime"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// When a relay was gone, its whole fleet comes back, and each handshake costs the relay's processors a
// signature and more. So agents are told beforehand over how long to spread.
const (
	// returns is how many agents one processor takes back in a second with time left for sessions. It could
	// take several times as many.
	returns = 200

	// away is how long an envoy that was not seen still counts as one that may come back.
	away = 30 * 24 * time.Hour

	// countEvery is how often such envoys are counted.
	countEvery = time.Minute
)

// spread is over how long this fleet is to come back.
func (f *Fleet) spread() time.Duration {
	f.mu.Lock()
	n := max(len(f.live), f.known)
	f.mu.Unlock()
	return spreadOf(n, runtime.GOMAXPROCS(0))
}

func spreadOf(agents, processors int) time.Duration {
	return min(time.Duration(agents)*time.Second/time.Duration(returns*processors), wire.MaxSpread)
}

// count takes note of how many envoys there are that may come back, and of how many there are at all.
func (f *Fleet) count(ctx context.Context) {
	n, is, changes := 0, counts{}, f.rolls.changes.Load()
	if err := f.KV.View(ctx, func(tx store.Tx) error {
		all, err := store.Envoys(tx)
		n, is = 0, counts{}
		for _, e := range all {
			is.add(e)
			if e.Serves() == nil && f.Now().Sub(e.LastSeen) < away {
				n++
			}
		}
		return err
	}); err != nil {
		if ctx.Err() == nil {
			f.Log.Error("count the envoys", "err", err)
		}
		return
	}
	f.rolls.note(is, changes)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = n
}

// welcome is the relay's word to an agent that joins.
func (l *agentLink) welcome() *wire.Welcome {
	f := l.fleet
	l.told = f.spread()
	return &wire.Welcome{
		Relay: f.Name, Time: wire.Millis(f.Now()), Interval: uint32(heartbeats / time.Second), Spread: uint32(l.told.Milliseconds()), Moves: true,
		Pongs: true, Rests: true,
	}
}

// newSpread is what the agent has to be told because the fleet is not as large any more as it was then; nil:
// nothing.
func (l *agentLink) newSpread() *wire.Spread {
	now := l.fleet.spread()
	if diff := (now - l.told).Abs(); diff < time.Second || diff < l.told/4 {
		return nil
	}
	l.told = now
	return &wire.Spread{Millis: uint32(now.Milliseconds())}
}
