// Package session is a session as such, independent of transport and kind: its row, its slot,
// its life and its end.
//
// A row and a slot are one thing: the slot is taken in the transaction that writes the row and
// given back in the one that ends it. Each session ends once, whoever ends it, and leaves one
// record of its end in the audit log: if that cannot be written, the row keeps it until it can
// (record.go). A panic in what a session does ends that session alone (guard.go).
package session

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/audit"
	"scrier/relay/panics"
	"scrier/relay/store"
	"scrier/wire"
)

// Config is what a [Table] works with.
type Config struct {
	KV      store.KV
	Lease   Lease // the relay's, if several share the state: KV changes it while the relay has its lease; nil: it has it for itself
	Journal Journal
	Now     func() time.Time
	Log     *slog.Logger
	Max     int           // sessions open at once, of all relays that share the state
	MaxAge  time.Duration // of one session
	Grace   time.Duration // how long a session waits for a viewer to come back
	// AuditGrace is how long sessions go on while the audit log cannot be written.
	AuditGrace time.Duration
	Panics     *panics.Boundary // where panics of sessions end; nil: one of the table's own
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
	down   error                         // why the audit log cannot be written; nil: it can
	doom   *time.Timer                   // ends what is live when it is down for too long
	// Where several relays share the state: sessions whose end is being written now, and those whose rows somebody here takes care of.
	writing, cared map[wire.SessionID]bool

	leaving chan struct{} // closed by EndAll
	nudge   chan struct{} // has Run look at the audit log; holds one
	reads   chan struct{} // of maxReads
	paced   pace
	tickets tickets
	tallies tallies
}

// NewTable makes a Table.
func NewTable(c Config) *Table {
	if c.Panics == nil {
		c.Panics = &panics.Boundary{Log: c.Log}
	}
	return &Table{Config: c, live: map[wire.SessionID]*Session{}, leaving: make(chan struct{}), nudge: make(chan struct{}, 1), reads: make(chan struct{}, maxReads), tallies: newTallies()}
}

// Session is one live session.
//
//	Reserve -> waiting --- First().Show --> active
//	              \                           |
//	               `--------- Close ----------'-> closed, or closing until its record is written
type Session struct {
	table  *Table
	row    store.Session // as reserved; immutable
	ctx    context.Context
	cancel context.CancelCauseFunc
	asked  context.Context // its end: somebody has asked for the session's
	ask    context.CancelCauseFunc
	timer  *time.Timer
	off    func() bool // lets it go on when the relay loses its lease, as it has ended

	dialogue *Dialogue

	sent, received atomic.Uint64 // bytes to and from the envoy

	closeOnce sync.Once
	closed    error

	first *Channel

	mu         sync.Mutex
	login      string     // on the machine; empty until Show
	connection Connection // what more channels are opened on; nil: there are none
	channels   []*Channel // those whose viewers have not gone, in the order of Show
	last       uint32     // the number of the newest channel
	running    int        // channels that are open, or being opened
	full       int        // of how many the machine took no more; 0: it always did
	closing    bool       // no channel may come any more
	exit       *wire.Exit // how the first channel ended
	phase      phase
}

// loginName is the account that it got on the machine; empty if there is none.
func (s *Session) loginName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login
}

// Reserve takes a slot and writes the row, state waiting. Whoever reserves must Close. allow says, in
// the transaction that writes the row, whether there may be such a session; nil: it may. It is asked
// again when the session can be found by whoever ends sessions: who takes the right away writes that
// first and looks for sessions then, so either they find the session, or allow finds what they wrote.
func (t *Table) Reserve(ctx context.Context, row store.Session, allow func(store.Tx) error) (*Session, error) {
	t.mu.Lock()
	over := t.over
	if over == nil {
		over = t.down
	}
	t.mu.Unlock()
	if over != nil {
		return nil, over
	}
	if allow == nil {
		allow = func(store.Tx) error { return nil }
	}
	row.ID, row.Created, row.LogSize = wire.NewSessionID(), t.Now(), t.Journal.Size()
	t.care(row.ID)
	err := t.KV.Update(ctx, func(tx store.Tx) error {
		if err := allow(tx); err != nil {
			return err
		}
		o := store.OwnerOf(tx)
		row.Relay, row.Epoch = o.Name, o.Epoch
		return store.ReserveSession(tx, row, t.Max)
	})
	if err != nil {
		t.careNoMore(row.ID) // the row may be there all the same: sweep finds it
		return nil, err
	}
	s := &Session{table: t, row: row}
	t.tallies.of(row.Kind).waiting.Add(1)
	s.dialogue = newDialogue(s)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.asked, s.ask = context.WithCancelCause(context.Background())
	s.first = s.newChannelLocked()
	s.timer = time.AfterFunc(t.MaxAge, func() {
		s.cancel(wire.Errorf(wire.Expired, "a session lasts at most %s", wire.Period(t.MaxAge)))
	})
	s.off = s.leash()
	t.mu.Lock()
	t.live[row.ID] = s
	if t.over != nil {
		s.End(t.over)
	}
	t.mu.Unlock()
	t.changed(row.ID)
	if err := t.KV.View(ctx, allow); err != nil {
		if ctx.Err() != nil {
			err = wire.Cause(ctx, wire.Cancelled)
		}
		return nil, errors.Join(err, s.Close(wire.CodeOf(err), wire.DetailOf(err)))
	}
	return s, nil
}

// ID names the session.
func (s *Session) ID() wire.SessionID { return s.row.ID }

// Context ends when the session has to end, and its cause says why. Those of its channels end then too.
func (s *Session) Context() context.Context { return s.ctx }

// Envoy is the machine that the session is on.
func (s *Session) Envoy() wire.EnvoyID { return s.row.Envoy }

// Operator is the username of the session's operator, OperatorID their id.
func (s *Session) Operator() string   { return s.row.Operator }
func (s *Session) OperatorID() string { return s.row.OperatorID }

// Source is the address from which the session was asked for.
func (s *Session) Source() string { return s.row.Source }

// Grace is how long a stage waits for an owner to come back.
func (s *Session) Grace() time.Duration { return s.table.Grace }

// Leaving is closed when the relay ends. Sessions end then, and so does what waits behind the end of one.
func (s *Session) Leaving() <-chan struct{} { return s.table.leaving }

// Log is the table's, with the session's id.
func (s *Session) Log() *slog.Logger { return s.table.Log.With("session", s.row.ID) }

// Changed has to be called when viewers came or went.
func (s *Session) Changed() { s.table.changed(s.row.ID) }

func (s *Session) attached() *wire.Attached {
	a := &wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: s.loginName(),
		Grace: uint32(min(s.Grace()/time.Second, math.MaxUint32)), Channel: true,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connection != nil {
		a.Rights = s.connection.Rights()
	}
	return a
}

func (s *Session) count(sent, received int) {
	s.sent.Add(uint64(sent))
	s.received.Add(uint64(received))
}

// Intent writes to the audit log what is about to be asked of the envoy, with more fields than every
// session has. It is durable before the envoy hears of the session; if it cannot be written there is
// no session.
func (s *Session) Intent(ctx context.Context, more map[string]string) error {
	s.first.fields = more
	e := s.event(connectType)
	maps.Copy(e.Fields, more)
	return s.append(ctx, e)
}

func (s *Session) event(what string) audit.Event { return eventOf(s.row, what) }

// activate makes the row active, with the login that the session got.
func (s *Session) activate(ctx context.Context, login string) error {
	s.mu.Lock()
	s.login = login
	s.mu.Unlock()
	defer s.Changed()
	err := s.table.KV.Update(ctx, func(tx store.Tx) error {
		return store.ActivateSession(tx, s.row.ID, login, s.table.Now())
	})
	if err == nil {
		s.becomes(active)
	}
	return err
}

// End asks for the session's end: [Session.Context] ends, with why as its cause.
func (s *Session) End(why error) {
	s.cancel(why)
	s.ask(why)
}

// Asked ends, with the reason, when somebody asks for the session's end, also of one that has ended by itself already: what
// waits behind its end is to go, too.
func (s *Session) Asked() context.Context { return s.asked }

// Close ends the session for good: one audit record, then the row and its slot. If the record cannot be
// written now, the row keeps it and the slot is free all the same. It may be called more than once; the
// first call decides the reason.
func (s *Session) Close(code wire.Code, detail string) error {
	s.closeOnce.Do(func() {
		s.timer.Stop()
		s.off()
		s.cancel(&wire.Error{Code: code, Detail: detail})
		s.closed = s.close(code, detail)
		s.becomes(over)
		s.table.tallies.of(s.row.Kind).ended.Count(code)
		s.mu.Lock()
		s.closing = true
		none := len(s.channels) == 0
		s.mu.Unlock()
		if none {
			s.table.forget(s) // otherwise it is live until its channels' viewers have gone
		}
		s.Changed()
	})
	return s.closed
}

func (t *Table) forget(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[s.row.ID] != s {
		return
	}
	delete(t.live, s.row.ID)
	k := t.tallies.of(s.row.Kind) // what it says must not become less
	k.sent, k.received = k.sent+s.sent.Load(), k.received+s.received.Load()
}

func (t *Table) changed(id wire.SessionID) {
	if t.Changed != nil {
		t.Changed(id)
	}
}

func (s *Session) close(code wire.Code, detail string) error {
	t := s.table
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	end := store.End{Code: code, Reason: reason(code, detail), Sent: s.sent.Load(), Received: s.received.Load(), At: t.Now()}
	if t.shared() {
		return s.closeShared(ctx, end)
	}
	// The record comes first. After a crash between the two the row is open; the next start finds the
	// record and closes the row. An audit log that cannot be written must not keep slots taken.
	size := t.Journal.Size()
	_, jerr := t.Journal.AppendEnd(ctx, s.record(end))
	row := func(ctx context.Context) error {
		defer s.Changed()
		return t.KV.Update(ctx, func(tx store.Tx) error {
			if jerr != nil {
				return store.EndSession(tx, s.row.ID, end, size)
			}
			_, err := store.CloseSession(tx, s.row.ID, end)
			return err
		})
	}
	if jerr != nil {
		t.Log.Error("the record of a session's end waits for the audit log", "session", s.row.ID, "err", jerr)
	}
	err := row(ctx)
	if err != nil { // the slot is taken until the row is written
		t.Log.Error("close session", "session", s.row.ID, "err", err)
		t.later(row)
	}
	if jerr != nil {
		t.look()
	}
	return errors.Join(jerr, err)
}

// record is that of the session's end.
func (s *Session) record(end store.End) audit.Event {
	e := endEvent(s.row, s.loginName(), end)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exit != nil && s.last == 1 {
		ended(e.Fields, s.exit)
	}
	return e
}

// reason is what the row shows: the code's name, which scripts compare, before any detail.
func reason(code wire.Code, detail string) string {
	if code == wire.None {
		return "exit"
	}
	if detail == "" {
		return code.String()
	}
	return code.String() + ": " + cut(detail)
}

// cut shortens what a server or an agent may have said.
func cut(detail string) string {
	if len(detail) > maxDetail {
		return strings.ToValidUTF8(detail[:maxDetail], "") + "…"
	}
	return detail
}

// maxDetail is how much of a detail a row keeps, in bytes.
const maxDetail = 1024

// detailOf is the detail in the reason of a row.
func detailOf(code wire.Code, why string) string {
	if bare := reason(code, ""); len(why) > len(bare) {
		return why[len(bare)+len(": "):]
	}
	return ""
}
