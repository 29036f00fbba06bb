package fleet

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// watched is a store whose readers are counted, and that may fail them.
type watched struct {
	store.KV
	views atomic.Int64
	fails atomic.Bool
}

var errDisk = errors.New("the disk is gone")

func (k *watched) View(ctx context.Context, f func(store.Tx) error) error {
	k.views.Add(1)
	if k.fails.Load() {
		return errDisk
	}
	return k.KV.View(ctx, f)
}

// Envoys are counted by their states, as lists show them, whatever becomes of them.
func TestCensus(t *testing.T) {
	forward, edit := later(t)
	b := newBase(t, edit)
	is := func(want map[State]int) {
		t.Helper()
		c, err := b.Census(t.Context())
		maps.DeleteFunc(c.States, func(_ State, n int) bool { return n == 0 })
		if err != nil || !maps.Equal(c.States, want) {
			t.Errorf("there are %v, want %v; %v", c.States, want, err)
		}
		all, err := b.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shown := map[State]int{}
		for _, e := range all {
			shown[e.State]++
		}
		if !maps.Equal(shown, want) {
			t.Errorf("a list shows %v, want %v", shown, want)
		}
	}
	is(map[State]int{})
	one, two, three := b.comes(Order{Name: "one"}, "h"), b.comes(Order{Name: "two"}, "h"), b.comes(Order{Name: "three"}, "h")
	is(map[State]int{Offline: 3})
	one.up("h")
	two.up("h")
	is(map[State]int{Offline: 1, Online: 2})
	forward(time.Minute)
	is(map[State]int{Offline: 1, Stale: 2})
	if err := b.quarantine(t.Context(), two.id, &store.Copied{Why: "a test"}); err != nil {
		t.Fatal(err)
	}
	is(map[State]int{Offline: 1, Stale: 1, Quarantined: 1})
	if err := b.Revoke(t.Context(), audit.Event{}, three.id); err != nil {
		t.Fatal(err)
	}
	is(map[State]int{Stale: 1, Quarantined: 1, Revoked: 1})
	if err := errors.Join(b.Release(t.Context(), audit.Event{}, two.id, time.Time{}), b.Remove(t.Context(), audit.Event{}, three.id)); err != nil {
		t.Fatal(err)
	}
	is(map[State]int{Stale: 1, Offline: 1})
	one.down()
	is(map[State]int{Offline: 2})
}

// Links are counted by their road; what an agent says of it makes no name of its own.
func TestCensusOfLinks(t *testing.T) {
	m, _ := newMover(t)
	first := m.road(wire.Hello{}).welcome()
	first.beside("a", "")
	c, err := m.Census(t.Context())
	if err != nil || c.Links[wire.QUIC] != 2 || len(c.Links) != 1 || len(c.Why) != 0 || c.States[Online] != 1 || c.ToTCP+c.ToQUIC != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	var moved moved
	for _, way := range [][2]wire.Road{{wire.QUIC, wire.TCP}, {wire.TCP, wire.QUIC}, {wire.QUIC, wire.TCP}, {wire.TCP, wire.TCP}, {wire.QUIC, wire.QUIC}} {
		moved.count(way[0], way[1])
	}
	if moved.toTCP.Load() != 2 || moved.toQUIC.Load() != 1 {
		t.Errorf("%d to TCP, %d to QUIC", moved.toTCP.Load(), moved.toQUIC.Load())
	}
}

// A census reads no rows as long as they are what they were, and reads them again after an error.
func TestCensusReadsLittle(t *testing.T) {
	kv := &watched{}
	b := newBase(t, func(c *Config) { kv.KV, c.KV = c.KV, kv })
	m := b.comes(Order{Name: "one"}, "h").up("h")
	kv.fails.Store(true)
	for range 2 {
		if c, err := b.Census(t.Context()); !errors.Is(err, errDisk) || c.States[Online] != 1 || c.Links[wire.QUIC] != 1 || len(c.States) != 1 {
			t.Errorf("without rows: %+v, %v", c, err)
		}
	}
	kv.fails.Store(false)
	own := &watched{KV: kv.KV} // nobody else reads through it
	reads := func(what string, want int64) {
		t.Helper()
		before := own.views.Load()
		if _, err := b.rolls.read(t.Context(), own); err != nil || own.views.Load()-before != want {
			t.Errorf("%s the rows are read %d times, want %d; %v", what, own.views.Load()-before, want, err)
		}
	}
	reads("after an error", 1)
	reads("when nothing has changed", 0)
	m.down()
	m.up("h")
	reads("when an agent has come back", 0)
	b.comes(Order{Name: "two"}, "h")
	reads("when an envoy is new", 1)
	reads("when nothing has changed", 0)
	b.comes(Order{Name: "three"}, "h")
	b.count(t.Context()) // as it does once a minute
	reads("when they were counted for something else", 0)
	before := b.rolls.changes.Load()
	b.comes(Order{Name: "four"}, "h")
	reads("when an envoy is new", 1)
	b.rolls.note(counts{serve: 3}, before) // who has counted before it came
	if is, err := b.rolls.read(t.Context(), own); is.serve != 4 || err != nil {
		t.Errorf("%+v, %v", is, err)
	}
}
