package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"scrier/wire"
)

// Session is one use of one envoy by one operator.
type Session struct {
	ID         wire.SessionID `cbor:"1,keyasint"`
	Operator   string         `cbor:"2,keyasint"` // username at the time
	OperatorID string         `cbor:"3,keyasint"`
	Envoy      wire.EnvoyID   `cbor:"4,keyasint"`
	EnvoyName  string         `cbor:"5,keyasint"` // hostname at the time
	Login      string         `cbor:"6,keyasint,omitempty"`
	Kind       string         `cbor:"7,keyasint"`
	State      State          `cbor:"8,keyasint"`
	Code       wire.Code      `cbor:"9,keyasint,omitempty"`  // why it was closed
	Reason     string         `cbor:"10,keyasint,omitempty"` // the same with detail, for people
	Sent       uint64         `cbor:"11,keyasint,omitempty"` // bytes to the envoy
	Received   uint64         `cbor:"12,keyasint,omitempty"` // bytes from the envoy
	Created    time.Time      `cbor:"13,keyasint,omitzero"`
	Opened     time.Time      `cbor:"14,keyasint,omitzero"`  // became active; zero if it never did
	Closed     time.Time      `cbor:"15,keyasint,omitzero"`  // when it ended, also while it is Closing
	Source     string         `cbor:"16,keyasint,omitempty"` // where the request came from, for the record of the end
	// LogSize is how many records the audit log had before one of this session's end could be in it: who
	// looks for that record begins there.
	LogSize uint64 `cbor:"17,keyasint,omitempty"`
	// Relay is whose it is, of several relays on a state, and Epoch the relay's lease when it began; a row without them is the
	// only relay's. LogSize is of that relay's log.
	Relay string `cbor:"18,keyasint,omitempty"`
	Epoch uint64 `cbor:"19,keyasint,omitempty"`
	// Closer is the relay whose audit log has the record of its end, or is to get it, and EndSize how many records that log had
	// before. There is none while it is open, or if the state has one relay.
	Closer  string `cbor:"20,keyasint,omitempty"`
	EndSize uint64 `cbor:"21,keyasint,omitempty"`
}

// Owner is the relay whose session it is.
func (s Session) Owner() Owner { return Owner{s.Relay, s.Epoch} }

// State is where a session stands.
//
//	ReserveSession ──> Waiting ──ActivateSession──> Active
//	                      │                           │
//	                      ├───────EndSession──────────┤
//	                      │            │              │
//	                      │            v              │
//	                      │         Closing           │
//	                      │            │              │
//	                      └────────CloseSession───────┴──> Closed, for ever
//
// A session holds a slot until it is Closing or Closed. It is Closing if it has ended and the audit log
// does not have the record of that yet.
//
// Where several relays share a state, nobody can look into another's audit log for a record. So it is decided first whose log
// gets it, and each session is Closing for a moment:
//
//	Waiting, Active ──ClaimSession──> Closing ──CloseSession──> Closed
//
// [ClaimSession] is for the relay whose session it is, and for any other one when that relay has lost its lease.
type State uint8

// The states. The numbers are stored.
const (
	Waiting State = 1
	Active  State = 2
	Closed  State = 3
	Closing State = 4
)

// String is the state's stable name.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Active:
		return "active"
	case Closed:
		return "closed"
	case Closing:
		return "closing"
	}
	return fmt.Sprintf("state_%d", uint8(s))
}

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MaxSessions is the most rows that one call of [Sessions] returns.
const MaxSessions = 1000

const (
	sessionPrefix = "session/" // + complement of the id: the newest comes first
	openPrefix    = "open/"    // + id; there is one key for each slot that is taken; its value is the owner
	closingPrefix = "closing/" // + id; there is one key for each record that the audit log lacks; its value is the closer
)

func sessionKey(id wire.SessionID) string {
	u := id.UUID
	for i := range u {
		u[i] = ^u[i]
	}
	return sessionPrefix + hex.EncodeToString(u[:])
}

func openKey(id wire.SessionID) string    { return openPrefix + id.String() }
func closingKey(id wire.SessionID) string { return closingPrefix + id.String() }

// ReserveSession counts the sessions that hold a slot and, if they are fewer than limit, writes s as
// Waiting and takes one. Count and row are one transaction, so there are never more than limit.
// Otherwise it returns [wire.Limit]. While as many are Closing it returns [wire.AuditUnavailable]: so
// what the audit log lacks is bounded too.
//
// Of several relays the session is that of tx ([OwnerOf]), whatever s says. They share the slots, but what a log lacks is held
// against its own relay alone.
func ReserveSession(tx Tx, s Session, limit int) error {
	if s.ID == (wire.SessionID{}) {
		return wire.Errorf(wire.BadRequest, "a session has no id")
	}
	switch _, err := tx.Get(sessionKey(s.ID)); {
	case err == nil:
		return wire.Errorf(wire.Conflict, "the session exists already")
	case !errors.Is(err, ErrNotFound):
		return err
	}
	taken := 0
	for range tx.Scan(openPrefix) {
		taken++
	}
	if taken >= limit {
		return wire.Errorf(wire.Limit, "%d of %d sessions are open", taken, limit)
	}
	owner := OwnerOf(tx)
	closing := 0
	for _, closer := range tx.Scan(closingPrefix) {
		if len(closer) == 0 || string(closer) == owner.Name {
			closing++
		}
	}
	if closing >= limit {
		return wire.Errorf(wire.AuditUnavailable, "the records of the ends of %d sessions are not written yet", closing)
	}
	s.State, s.Code, s.Reason, s.Sent, s.Received = Waiting, wire.None, "", 0, 0
	s.Opened, s.Closed = time.Time{}, time.Time{}
	s.Relay, s.Epoch, s.Closer, s.EndSize = owner.Name, owner.Epoch, "", 0
	if err := tx.Put(openKey(s.ID), owner.value()); err != nil {
		return err
	}
	return put(tx, sessionKey(s.ID), s)
}

// ActivateSession makes a Waiting session Active, with the login it got on the envoy. A session
// that is not Waiting is [wire.Conflict]: it was closed meanwhile.
func ActivateSession(tx Tx, id wire.SessionID, login string, at time.Time) error {
	s, err := GetSession(tx, id)
	if err != nil {
		return err
	}
	if s.State != Waiting {
		return wire.Errorf(wire.Conflict, "the session is %s", s.State)
	}
	if o := OwnerOf(tx); o != (Owner{}) && o != s.Owner() {
		return wire.Errorf(wire.Conflict, "the session is not of this relay's lease")
	}
	s.State, s.Login, s.Opened = Active, login, at
	return put(tx, sessionKey(id), s)
}

// End is how a session ended.
type End struct {
	Code           wire.Code
	Reason         string
	Sent, Received uint64
	At             time.Time
}

// EndSession makes a session Closing and gives its slot back: it has ended, and the audit log, which had
// logSize records before that was tried, does not have the record of it. A session that is Closing or
// Closed already is not changed.
func EndSession(tx Tx, id wire.SessionID, end End, logSize uint64) error {
	s, err := GetSession(tx, id)
	if err != nil || s.State == Closing || s.State == Closed {
		return err
	}
	s.end(end)
	s.State, s.LogSize = Closing, logSize
	if err := tx.Delete(openKey(id)); err != nil {
		return err
	}
	if err := tx.Put(closingKey(id), nil); err != nil {
		return err
	}
	return put(tx, sessionKey(id), s)
}

// ClaimSession makes a session Closing, gives its slot back, and decides that the audit log of the relay that tx belongs to, which
// has logSize records now, gets the record of the end. The session is that relay's, or one of a relay that has lost its lease; that of
// another one is [wire.Conflict]. What is Closing or Closed already is not changed: so of all that claim one session, exactly one learns
// that it did, and may write the record without looking for one.
func ClaimSession(tx Tx, id wire.SessionID, end End, logSize uint64) (claimed bool, err error) {
	o := OwnerOf(tx)
	s, err := GetSession(tx, id)
	if err != nil || s.State == Closing || s.State == Closed {
		return false, err
	}
	if s.Owner() != o {
		alive, err := Alive(tx, s.Owner())
		if err == nil && alive {
			err = wire.Errorf(wire.Conflict, "the session is of relay %s, which is there", s.Relay)
		}
		if err != nil {
			return false, err
		}
	}
	s.end(end)
	s.State, s.Closer, s.EndSize = Closing, o.Name, logSize
	if err := tx.Delete(openKey(id)); err != nil {
		return false, err
	}
	if err := tx.Put(closingKey(id), []byte(o.Name)); err != nil {
		return false, err
	}
	return true, put(tx, sessionKey(id), s)
}

// AdoptSession has another log get the record of the end of a session that is Closing: that of the relay that tx belongs to,
// which has logSize records now, instead of the relay from, which has no lease and does not come back. mine is false if that
// is not so any more. If from had written it after all, there are two: this is for when its log is gone, too.
func AdoptSession(tx Tx, id wire.SessionID, from string, logSize uint64) (mine bool, err error) {
	s, err := GetSession(tx, id)
	if err != nil || s.State != Closing || s.Closer != from {
		return false, err
	}
	switch _, err := get[Lease](tx, LeasePrefix+from); {
	case err == nil:
		return false, wire.Errorf(wire.Conflict, "relay %s is there", from)
	case !errors.Is(err, ErrNotFound):
		return false, err
	}
	s.Closer, s.EndSize = OwnerOf(tx).Name, logSize
	if err := tx.Put(closingKey(id), []byte(s.Closer)); err != nil {
		return false, err
	}
	return true, put(tx, sessionKey(id), s)
}

// CloseSession makes a session Closed and gives its slot back. One that is Closing keeps the end that it
// had. Closed is final: for a session that is Closed already it changes nothing and returns false, so
// that of several that close one session exactly one learns that it did. Of several relays only the one whose log has
// the record closes a session.
func CloseSession(tx Tx, id wire.SessionID, end End) (changed bool, err error) {
	s, err := GetSession(tx, id)
	if err != nil {
		return false, err
	}
	if o := OwnerOf(tx); o != (Owner{}) && s.State != Closed && (s.State != Closing || s.Closer != o.Name) {
		return false, wire.Errorf(wire.Conflict, "the session is %s, and its end is for relay %s to write", s.State, s.Closer)
	}
	switch s.State {
	case Closed:
		return false, nil
	case Closing:
		err = tx.Delete(closingKey(id))
	default:
		s.end(end)
		err = tx.Delete(openKey(id))
	}
	if err != nil {
		return false, err
	}
	s.State = Closed
	return true, put(tx, sessionKey(id), s)
}

func (s *Session) end(e End) {
	s.Code, s.Reason, s.Sent, s.Received, s.Closed = e.Code, e.Reason, e.Sent, e.Received, e.At
}

// GetSession finds a session, or returns [wire.NotFound].
func GetSession(tx Tx, id wire.SessionID) (Session, error) {
	s, err := get[Session](tx, sessionKey(id))
	return s, missing(err, wire.NotFound, "there is no session %s", id)
}

// OpenSessions lists the sessions that hold a slot, oldest first.
func OpenSessions(tx Tx) ([]Session, error) { return indexed(tx, openPrefix, every) }

// ClosingSessions lists the sessions that are Closing, oldest first.
func ClosingSessions(tx Tx) ([]Session, error) { return indexed(tx, closingPrefix, every) }

// ClosingOf lists those whose record is to be in the audit log of a relay; "": of the only one.
func ClosingOf(tx Tx, closer string) ([]Session, error) {
	return indexed(tx, closingPrefix, func(_ wire.SessionID, value []byte) bool { return string(value) == closer })
}

// LostSessions lists the sessions that hold a slot and whose relay has lost the lease of then, and of others those that stray says,
// oldest first; nil: none. To look for them costs little while there are none.
func LostSessions(tx Tx, stray func(Owner, wire.SessionID) bool) ([]Session, error) {
	alive, err := living(tx)
	if err != nil {
		return nil, err
	}
	return indexed(tx, openPrefix, func(id wire.SessionID, value []byte) bool {
		o := ownerIn(value)
		return !alive[o] || stray != nil && stray(o, id)
	})
}

func every(wire.SessionID, []byte) bool { return true }

func indexed(tx Tx, prefix string, match func(id wire.SessionID, value []byte) bool) ([]Session, error) {
	var found []Session
	for key, value := range tx.Scan(prefix) {
		id, err := wire.ParseSessionID(strings.TrimPrefix(key, prefix))
		if err != nil {
			return nil, fmt.Errorf("read index %q: %w", key, err)
		}
		if !match(id, value) {
			continue
		}
		s, err := get[Session](tx, sessionKey(id))
		if err != nil {
			return nil, fmt.Errorf("read session %s of index %q: %w", id, prefix, err)
		}
		found = append(found, s)
	}
	return found, nil
}

// Sessions lists sessions of every state, newest first, at most limit and at most [MaxSessions].
// It begins after the session named by cursor, the last one of the page before; the zero cursor
// begins with the newest.
func Sessions(tx Tx, limit int, cursor wire.SessionID) ([]Session, error) {
	from := sessionPrefix
	if cursor != (wire.SessionID{}) {
		from = sessionKey(cursor) + "\x00"
	}
	limit = min(limit, MaxSessions)
	var page []Session
	for key, data := range tx.ScanFrom(sessionPrefix, from) {
		if len(page) >= limit {
			break
		}
		s, err := decode[Session](key, data)
		if err != nil {
			return nil, err
		}
		page = append(page, s)
	}
	return page, nil
}
