package fleet

import (
	"context"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// silentEvery is how often the fleet looks for silent agents, and for certificates that are over. It must look, as an
// envoy becomes stale because nothing happens.
const silentEvery = 5 * time.Second

func (f *Fleet) changed(id wire.EnvoyID, seen bool) {
	if f.Changed != nil {
		f.Changed(id, seen)
	}
}

// findSilent tells of each agent that has been silent for too long, once.
func (f *Fleet) findSilent() {
	var silent []wire.EnvoyID
	now := f.Now()
	f.mu.Lock()
	for id, a := range f.live {
		a.mu.Lock()
		limit := staleAfter
		for _, l := range a.links {
			limit = max(limit, l.quietLimit())
		}
		if !a.silent && now.Sub(a.seen) > limit {
			a.silent = true
			silent = append(silent, id)
		}
		a.mu.Unlock()
	}
	f.mu.Unlock()
	for _, id := range silent {
		f.changed(id, false)
	}
}

// findExpired ends the links whose certificate is over.
func (f *Fleet) findExpired() {
	now := f.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.live {
		a.mu.Lock()
		if now.After(a.expires) {
			for _, l := range a.links {
				l.end(wire.Errorf(wire.Expired, "the certificate was not renewed in time"))
			}
		}
		a.mu.Unlock()
	}
}

// Those returns the envoys with these ids, as they are at one moment, and those of the ids that no
// envoy has.
func (f *Fleet) Those(ctx context.Context, ids []wire.EnvoyID) (found []Envoy, gone []wire.EnvoyID, err error) {
	found, err = f.views(ctx, func(tx store.Tx) ([]store.Envoy, error) {
		rows := make([]store.Envoy, 0, len(ids))
		gone = nil
		for _, id := range ids {
			e, err := store.GetEnvoy(tx, id)
			switch {
			case wire.CodeOf(err) == wire.NoSuchEnvoy:
				gone = append(gone, id)
			case err != nil:
				return nil, err
			default:
				rows = append(rows, e)
			}
		}
		return rows, nil
	})
	return found, gone, err
}
