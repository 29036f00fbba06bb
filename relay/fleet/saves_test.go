package fleet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// few is a state whose changes write at most max keys, as etcd's do.
type few struct {
	store.KV
	max int
}

func (s few) MaxWrites() int { return s.max }

func (s few) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.KV.Update(ctx, func(tx store.Tx) error {
		c := &tally{Tx: tx}
		if err := f(c); err != nil {
			return err
		}
		if c.n > s.max {
			return store.ErrTooLarge
		}
		return nil
	})
}

type tally struct {
	store.Tx
	n int
}

func (c *tally) Put(key string, value []byte) error { c.n++; return c.Tx.Put(key, value) }
func (c *tally) Delete(key string) error            { c.n++; return c.Tx.Delete(key) }

// What a large fleet reports is written in changes that the state takes.
func TestSavesFitTheState(t *testing.T) {
	for _, most := range []int{2, 30, 10_000} {
		b := newBase(t, func(c *Config) { c.KV = few{c.KV, most} })
		const n = 50
		agents := make([]*agent, n)
		if err := b.KV.(few).KV.Update(t.Context(), func(tx store.Tx) error {
			for i := range agents {
				agents[i] = &agent{fleet: b.Fleet, id: wire.NewEnvoyID(), seen: time.Now()}
				if err := store.PutEnvoy(tx, store.Envoy{ID: agents[i].id, Hostname: fmt.Sprint("web", i)}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := b.saveAll(t.Context(), agents); err != nil {
			t.Fatalf("with %d keys: %v", most, err)
		}
		if err := b.KV.View(t.Context(), func(tx store.Tx) error {
			for _, a := range agents {
				if e, err := store.GetEnvoy(tx, a.id); err != nil || e.LastSeen.IsZero() {
					return errors.Join(err, fmt.Errorf("%s was not written", a.id))
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
