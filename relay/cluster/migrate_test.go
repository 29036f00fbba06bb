package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/relay/store/etcd"
	"scrier/wire"
)

func file(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func contents(t *testing.T, kv store.KV) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := kv.View(within(t), func(tx store.Tx) error {
		clear(all)
		for k, v := range tx.Scan("") {
			if !strings.HasPrefix(k, store.ClusterPrefix) {
				all[k] = string(v)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// stopping is a store that stops in the middle of a copy.
type stopping struct {
	store.KV
	left int
}

func (s *stopping) Update(ctx context.Context, f func(store.Tx) error) error {
	if s.left--; s.left < 0 {
		return errDied
	}
	return s.KV.Update(ctx, f)
}

// A state moves from a file into a cluster, lives there, and moves back into a file. Broken off, it is in neither.
func TestThereAndBack(t *testing.T) {
	from := file(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		if err := from.Update(within(t), func(tx store.Tx) error {
			for range 100 {
				value := make([]byte, r.IntN(2000))
				for i := range value {
					value[i] = byte(r.IntN(256))
				}
				if err := tx.Put(fmt.Sprintf("row/%x", r.Uint64()), value); err != nil {
					return err
				}
			}
			return tx.Put(fmt.Sprintf("large/%x", r.Uint64()), make([]byte, store.MaxValue))
		}); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, from)

	a := first(t, false)
	b := a.join("b")
	if _, err := store.Migrate(within(t), from, &stopping{a.kv, 5}); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	if _, err := etcd.Open(within(t), etcd.Config{Client: b.Member.Client()}); !errors.Is(err, store.ErrHalf) {
		t.Errorf("half a copy is opened: %v", err)
	}
	if err := Discard(within(t), b.Member.Client()); err != nil {
		t.Fatal(err)
	}
	a.want("a", "b")
	if k := a.key(); len(k.Names) != 2 {
		t.Errorf("the CA's key is sealed for %q", k.Names)
	}
	moved, err := store.Migrate(within(t), from, a.kv)
	if err != nil || moved.Keys != len(before)-1 {
		t.Fatalf("%+v, %v", moved, err)
	}
	if got := contents(t, b.kv); !maps.Equal(got, before) {
		t.Errorf("b has %d keys of %d", len(got), len(before))
	}
	if err := Discard(within(t), b.Member.Client()); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a whole state is thrown away: %v", err)
	}
	if _, err := store.Migrate(within(t), from, b.kv); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("into a state: %v", err)
	}
	if err := b.put("new", "value"); err != nil {
		t.Fatal(err)
	}
	before["new"] = "value"
	back := file(t)
	if _, err := store.Migrate(within(t), a.kv, back); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, back); !maps.Equal(got, before) {
		t.Errorf("back are %d keys of %d", len(got), len(before))
	}
	if err := back.View(within(t), func(tx store.Tx) error {
		for k := range tx.Scan(store.ClusterPrefix) {
			t.Errorf("the file has %s", k)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
