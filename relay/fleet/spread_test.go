package fleet

import (
	"testing"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// A fleet's return takes as long as its relay's processors need, no longer than agents wait, and a small fleet is
// back at once.
func TestSpread(t *testing.T) {
	for _, c := range []struct {
		agents, processors int
		want               time.Duration
	}{
		{0, 1, 0}, {1, 2, 2500 * time.Microsecond}, {200, 2, 500 * time.Millisecond}, {10_000, 2, 25 * time.Second},
		{10_000, 8, 6250 * time.Millisecond}, {1_000_000, 2, wire.MaxSpread},
	} {
		if got := spreadOf(c.agents, c.processors); got != c.want {
			t.Errorf("%d agents come back to %d processors over %s, want %s", c.agents, c.processors, got, c.want)
		}
	}
}

// An agent is told how its fleet comes back when it joins, and again when that is not so any more. Envoys that are
// not connected count, but not those that are gone for good.
func TestAgentsAreToldOfTheSpread(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	control, answers := c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok || m.Spread > 500 {
		t.Fatalf("the first agent was answered %+v", m)
	}
	fleet := func(n int, with func(*store.Envoy)) {
		t.Helper()
		if err := b.KV.Update(t.Context(), func(tx store.Tx) error {
			for range n {
				e := store.Envoy{ID: wire.NewEnvoyID(), Hostname: "web", LastSeen: b.Now()}
				with(&e)
				if err := store.PutEnvoy(tx, e); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b.count(t.Context())
	}
	const many = 5000 // seconds, whatever the number of processors
	fleet(many, func(e *store.Envoy) { e.Revoked = b.Now() })
	fleet(many, func(e *store.Envoy) { e.LastSeen = b.Now().Add(-2 * away) })
	if got := b.spread(); got > time.Second {
		t.Errorf("envoys that do not come back make a spread of %s", got)
	}
	fleet(3, func(*store.Envoy) {})
	b.Fleet.mu.Lock()
	if b.known != 4 {
		t.Errorf("%d envoys may come back, want 4", b.known)
	}
	b.known = many * 1000
	b.Fleet.mu.Unlock()
	if err := control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now())}); err != nil {
		t.Fatal(err)
	}
	if m, ok := (<-answers).(*wire.Spread); !ok || m.Millis != uint32(wire.MaxSpread.Milliseconds()) {
		t.Fatalf("when the fleet has grown, the agent is told %+v", m)
	}
	_, answers = b.enrolledAt("192.0.2.2").connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok || m.Spread != uint32(wire.MaxSpread.Milliseconds()) {
		t.Fatalf("the next agent was answered %+v", m)
	}
}
