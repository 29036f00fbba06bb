package fleet

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"scrier/relay/store"
	"scrier/wire"
)

// turn serialises what is decided about one envoy: which link is its own, which certificate counts, and
// whether it is in quarantine.
type turn struct {
	mu      sync.Mutex
	waiting int // how many have it or wait for it; guarded by Fleet.mu
}

func (f *Fleet) turn(id wire.EnvoyID) (done func()) {
	f.mu.Lock()
	t := f.turns[id]
	if t == nil {
		t = new(turn)
		f.turns[id] = t
	}
	t.waiting++
	f.mu.Unlock()
	t.mu.Lock()
	return func() {
		t.mu.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(f.turns, id)
		}
	}
}

// join makes a the envoy's agent, or refuses it.
func (f *Fleet) join(ctx context.Context, a *agent) (leave func(), err error) {
	defer f.turn(a.id)()
	if err := f.displace(ctx, a); err != nil {
		return nil, err
	}
	if err := f.use(ctx, a); err != nil {
		return nil, f.unmasked(ctx, a, err)
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

// use notes that a's certificate is used, if that is something new: after a crash it must be known. What else
// changes when an agent comes is told again by who comes back, and is written with what is reported
// ([Fleet.saveDue]): so a fleet that comes back all at once does not wait for the disk. That is soon, if the envoy
// was away for long. The caller has the envoy's turn, so nobody else uses a certificate of its meanwhile.
func (f *Fleet) use(ctx context.Context, a *agent) error {
	var news bool
	used := func(tx store.Tx) (store.Envoy, error) {
		e, err := a.row(tx)
		if err != nil {
			return e, err
		}
		before := e
		a.saved = e.LastSeen // a is not in the table yet
		err = e.Use(a.certificate())
		news = e.Generation != before.Generation || e.Source != before.Source || !bytes.Equal(e.Key, before.Key)
		return e, err
	}
	if err := f.KV.View(ctx, func(tx store.Tx) error {
		_, err := used(tx)
		return err
	}); err != nil || !news {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := used(tx)
		if err == nil {
			err = a.describe(&e)
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	a.saved = a.seen
	return err
}

// recheck looks at the row after the link is in the table of live links. A revocation writes the row
// first and looks for a link then. So either the revocation finds the link, or recheck finds the
// revocation.
func (f *Fleet) recheck(ctx context.Context, a *agent) error {
	err := f.KV.View(ctx, func(tx store.Tx) error {
		_, err := a.row(tx)
		return err
	})
	if err != nil {
		f.drop(a, err) // after the transaction, as drop begins one of its own
	}
	return err
}

// displace makes room for a where the envoy has a live link. The agent was restarted or has reconnected,
// or the machine was copied: it was copied if the first connection still answers. Then the first stays
// and a is refused, or, if they have different certificates, none of them can be trusted. The boot id
// proves nothing, as every user of a machine can read it. The caller has the envoy's turn.
func (f *Fleet) displace(ctx context.Context, a *agent) error {
	if err := a.link.Err(); err != nil { // it may have waited for its turn
		return err
	}
	old := f.agent(a.id)
	if old == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // a copy must not decide by hanging up
	// That a newer certificate was used counts, whatever becomes of a. Else nothing is noted: a may be a copy.
	if err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := a.row(tx)
		if err != nil {
			return err
		}
		before := e.Generation
		if err := e.Use(a.certificate()); err != nil || e.Generation == before {
			return err
		}
		return store.PutEnvoy(tx, e)
	}); err != nil {
		return f.unmasked(ctx, a, err)
	}
	pingCtx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if old.ping(pingCtx) != nil {
		if err := a.link.Err(); err != nil { // nobody needs the place
			return err
		}
		f.drop(old, wire.Errorf(wire.AgentLost, "the agent connected anew"))
		return nil
	}
	if first, second := old.certificate(), a.certificate(); first.Generation != second.Generation {
		return f.unmasked(ctx, a, &store.Copied{Why: "two machines are connected, each with a certificate of its own", Counts: second, Other: first})
	}
	old.mu.Lock()
	old.rival = a.source()
	old.mu.Unlock()
	f.duplicate(ctx, a, "two live machines: boot "+wire.Printable(a.boot)+" from "+a.link.Peer().Addr.String()+" refused, boot "+wire.Printable(old.boot)+" from "+old.link.Peer().Addr.String()+" kept")
	f.changed(a.id, false)
	return &wire.Error{Code: wire.DuplicateIdentity}
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
	if err := f.saveGone(a); err != nil {
		f.Log.Error("save the envoy's facts", "envoy", a.id, "err", err)
	}
	f.changed(a.id, false)
	f.Log.Info("agent gone", "envoy", a.id, "code", wire.CodeOf(why), "why", why)
}

// row is the agent's envoy, if it may be served.
func (a *agent) row(tx store.Tx) (store.Envoy, error) {
	e, err := store.GetEnvoy(tx, a.id)
	if errors.Is(err, store.ErrNotFound) {
		return e, &wire.Error{Code: wire.Revoked}
	}
	if err != nil {
		return e, err
	}
	return e, e.Serves()
}
