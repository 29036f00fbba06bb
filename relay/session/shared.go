package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// Where several relays share a state, each session is one relay's, for as long as that has its lease. Nobody can look into
// another relay's audit log. So it is decided first, in the state, whose log gets the record of a session's end, and the slot
// is free then:
//
//	who ends it                    its own relay          any other, when its lease is gone
//	1. the row is claimed          Closing, closer A      Closing, closer B, relay_lost      (one of them, once)
//	2. the record is written       in A's log             in B's log
//	3. the row is closed           by A                   by B
//
// Who dies behind 1 or 2 finds the row when it is back, and the record in its own log, or not: it goes on there. Meanwhile the
// row waits, without a slot. Only of a relay that never comes back somebody says so ([Table.Inherit]).
//
// A row that its relay cannot claim, as the lease is lost, is closed by whoever comes first: another relay, or the same one
// with its next lease.

// sweepEvery is how often the rows of lost relays are looked for.
const sweepEvery = 2 * time.Second

// Lease is the relay's place among several that share a state.
type Lease interface {
	Owner() store.Owner                // with the lease that it has now, or had last
	Held(store.Owner) bool             // it is there in this moment
	While(store.Owner) context.Context // ends when it is lost, with the reason
}

// shared says whether several relays share the state.
func (t *Table) shared() bool { return t.Lease != nil }

// held says whether the session is still this relay's to serve.
func (s *Session) held() error {
	t := s.table
	if t.shared() && !t.Lease.Held(s.row.Owner()) {
		return store.ErrLost
	}
	return nil
}

// leash ends the session when its relay has lost the lease.
func (s *Session) leash() (off func() bool) {
	if !s.table.shared() {
		return func() bool { return true }
	}
	while := s.table.Lease.While(s.row.Owner())
	return context.AfterFunc(while, func() { s.End(context.Cause(while)) })
}

// closeShared is close where several relays share the state.
func (s *Session) closeShared(ctx context.Context, end store.End) error {
	open := func(err error) bool { return err != nil && wire.CodeOf(err) != wire.AuditUnavailable } // else the row has the end
	t, err := s.table, s.claim(ctx, end)
	switch {
	case !open(err):
		t.careNoMore(s.row.ID)
	case s.held() != nil: // now it is for whoever comes first
		t.careNoMore(s.row.ID)
		s.Log().Warn("a session's row is left to the other relays", "err", err)
	default: // the slot is taken until the row is written
		s.Log().Error("close session", "err", err)
		t.later(func(ctx context.Context) error {
			if err := s.claim(ctx, end); open(err) && s.held() == nil {
				return err
			}
			t.careNoMore(s.row.ID)
			return nil
		})
	}
	return err
}

// care says that somebody in this process takes care of a session's row: whoever opens it, and then the session. A row of this relay's
// that nobody takes care of is one whose request has failed, because the answer of the state was lost, or came too late.
func (t *Table) care(id wire.SessionID) {
	if !t.shared() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cared == nil {
		t.cared = map[wire.SessionID]bool{}
	}
	t.cared[id] = true
}

func (t *Table) careNoMore(id wire.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cared, id)
}

// stray says whether a row of this relay's is one that nobody takes care of.
func (t *Table) stray(o store.Owner, id wire.SessionID) bool {
	if o != t.Lease.Owner() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.cared[id]
}

// claim does what ends a session, as far as it gets. What is Closing when it returns, writeEnds brings to its end.
func (s *Session) claim(ctx context.Context, end store.End) error {
	t := s.table
	if err := s.held(); err != nil {
		return err
	}
	done, ok := t.write(s.row.ID)
	if !ok {
		return errors.New("its end is being written")
	}
	defer done()
	defer s.Changed()
	size, claimed := t.Journal.Size(), false
	if err := t.KV.Update(ctx, func(tx store.Tx) (err error) {
		claimed = false
		if store.OwnerOf(tx) != s.row.Owner() { // another lease has begun meanwhile
			return store.ErrLost
		}
		claimed, err = store.ClaimSession(tx, s.row.ID, end, size)
		return err
	}); err != nil {
		return err
	}
	if !claimed { // somebody else did, or this relay whose answer was lost: then the log may have the record, and writeEnds looks
		t.look()
		return nil
	}
	if _, err := t.Journal.AppendEnd(ctx, s.record(end)); err != nil {
		s.Log().Error("the record of a session's end waits for the audit log", "err", err)
		t.look()
		return err
	}
	if err := t.KV.Update(ctx, func(tx store.Tx) error {
		_, err := store.CloseSession(tx, s.row.ID, end)
		return err
	}); err != nil {
		s.Log().Warn("a session's row is Closing, although its record is written", "err", err)
		t.look()
	}
	return nil
}

// write says that the end of a session is written in this process until done, and by nobody else.
func (t *Table) write(id wire.SessionID) (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writing[id] {
		return nil, false
	}
	if t.writing == nil {
		t.writing = map[wire.SessionID]bool{}
	}
	t.writing[id] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.writing, id)
	}, true
}

// sweep claims the rows that hold a slot and whose relay has lost its lease, or does not know of them. started says that this process has just begun: those
// of its own name are of a run before.
func (t *Table) sweep(ctx context.Context, started bool) error {
	var lost, strays []store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		if lost, err = store.LostSessions(tx, t.stray); err == nil {
			strays, err = store.ClosingOf(tx, "") // of the one relay that there was
		}
		return err
	}); err != nil || len(lost)+len(strays) == 0 {
		return err
	}
	if err := t.Journal.Healthy(); err != nil { // let another one claim them, whose log can be written
		return err
	}
	if err := each(ctx, strays, func(ctx context.Context, row store.Session) error {
		return t.adopt(ctx, row, row.LogSize)
	}); err != nil {
		return err
	}
	return each(ctx, lost, func(ctx context.Context, row store.Session) error {
		code, detail, size := wire.RelayLost, fmt.Sprintf("relay %s is gone", row.Relay), t.Journal.Size()
		switch me := t.Lease.Owner(); {
		case row.Owner() == me:
			code, detail = wire.Cancelled, "the relay had no answer when it was opened"
		case row.Relay == me.Name && started:
			code, detail = wire.RelayRestart, "found open at start-up"
		case row.Relay == me.Name:
			detail = "the relay was cut off from the others"
		case row.Relay == "": // of the one relay that there was; if that is this one, its log may have the record
			detail, size = "found open when the relays became several", min(size, row.LogSize)
		}
		end := store.End{Code: code, Reason: reason(code, detail), Sent: row.Sent, Received: row.Received, At: t.Now()}
		mine := false
		if err := t.KV.Update(ctx, func(tx store.Tx) (err error) {
			mine, err = store.ClaimSession(tx, row.ID, end, size)
			return err
		}); err != nil {
			return err
		}
		if mine {
			t.Log.Info("a session of a relay that is gone was ended", "session", row.ID, "relay", row.Relay, "code", code)
			t.changed(row.ID)
		}
		return nil
	})
}

func (t *Table) adopt(ctx context.Context, row store.Session, size uint64) error {
	return t.KV.Update(ctx, func(tx store.Tx) error {
		_, err := store.AdoptSession(tx, row.ID, row.Closer, size)
		return err
	})
}

// Inherit has this relay's log get the records that a relay was to write which never comes back. If that had written one after
// all, there are two: so it is for when its log is gone, and its name is not given to another relay before.
func (t *Table) Inherit(ctx context.Context, relay string) error {
	if !t.shared() || relay == t.Lease.Owner().Name {
		return wire.Errorf(wire.BadRequest, "%q is not another relay", relay)
	}
	var rows []store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		rows, err = store.ClosingOf(tx, relay)
		return err
	}); err != nil {
		return err
	}
	if err := each(ctx, rows, func(ctx context.Context, row store.Session) error {
		return t.adopt(ctx, row, t.Journal.Size())
	}); err != nil {
		return err
	}
	return t.writeEnds(ctx)
}

// Elsewhere is the other relay that has an open session. ok is false if this one has it, nobody has, or there is no such session.
func (t *Table) Elsewhere(ctx context.Context, id wire.SessionID) (o store.Owner, ok bool, err error) {
	if !t.shared() {
		return store.Owner{}, false, nil
	}
	err = t.KV.View(ctx, func(tx store.Tx) error {
		row, err := store.GetSession(tx, id)
		if wire.CodeOf(err) == wire.NotFound {
			ok = false
			return nil
		}
		if err != nil {
			return err
		}
		o = row.Owner()
		if ok = o.Name != t.Lease.Owner().Name && (row.State == store.Waiting || row.State == store.Active); ok {
			ok, err = store.Alive(tx, o)
		}
		return err
	})
	return o, ok, err
}
