package web

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/google/uuid"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/wire"
)

// The bounds of what follows the fleet and the sessions.
const (
	operatorStreams = 16  // tabs and windows of one operator
	allStreams      = 256 // of all of them; each costs some pending events
	maxPending      = 1 << 14
	// maxSeen is how many envoys of which nothing but their heartbeat was heard are told in one
	// batch: with ten thousand of them a page would get half a megabyte a second for nothing.
	maxSeen = 200
)

// Events tells open pages what changes. The fleet and the sessions call [Events.Envoy] and
// [Events.Session], which only take a note; [Events.Run] reads what is noted, once for all, and
// lays it into the streams; the goroutine of each stream's request writes it ([api.events]).
//
//	changed -> noted, a set of ids -- every second; sessions after 100 ms --> pending of each stream -> page
//
// Of each envoy and session only the newest state waits, so that a slow page gets fewer events and
// not later ones.
type Events struct {
	batch, soon, ping, write time.Duration

	mu       sync.Mutex
	envoys   map[wire.EnvoyID]struct{} // changed since the last batch
	seen     map[wire.EnvoyID]struct{} // merely heard of
	turn     []wire.EnvoyID            // the same, the one that waits longest first
	sessions map[wire.SessionID]struct{}
	streams  map[*stream]struct{}
	by       map[string]int // streams of each operator

	noted chan struct{} // a session changed; holds one
	ended chan struct{}
	end   sync.Once
}

// NewEvents makes an Events that nobody listens to yet.
func NewEvents() *Events {
	return &Events{
		batch: time.Second, soon: 100 * time.Millisecond, ping: 15 * time.Second, write: writeTimeout,
		envoys: map[wire.EnvoyID]struct{}{}, seen: map[wire.EnvoyID]struct{}{}, sessions: map[wire.SessionID]struct{}{},
		streams: map[*stream]struct{}{}, by: map[string]int{},
		noted: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// Envoy notes that an envoy changed; seen says that it was merely heard of. It does not block.
func (e *Events) Envoy(id wire.EnvoyID, seen bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.streams) == 0 {
		return // a page that comes later begins with a list
	}
	if !seen {
		e.envoys[id] = struct{}{}
		return
	}
	if _, waits := e.seen[id]; !waits {
		e.seen[id] = struct{}{}
		e.turn = append(e.turn, id)
	}
}

// Session notes that a session changed. It does not block.
func (e *Events) Session(id wire.SessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.streams) == 0 {
		return
	}
	e.sessions[id] = struct{}{}
	select {
	case e.noted <- struct{}{}:
	default:
	}
}

// Close ends all streams at once; there are no new ones then.
func (e *Events) Close() { e.end.Do(func() { close(e.ended) }) }

// Operator ends the streams of an operator whose rights are not what they were: who still has some
// comes back.
func (e *Events) Operator(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		if s.who.ID == id {
			s.lose()
		}
	}
}

// stream is one open page.
type stream struct {
	who  access.Operator
	wake chan struct{} // there is something pending; holds one

	mu      sync.Mutex
	pending map[uuid.UUID][]byte // the newest event of each envoy and session
	lost    bool                 // it can no longer be complete
}

// open adds a stream for an operator, and leave takes it away.
func (e *Events) open(who access.Operator) (s *stream, leave func(), err error) {
	s = &stream{who: who, wake: make(chan struct{}, 1), pending: map[uuid.UUID][]byte{}}
	name := who.ID + " " + who.Username + " " + who.Doubt // the host's administrators have no id; who made a link takes no room
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.ended:
		return nil, nil, &wire.Error{Code: wire.RelayShutdown}
	default:
	}
	if e.by[name] >= operatorStreams || len(e.streams) >= allStreams {
		return nil, nil, wire.Errorf(wire.Busy, "%d pages of yours and %d of all operators follow the relay; at most %d and %d can", e.by[name], len(e.streams), operatorStreams, allStreams)
	}
	e.streams[s] = struct{}{}
	e.by[name]++
	return s, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.streams, s)
		if e.by[name]--; e.by[name] == 0 {
			delete(e.by, name)
		}
		if len(e.streams) == 0 {
			clear(e.envoys)
			clear(e.seen)
			clear(e.sessions)
			e.turn = nil
		}
	}, nil
}

// put lays an event into the stream, in place of an older one of the same thing.
func (s *stream) put(id uuid.UUID, event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) >= maxPending {
		s.lost = true
	}
	if !s.lost {
		s.pending[id] = event
	}
	s.ring()
}

// lose ends the stream: the page begins anew with a list.
func (s *stream) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
	s.ring()
}

func (s *stream) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take is what waits, at most about size bytes of it.
func (s *stream) take(size int) (out []byte, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, event := range s.pending {
		if len(out) > 0 && len(out)+len(event) > size {
			s.ring()
			break
		}
		out = append(out, event...)
		delete(s.pending, id)
	}
	return out, s.lost
}

// Run lays what changes into the streams until ctx ends, and ends the streams then.
func (e *Events) Run(ctx context.Context, f *fleet.Fleet, t *session.Table) error {
	defer e.Close()
	batch := time.NewTicker(e.batch)
	defer batch.Stop()
	var soon <-chan time.Time // nil: no session changed
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-batch.C:
			err = e.tellEnvoys(ctx, f)
		case <-e.noted:
			if soon == nil { // the first change counts: others must not put it off
				soon = time.After(e.soon)
			}
		case <-soon:
			soon = nil
			err = e.tellSessions(ctx, t)
		}
		if err != nil && ctx.Err() == nil {
			f.Log.Error("follow the fleet and the sessions", "err", err)
			for _, s := range e.listeners("") { // no page shows for ever what is no longer so
				s.lose()
			}
		}
	}
}

// listeners are the streams whose operator may do verb, or all.
func (e *Events) listeners(verb access.Verb) (out []*stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		if verb == "" || s.who.May(verb) == nil {
			out = append(out, s)
		}
	}
	return out
}

func (e *Events) tellEnvoys(ctx context.Context, f *fleet.Fleet) error {
	ids := e.changedEnvoys()
	if len(ids) == 0 {
		return nil
	}
	found, gone, err := f.Those(ctx, ids)
	if err != nil {
		return err
	}
	to := e.listeners(access.SeeEnvoys)
	for _, v := range found {
		if err := tell(to, v.ID.UUID, "envoy", v); err != nil {
			return err
		}
	}
	for _, id := range gone {
		if err := tell(to, id.UUID, "envoy-gone", Gone{ID: id}); err != nil {
			return err
		}
	}
	return nil
}

// Gone is an envoy that was forgotten.
type Gone struct {
	ID wire.EnvoyID `json:"id"`
}

// changedEnvoys is the next batch.
func (e *Events) changedEnvoys() []wire.EnvoyID {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]wire.EnvoyID, 0, len(e.envoys)+min(len(e.turn), maxSeen))
	for id := range e.envoys {
		ids = append(ids, id)
	}
	n := min(len(e.turn), maxSeen)
	for _, id := range e.turn[:n] {
		delete(e.seen, id)
		if _, too := e.envoys[id]; !too {
			ids = append(ids, id)
		}
	}
	e.turn = e.turn[n:]
	clear(e.envoys)
	return ids
}

func (e *Events) tellSessions(ctx context.Context, t *session.Table) error {
	e.mu.Lock()
	ids := make([]wire.SessionID, 0, len(e.sessions))
	for id := range e.sessions {
		ids = append(ids, id)
	}
	clear(e.sessions)
	e.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	to := e.listeners(access.SeeSessions)
	for _, id := range ids {
		v, err := t.Get(ctx, id)
		if wire.CodeOf(err) == wire.NotFound {
			continue // its row was never written
		}
		if err != nil {
			return err
		}
		var own, others []*stream
		for _, s := range to {
			if v.OperatorID != "" && s.who.ID == v.OperatorID {
				own = append(own, s)
			} else {
				others = append(others, s)
			}
		}
		if err := tell(others, id.UUID, "session", v); err != nil {
			return err
		}
		v.Own = true
		if err := tell(own, id.UUID, "session", v); err != nil {
			return err
		}
	}
	return nil
}

// tell lays one event into several streams, which share its bytes.
func tell(to []*stream, id uuid.UUID, name string, v any) error {
	if len(to) == 0 {
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	event := append(append([]byte("event: "+name+"\ndata: "), data...), "\n\n"...)
	for _, s := range to {
		s.put(id, event)
	}
	return nil
}
