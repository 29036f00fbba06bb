package presence_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/lease"
	"scrier/relay/presence"
	"scrier/relay/store"
	"scrier/relay/store/sharedtest"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// relay is one with a board, both of which run until the test ends.
type relay struct {
	*presence.Board
	t      *testing.T
	node   *sharedtest.Node
	keeper *lease.Keeper

	mu      sync.Mutex
	moved   []store.Holder
	revoked wire.EnvoyID
}

func start(t *testing.T, c *sharedtest.Cluster, name string) *relay {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &relay{t: t, node: c.Join()}
	var err error
	if r.keeper, err = lease.New(lease.Config{Store: r.node, Name: name, Clock: r.node, Now: time.Now, Log: log}); err != nil {
		t.Fatal(err)
	}
	if err := r.keeper.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Board = presence.New(presence.Config{KV: r.keeper.KV(), Lease: r.keeper, Now: time.Now, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.keeper.Run(ctx) })
	running.Go(func() {
		_ = r.Run(ctx, r)
	})
	t.Cleanup(func() {
		cancel()
		r.node.Kill()
		running.Wait()
	})
	return r
}

// Taken implements [presence.Watcher].
func (r *relay) Taken(_ context.Context, now store.Holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved = append(r.moved, now)
}

// Serves implements [presence.Watcher].
func (r *relay) Serves(_ context.Context, id wire.EnvoyID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return id != r.revoked
}

func (r *relay) take(id wire.EnvoyID) *presence.Hold {
	r.t.Helper()
	h, err := r.Take(r.t.Context(), id, "quic")
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// want says which relay has an envoy, as this one sees it now.
func (r *relay) want(what string, id wire.EnvoyID, name string) {
	r.t.Helper()
	h, ok, err := r.Look(r.t.Context(), id)
	if err != nil || ok != (name != "") || ok && h.Relay != name {
		r.t.Errorf("%s: %+v, %v, %v", what, h, ok, err)
	}
}

func TestNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(true)
		a, b := start(t, c, "a"), start(t, c, "b")
		id := wire.NewEnvoyID()
		a.want("nobody", id, "")
		first := a.take(id)
		b.want("the first", id, "a")
		second := b.take(id)
		a.want("the newest", id, "b")
		time.Sleep(12 * time.Second)
		a.mu.Lock()
		if len(a.moved) == 0 || a.moved[0].Relay != "b" || a.moved[0].Envoy != id {
			t.Errorf("a was told %+v", a.moved)
		}
		a.mu.Unlock()
		b.mu.Lock()
		if len(b.moved) > 0 {
			t.Errorf("b was told %+v", b.moved)
		}
		b.mu.Unlock()
		if h := a.Elsewhere()[id]; h.Relay != "b" || h.Road != "quic" {
			t.Errorf("a knows of %+v", h)
		}
		if len(b.Elsewhere()) > 0 {
			t.Errorf("b knows of %+v", b.Elsewhere())
		}
		a.Leave(first)
		time.Sleep(5 * time.Second)
		b.want("the first has left", id, "b")
		b.Leave(second)
		time.Sleep(5 * time.Second)
		a.want("both have left", id, "")
	})
}

// A link that ends late takes nothing from the next one of the same relay.
func TestLeaveLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, sharedtest.New(true), "a")
		id := wire.NewEnvoyID()
		first := a.take(id)
		a.take(id)
		a.Leave(first)
		time.Sleep(10 * time.Second)
		a.want("the second", id, "a")
	})
}

// What a relay held that is gone is held by nobody, and its rows are taken away. Who still has a link takes it again.
func TestRelayIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(true)
		a, b := start(t, c, "a"), start(t, c, "b")
		id, other := wire.NewEnvoyID(), wire.NewEnvoyID()
		a.take(id)
		b.take(id)
		b.take(other)
		b.node.Kill()
		time.Sleep(40 * time.Second)
		a.want("the one whose link is here still", id, "a")
		a.want("the one that was there alone", other, "")
		if err := c.Join().View(t.Context(), func(tx store.Tx) error {
			n := 0
			for range tx.Scan("holder/") {
				n++
			}
			if n != 1 {
				t.Errorf("%d rows", n)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if len(a.Elsewhere()) > 0 {
			t.Errorf("a knows of %+v", a.Elsewhere())
		}
	})
}

// A row that somebody else takes away comes back if the envoy may be served.
func TestEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(true)
		a, b := start(t, c, "a"), start(t, c, "b")
		id, revoked := wire.NewEnvoyID(), wire.NewEnvoyID()
		a.mu.Lock()
		a.revoked = revoked
		a.mu.Unlock()
		a.take(id)
		a.take(revoked)
		if err := b.KV.Update(t.Context(), func(tx store.Tx) error {
			return errors.Join(store.EvictEnvoy(tx, id), store.EvictEnvoy(tx, revoked))
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		b.want("one that serves", id, "a")
		b.want("one that does not", revoked, "")
	})
}

// An answer is good for a second, and this relay's own changes show at once.
func TestWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(true)
		a, b := start(t, c, "a"), start(t, c, "b")
		id := wire.NewEnvoyID()
		where := func() string {
			h, ok, err := a.Where(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return ""
			}
			return h.Relay
		}
		if got := where(); got != "" {
			t.Errorf("at %q", got)
		}
		b.take(id)
		if got := where(); got != "" {
			t.Errorf("it asked again at once, and found %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := where(); got != "b" {
			t.Errorf("at %q", got)
		}
		a.take(id)
		if got := where(); got != "a" {
			t.Errorf("at %q", got)
		}
		b.node.Cut()
		if _, err := b.Take(t.Context(), id, ""); err == nil {
			t.Error("a relay that is cut off took it")
		}
		time.Sleep(time.Minute)
		if _, err := b.Take(t.Context(), id, ""); !errors.Is(err, store.ErrLost) {
			t.Errorf("a relay without a lease: %v", err)
		}
	})
}

// A whole fleet that comes at once, and goes at once, is written in transactions that etcd takes.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, sharedtest.New(false), "a")
		a.KV = few{a.KV}
		const n = 300
		holds := make([]*presence.Hold, n)
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() { holds[i] = a.take(wire.NewEnvoyID()) })
		}
		group.Wait()
		for _, h := range holds {
			a.Leave(h)
		}
		time.Sleep(10 * time.Second)
		if err := a.KV.View(t.Context(), func(tx store.Tx) error {
			for k := range tx.Scan("holder/") {
				t.Errorf("%s is left", k)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// few is a state whose changes write at most 10 keys.
type few struct{ store.KV }

func (few) MaxWrites() int { return 10 }

func (s few) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.KV.Update(ctx, func(tx store.Tx) error {
		c := &counted{Tx: tx}
		if err := f(c); err != nil {
			return err
		}
		if c.n > 10 {
			return store.ErrTooLarge
		}
		return nil
	})
}

type counted struct {
	store.Tx
	n int
}

func (c *counted) Owner() store.Owner                 { return store.OwnerOf(c.Tx) }
func (c *counted) Put(key string, value []byte) error { c.n++; return c.Tx.Put(key, value) }
func (c *counted) Delete(key string) error            { c.n++; return c.Tx.Delete(key) }
