package fleet

import (
	"context"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Revoke ends an envoy's identity for good: its certificates count no more, its links and its
// sessions end.
func (f *Fleet) Revoke(ctx context.Context, by audit.Event, id wire.EnvoyID) error {
	return f.end(ctx, by, "envoy.revoke", id, func(tx store.Tx, e store.Envoy) error {
		if e.Revoked.IsZero() {
			e.Revoked = f.Now()
		}
		return store.PutEnvoy(tx, e)
	})
}

// Remove revokes an envoy and forgets it.
func (f *Fleet) Remove(ctx context.Context, by audit.Event, id wire.EnvoyID) error {
	return f.end(ctx, by, "envoy.remove", id, func(tx store.Tx, e store.Envoy) error {
		return store.DeleteEnvoy(tx, e.ID)
	})
}

func (f *Fleet) end(ctx context.Context, by audit.Event, what string, id wire.EnvoyID, change func(store.Tx, store.Envoy) error) error {
	var e store.Envoy
	look := func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, id)
		return err
	}
	if err := f.KV.View(ctx, look); err != nil {
		return err
	}
	by.Type, by.Envoy, by.EnvoyName = what, id.String(), e.Hostname
	if _, err := f.Journal.AppendEnd(ctx, by); err != nil {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		if err := f.evict(tx, id); err != nil {
			return err
		}
		return change(tx, e)
	})
	if err != nil {
		f.notDone(ctx, by, err)
		return err
	}
	if a := f.agent(id); a != nil {
		f.dropAll(a, &wire.Error{Code: wire.Revoked})
	}
	f.rolls.changed()
	f.changed(id, false)
	return nil
}
