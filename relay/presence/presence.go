// Package presence knows which of several relays on a state has an envoy's link. Each says so in a row of the state, which counts
// while that relay has its lease; of two the newest counts.
package presence

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"scrier/relay/store"
	"scrier/wire"
)

const (
	// fresh is how long an answer about one envoy is good for: a page that asks for one again and again costs the state little.
	fresh = time.Second
	// maxAnswers is of how many envoys answers are remembered.
	maxAnswers = 4096
	// lookEvery is how often all rows are read: for lists, and to find whose links have gone to another relay.
	lookEvery = 3 * time.Second
	// leaveEvery is how often rows of links that have ended are taken away.
	leaveEvery = time.Second
	// maxStale is how many rows of relays that are gone are taken away each time.
	maxStale = 512
)

// Lease is the relay's place among the others.
type Lease interface {
	Owner() store.Owner
	Held(store.Owner) bool
	While(store.Owner) context.Context
}

// Config is what a [Board] works with.
type Config struct {
	KV    store.KV // as the relay with the lease changes it
	Lease Lease
	Now   func() time.Time
	Log   *slog.Logger
}

// Board is where the relays say which has which envoy. Its methods may be called concurrently.
type Board struct {
	Config

	mu      sync.Mutex
	mine    map[wire.EnvoyID]*Hold        // what this relay has taken, and not left
	leaving map[wire.EnvoyID]store.Holder // rows to be taken away
	answers *simplelru.LRU[wire.EnvoyID, answer]
	all     map[wire.EnvoyID]store.Holder // of all relays, when they were looked at last; never changed in place
}

// Hold is that this relay has an envoy's link.
type Hold struct {
	owner store.Owner
	row   store.Holder // guarded by Board.mu
}

// Owner is the relay, with the lease that it had when it took the envoy.
func (h *Hold) Owner() store.Owner { return h.owner }

type answer struct {
	holder store.Holder
	ok     bool
	at     time.Time
}

// New makes a Board.
func New(c Config) *Board {
	answers, err := simplelru.NewLRU[wire.EnvoyID, answer](maxAnswers, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Board{Config: c, mine: map[wire.EnvoyID]*Hold{}, leaving: map[wire.EnvoyID]store.Holder{}, answers: answers}
}

// Take makes this relay the holder of an envoy. When it returns the others can know. Those that are taken at the same time share
// transactions, of as many as one may have.
func (b *Board) Take(ctx context.Context, id wire.EnvoyID, road string) (*Hold, error) {
	if len(road) > store.MaxRoad {
		road = ""
	}
	var row store.Holder
	err := b.KV.Update(ctx, func(tx store.Tx) (err error) {
		row, err = store.TakeEnvoy(tx, store.Holder{Envoy: id, Since: b.Now(), Road: road})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take envoy %s: %w", id, err)
	}
	h := &Hold{row.Owner(), row}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mine[id] = h
	delete(b.leaving, id)
	b.answers.Remove(id)
	return h, nil
}

// Leave has a row taken away soon, unless the envoy was taken again. A row that cannot be taken away ends with the lease.
func (b *Board) Leave(h *Hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := h.row.Envoy
	if b.mine[id] == h {
		delete(b.mine, id)
		b.leaving[id] = h.row
		b.answers.Remove(id)
	}
}

// Where is the relay that has an envoy's link; it may have been so a second ago. ok is false if none has.
func (b *Board) Where(ctx context.Context, id wire.EnvoyID) (h store.Holder, ok bool, err error) {
	b.mu.Lock()
	a, known := b.answers.Get(id)
	b.mu.Unlock()
	if known && time.Since(a.at) < fresh {
		return a.holder, a.ok, nil
	}
	return b.Look(ctx, id)
}

// Look is Where as it is now.
func (b *Board) Look(ctx context.Context, id wire.EnvoyID) (h store.Holder, ok bool, err error) {
	at := time.Now()
	if err := b.KV.View(ctx, func(tx store.Tx) (err error) {
		h, ok, err = store.HolderOf(tx, id)
		return err
	}); err != nil {
		return h, false, fmt.Errorf("find the relay of envoy %s: %w", id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers.Add(id, answer{h, ok, at})
	return h, ok, nil
}

// Elsewhere are the envoys that other relays have, as they were some seconds ago. It is not to be changed.
func (b *Board) Elsewhere() map[wire.EnvoyID]store.Holder {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

// Watcher is told of this relay's envoys, of one after the other. It may take a while.
type Watcher interface {
	// Taken says that another relay has taken one, for as long as that has it.
	Taken(ctx context.Context, now store.Holder)
	// Serves says whether one may still be served whose row is gone. If so it is taken again.
	Serves(ctx context.Context, id wire.EnvoyID) bool
}

// Run takes rows away, and tells w what has become of this relay's envoys, until ctx ends.
func (b *Board) Run(ctx context.Context, w Watcher) error {
	look, leave := time.NewTicker(lookEvery), time.NewTicker(leaveEvery)
	defer look.Stop()
	defer leave.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-leave.C:
			b.takeAway(ctx)
		case <-look.C:
			if err := b.lookAtAll(ctx, w); err != nil && ctx.Err() == nil {
				b.Log.Error("look which relay has which envoy", "err", err)
			}
		}
	}
}

// lookAtAll reads all rows.
func (b *Board) lookAtAll(ctx context.Context, w Watcher) error {
	me := b.Lease.Owner()
	if !b.Lease.Held(me) {
		return nil
	}
	b.mu.Lock()
	mine := make([]*Hold, 0, len(b.mine))
	rows := make(map[wire.EnvoyID]store.Holder, len(b.mine))
	for id, h := range b.mine {
		mine, rows[id] = append(mine, h), h.row
	}
	b.mu.Unlock()
	var held, stale []store.Holder
	if err := b.KV.View(ctx, func(tx store.Tx) (err error) {
		held, stale, err = store.Holders(tx, maxStale)
		return err
	}); err != nil {
		return err
	}
	all := map[wire.EnvoyID]store.Holder{}
	seen := map[wire.EnvoyID]store.Holder{}
	for _, h := range held {
		if h.Relay != me.Name {
			all[h.Envoy] = h
		}
		if _, ok := rows[h.Envoy]; ok {
			seen[h.Envoy] = h
		}
	}
	b.mu.Lock()
	b.all = all
	b.mu.Unlock()
	b.remove(ctx, stale)
	for _, h := range mine {
		if h.owner != me { // of a lease before: its link ends
			continue
		}
		row := rows[b.envoy(h)]
		now, ok := seen[row.Envoy]
		var err error
		switch {
		case !ok: // who had taken it is gone, and the link has been here all the time; or somebody has evicted it
			if w.Serves(ctx, row.Envoy) {
				err = b.retake(ctx, h)
			}
		case now.Owner() != me && now.Turn > row.Turn:
			w.Taken(ctx, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Board) envoy(h *Hold) wire.EnvoyID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return h.row.Envoy
}

// retake takes an envoy again, if nobody has it and it was not left meanwhile.
func (b *Board) retake(ctx context.Context, h *Hold) error {
	b.mu.Lock()
	row, ours := h.row, b.mine[h.row.Envoy] == h
	b.mu.Unlock()
	if !ours {
		return nil
	}
	taken := false
	if err := b.KV.Update(ctx, func(tx store.Tx) error {
		_, held, err := store.HolderOf(tx, row.Envoy)
		if taken = err == nil && !held; !taken {
			return err
		}
		row, err = store.TakeEnvoy(tx, row)
		return err
	}); err != nil {
		return fmt.Errorf("take envoy %s again: %w", row.Envoy, err)
	}
	if !taken {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mine[row.Envoy] == h {
		h.row = row
	} else if b.mine[row.Envoy] == nil { // its link has ended
		b.leaving[row.Envoy] = row
	}
	return nil
}

// takeAway takes the rows away that were left.
func (b *Board) takeAway(ctx context.Context) {
	b.mu.Lock()
	leaving := slices.Collect(maps.Values(b.leaving))
	b.leaving = map[wire.EnvoyID]store.Holder{}
	b.mu.Unlock()
	b.remove(ctx, leaving)
}

// remove takes rows away, as many at a time as one transaction may have.
func (b *Board) remove(ctx context.Context, rows []store.Holder) {
	for some := range slices.Chunk(rows, min(maxStale, store.MaxWrites(b.KV))) {
		if err := b.KV.Update(ctx, func(tx store.Tx) error {
			for _, h := range some {
				if err := store.LeaveEnvoy(tx, h); err != nil {
					return err
				}
			}
			return nil
		}); err != nil { // the next look finds them, or they end with the lease
			b.Log.Warn("take away which relay has which envoy", "rows", len(some), "err", err)
			return
		}
	}
}
