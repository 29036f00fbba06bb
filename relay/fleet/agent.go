package fleet

import (
	"sync"
	"time"

	"scrier/relay/presence"
	"scrier/relay/store"
	"scrier/wire"
)

// agent is one envoy's agent: one process, with one link or, while it moves to a better one, with two (move.go).
type agent struct {
	fleet *Fleet
	id    wire.EnvoyID
	boot  string
	links []*agentLink // the newest last, at most maxLinks; guarded by Fleet.mu

	mu      sync.Mutex
	cert    store.Certificate // that the agent is known to have
	issued  store.Certificate // that it was given and has not kept yet; generation 0: none
	expires time.Time         // of the newest of the two
	facts   wire.Facts
	seen    time.Time
	saved   time.Time      // when facts and seen, or those of a link before, were written last
	silent  bool           // it was reported as silent ([Fleet.findSilent]) and has not been heard since
	rival   string         // the address of another machine that was refused while this agent lived
	hold    *presence.Hold // that this relay has the envoy, of several; nil: it has the state for itself
	gone    store.Holder   // the relay that has taken the envoy while this agent's link still answers; zero: none
	settled string         // the reported hostname for which the envoy's name needs no look ([Fleet.followAll])
}

// certificate is the one that the agent is known to have, used now.
func (a *agent) certificate() store.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cert
	c.Time = a.fleet.Now()
	return c
}

// saveTo writes what the agent told to its row.
func (a *agent) saveTo(tx store.Tx) error {
	e, err := store.GetEnvoy(tx, a.id)
	if err != nil {
		return err
	}
	if err := a.describe(&e); err != nil {
		return err
	}
	return store.PutEnvoy(tx, e)
}

// describe puts what the agent told into e.
func (a *agent) describe(e *store.Envoy) (err error) {
	a.mu.Lock()
	facts, seen := a.facts, a.seen
	a.mu.Unlock()
	e.LastSeen, e.Boot, e.Version = seen, a.boot, facts.Version
	e.Facts, err = wire.Marshal(facts)
	return err
}

// timed bounds an agent's facts and adds how far its clock is off. The message's way to us makes
// the clock seem late by half a round trip, which does not matter against minutes.
func (f *Fleet) timed(facts wire.Facts, clock int64) wire.Facts {
	facts = facts.Bounded()
	facts.Offset = wire.Millis(f.Now()) - clock
	return facts
}
