package lease_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/lease"
	"scrier/relay/store"
	"scrier/relay/store/sharedtest"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is a relay with its keeper, which runs until the test ends.
type kept struct {
	*lease.Keeper
	node *sharedtest.Node
	stop func()
}

func keep(t *testing.T, c *sharedtest.Cluster, name string) *kept {
	t.Helper()
	n := c.Join()
	k, err := lease.New(lease.Config{
		Store: n, Name: name, Address: name + ":1", Clock: n, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Now: func() time.Time { return time.Now().Add(-50 * 365 * 24 * time.Hour) }, // no clock that anything is measured by
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	r := &kept{k, n, nil}
	ended := false
	r.stop = func() {
		if ended {
			return
		}
		ended = true
		n.Continue()
		n.Mend()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

func put(kv store.KV) error {
	return kv.Update(context.Background(), func(tx store.Tx) error { return tx.Put("x", nil) })
}

// there says whether others see an owner's lease.
func there(t *testing.T, c *sharedtest.Cluster, o store.Owner) (alive bool) {
	t.Helper()
	if err := c.Join().View(t.Context(), func(tx store.Tx) (err error) {
		alive, err = store.Alive(tx, o)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return alive
}

func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		for range 100 {
			time.Sleep(7 * time.Second)
			if !k.Held(o) || !there(t, c, o) || k.While(o).Err() != nil {
				t.Fatal("it was not kept")
			}
			if err := put(k.KV()); err != nil {
				t.Fatal(err)
			}
		}
		k.stop()
		if there(t, c, o) || k.Held(o) {
			t.Error("it was not released")
		}
		if !errors.Is(context.Cause(k.While(o)), store.ErrLost) || !errors.Is(put(k.KV()), store.ErrLost) {
			t.Error("who has released it goes on")
		}
	})
}

// An interruption that is shorter than the lease costs nothing.
func TestShortCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		for range 20 {
			k.node.Cut()
			time.Sleep(4 * time.Second)
			k.node.Mend()
			time.Sleep(11 * time.Second)
			if !k.Held(o) {
				t.Fatal("it was lost")
			}
		}
	})
}

// Who is cut off has stopped before the others see that the lease is gone, and comes back with the next epoch.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		k.node.Cut()
		<-k.While(o).Done()
		if !there(t, c, o) {
			t.Error("the others saw it first")
		}
		if k.Held(o) || !errors.Is(context.Cause(k.While(o)), store.ErrLost) {
			t.Error("it is held and lost")
		}
		if err := put(k.KV()); !errors.Is(err, store.ErrLost) || wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("a change: %v", err)
		}
		time.Sleep(time.Minute)
		if there(t, c, o) {
			t.Error("it is there for ever")
		}
		k.node.Mend()
		time.Sleep(time.Minute)
		if next := k.Owner(); next.Name != "a" || next.Epoch <= o.Epoch || !k.Held(next) || k.Held(o) || k.While(o).Err() == nil || k.While(next).Err() != nil {
			t.Errorf("%v is followed by %v", o, next)
		}
		if err := put(k.KV()); err != nil {
			t.Error(err)
		}
	})
}

// A process that stood still finds, with the first that it does, that it has lost its lease; so does a change that was
// under way then.
func TestStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		first := true
		k.node.Between = func() {
			if first {
				first = false
				k.node.Stop()
			}
		}
		under := make(chan error, 1)
		go func() { under <- put(k.KV()) }()
		time.Sleep(time.Minute)
		if there(t, c, o) {
			t.Error("it was renewed by nobody")
		}
		k.node.Continue()
		if k.Held(o) {
			t.Error("it is held behind a minute in which it was not renewed")
		}
		if err := <-under; !errors.Is(err, store.ErrLost) {
			t.Errorf("a change that was under way: %v", err)
		}
		if k.While(o).Err() == nil {
			t.Error("nobody was told")
		}
		time.Sleep(time.Minute)
		if next := k.Owner(); !k.Held(next) || next.Epoch != o.Epoch+1 {
			t.Errorf("it came back as %v", next)
		}
	})
}

// The same, shorter: the others could not have taken over yet, but might before the next renewal.
func TestStoodStillForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		k.node.Stop()
		time.Sleep(11 * time.Second)
		if !there(t, c, o) {
			t.Fatal("it is gone already")
		}
		k.node.Continue()
		if k.Held(o) || k.While(o).Err() == nil {
			t.Error("it is held")
		}
	})
}

// Two relays of one name do not take it from each other for ever: the newer one has it, and the other waits until that is gone.
func TestNameIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		first := keep(t, c, "a")
		o := first.Owner()
		second := keep(t, c, "a")
		time.Sleep(10 * time.Minute)
		if first.Held(o) || first.Owner() != o || !second.Held(second.Owner()) || second.Owner().Epoch != o.Epoch+1 {
			t.Errorf("%v and %v", first.Owner(), second.Owner())
		}
		second.stop()
		time.Sleep(time.Minute)
		if !first.Held(first.Owner()) {
			t.Error("the first does not come back")
		}
	})
}

// A change finds the loss before the next renewal would.
func TestChangeFindsTheLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharedtest.New(false)
		k := keep(t, c, "a")
		o := k.Owner()
		if err := c.Join().Release(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := put(k.KV()); !errors.Is(err, store.ErrLost) || k.Held(o) || k.While(o).Err() == nil {
			t.Errorf("%v, held %v", err, k.Held(o))
		}
	})
}

func TestBadConfig(t *testing.T) {
	for _, c := range []lease.Config{{Name: ""}, {Name: "A"}, {Name: "a", Address: string(make([]byte, 300))}} {
		if _, err := lease.New(c); wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Without a clock of its own it takes the machine's, on which a lease of a real second ends.
func TestMachineClock(t *testing.T) {
	n := sharedtest.New(false).Join()
	k, err := lease.New(lease.Config{Store: n, Name: "a", TTL: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for o, deadline := k.Owner(), time.Now().Add(time.Minute); k.Held(o); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody renews it, and it is held after a minute")
		}
	}
}
