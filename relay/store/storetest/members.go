package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"scrier/relay/store"
	"scrier/wire"
)

func member(name string, key byte) store.Member {
	return store.Member{
		Name: name, Key: bytes.Repeat([]byte{key}, 32), Recipient: "age1" + name, Peer: name + ":8444", ID: 1 << 63, Since: noon(),
		Vouch: []byte{1}, Token: []byte{2}, Version: "v1",
	}
}

func members(t *testing.T, open Backend) {
	kv := fresh(t, open)
	put := func(m store.Member) error {
		return kv.Update(context.Background(), func(tx store.Tx) error { return store.PutMember(tx, m) })
	}
	a, b := member("a", 1), member("b", 2)
	for _, m := range []store.Member{b, a} {
		if err := put(m); err != nil {
			t.Fatal(err)
		}
	}
	a.Peer = "elsewhere:8444"
	if err := put(a); err != nil {
		t.Errorf("its own row again: %v", err)
	}
	view(t, kv, func(tx store.Tx) error {
		all, err := store.Members(tx)
		if d := cmp.Diff([]store.Member{a, b}, all); d != "" {
			t.Errorf("members: %s", d)
		}
		if _, err := store.GetMember(tx, "c"); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("c: %v", err)
		}
		return err
	})
	with := func(m store.Member, f func(*store.Member)) store.Member { f(&m); return m }
	for what, m := range map[string]store.Member{
		"a's name":    with(member("a", 9), func(m *store.Member) { m.Peer = "x:1" }),
		"a's key":     member("c", 1),
		"b's address": with(member("c", 3), func(m *store.Member) { m.Peer = b.Peer }),
	} {
		wantCode(t, what, put(m), wire.Conflict)
	}
	for _, name := range []string{"", "A", "a/b", "a.b", "-a", "a-", "a b", "ä", strings.Repeat("a", 33), "a\x00"} {
		wantCode(t, fmt.Sprintf("the name %q", name), put(member(name, 7)), wire.BadRequest)
	}
	wantCode(t, "no key", put(with(member("c", 3), func(m *store.Member) { m.Key = nil })), wire.BadRequest)
	wantCode(t, "an endless address", put(with(member("c", 3), func(m *store.Member) { m.Peer = strings.Repeat("a", 1000) })), wire.BadRequest)
	for i := 2; i < store.MaxMembers; i++ {
		if err := put(member(fmt.Sprint("m", i), byte(100+i))); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "one more than can be", put(member("z", 200)), wire.Conflict)
	if err := put(a); err != nil {
		t.Errorf("one of a full cluster: %v", err)
	}
	if bytes.Equal(a.Statement(), with(a, func(m *store.Member) { m.Recipient = "age1x" }).Statement()) || bytes.Equal(a.Statement(), b.Statement()) {
		t.Error("two members have one statement")
	}
}

func relayTokens(t *testing.T, open Backend) {
	kv := fresh(t, open)
	token := store.RelayToken{Hash: [32]byte{1}, Name: "b", CreatedBy: "alice", Created: noon(), Expires: noon().Add(time.Hour)}
	update(t, kv, func(tx store.Tx) error { return store.PutRelayToken(tx, token, noon()) })
	view(t, kv, func(tx store.Tx) error {
		got, err := store.FindRelayToken(tx, token.Hash, noon())
		if d := cmp.Diff(token, got); d != "" {
			t.Errorf("token: %s", d)
		}
		if _, err := store.FindRelayToken(tx, token.Hash, token.Expires); wire.CodeOf(err) != wire.TokenInvalid {
			t.Errorf("an expired token: %v", err)
		}
		if _, err := store.FindRelayToken(tx, [32]byte{2}, noon()); wire.CodeOf(err) != wire.TokenInvalid {
			t.Errorf("no token: %v", err)
		}
		// A machine cannot use it.
		if _, err := store.FindToken(tx, token.Hash, noon()); wire.CodeOf(err) != wire.TokenInvalid {
			t.Errorf("as a machine's: %v", err)
		}
		if all, err := store.Tokens(tx); len(all) != 0 || err != nil {
			t.Errorf("among the machines' tokens: %v, %v", all, err)
		}
		return err
	})
	// Expired ones make room, others do not.
	for i := range 64 {
		update(t, kv, func(tx store.Tx) error {
			return store.PutRelayToken(tx, store.RelayToken{Hash: [32]byte{2, byte(i)}, Expires: token.Expires.Add(time.Hour)}, token.Expires)
		})
	}
	err := kv.Update(context.Background(), func(tx store.Tx) error {
		return store.PutRelayToken(tx, store.RelayToken{Hash: [32]byte{3}, Expires: token.Expires.Add(time.Hour)}, token.Expires)
	})
	wantCode(t, "one more than can be", err, wire.Busy)
}

// contents are all keys and values of a state, without what is about a cluster.
func contents(t *testing.T, kv store.KV) map[string]string {
	t.Helper()
	all := map[string]string{}
	view(t, kv, func(tx store.Tx) error {
		clear(all)
		for k, v := range tx.Scan("") {
			if !strings.HasPrefix(k, store.ClusterPrefix) {
				all[k] = string(v)
			}
		}
		return nil
	})
	return all
}

// randomly fills a store with what real ones have, and with what is at the limits.
func randomly(t *testing.T, kv store.KV, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 8 {
		update(t, kv, func(tx store.Tx) error {
			for range 60 {
				key := make([]byte, 1+r.IntN(40))
				for i := range key {
					key[i] = byte(r.IntN(256))
				}
				value := make([]byte, r.IntN(300))
				for i := range value {
					value[i] = byte(r.IntN(256))
				}
				if err := tx.Put("r/"+string(key), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range 5 {
		update(t, kv, func(tx store.Tx) error {
			return errors.Join(
				tx.Put(strings.Repeat("k", store.MaxKey-1)+fmt.Sprint(i), nil),
				tx.Put(fmt.Sprint("large/", i), bytes.Repeat([]byte{byte(i)}, store.MaxValue)),
				store.PutEnvoy(tx, store.Envoy{ID: wire.NewEnvoyID(), Hostname: fmt.Sprint("web", i), Enrolled: noon(), Generation: 1}),
			)
		})
	}
}

// broken is a store that fails after some changes.
type broken struct {
	store.KV
	left int
	hook func()
}

var errBroken = errors.New("broken")

func (b *broken) Update(ctx context.Context, f func(store.Tx) error) error {
	if b.hook != nil {
		b.hook()
	}
	if b.left--; b.left < 0 {
		return errBroken
	}
	return b.KV.Update(ctx, f)
}

func migrations(t *testing.T, open Backend) {
	ctx := context.Background()
	from := fresh(t, open)
	randomly(t, from, 7)
	mine := member("a", 1)
	update(t, from, func(tx store.Tx) error { return store.PutMember(tx, mine) })
	before := contents(t, from)

	to := fresh(t, open)
	update(t, to, func(tx store.Tx) error { return store.PutMember(tx, member("b", 2)) })
	moved, err := store.Migrate(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, to); !maps.Equal(got, before) || moved.Keys != len(before)-1 {
		t.Errorf("%d keys were moved, of %d; there are %d", moved.Keys, len(before)-1, len(got))
	}
	view(t, to, func(tx store.Tx) error {
		if all, err := store.Members(tx); err != nil || len(all) != 1 || all[0].Name != "b" {
			t.Errorf("members of the other cluster: %v, %v", all, err)
		}
		return nil
	})
	if err := store.CheckSchema(ctx, to); err != nil {
		t.Error(err)
	}
	if got := contents(t, from); !maps.Equal(got, before) {
		t.Error("the first state has changed")
	}

	_, err = store.Migrate(ctx, from, to)
	wantCode(t, "into a state", err, wire.Conflict)
	if got := contents(t, to); !maps.Equal(got, before) {
		t.Error("a refused copy has changed something")
	}

	// Broken off at any place, the copy is half, also for who opens it later.
	for left := range 5 {
		dir := t.TempDir()
		half := open(t, dir)
		if _, err := store.Migrate(ctx, from, &broken{KV: half, left: left}); !errors.Is(err, errBroken) {
			t.Fatalf("%d changes: %v", left, err)
		}
		err := store.CheckSchema(ctx, half)
		if left == 0 && err != nil || left > 0 && !(errors.Is(err, store.ErrHalf) && wire.CodeOf(err) == wire.BadConfig) {
			t.Errorf("after %d changes: %v", left, err)
		}
		if left > 0 {
			if _, err := store.Migrate(ctx, half, fresh(t, open)); !errors.Is(err, store.ErrHalf) {
				t.Errorf("a copy of half a copy: %v", err)
			}
			if _, err := store.Migrate(ctx, from, half); err == nil {
				t.Error("half a copy was copied into")
			}
		}
		if err := half.Close(); err != nil {
			t.Error(err)
		}
	}

	// Who changes what is copied is noticed, and the copy is not whole.
	half, times := fresh(t, open), 0
	_, err = store.Migrate(ctx, from, &broken{KV: half, left: 1000, hook: func() {
		if times++; times == 4 {
			update(t, from, func(tx store.Tx) error { return tx.Put("a-new-key", nil) })
		}
	}})
	wantCode(t, "a changed state", err, wire.Conflict)
	if err := store.CheckSchema(ctx, half); !errors.Is(err, store.ErrHalf) {
		t.Errorf("a copy of a changed state: %v", err)
	}
}
