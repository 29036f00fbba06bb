// Package lease keeps the place of a relay among several that share a state: a lease of a few seconds, which it renews all the
// time. Who has lost it changes nothing in the state any more ([Keeper.KV]), ends what it has open ([Keeper.While]), and then
// gets another one.
//
//	Begin --> held --> lost --> held --> … --> Run's end: released
//
// Two things hold a relay to it. The state compares the lease in each change, whatever this package believes. And this package
// measures from before it asked, by a clock that nobody sets, and stops at two thirds of the time: so a relay that is cut off
// has stopped serving before the others may take over. A process that stood still, or a machine that slept, looks at that
// clock before it goes on.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// TTL is the usual time of a lease: longer than an election in the cluster takes, so that one costs no session.
const TTL = 15 * time.Second

const (
	maxAddress = 256             // bytes
	again      = time.Second     // before another lease is asked for
	farewell   = 3 * time.Second // to release it at the end
)

// Config is what a [Keeper] works with.
type Config struct {
	Store   store.Shared
	Name    string           // the relay's, which no other one has
	Address string           // where other relays reach it
	TTL     time.Duration    // 0: [TTL]
	Now     func() time.Time // for people
	Clock   Clock            // nil: this machine's
	Log     *slog.Logger
}

// Keeper keeps a relay's lease. Its methods may be called concurrently.
type Keeper struct {
	Config
	now atomic.Pointer[term]
}

// New makes a Keeper, which has no lease yet.
func New(c Config) (*Keeper, error) {
	if err := store.CheckRelayName(c.Name); err != nil {
		return nil, err
	}
	if len(c.Address) > maxAddress {
		return nil, wire.Errorf(wire.BadConfig, "the address of a relay has at most %d bytes", maxAddress)
	}
	if c.TTL == 0 {
		c.TTL = TTL
	}
	if c.Clock == nil {
		c.Clock = machine{}
	}
	return &Keeper{Config: c}, nil
}

// Begin gets the first lease. A process of the same relay from before has lost its own then: it has ended, as two processes
// cannot have one relay's audit log open.
func (k *Keeper) Begin(ctx context.Context) error {
	asked := k.Clock.Now()
	l, ttl, err := k.Store.Register(ctx, store.Lease{Name: k.Name, Since: k.Now(), Address: k.Address}, k.TTL)
	if err != nil {
		return err
	}
	t := newTerm(l.Owner(), k.Clock, asked, ttl)
	if !t.held() {
		return fmt.Errorf("register relay %q: the answer came too late: %w", k.Name, store.ErrLost)
	}
	k.now.Store(t)
	k.Log.Info("the relay has its place among the others", "relay", k.Name, "epoch", l.Epoch, "ttl", ttl)
	return nil
}

// Run keeps the lease that Begin got, or gets another one when it is lost, until ctx ends. It is released then.
func (k *Keeper) Run(ctx context.Context) error {
	t := k.now.Load()
	if t == nil {
		return errors.New("keep a lease that did not begin")
	}
	defer k.leave()
	for {
		why := k.keep(ctx, t)
		if ctx.Err() != nil {
			return nil
		}
		k.Log.Error("the relay has lost its place among the others: what it has open ends", "relay", k.Name, "epoch", t.owner.Epoch, "err", why)
		if t = k.anew(ctx, t); t == nil {
			return nil
		}
	}
}

// keep renews a lease until it is lost.
func (k *Keeper) keep(ctx context.Context, t *term) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() { // an answer may be long in coming
		defer close(watched)
		for left := t.left(); left > 0; left = t.left() {
			if k.Clock.Sleep(ctx, left) != nil {
				return
			}
		}
	}()
	defer func() { stop(); <-watched }()
	defer context.AfterFunc(t.ctx, stop)()
	var why error
	for every := k.TTL / 5; ; {
		if k.Clock.Sleep(ctx, every) == nil {
			asked := k.Clock.Now()
			one, cancel := context.WithTimeout(ctx, k.TTL/3)
			ttl, err := k.Store.Renew(one, t.owner)
			cancel()
			switch {
			case err == nil:
				t.renewed(asked, ttl)
			case errors.Is(err, store.ErrLost):
				t.lose()
			}
			if why = err; err != nil && ctx.Err() == nil {
				k.Log.Warn("the lease could not be renewed", "relay", k.Name, "left", t.left(), "err", err)
			}
		}
		if ctx.Err() != nil || !t.held() {
			if why == nil {
				why = store.ErrLost
			}
			return why
		}
	}
}

// anew gets the next lease; nil: ctx has ended.
func (k *Keeper) anew(ctx context.Context, lost *term) *term {
	for warned := false; ; {
		one, cancel := context.WithTimeout(ctx, k.TTL)
		err := k.mine(one, lost.owner)
		if err == nil {
			err = k.Begin(one)
		}
		cancel()
		if err == nil {
			return k.now.Load()
		}
		if ctx.Err() != nil {
			return nil
		}
		if !warned {
			k.Log.Error("the relay gets no place among the others", "relay", k.Name, "err", err)
			warned = true
		}
		if k.Clock.Sleep(ctx, again) != nil {
			return nil
		}
	}
}

// mine says whether nobody has the name but whoever had lost it. Two relays of one name would take it from each other for ever. It
// may be our own request of which the answer was lost: that lease ends by itself.
func (k *Keeper) mine(ctx context.Context, lost store.Owner) error {
	return k.Store.View(ctx, func(tx store.Tx) error {
		all, err := store.Leases(tx)
		for _, l := range all {
			if l.Name == k.Name && l.Epoch != lost.Epoch {
				return wire.Errorf(wire.Conflict, "a relay of the name %q is there, at %q: each needs a name of its own", k.Name, l.Address)
			}
		}
		return err
	})
}

// leave gives the lease up, so that the others need not wait for its end.
func (k *Keeper) leave() {
	t := k.now.Load()
	t.lose()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if err := k.Store.Release(ctx, t.owner); err != nil {
		k.Log.Warn("the lease ends by itself", "relay", k.Name, "err", err)
	}
}

// Owner is the relay with the lease that it has now, or had last.
func (k *Keeper) Owner() store.Owner {
	if t := k.now.Load(); t != nil {
		return t.owner
	}
	return store.Owner{Name: k.Name}
}

// Held says whether the relay has this lease, in this moment.
func (k *Keeper) Held(o store.Owner) bool {
	t := k.now.Load()
	return t != nil && t.owner == o && t.held()
}

// While is a context that ends, with [store.ErrLost] as its cause, when the relay has lost this lease.
func (k *Keeper) While(o store.Owner) context.Context {
	if t := k.now.Load(); t != nil && t.owner == o {
		t.held()
		return t.ctx
	}
	return over
}

// over has ended.
var over = func() context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	end(store.ErrLost)
	return ctx
}()

// KV is the state, for a relay that changes it while it has its lease: all else is [store.ErrLost].
func (k *Keeper) KV() store.KV { return kv{k} }

type kv struct{ keeper *Keeper }

func (s kv) View(ctx context.Context, f func(store.Tx) error) error {
	return s.keeper.Store.View(ctx, f)
}

func (s kv) Update(ctx context.Context, f func(store.Tx) error) error {
	t := s.keeper.now.Load()
	if t == nil || !t.held() {
		return fmt.Errorf("change state: %w", store.ErrLost)
	}
	err := s.keeper.Store.As(t.owner).Update(ctx, f)
	if errors.Is(err, store.ErrLost) {
		t.lose()
	}
	return err
}

// MaxWrites is what [store.MaxWrites] asks for.
func (s kv) MaxWrites() int { return store.MaxWrites(s.keeper.Store) }

// Close does nothing: the state is whose the Keeper's is.
func (s kv) Close() error { return nil }
