package fleet

import (
	"context"
	"sync"
	"sync/atomic"

	"scrier/relay/store"
	"scrier/wire"
)

// Census is how many envoys there are, and by which roads their agents are connected.
type Census struct {
	States map[State]int
	Links  map[wire.Road]int // an agent that moves has two for a while
	Why    map[string]int    // of the links over TCP, by [wire.WhyName]
	// How often an agent has gone on by the other road since the relay began. One whose link had been given up before
	// it came back is not among them.
	ToTCP, ToQUIC uint64
}

// Census counts. It reads the rows only if an envoy has come, or gone, or serves other than before: a list of fifty thousand is not
// to be read again for each scrape. With an error all but the rows is counted.
func (f *Fleet) Census(ctx context.Context) (Census, error) {
	c := Census{
		States: map[State]int{}, Links: map[wire.Road]int{}, Why: map[string]int{},
		ToTCP: f.moved.toTCP.Load(), ToQUIC: f.moved.toQUIC.Load(),
	}
	n, err := f.rolls.read(ctx, f.KV)
	now := f.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.live {
		for _, l := range a.links {
			road := l.link.Peer().Road
			c.Links[road]++
			if road == wire.TCP {
				c.Why[wire.WhyName(l.why)]++
			}
		}
		state := Online
		a.mu.Lock()
		if len(a.links) > 0 && now.Sub(a.seen) > a.links[len(a.links)-1].quietLimit() { // as a list shows it
			state = Stale
		}
		a.mu.Unlock()
		c.States[state]++
	}
	if err != nil {
		return c, err
	}
	c.States[Revoked], c.States[Quarantined] = n.revoked, n.quarantined
	c.States[Offline] = max(n.serve-len(f.live), 0) // one may have been enrolled, or have come, between the two
	return c, nil
}

// rolls are how many rows of envoys there are of each kind.
type rolls struct {
	changes atomic.Uint64 // that were made to any of this

	mu sync.Mutex
	is counts
	at uint64 // how many of the changes are in it for sure, plus one; 0: nothing was counted yet
}

type counts struct{ serve, revoked, quarantined int }

// add counts a row.
func (c *counts) add(e store.Envoy) {
	switch wire.CodeOf(e.Serves()) {
	case wire.Revoked:
		c.revoked++
	case wire.Quarantined:
		c.quarantined++
	default:
		c.serve++
	}
}

// changed has the rows be read again when they are asked for next. It is called behind the change.
func (r *rolls) changed() { r.changes.Add(1) }

// note takes what somebody has counted, who has asked for the changes before.
func (r *rolls) note(is counts, changes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if changes+1 >= r.at {
		r.is, r.at = is, changes+1
	}
}

func (r *rolls) read(ctx context.Context, kv store.KV) (counts, error) {
	changes := r.changes.Load()
	r.mu.Lock()
	is, known := r.is, r.at > changes
	r.mu.Unlock()
	if known {
		return is, nil
	}
	err := kv.View(ctx, func(tx store.Tx) error {
		all, err := store.Envoys(tx)
		is = counts{}
		for _, e := range all {
			is.add(e)
		}
		return err
	})
	if err == nil {
		r.note(is, changes)
	}
	return is, err
}

// moved counts the agents that have gone on by another road.
type moved struct{ toTCP, toQUIC atomic.Uint64 }

func (m *moved) count(from, to wire.Road) {
	switch {
	case from == to:
	case to == wire.TCP:
		m.toTCP.Add(1)
	case to == wire.QUIC:
		m.toQUIC.Add(1)
	}
}
