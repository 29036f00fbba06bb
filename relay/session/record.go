package session

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Journal is the part of the audit log that is needed here.
type Journal interface {
	Append(ctx context.Context, e audit.Event) (audit.Record, error)
	AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) // also when the disk is nearly full
	Records(ctx context.Context, from uint64, limit int) ([]audit.Record, error)
	Size() uint64
	// Healthy says whether the log can be written. When it returns nil, every Append from before that
	// was given up, and yet got through, is in the log.
	Healthy() error
}

const (
	connectType = "scrier.connect"
	endType     = "scrier.disconnect"

	// lookEvery is how often the audit log is looked at, and what could not be written is tried again.
	lookEvery = 5 * time.Second

	// restartScan is how far back in the audit log a session's end is looked for at least: after a
	// rollback a row may say that it can only be in records that are gone.
	restartScan = 10_000
)

// Run watches the audit log and writes what could not be written before, until ctx ends; a restart
// writes the rest.
func (t *Table) Run(ctx context.Context) error {
	every := lookEvery
	if t.shared() {
		every = sweepEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer t.spare()
	for {
		err := t.Journal.Healthy()
		t.healthy(err)
		t.retry(ctx)
		if err == nil && t.shared() && t.Lease.Held(t.Lease.Owner()) {
			if err := t.sweep(ctx, false); err != nil && ctx.Err() == nil {
				t.Log.Error("look for sessions of relays that are gone", "err", err)
			}
		}
		if err == nil {
			if err := t.writeEnds(ctx); err != nil && ctx.Err() == nil {
				t.Log.Error("write the records of sessions' ends", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-t.nudge:
		}
	}
}

// spare has nothing end for want of an audit log that nobody watches any more.
func (t *Table) spare() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doom != nil {
		t.doom.Stop()
	}
}

// look has Run look at the audit log now.
func (t *Table) look() {
	select {
	case t.nudge <- struct{}{}:
	default:
	}
}

// healthy takes note whether the audit log can be written. While it cannot there are no new sessions,
// and those that are live end after AuditGrace.
func (t *Table) healthy(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.down
	t.down = err
	switch {
	case err == nil && before != nil:
		t.doom.Stop()
		t.Log.Info("the audit log can be written again")
	case err != nil && before == nil:
		t.Log.Error("the audit log cannot be written: no session opens, and those that are open end", "in", t.AuditGrace, "err", err)
		t.doom = time.AfterFunc(t.AuditGrace, func() {
			t.EndWhere(func(store.Session) bool { return true },
				wire.Errorf(wire.AuditUnavailable, "the audit log could not be written for %s, so the session was ended", wire.Period(t.AuditGrace)))
		})
	}
}

func (t *Table) later(f func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.undone = append(t.undone, f)
}

func (t *Table) retry(ctx context.Context) {
	t.mu.Lock()
	undone := t.undone
	t.undone = nil
	t.mu.Unlock()
	for _, f := range undone {
		if err := f(ctx); err != nil {
			t.later(f)
		}
	}
}

// append writes what has to be in the log before something may go on.
func (s *Session) append(ctx context.Context, e audit.Event) error {
	_, err := s.table.Journal.Append(ctx, e)
	if err != nil {
		s.table.look()
	}
	return err
}

// prompt is a [Journal] in which many records share a commit.
type prompt interface {
	AppendSoon(ctx context.Context, e audit.Event) (written func() error)
}

// appendSoon is append whose record is on its way when it returns.
func (s *Session) appendSoon(ctx context.Context, e audit.Event) (written func() error) {
	p, ok := s.table.Journal.(prompt)
	if !ok {
		err := s.append(ctx, e)
		return func() error { return err }
	}
	wait := p.AppendSoon(ctx, e)
	return func() error {
		err := wait()
		if err != nil {
			s.table.look()
		}
		return err
	}
}

func eventOf(row store.Session, what string) audit.Event {
	return audit.Event{
		Type: what, Operator: row.Operator, Envoy: row.Envoy.String(), EnvoyName: row.EnvoyName,
		Session: row.ID.String(), Source: row.Source,
		Fields: map[string]string{"kind": row.Kind},
	}
}

// endEvent is the record of a session's end; login is the account that it got, empty if it got none.
func endEvent(row store.Session, login string, end store.End) audit.Event {
	e := eventOf(row, endType)
	if login != "" {
		e.Fields["login"] = login
	}
	e.Code, e.Detail = end.Code.String(), detailOf(end.Code, end.Reason)
	e.Fields["sent"], e.Fields["received"] = fmt.Sprint(end.Sent), fmt.Sprint(end.Received)
	return e
}

// writeEnds writes the records that rows of ended sessions keep, and closes the rows. A record that is
// in the log already, because the write that failed got through or because of a crash between record
// and row, is not written again.
func (t *Table) writeEnds(ctx context.Context) error {
	var rows []store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		if t.shared() {
			rows, err = store.ClosingOf(tx, t.Lease.Owner().Name)
		} else {
			rows, err = store.ClosingSessions(tx)
		}
		return err
	}); err != nil || len(rows) == 0 {
		return err
	}
	if t.shared() { // what is being written has a row already
		mine := rows[:0]
		for _, row := range rows {
			if done, ok := t.write(row.ID); ok {
				defer done()
				mine = append(mine, row)
			}
		}
		rows = mine
	}
	if err := t.Journal.Healthy(); err != nil { // what was given up before these rows were written is in the log now, or will never be
		return err
	}
	written, err := t.written(ctx, rows)
	if err != nil {
		return err
	}
	return each(ctx, rows, func(ctx context.Context, row store.Session) error {
		end := store.End{Code: row.Code, Reason: row.Reason, Sent: row.Sent, Received: row.Received, At: row.Closed}
		if !written[row.ID.String()] {
			login := ""
			if !row.Opened.IsZero() {
				login = row.Login
			}
			e := endEvent(row, login, end)
			if row.Closer != "" && (row.Code == wire.RelayLost || row.Code == wire.RelayRestart) {
				delete(e.Fields, "sent") // nobody knows
				delete(e.Fields, "received")
				e.Fields["relay"] = row.Relay // whose it was
			}
			e.Fields["ended"] = row.Closed.UTC().Format(time.RFC3339) // the record's own time is later
			if _, err := t.Journal.AppendEnd(ctx, e); err != nil {
				return err
			}
		}
		if err := t.closeRow(ctx, row.ID, end); err != nil {
			return err
		}
		t.Log.Info("the record of a session's end was written", "session", row.ID)
		return nil
	})
}

// Restart closes the rows that are open because the relay did not end in order, and writes what a former
// run could not write. If the record of a session's end was written before that, it is not written again.
//
// Of several relays each closes its own; those of others only if these have lost their lease.
func (t *Table) Restart(ctx context.Context) error {
	if t.shared() {
		if err := t.sweep(ctx, true); err != nil {
			return err
		}
		return t.writeEnds(ctx)
	}
	var open []store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		open, err = store.OpenSessions(tx)
		return err
	}); err != nil {
		return err
	}
	written, err := t.written(ctx, open)
	if err != nil {
		return err
	}
	if err := each(ctx, open, func(ctx context.Context, row store.Session) error {
		end := store.End{Code: wire.RelayRestart, Reason: reason(wire.RelayRestart, ""), Sent: row.Sent, Received: row.Received, At: t.Now()}
		if !written[row.ID.String()] {
			e := eventOf(row, endType)
			e.Code, e.Detail = wire.RelayRestart.String(), "found open at start-up"
			if _, err := t.Journal.AppendEnd(ctx, e); err != nil {
				return err
			}
		}
		if err := t.closeRow(ctx, row.ID, end); err != nil {
			return err
		}
		t.Log.Info("closed a session that a former run left open", "session", row.ID)
		return nil
	}); err != nil {
		return err
	}
	return t.writeEnds(ctx)
}

// atOnce is how many ended sessions are written at the same time: they share commits, of which each would else
// have two for itself.
const atOnce = 256

// each calls f for each of rows, for some at the same time. After an error it begins no others, and ends those
// that wait.
func each(ctx context.Context, rows []store.Session, f func(context.Context, store.Session) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, row := range rows {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(gctx, row) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // some may not have begun
}

func (t *Table) closeRow(ctx context.Context, id wire.SessionID, end store.End) error {
	defer t.changed(id)
	return t.KV.Update(ctx, func(tx store.Tx) error {
		_, err := store.CloseSession(tx, id, end)
		return err
	})
}

// written finds out which of these sessions have the record of their end in the log.
func (t *Table) written(ctx context.Context, rows []store.Session) (map[string]bool, error) {
	ended := map[string]bool{}
	if len(rows) == 0 {
		return ended, nil
	}
	size := t.Journal.Size()
	from := size - min(size, restartScan)
	for _, row := range rows {
		switch {
		case row.Closer != "": // its log is this one
			from = min(from, row.EndSize)
		case row.LogSize > 0: // an older relay's rows do not say it
			from = min(from, row.LogSize)
		}
	}
	for from < size {
		records, err := t.Journal.Records(ctx, from, audit.MaxRecords)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			break
		}
		for _, r := range records {
			if r.Type == endType {
				ended[r.Session] = true
			}
		}
		from += uint64(len(records))
	}
	return ended, nil
}
