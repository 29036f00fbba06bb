package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/server/v3/embed"

	"scrier/relay/store"
	"scrier/relay/store/storetest"
)

// member runs an etcd of one member until the test ends, and returns a way to it.
func member(t *testing.T) *clientv3.Client {
	t.Helper()
	e := serve(t, t.TempDir(), address(t), address(t))
	t.Cleanup(e.Close)
	return dial(t, e.Clients[0].Addr().String())
}

func serve(t *testing.T, dir, peers, clients string) *embed.Etcd {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name = dir, "one"
	cfg.LogLevel, cfg.LogOutputs = "error", []string{filepath.Join(t.TempDir(), "etcd.log")}
	cfg.TickMs, cfg.ElectionMs = 20, 200
	cfg.MaxTxnOps = 8192
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(peers), at(peers)
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(clients), at(clients)
	cfg.InitialCluster = cfg.InitialClusterFromName("one")
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready within a minute")
	}
	return e
}

func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func at(addr string) []url.URL { return []url.URL{{Scheme: "http", Host: addr}} }

func dial(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func open(t *testing.T, kv clientv3.KV) *DB {
	t.Helper()
	db, err := Open(t.Context(), Config{Client: kv, MaxOps: 8192})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestStore(t *testing.T) {
	c := member(t)
	storetest.Run(t, func(t *testing.T, dir string) store.KV {
		return open(t, namespace.NewKV(c, dir+"/"))
	})
	storetest.RunShared(t, func(t *testing.T, dir string) store.Shared {
		db, err := Open(t.Context(), Config{Client: namespace.NewKV(c, dir+"/"), Leases: c, MaxOps: 8192})
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
}

// Relays that change the same state at the same time lose nothing, and see each other's changes at once.
func TestSeveralRelays(t *testing.T) {
	c := member(t)
	const relays, workers, rounds = 3, 4, 10
	var group sync.WaitGroup
	for r := range relays {
		db := open(t, c)
		defer db.Close()
		for w := range workers {
			group.Go(func() {
				for i := range rounds {
					row := fmt.Sprintf("row/%d/%d/%d", r, w, i)
					err := db.Update(t.Context(), func(tx store.Tx) error {
						n := 0
						for range tx.Scan("row/") { // a row that another relay adds meanwhile counts too
							n++
						}
						v, err := tx.Get("counter")
						if err != nil && !errors.Is(err, store.ErrNotFound) {
							return err
						}
						if counted, _ := strconv.Atoi(string(v)); counted != n {
							return fmt.Errorf("%d rows, and %d were counted", n, counted)
						}
						return errors.Join(tx.Put(row, nil), tx.Put("counter", []byte(strconv.Itoa(n+1))))
					})
					if err != nil {
						t.Errorf("%s: %v", row, err)
					}
					err = db.View(t.Context(), func(tx store.Tx) error {
						_, err := tx.Get(row)
						return err
					})
					if err != nil {
						t.Errorf("%s was acknowledged, and then: %v", row, err)
					}
				}
			})
		}
	}
	group.Wait()
	db := open(t, c)
	defer db.Close()
	if err := db.View(t.Context(), func(tx store.Tx) error {
		v, err := tx.Get("counter")
		if string(v) != strconv.Itoa(relays*workers*rounds) {
			t.Errorf("%s changes were counted, of %d", v, relays*workers*rounds)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What one relay adds to a range that another has scanned makes the other's change run again, although they write
// different keys.
func TestScanIsSerialised(t *testing.T) {
	c := member(t)
	a, b := open(t, c), open(t, c)
	defer a.Close()
	defer b.Close()
	ran := 0
	err := a.Update(t.Context(), func(tx store.Tx) error {
		ran++
		n := 0
		for range tx.Scan("row/") {
			n++
		}
		if ran == 1 {
			if err := b.Update(t.Context(), func(tx store.Tx) error { return tx.Put("row/of-b", nil) }); err != nil {
				return err
			}
		}
		return tx.Put("rows", []byte(strconv.Itoa(n)))
	})
	if err != nil || ran != 2 {
		t.Errorf("%v after %d runs", err, ran)
	}
	if err := b.View(t.Context(), func(tx store.Tx) error {
		v, err := tx.Get("rows")
		if string(v) != "1" {
			t.Errorf("rows counted: %s", v)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// A change with more keys than etcd takes in a transaction is refused before anything is done, and changes that are too
// many together are done alone.
func TestTooMuch(t *testing.T) {
	c := member(t)
	db, err := Open(t.Context(), Config{Client: c, MaxOps: 8192})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows := func(n, size int) func(tx store.Tx) error {
		return func(tx store.Tx) error {
			for i := range n {
				if err := tx.Put(fmt.Sprintf("row/%05d", i), make([]byte, size)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := db.Update(t.Context(), rows(9000, 0)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("9000 keys: %v", err)
	}
	if err := db.Update(t.Context(), rows(9, store.MaxValue)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("9 values of %d bytes: %v", store.MaxValue, err)
	}
	if err := db.View(t.Context(), func(tx store.Tx) error {
		for k := range tx.Scan("row/") {
			return fmt.Errorf("%s is there", k)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			if err := db.Update(t.Context(), func(tx store.Tx) error {
				for i := range 4 {
					if err := tx.Put(fmt.Sprintf("large/%d/%d", w, i), make([]byte, store.MaxValue)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Errorf("a MiB beside others: %v", err)
			}
		})
	}
	group.Wait()
}

// A change may write as many keys as the DB says, with etcd's own bound, and not one more.
func TestMaxWrites(t *testing.T) {
	db, err := Open(t.Context(), Config{Client: member(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	most := store.MaxWrites(db)
	for n, want := range map[int]error{most: nil, most + 1: store.ErrTooLarge} {
		if err := db.Update(t.Context(), func(tx store.Tx) error {
			for i := range n {
				if err := tx.Put(fmt.Sprintf("row/%d/%d", n, i), nil); err != nil {
					return err
				}
			}
			return nil
		}); !errors.Is(err, want) {
			t.Errorf("%d keys: %v", n, err)
		}
	}
	if most < 100 || store.MaxWrites(nil) <= most {
		t.Errorf("at most %d, and %d where there is no bound", most, store.MaxWrites(nil))
	}
}

// Without the cluster, calls end with an error in time, and go on when it is back with all that was acknowledged.
func TestClusterIsGone(t *testing.T) {
	dir, peers, clients := t.TempDir(), address(t), address(t)
	e := serve(t, dir, peers, clients)
	db := open(t, dial(t, clients))
	defer db.Close()
	put := func(ctx context.Context, key string) error {
		return db.Update(ctx, func(tx store.Tx) error { return tx.Put(key, []byte("x")) })
	}
	if err := put(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := put(ctx, "meanwhile"); err == nil {
		t.Error("a change was acknowledged by nobody")
	}
	if err := db.View(ctx, func(store.Tx) error { return nil }); err == nil {
		t.Error("a view of nothing")
	}
	e = serve(t, dir, peers, clients)
	defer e.Close()
	if err := put(t.Context(), "after"); err != nil {
		t.Error(err)
	}
	if err := db.View(t.Context(), func(tx store.Tx) error {
		_, err := tx.Get("before")
		return err
	}); err != nil {
		t.Error(err)
	}
}
