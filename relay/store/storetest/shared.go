package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// Relay opens the state in dir for one more relay. The suite closes what it opens.
type Relay func(t *testing.T, dir string) store.Shared

// RunShared runs the suite of a state that several relays share, beside [Run].
func RunShared(t *testing.T, open Relay) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *relays)
	}{
		{"a lease is there while it is kept", leases},
		{"a lease that is not kept ends", leaseEnds},
		{"who has lost the lease changes nothing", fenced},
		{"a lease that is lost under way", fencedUnderWay},
		{"changes of two leases do not mix", twoLeases},
		{"sessions of several relays share the slots", sharedSlots},
		{"sessions of a lost relay are claimed once", claimedOnce},
		{"whose sessions are whose", whose},
		{"a record that its relay cannot write any more", adopted},
		{"who holds an envoy", holders},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &relays{t, open, t.TempDir()}) })
	}
}

// relays are those that share a state in one test.
type relays struct {
	*testing.T
	open Relay
	dir  string
}

func (r *relays) join() store.Shared {
	r.Helper()
	s := r.open(r.T, r.dir)
	r.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.Errorf("close: %v", err)
		}
	})
	return s
}

// relay is one that has a lease.
type relay struct {
	store.Shared
	store.Owner
}

func (r *relays) relay(name string) *relay {
	r.Helper()
	s := r.join()
	return &relay{s, r.register(s, name)}
}

const longLease = time.Hour

func (r *relays) register(s store.Shared, name string) store.Owner {
	r.Helper()
	l, ttl, err := s.Register(context.Background(), store.Lease{Name: name, Since: noon(), Address: name + ":8443"}, longLease)
	if err != nil || ttl <= 0 || l.Name != name {
		r.Fatalf("register %s: %+v, %v, %v", name, l, ttl, err)
	}
	return l.Owner()
}

func (r *relay) update(t *testing.T, f func(store.Tx) error) {
	t.Helper()
	update(t, r.As(r.Owner), f)
}

// lose has a relay lose its lease.
func (r *relay) lose(t *testing.T) {
	t.Helper()
	if err := r.Release(context.Background(), r.Owner); err != nil {
		t.Fatal(err)
	}
}

func names(tx store.Tx) (all []string, err error) {
	ls, err := store.Leases(tx)
	for _, l := range ls {
		all = append(all, fmt.Sprint(l.Name, " ", l.Epoch, " ", l.Address, " ", l.Since.Equal(noon())))
	}
	return all, err
}

// leased: no transaction writes the row of a lease, also where nobody has one.
func leased(t *testing.T, open Backend) {
	kv := fresh(t, open)
	for what, f := range map[string]func(store.Tx) error{
		"put":    func(tx store.Tx) error { return tx.Put(store.LeasePrefix+"a", nil) },
		"delete": func(tx store.Tx) error { return tx.Delete(store.LeasePrefix + "a") },
	} {
		if err := kv.Update(context.Background(), f); !errors.Is(err, store.ErrLeased) {
			t.Errorf("%s: %v", what, err)
		}
	}
	update(t, kv, func(tx store.Tx) error {
		if o := store.OwnerOf(tx); o != (store.Owner{}) {
			t.Errorf("the change of the only relay is one of %v", o)
		}
		return tx.Put("lease", nil)
	})
	view(t, kv, func(tx store.Tx) error {
		all, err := store.Leases(tx)
		if len(all) > 0 {
			t.Errorf("%+v", all)
		}
		return err
	})
}

func leases(t *testing.T, r *relays) {
	s, other := r.join(), r.join()
	for _, name := range []string{"", "A", "a/b", "a b", string(make([]byte, 65))} {
		_, _, err := s.Register(context.Background(), store.Lease{Name: name}, longLease)
		wantCode(t, fmt.Sprintf("name %q", name), err, wire.BadConfig)
	}
	first := r.register(s, "a")
	r.register(other, "b")
	want := func(what string, want ...string) {
		t.Helper()
		view(t, other, func(tx store.Tx) error {
			got, err := names(tx)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %q", what, got)
			}
			return err
		})
	}
	want("two", "a 1 a:8443 true", "b 1 b:8443 true")
	if ttl, err := s.Renew(context.Background(), first); err != nil || ttl <= 0 {
		t.Errorf("renew: %v, %v", ttl, err)
	}
	for _, kv := range []store.KV{s, s.As(first)} {
		if err := kv.Update(context.Background(), func(tx store.Tx) error { return tx.Put(store.LeasePrefix+"a", nil) }); !errors.Is(err, store.ErrLeased) {
			t.Errorf("a lease that a transaction writes: %v", err)
		}
		if err := kv.Update(context.Background(), func(tx store.Tx) error { return tx.Delete(store.LeasePrefix + "b") }); !errors.Is(err, store.ErrLeased) {
			t.Errorf("a lease that a transaction deletes: %v", err)
		}
	}
	for range 2 { // a second time it is gone already
		if err := s.Release(context.Background(), first); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	want("one", "b 1 b:8443 true")
	if _, err := s.Renew(context.Background(), first); !errors.Is(err, store.ErrLost) {
		t.Errorf("renew what was released: %v", err)
	}
	second := r.register(s, "a")
	third := r.register(s, "a") // whoever was a before is not any more
	want("again", "a 3 a:8443 true", "b 1 b:8443 true")
	if _, err := s.Renew(context.Background(), second); !errors.Is(err, store.ErrLost) {
		t.Errorf("renew what another one has: %v", err)
	}
	if err := s.Release(context.Background(), second); err != nil {
		t.Errorf("release what another one has: %v", err)
	}
	want("the newest stays", "a 3 a:8443 true", "b 1 b:8443 true")
	view(t, s, func(tx store.Tx) error {
		for o, want := range map[store.Owner]bool{first: false, second: false, third: true, {}: false, {Name: "c", Epoch: 1}: false} {
			if got, err := store.Alive(tx, o); got != want || err != nil {
				t.Errorf("%v is alive: %v, %v", o, got, err)
			}
		}
		return nil
	})
}

func leaseEnds(t *testing.T, r *relays) {
	s, kept := r.join(), r.relay("kept")
	l, _, err := s.Register(context.Background(), store.Lease{Name: "short"}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for alive, deadline := true, time.Now().Add(time.Minute); alive; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a lease of a second is there after a minute")
		}
		view(t, kept, func(tx store.Tx) (err error) {
			alive, err = store.Alive(tx, l.Owner())
			return err
		})
	}
	if err := s.As(l.Owner()).Update(context.Background(), func(tx store.Tx) error { return tx.Put("x", nil) }); !errors.Is(err, store.ErrLost) {
		t.Errorf("a change after the end: %v", err)
	}
	if _, err := s.Renew(context.Background(), l.Owner()); !errors.Is(err, store.ErrLost) {
		t.Errorf("renew after the end: %v", err)
	}
	view(t, s, func(tx store.Tx) error {
		alive, err := store.Alive(tx, kept.Owner)
		if !alive {
			t.Error("the other one is gone, too")
		}
		return err
	})
}

func fenced(t *testing.T, r *relays) {
	s, other := r.join(), r.relay("b")
	mine := r.register(s, "a")
	kv := s.As(mine)
	put := func(kv store.KV, key string) error {
		return kv.Update(context.Background(), func(tx store.Tx) error {
			if o := store.OwnerOf(tx); kv != store.KV(s) && o.Name != "a" {
				t.Errorf("a change of %v", o)
			}
			return tx.Put(key, nil)
		})
	}
	if err := put(kv, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(context.Background(), mine); err != nil {
		t.Fatal(err)
	}
	lost := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrLost) || wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("%s: %v", what, err)
		}
	}
	lost("a change", put(kv, "two"))
	lost("a change of nothing", kv.Update(context.Background(), func(store.Tx) error { return nil }))
	again := r.register(s, "a")
	lost("a change with the lease of before", put(kv, "three"))
	if err := errors.Join(put(s.As(again), "four"), put(s, "five")); err != nil {
		t.Error(err)
	}
	other.update(t, func(tx store.Tx) error {
		if got := fmt.Sprint(keys(tx, "one"), keys(tx, "t"), keys(tx, "f")); got != "[one] [] [five four]" {
			t.Errorf("there are %s", got)
		}
		if o := store.OwnerOf(tx); o != other.Owner {
			t.Errorf("a change of %v, and not of %v", o, other.Owner)
		}
		return nil
	})
	view(t, s.As(again), func(tx store.Tx) error { _, err := tx.Get("one"); return err })
}

// fencedUnderWay: the lease ends when the change has read all that it needs.
func fencedUnderWay(t *testing.T, r *relays) {
	a, b := r.relay("a"), r.relay("b")
	ran := 0
	err := a.As(a.Owner).Update(context.Background(), func(tx store.Tx) error {
		if ran++; ran == 1 {
			if err := b.Release(context.Background(), a.Owner); err != nil {
				t.Error(err)
			}
		}
		return tx.Put("late", nil)
	})
	if !errors.Is(err, store.ErrLost) {
		t.Errorf("it was %v", err)
	}
	view(t, b, func(tx store.Tx) error {
		if len(keys(tx, "late")) > 0 {
			t.Error("it was done")
		}
		return nil
	})
}

// twoLeases: changes that wait at the same relay may be done together, but not those of a lease that is lost with those of
// the next one.
func twoLeases(t *testing.T, r *relays) {
	s := r.join()
	old := r.register(s, "a")
	now := r.register(s, "a")
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			o, want := now, error(nil)
			if i%2 == 0 {
				o, want = old, store.ErrLost
			}
			err := s.As(o).Update(context.Background(), func(tx store.Tx) error {
				if got := store.OwnerOf(tx); got != o {
					t.Errorf("a change of %v has %v", o, got)
				}
				return tx.Put(fmt.Sprintf("of/%d/%d", o.Epoch, i), nil)
			})
			if !errors.Is(err, want) {
				t.Errorf("a change of %v: %v", o, err)
			}
		})
	}
	group.Wait()
	view(t, s, func(tx store.Tx) error {
		if n, m := len(keys(tx, fmt.Sprintf("of/%d/", old.Epoch))), len(keys(tx, fmt.Sprintf("of/%d/", now.Epoch))); n != 0 || m != 20 {
			t.Errorf("%d and %d of 20 were done", n, m)
		}
		return nil
	})
}

func sharedSlots(t *testing.T, r *relays) {
	const each, limit = 20, 7
	all := []*relay{r.relay("a"), r.relay("b"), r.relay("c")}
	var group sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for _, one := range all {
		for range each {
			group.Go(func() {
				err := one.As(one.Owner).Update(context.Background(), func(tx store.Tx) error {
					return store.ReserveSession(tx, newSession(), limit)
				})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					granted++
				} else if wire.CodeOf(err) != wire.Limit {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	view(t, all[0], func(tx store.Tx) error {
		open, err := store.OpenSessions(tx)
		if granted != limit || len(open) != limit {
			t.Errorf("%d were granted and %d are open, of %d", granted, len(open), limit)
		}
		for _, s := range open {
			if alive, err := store.Alive(tx, s.Owner()); !alive || err != nil {
				t.Errorf("a session of %v: %v", s.Owner(), err)
			}
		}
		return err
	})
}

func claimedOnce(t *testing.T, r *relays) {
	gone, all := r.relay("gone"), []*relay{r.relay("a"), r.relay("b"), r.relay("c")}
	s := newSession()
	gone.update(t, func(tx store.Tx) error { return store.ReserveSession(tx, s, 9) })
	gone.lose(t)
	var group sync.WaitGroup
	claims := make([]int, len(all))
	for i, one := range all {
		group.Go(func() {
			for range 3 {
				mine := false
				err := one.As(one.Owner).Update(context.Background(), func(tx store.Tx) (err error) {
					mine, err = store.ClaimSession(tx, s.ID, store.End{Code: wire.RelayLost, At: noon()}, 1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if mine {
					claims[i]++
				}
			}
		})
	}
	group.Wait()
	winner := -1
	for i, n := range claims {
		switch {
		case n == 1 && winner < 0:
			winner = i
		case n != 0:
			t.Fatalf("claims %v", claims)
		}
	}
	if winner < 0 {
		t.Fatalf("claims %v", claims)
	}
	for i, one := range all {
		if i != winner {
			wantCode(t, "another closes it", one.As(one.Owner).Update(context.Background(), func(tx store.Tx) error {
				_, err := store.CloseSession(tx, s.ID, store.End{At: noon()})
				return err
			}), wire.Conflict)
		}
	}
	all[winner].update(t, func(tx store.Tx) error {
		changed, err := store.CloseSession(tx, s.ID, store.End{Code: wire.Killed, At: noon()})
		if !changed {
			t.Error("it was closed already")
		}
		return err
	})
	view(t, gone, func(tx store.Tx) error {
		got, err := store.GetSession(tx, s.ID)
		if got.State != store.Closed || got.Code != wire.RelayLost || got.Closer != all[winner].Name || got.Owner() != gone.Owner || len(keys(tx, "open/")) != 0 || len(keys(tx, "closing/")) != 0 {
			t.Errorf("%+v", got)
		}
		return err
	})
}

func whose(t *testing.T, r *relays) {
	a, b := r.relay("a"), r.relay("b")
	s, before := newSession(), newSession()
	end := store.End{Code: wire.Killed, Reason: "killed", At: noon()}
	update(t, b, func(tx store.Tx) error { return store.ReserveSession(tx, before, 9) }) // as the only relay did
	lying := s
	lying.Relay, lying.Epoch, lying.Closer, lying.EndSize, lying.LogSize = "b", 1, "b", 1, 5
	a.update(t, func(tx store.Tx) error { return store.ReserveSession(tx, lying, 9) })
	view(t, a, func(tx store.Tx) error {
		got, err := store.GetSession(tx, s.ID)
		if got.Owner() != a.Owner || got.Closer != "" || got.EndSize != 0 || got.LogSize != 5 {
			t.Errorf("%+v", got)
		}
		lost, err2 := store.LostSessions(tx, nil)
		if len(lost) != 1 || lost[0].ID != before.ID {
			t.Errorf("lost are %+v", lost)
		}
		strays, err3 := store.LostSessions(tx, func(o store.Owner, id wire.SessionID) bool { return o == a.Owner && id == s.ID })
		if len(strays) != 2 {
			t.Errorf("lost and stray are %+v", strays)
		}
		return errors.Join(err, err2, err3)
	})
	refused := func(what string, one *relay, f func(store.Tx) error) {
		t.Helper()
		wantCode(t, what, one.As(one.Owner).Update(context.Background(), f), wire.Conflict)
	}
	claim := func(tx store.Tx) error { _, err := store.ClaimSession(tx, s.ID, end, 3); return err }
	refused("another activates it", b, func(tx store.Tx) error { return store.ActivateSession(tx, s.ID, "u", noon()) })
	refused("another claims it", b, claim)
	refused("nobody has claimed it", a, func(tx store.Tx) error { _, err := store.CloseSession(tx, s.ID, end); return err })
	a.update(t, func(tx store.Tx) error { return store.ActivateSession(tx, s.ID, "u", noon()) })
	first := a.Owner
	a.Owner = r.register(a, "a") // it has lost the lease and got another
	view(t, a, func(tx store.Tx) error {
		lost, err := store.LostSessions(tx, nil)
		if len(lost) != 2 || lost[0].Owner() != first {
			t.Errorf("lost are %+v", lost)
		}
		return err
	})
	b.update(t, func(tx store.Tx) error {
		mine, err := store.ClaimSession(tx, before.ID, end, 3)
		if !mine {
			t.Error("a row of before the relays were several is nobody's")
		}
		return err
	})
	// What b's log lacks keeps a from nothing.
	a.update(t, func(tx store.Tx) error {
		c := newSession()
		if err := store.ReserveSession(tx, c, 2); err != nil {
			return err
		}
		if mine, err := store.ClaimSession(tx, c.ID, end, 4); !mine || err != nil {
			t.Errorf("its own: %v, %v", mine, err)
		}
		wantCode(t, "what its own log lacks", store.ReserveSession(tx, newSession(), 1), wire.Limit) // s has the slot
		return claim(tx)
	})
	refused("a relay that has more ends to write than there may be", a, func(tx store.Tx) error {
		wantCode(t, "ends to write", store.ReserveSession(tx, newSession(), 2), wire.AuditUnavailable)
		return wire.Errorf(wire.Conflict, "enough")
	})
	b.update(t, func(tx store.Tx) error { return store.ReserveSession(tx, newSession(), 2) })
	view(t, a, func(tx store.Tx) error {
		own, err := store.ClosingOf(tx, "a")
		theirs, err2 := store.ClosingOf(tx, "b")
		if len(own) != 2 || len(theirs) != 1 || theirs[0].ID != before.ID || theirs[0].EndSize != 3 {
			t.Errorf("%d of a, %+v of b", len(own), theirs)
		}
		return errors.Join(err, err2)
	})
}

func adopted(t *testing.T, r *relays) {
	a, b := r.relay("a"), r.relay("b")
	s := newSession()
	a.update(t, func(tx store.Tx) error {
		if err := store.ReserveSession(tx, s, 9); err != nil {
			return err
		}
		_, err := store.ClaimSession(tx, s.ID, store.End{Code: wire.Left, At: noon()}, 3)
		return err
	})
	adopt := func(from string) (mine bool, err error) {
		err = b.As(b.Owner).Update(context.Background(), func(tx store.Tx) (err error) {
			mine, err = store.AdoptSession(tx, s.ID, from, 8)
			return err
		})
		return mine, err
	}
	_, err := adopt("a")
	wantCode(t, "of a relay that is there", err, wire.Conflict)
	a.lose(t)
	if mine, err := adopt("c"); mine || err != nil {
		t.Errorf("of another: %v, %v", mine, err)
	}
	if mine, err := adopt("a"); !mine || err != nil {
		t.Errorf("of a relay that is gone: %v, %v", mine, err)
	}
	view(t, b, func(tx store.Tx) error {
		got, err := store.ClosingOf(tx, "b")
		if len(got) != 1 || got[0].EndSize != 8 || got[0].Code != wire.Left || got[0].State != store.Closing {
			t.Errorf("%+v", got)
		}
		return err
	})
}

func holders(t *testing.T, r *relays) {
	a, b := r.relay("a"), r.relay("b")
	id, other := wire.NewEnvoyID(), wire.NewEnvoyID()
	take := func(one *relay, id wire.EnvoyID) (h store.Holder) {
		t.Helper()
		one.update(t, func(tx store.Tx) (err error) {
			h, err = store.TakeEnvoy(tx, store.Holder{Envoy: id, Since: noon(), Road: "quic"})
			return err
		})
		return h
	}
	held := func(what string, want *relay) {
		t.Helper()
		view(t, b, func(tx store.Tx) error {
			h, ok, err := store.HolderOf(tx, id)
			if ok != (want != nil) || ok && h.Owner() != want.Owner {
				t.Errorf("%s: %+v, %v", what, h, ok)
			}
			return err
		})
	}
	wantCode(t, "without a lease", a.Update(context.Background(), func(tx store.Tx) error {
		_, err := store.TakeEnvoy(tx, store.Holder{Envoy: id})
		return err
	}), wire.BadRequest)
	held("nobody", nil)
	first := take(a, id)
	held("the first", a)
	second := take(b, id)
	held("the newest", b)
	leave := func(one *relay, h store.Holder) {
		t.Helper()
		one.update(t, func(tx store.Tx) error { return store.LeaveEnvoy(tx, h) })
	}
	leave(a, first)
	held("the first has left late", b)
	third := take(a, id)
	leave(b, second)
	held("taken back", a)
	take(b, other)
	a.lose(t)
	held("a relay that is gone", nil)
	view(t, b, func(tx store.Tx) error {
		live, stale, err := store.Holders(tx, 5)
		if len(live) != 1 || live[0].Envoy != other || len(stale) != 1 || stale[0].Turn != third.Turn {
			t.Errorf("%+v and %+v", live, stale)
		}
		_, none, err2 := store.Holders(tx, 0)
		if len(none) != 0 {
			t.Errorf("%d of 0", len(none))
		}
		return errors.Join(err, err2)
	})
	leave(b, third)
	if fourth := take(b, id); fourth.Turn != 1 {
		t.Errorf("%+v", fourth)
	}
	held("anew", b)
}
