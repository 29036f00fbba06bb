package fleet

import (
	"context"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// silentEvery is how often the fleet looks for silent agents. It must look, as an envoy becomes stale
// because nothing happens.
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
		if !a.silent && now.Sub(a.seen) > staleAfter {
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

// Those returns the envoys with these ids, as they are at one moment, and those of the ids that no
// envoy has.
func (f *Fleet) Those(ctx context.Context, ids []wire.EnvoyID) (found []Envoy, gone []wire.EnvoyID, err error) {
	rows := make([]store.Envoy, 0, len(ids))
	err = f.KV.View(ctx, func(tx store.Tx) error {
		rows, gone = rows[:0], nil
		for _, id := range ids {
			e, err := store.GetEnvoy(tx, id)
			switch {
			case wire.CodeOf(err) == wire.NoSuchEnvoy:
				gone = append(gone, id)
			case err != nil:
				return err
			default:
				rows = append(rows, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, r := range rows {
		v, err := f.view(r)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, v)
	}
	return found, gone, nil
}
