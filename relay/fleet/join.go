package fleet

import (
	"context"
	"sync"

	"scrier/relay/store"
	"scrier/wire"
)

// join makes a the envoy's agent, or refuses it.
//
// Two connections of one identity are a restarted or reconnected agent, or a copied machine. The
// same kernel boot id, or a first connection that no longer answers, tells the former: the new
// one takes over. Otherwise the first stays, and the second is refused and written down.
func (f *Fleet) join(ctx context.Context, a *agent) (leave func(), err error) {
	f.mu.Lock()
	turn := f.joining[a.id]
	if turn == nil {
		turn = new(sync.Mutex)
		f.joining[a.id] = turn
	}
	f.mu.Unlock()
	turn.Lock()
	defer turn.Unlock()

	if old := f.agent(a.id); old != nil {
		if err := f.mayReplace(ctx, old, a); err != nil {
			return nil, err
		}
		f.drop(old, wire.Errorf(wire.AgentLost, "the agent connected anew"))
	}
	// A revocation between the handshake and now finds the row, not the link: look again, in the
	// transaction that records the connection.
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := store.GetEnvoy(tx, a.id)
		if wire.CodeOf(err) == wire.NoSuchEnvoy || err == nil && !e.Revoked.IsZero() {
			return &wire.Error{Code: wire.Revoked}
		}
		if err != nil {
			return err
		}
		return a.saveTo(tx)
	})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.live[a.id] = a
	f.mu.Unlock()
	if err := f.recheck(ctx, a); err != nil {
		return nil, err
	}
	f.changed(a.id, false)
	return func() { f.drop(a, &wire.Error{Code: wire.AgentLost}) }, nil
}

// recheck closes the gap between the row and the table of live links: who revokes writes the row
// first and looks for a link then, so one of the two sees the other.
func (f *Fleet) recheck(ctx context.Context, a *agent) error {
	err := f.KV.View(ctx, func(tx store.Tx) error {
		e, err := store.GetEnvoy(tx, a.id)
		if wire.CodeOf(err) == wire.NoSuchEnvoy || err == nil && !e.Revoked.IsZero() {
			return &wire.Error{Code: wire.Revoked}
		}
		return err
	})
	if err != nil {
		f.drop(a, err) // behind the transaction: it writes in one of its own
	}
	return err
}

func (f *Fleet) mayReplace(ctx context.Context, old, a *agent) error {
	if old.boot == a.boot && a.boot != "" {
		return nil
	}
	pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if old.ping(pingCtx) != nil {
		return nil
	}
	var e store.Envoy
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, a.id)
		return err
	}); err != nil {
		return err
	}
	f.duplicate(e, "two live machines", "boot "+wire.Printable(a.boot)+" from "+a.link.Peer().Addr.String()+" refused, boot "+wire.Printable(old.boot)+" from "+old.link.Peer().Addr.String()+" kept")
	return wire.Errorf(wire.DuplicateIdentity, "another machine is connected with this identity")
}

// drop takes a out of the table, if it is still there, ends its link and its sessions, and
// remembers when it was last seen.
func (f *Fleet) drop(a *agent, why error) {
	f.mu.Lock()
	mine := f.live[a.id] == a
	if mine {
		delete(f.live, a.id)
	}
	f.mu.Unlock()
	if !mine {
		return
	}
	f.Lost(a.id, why) // before the link: so the sessions learn the reason and not its effect
	if err := a.link.Close(wire.CodeOf(why), wire.DetailOf(why)); err != nil {
		f.Log.Debug("close link", "envoy", a.id, "err", err)
	}
	err := f.KV.Update(context.Background(), func(tx store.Tx) error {
		err := a.saveTo(tx)
		if wire.CodeOf(err) == wire.NoSuchEnvoy {
			return nil
		}
		return err
	})
	if err != nil {
		f.Log.Error("save the envoy's facts", "envoy", a.id, "err", err)
	}
	f.changed(a.id, false)
	f.Log.Info("agent gone", "envoy", a.id, "code", wire.CodeOf(why), "why", why)
}
