package fleet

import (
	"context"
	"time"

	"scrier/relay/presence"
	"scrier/relay/store"
	"scrier/wire"
)

// Several relays may share a state. An agent has its link to one of them, which has the envoy then ([presence.Board]), and the newest
// link counts, as it does between links to one relay:
//
//	the agent comes to B, and A has the envoy
//	 |- it has said on its link to A that it comes ---> both links stay, new sessions are opened at B
//	 |- A asks it, and it does not answer there ------> A ends that link
//	 '- it answers there, too ------------------------> a copy: as between two links to B
//
// If A cannot be asked the new link counts. A finds that by itself then, and asks its agent.

// Elsewhere is the way to other relays.
type Elsewhere interface {
	// Open is [Fleet.Open] at the relay that has the envoy.
	Open(ctx context.Context, at store.Holder, open *wire.Open, early []byte) (*Tunnel, error)
	// Authenticated is [Fleet.Authenticated] at the relay that has the envoy.
	Authenticated(ctx context.Context, at store.Holder, session wire.SessionID) error
	// Ask is [Fleet.Asked] at the relay that has the envoy.
	Ask(ctx context.Context, at store.Holder, n Newcomer) (Answer, error)
}

// Newcomer is an agent's link that has come to another relay.
type Newcomer struct {
	Envoy wire.EnvoyID
	Move  []byte // the ID by which it was announced; empty: it was not
	At    string // the name of the relay
}

// Answer is what is known of the agent where it was before.
type Answer struct {
	Expected bool              // it has said that it goes there
	Answers  bool              // it answers here as well
	Cert     store.Certificate // its own, if it answers
	Boot     string
}

// askTime is what another relay has to ask its agent, and to answer.
const askTime = 2 * pingTimeout

// Asked says what another relay wants to know of an envoy which has come there, and ends the agent's links if it does not answer
// on them any more.
func (f *Fleet) Asked(ctx context.Context, n Newcomer) (Answer, error) {
	if len(n.Move) > 0 {
		if err := checkMove(n.Move); err != nil {
			return Answer{}, err
		}
	}
	a := f.agent(n.Envoy)
	if a == nil {
		return Answer{}, nil
	}
	if a.expects(n.Move) {
		return Answer{Expected: true}, nil
	}
	answers := ask(ctx, f.linksOf(n.Envoy))
	switch { // what it has said before it answered has arrived by now
	case a.expects(n.Move):
		return Answer{Expected: true}, nil
	case len(answers) == 0:
		f.dropAll(a, wire.Errorf(wire.AgentLost, "the agent connected to relay %s", wire.Printable(n.At)))
		return Answer{}, nil
	}
	return Answer{Answers: true, Cert: a.certificate(), Boot: a.boot}, nil
}

// displaceElsewhere is displace for an envoy that another relay has.
func (f *Fleet) displaceElsewhere(ctx context.Context, l *agentLink) error {
	if f.Board == nil || f.Elsewhere == nil {
		return nil
	}
	at, ok, err := f.Board.Look(ctx, l.id)
	if err != nil || !ok || at.Relay == f.Board.Lease.Owner().Name {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime) // a copy must not decide by hanging up
	defer cancel()
	there, err := f.Elsewhere.Ask(ctx, at, Newcomer{Envoy: l.id, Move: l.move, At: f.Board.Lease.Owner().Name})
	if err != nil {
		f.Log.Warn("ask the relay that had an envoy", "envoy", l.id, "relay", at.Relay, "err", err)
		return nil
	}
	if there.Expected || !there.Answers {
		return nil
	}
	if second := l.certificate(); there.Cert.Generation != second.Generation {
		counts, other := second, there.Cert
		if there.Cert.Generation > second.Generation {
			counts, other = other, counts
		}
		return f.unmasked(ctx, l, &store.Copied{Why: "two machines are connected, each with a certificate of its own", Counts: counts, Other: other})
	}
	f.duplicate(ctx, l, "two live machines: boot "+wire.Printable(l.boot)+" from "+l.link.Peer().Addr.String()+" refused, boot "+wire.Printable(there.Boot)+" at relay "+at.Relay+" kept")
	return &wire.Error{Code: wire.DuplicateIdentity}
}

// hold makes this relay the one that has l's envoy; nil: it has the state for itself.
func (f *Fleet) hold(ctx context.Context, l *agentLink) (*presence.Hold, error) {
	if f.Board == nil {
		return nil, nil
	}
	return f.Board.Take(ctx, l.id, string(l.link.Peer().Road))
}

// noteHold notes that an agent's envoy is this relay's. It is looked at again whether the lease is there: whoever ends the links of a
// lost lease finds either the agent in the table, or has lost it before this.
func (f *Fleet) noteHold(a *agent, h *presence.Hold) error {
	if h == nil {
		return nil
	}
	a.mu.Lock()
	a.hold, a.gone = h, store.Holder{}
	a.mu.Unlock()
	if !f.Board.Lease.Held(h.Owner()) {
		f.dropAll(a, store.ErrLost)
		return store.ErrLost
	}
	return nil
}

// leaves notes that an agent has no link here any more.
func (f *Fleet) leaves(a *agent) {
	a.mu.Lock()
	h := a.hold
	a.mu.Unlock()
	if h != nil {
		f.Board.Leave(h)
	}
}

// leash ends all agents' links whenever the lease is lost, until ctx ends. The agents find another relay.
func (f *Fleet) leash(ctx context.Context) {
	for ctx.Err() == nil {
		o := f.Board.Lease.Owner()
		select {
		case <-ctx.Done():
			return
		case <-f.Board.Lease.While(o).Done():
		}
		f.mu.Lock()
		var lost []*agent
		for _, a := range f.live {
			a.mu.Lock()
			if a.hold != nil && !f.Board.Lease.Held(a.hold.Owner()) {
				lost = append(lost, a)
			}
			a.mu.Unlock()
		}
		f.mu.Unlock()
		for _, a := range lost {
			f.dropAll(a, store.ErrLost)
		}
		for f.Board.Lease.Owner() == o { // until there is the next
			select {
			case <-ctx.Done():
				return
			case <-time.After(leashEvery):
			}
		}
	}
}

// leashEvery is how often it is looked for the next lease.
const leashEvery = time.Second

// watcher is a fleet as its board tells it what has become of its envoys.
type watcher struct{ *Fleet }

// Taken asks, once for each time that another relay takes an envoy, whether the agent is still here; if so, its sessions go on, and
// new ones are opened there.
func (f watcher) Taken(ctx context.Context, now store.Holder) {
	a := f.agent(now.Envoy)
	if a == nil {
		return
	}
	a.mu.Lock()
	known := a.gone == now
	a.gone = now
	a.mu.Unlock()
	if known {
		return
	}
	if len(ask(ctx, f.linksOf(now.Envoy))) > 0 {
		f.Log.Info("an agent is connected to another relay, too", "envoy", now.Envoy, "relay", now.Relay)
		return
	}
	f.dropAll(a, wire.Errorf(wire.AgentLost, "the agent connected to relay %s", now.Relay))
}

// elsewhere is the other relay that has an envoy, as it was some seconds ago.
func (f *Fleet) elsewhere(id wire.EnvoyID) (store.Holder, bool) {
	if f.Board == nil {
		return store.Holder{}, false
	}
	at, ok := f.Board.Elsewhere()[id]
	return at, ok
}

// Serves looks at an envoy of which another relay has taken the row away: it was revoked there, removed, or put into quarantine.
func (f watcher) Serves(ctx context.Context, id wire.EnvoyID) bool {
	err := f.KV.View(ctx, func(tx store.Tx) error { return Current(tx, id) })
	switch wire.CodeOf(err) {
	case wire.None:
		return true
	case wire.Revoked, wire.Quarantined:
		if a := f.agent(id); a != nil {
			f.dropAll(a, err)
		}
	default:
		f.Log.Error("look whether an envoy may be served", "envoy", id, "err", err)
	}
	return false
}

// evict has the relay that has an envoy look whether it may still be served.
func (f *Fleet) evict(tx store.Tx, id wire.EnvoyID) error {
	if f.Board == nil {
		return nil
	}
	return store.EvictEnvoy(tx, id)
}

func (a *agent) isTaken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone != store.Holder{}
}

// openElsewhere opens a session where the envoy is; nil: nowhere else.
func (f *Fleet) openElsewhere(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*Tunnel, error) {
	if f.Elsewhere == nil {
		return nil, nil
	}
	at, ok, err := f.Board.Where(ctx, id)
	if err != nil || !ok || at.Relay == f.Board.Lease.Owner().Name {
		return nil, err
	}
	t, err := f.Elsewhere.Open(ctx, at, open, early)
	if wire.CodeOf(err) == wire.EnvoyOffline { // it may have moved within the last second
		again, ok, lerr := f.Board.Look(ctx, id)
		if lerr == nil && ok && again != at && again.Relay != f.Board.Lease.Owner().Name {
			t, err = f.Elsewhere.Open(ctx, again, open, early)
		}
	}
	if err != nil {
		return nil, err
	}
	t.Stream = &guard{t.Stream, f.Board.Lease, f.Board.Lease.Owner()}
	return t, nil
}

// guarded is a tunnel through which nothing passes when the relay has lost its lease.
func (l *agentLink) guarded(t *Tunnel) *Tunnel {
	if l.fleet.Board == nil {
		return t
	}
	l.mu.Lock()
	h := l.hold
	l.mu.Unlock()
	t.Stream = &guard{t.Stream, l.fleet.Board.Lease, h.Owner()}
	return t
}

// guard is a stream that looks at the clock before anything goes in or comes out: a process that stood still must not serve
// before it has found that it has lost its lease.
type guard struct {
	wire.Stream
	lease presence.Lease
	owner store.Owner
}

func (g *guard) held() error {
	if g.lease.Held(g.owner) {
		return nil
	}
	g.Reset(wire.RelayLost)
	return store.ErrLost
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Stream.Read(p)
	if lost := g.held(); lost != nil {
		return 0, lost
	}
	return n, err
}

func (g *guard) Write(p []byte) (int, error) {
	if err := g.held(); err != nil {
		return 0, err
	}
	return g.Stream.Write(p)
}
