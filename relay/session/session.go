// Package session is a session as such, independent of transport and kind: its row, its slot,
// its life and its end.
//
// A row and a slot are one thing: the slot is taken in the transaction that writes the row and
// given back in the one that closes it. Each session ends once, whoever ends it, and leaves one
// record of its end in the audit log.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

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
}

// Config is what a [Table] works with.
type Config struct {
	KV      store.KV
	Journal Journal
	Now     func() time.Time
	Log     *slog.Logger
	Max     int           // sessions open at once
	MaxAge  time.Duration // of one session
	Grace   time.Duration // how long a session waits for a viewer to come back
	// Changed is called with the id of a session that has changed. It may be nil, and must not block.
	Changed func(wire.SessionID)
}

// Table is the sessions of this relay. Its methods may be called concurrently.
type Table struct {
	Config
	mu     sync.Mutex
	live   map[wire.SessionID]*Session
	over   error                         // why there are no new ones
	undone []func(context.Context) error // rows that could not be closed; at most Max

	tickets tickets
}

// NewTable makes a Table.
func NewTable(c Config) *Table { return &Table{Config: c, live: map[wire.SessionID]*Session{}} }

// Session is one live session.
//
//	Reserve -> waiting ------ Show -------> active
//	              \                           |
//	               `--------- Close ----------'-> closed
type Session struct {
	table  *Table
	row    store.Session // as reserved; immutable
	source string
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer

	sent, received atomic.Uint64 // bytes to and from the envoy

	closeOnce sync.Once
	closed    error

	mu      sync.Mutex
	login   string     // on the machine; empty until Show
	first   Stage      // that of the first Show
	stages  []Stage    // those whose viewers have not gone, in the order of Show
	running int        // stages whose Run has not returned
	closing bool       // no stage may come any more
	exit    *wire.Exit // how the first stage ended
}

// loginName is the account that it got on the machine; empty if there is none.
func (s *Session) loginName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login
}

// Reserve takes a slot and writes the row, state waiting. Whoever reserves must Close.
func (t *Table) Reserve(ctx context.Context, row store.Session, source string) (*Session, error) {
	t.mu.Lock()
	over := t.over
	t.mu.Unlock()
	if over != nil {
		return nil, over
	}
	row.ID, row.Created = wire.NewSessionID(), t.Now()
	if err := t.KV.Update(ctx, func(tx store.Tx) error { return store.ReserveSession(tx, row, t.Max) }); err != nil {
		return nil, err
	}
	s := &Session{table: t, row: row, source: source}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.timer = time.AfterFunc(t.MaxAge, func() {
		s.cancel(wire.Errorf(wire.Expired, "a session lasts at most %s", t.MaxAge))
	})
	t.mu.Lock()
	t.live[row.ID] = s
	if t.over != nil {
		s.End(t.over)
	}
	t.mu.Unlock()
	t.changed(row.ID)
	return s, nil
}

// ID names the session.
func (s *Session) ID() wire.SessionID { return s.row.ID }

// Context ends when the session has to end, and its cause says why. The session's stages watch it.
func (s *Session) Context() context.Context { return s.ctx }

// Envoy is the machine that the session is on.
func (s *Session) Envoy() wire.EnvoyID { return s.row.Envoy }

// Operator is the username of the session's operator, OperatorID their id.
func (s *Session) Operator() string   { return s.row.Operator }
func (s *Session) OperatorID() string { return s.row.OperatorID }

// Grace is how long a stage waits for an owner to come back.
func (s *Session) Grace() time.Duration { return s.table.Grace }

// Log is the table's, with the session's id.
func (s *Session) Log() *slog.Logger { return s.table.Log.With("session", s.row.ID) }

// Changed has to be called when viewers came or went.
func (s *Session) Changed() { s.table.changed(s.row.ID) }

// Attached is what every viewer is told of the session; its stage fills in the rest.
func (s *Session) Attached() *wire.Attached {
	return &wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: s.loginName(),
	}
}

// Count counts bytes to and from the envoy.
func (s *Session) Count(sent, received int) {
	s.sent.Add(uint64(sent))
	s.received.Add(uint64(received))
}

// Intent writes to the audit log what is about to be asked of the envoy, with more fields than every
// session has. It is durable before the envoy hears of the session; if it cannot be written there is
// no session.
func (s *Session) Intent(ctx context.Context, more map[string]string) error {
	e := s.event("scrier.connect")
	maps.Copy(e.Fields, more)
	return s.append(ctx, e)
}

func (s *Session) event(what string) audit.Event {
	return audit.Event{
		Type: what, Operator: s.row.Operator, Envoy: s.row.Envoy.String(), EnvoyName: s.row.EnvoyName,
		Session: s.row.ID.String(), Source: s.source,
		Fields: map[string]string{"kind": s.row.Kind},
	}
}

// activate makes the row active, with the login that the session got.
func (s *Session) activate(ctx context.Context, login string) error {
	s.mu.Lock()
	s.login = login
	s.mu.Unlock()
	defer s.Changed()
	return s.table.KV.Update(ctx, func(tx store.Tx) error {
		return store.ActivateSession(tx, s.row.ID, login, s.table.Now())
	})
}

// End asks for the session's end: [Session.Context] ends, with why as its cause.
func (s *Session) End(why error) { s.cancel(why) }

// Close ends the session for good: one audit record, then the row and its slot. It may be called
// more than once; the first call decides the reason.
func (s *Session) Close(code wire.Code, detail string) error {
	s.closeOnce.Do(func() {
		s.timer.Stop()
		s.cancel(&wire.Error{Code: code, Detail: detail})
		s.closed = s.close(code, detail)
		s.mu.Lock()
		s.closing = true
		none := len(s.stages) == 0
		s.mu.Unlock()
		if none {
			s.table.forget(s) // otherwise it is live until its stages' viewers have gone
		}
		s.Changed()
	})
	return s.closed
}

func (t *Table) forget(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, s.row.ID)
}

func (t *Table) changed(id wire.SessionID) {
	if t.Changed != nil {
		t.Changed(id)
	}
}

func (s *Session) close(code wire.Code, detail string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e := s.event("scrier.disconnect")
	if login := s.loginName(); login != "" {
		e.Fields["login"] = login
	}
	e.Code, e.Detail = code.String(), detail
	e.Fields["sent"], e.Fields["received"] = fmt.Sprint(s.sent.Load()), fmt.Sprint(s.received.Load())
	// The record comes first. After a crash between the two the row is open; the next start finds the
	// record and closes the row. An audit log that cannot be written must not keep slots taken.
	_, jerr := s.table.Journal.AppendEnd(ctx, e)
	if jerr != nil {
		s.table.Log.Error("audit", "session", s.row.ID, "err", jerr)
	}
	err := s.table.closeRow(ctx, s.row.ID, code, detail, s.sent.Load(), s.received.Load())
	if err != nil { // the slot is taken until the row is closed
		s.table.Log.Error("close session", "session", s.row.ID, "err", err)
		s.table.later(func(ctx context.Context) error {
			return s.table.closeRow(ctx, s.row.ID, code, detail, s.sent.Load(), s.received.Load())
		})
	}
	return errors.Join(jerr, err)
}

func (t *Table) closeRow(ctx context.Context, id wire.SessionID, code wire.Code, detail string, sent, received uint64) error {
	return t.KV.Update(ctx, func(tx store.Tx) error {
		_, err := store.CloseSession(tx, id, code, reason(code, detail), sent, received, t.Now())
		return err
	})
}

// reason is what the row shows: the code's name, which scripts compare, before any detail.
func reason(code wire.Code, detail string) string {
	if code == wire.None {
		return "exit"
	}
	if detail == "" {
		return code.String()
	}
	return code.String() + ": " + detail
}
