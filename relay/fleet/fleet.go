// Package fleet knows the envoys: it enrols them, keeps their agents' links, renews their
// certificates, and opens sessions' streams to them.
//
// An envoy's identity is that of its verified certificate; no message can claim another one. Two
// machines that have one identity are found by the certificates that they use ([store.Envoy.Use]), and
// the envoy is put into quarantine.
// What an agent says of itself (facts, host keys) is shown and pinned, but decides nothing about
// who it is.
package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/lane"
	"scrier/relay/panics"
	"scrier/relay/presence"
	"scrier/relay/store"
	"scrier/wire"
)

// Journal is the part of the audit log that is needed here.
type Journal interface {
	Append(ctx context.Context, e audit.Event) (audit.Record, error)
	AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) // also when the disk is nearly full
}

// Config is what a [Fleet] works with.
type Config struct {
	KV      store.KV
	CA      *certs.CA
	Journal Journal
	Now     func() time.Time
	Log     *slog.Logger
	Name    string           // the relay's, told to agents
	Lanes   *lane.Lanes      // where sessions' streams may get lanes; nil: nowhere
	Panics  *panics.Boundary // where panics of agents' links end; nil: one of the fleet's own
	// MakesTokens says whether an operator of this role may make enrolment tokens.
	MakesTokens func(role string) bool
	// Lost is called when an envoy can serve no more sessions: its link ended or was replaced, or
	// it was revoked or put into quarantine. It ends the envoy's sessions and must not block for long.
	Lost func(wire.EnvoyID, error)
	// Board is where the relays that share a state say which has which envoy; nil: this one has the state for itself.
	Board *presence.Board
	// Elsewhere reaches envoys whose agents are connected to other relays; nil: nobody does.
	Elsewhere Elsewhere
	// Changed is called after an envoy changed in a way that a list of envoys shows, or was removed.
	// seen says that only a heartbeat came. It must not block. Nil: nobody watches.
	Changed func(id wire.EnvoyID, seen bool)
}

// Fleet is the envoys and the agents that are connected. Its methods may be called
// concurrently.
type Fleet struct {
	Config

	mu    sync.Mutex
	live  map[wire.EnvoyID]*agent
	turns map[wire.EnvoyID]*turn
	gone  []*agent // to be written; see saveGone
	known int      // envoys that may come back; see spread.go

	looked time.Time // when [Fleet.findGone] did last; guarded by mu

	saving sync.Mutex // one saveGone at a time

	copies audit.Repeats // of envoy.duplicate, by envoy
	rolls  rolls
	moved  moved
}

// New makes a Fleet.
func New(c Config) *Fleet {
	if c.Panics == nil {
		c.Panics = &panics.Boundary{Log: c.Log}
	}
	return &Fleet{
		Config: c, live: map[wire.EnvoyID]*agent{}, turns: map[wire.EnvoyID]*turn{},
		copies: audit.Repeats{Journal: c.Journal, Every: time.Minute, Keys: maxCopies, Now: c.Now},
	}
}

// maxCopies is of how many envoys the refused copies are counted apart.
const maxCopies = 1024

// heartbeats is how often agents report; a report may be missed before an envoy counts as stale.
const (
	heartbeats = 15 * time.Second
	staleAfter = 40 * time.Second
	// saveEvery is how often what an agent reports is written, while it is connected: a write for each heartbeat of
	// ten thousand agents would keep the disk busy with nothing. A relay that is killed forgets no more than that.
	saveEvery = 5 * time.Minute
	maxSaves  = 512 // agents in one transaction, which other changes wait for
)

// Run looks after the agents that are connected, and writes what they report, at intervals, until ctx ends. Who watches
// does not wait for the disk: it may hang.
func (f *Fleet) Run(ctx context.Context) error {
	var writer sync.WaitGroup
	defer writer.Wait()
	var err error
	writer.Go(func() { err = f.write(ctx) })
	writer.Go(func() { f.serveRests(ctx) })
	if f.Board != nil {
		writer.Go(func() { _ = f.Board.Run(ctx, watcher{f}) }) // it returns nil
		writer.Go(func() { f.leash(ctx) })
	}
	look := time.NewTicker(silentEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			writer.Wait()
			return err
		case <-look.C:
			f.findSilent()
			f.findExpired()
			f.findGone()
		}
	}
}

// write is the part of Run that waits for the disk.
func (f *Fleet) write(ctx context.Context) error {
	due, count := time.NewTicker(silentEvery), time.NewTicker(countEvery)
	defer due.Stop()
	defer count.Stop()
	f.count(ctx)
	for {
		select {
		case <-ctx.Done():
			ctx = context.WithoutCancel(ctx)
			return errors.Join(f.copies.Close(ctx), f.save(ctx))
		case <-due.C:
			f.followAll(ctx)
			if err := f.copies.Flush(ctx); err != nil {
				f.Log.Error("audit", "err", err)
			}
			if err := f.saveDue(ctx); err != nil {
				f.Log.Error("save the envoys' facts", "err", err)
			}
		case <-count.C:
			f.count(ctx)
		}
	}
}

// saveDue writes the facts of agents that were not written for a while, some at a time. Those that could not be written
// are due again the next time.
func (f *Fleet) saveDue(ctx context.Context) error {
	var due []*agent
	var last []time.Time // when each was written before
	now := f.Now()
	f.mu.Lock()
	for _, a := range f.live {
		a.mu.Lock()
		if now.Sub(a.saved).Abs() >= saveEvery && len(due) < maxSaves { // the map is read in another order each time
			due, last = append(due, a), append(last, a.saved)
			a.saved = now
		}
		a.mu.Unlock()
	}
	f.mu.Unlock()
	err := f.saveAll(ctx, due)
	if err != nil {
		for i, a := range due {
			a.mu.Lock()
			a.saved = last[i]
			a.mu.Unlock()
		}
	}
	return err
}

// save writes the facts of all connected agents.
func (f *Fleet) save(ctx context.Context) error {
	f.mu.Lock()
	agents := make([]*agent, 0, len(f.live))
	for _, a := range f.live {
		agents = append(agents, a)
	}
	f.mu.Unlock()
	return f.saveAll(ctx, agents)
}

// saveAll writes the facts of some agents.
func (f *Fleet) saveAll(ctx context.Context, agents []*agent) error {
	for some := range slices.Chunk(agents, max(1, min(maxSaves, store.MaxWrites(f.KV)/store.EnvoyWrites))) {
		if err := f.KV.Update(ctx, func(tx store.Tx) error {
			for _, a := range some {
				if err := a.saveTo(tx); err != nil && wire.CodeOf(err) != wire.NoSuchEnvoy {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// saveGone writes the facts of an agent whose link has ended. Those that go while the disk is busy share
// the next transaction: a whole fleet may go at the same moment, and is back before ten thousand are done.
func (f *Fleet) saveGone(a *agent) error {
	f.mu.Lock()
	f.gone = append(f.gone, a)
	f.mu.Unlock()
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	gone := f.gone // none, if another has written a as well
	f.gone = nil
	f.mu.Unlock()
	return f.saveAll(context.Background(), gone)
}

func (f *Fleet) agent(id wire.EnvoyID) *agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live[id]
}

// Current says, within a transaction, whether an envoy may still have sessions: it is neither removed, nor
// revoked, nor in quarantine.
func Current(tx store.Tx, id wire.EnvoyID) error {
	e, err := store.GetEnvoy(tx, id)
	if wire.CodeOf(err) == wire.NoSuchEnvoy {
		return &wire.Error{Code: wire.Revoked}
	}
	if err != nil {
		return err
	}
	return e.Serves()
}

// notDone adds to the audit log that a change which is in it already has failed.
func (f *Fleet) notDone(ctx context.Context, e audit.Event, err error) {
	e.Code, e.Detail = wire.CodeOf(err).String(), "not done: "+wire.DetailOf(err)
	if _, jerr := f.Journal.AppendEnd(context.WithoutCancel(ctx), e); jerr != nil {
		f.Log.Error("audit", "err", jerr)
	}
}
