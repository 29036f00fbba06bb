package fleet

import (
	"context"
	"sync"

	"scrier/relay/store"
	"scrier/wire"
)

// join makes a the envoy's agent, or refuses it.
//
// If there are two connections of one identity, the agent was restarted or has reconnected, or the
// machine was copied. It is the same machine if the kernel's boot id is the same, or if the first
// connection no longer answers: then the new connection takes over. Otherwise it is a copy: the first
// connection stays, the second is refused, and the audit log says so.
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
	// A revocation that came after the handshake has changed the row but could not find this link: so
	// look at the row again, in the transaction that records the connection.
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		if err := Current(tx, a.id); err != nil {
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

// recheck looks at the row after the link is in the table of live links. A revocation writes the row
// first and looks for a link then. So either the revocation finds the link, or recheck finds the
// revocation.
func (f *Fleet) recheck(ctx context.Context, a *agent) error {
	err := f.KV.View(ctx, func(tx store.Tx) error { return Current(tx, a.id) })
	if err != nil {
		f.drop(a, err) // after the transaction, as drop begins one of its own
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
	f.Lost(a.id, why) // before the link is closed, so that the sessions end for why and not for a lost link
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
