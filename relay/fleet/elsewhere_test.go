package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/lease"
	"scrier/relay/presence"
	"scrier/relay/store"
	"scrier/relay/store/sharedtest"
	"scrier/wire"
)

// relays are two that share a state and a CA, and can ask each other unless apart.
type relays struct {
	t     *testing.T
	a, b  *base
	nodes map[string]*sharedtest.Node
	lost  map[string]*losses

	mu    sync.Mutex
	apart bool
}

func newRelays(t *testing.T) *relays {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	r := &relays{t: t, nodes: map[string]*sharedtest.Node{}, lost: map[string]*losses{"a": {}, "b": {}}}
	cluster := sharedtest.New(false)
	r.a, r.b = r.relay(cluster, ca, "a"), r.relay(cluster, ca, "b")
	return r
}

func (r *relays) relay(cluster *sharedtest.Cluster, ca *certs.CA, name string) *base {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(r.t.Output(), nil))
	n := cluster.Join()
	r.nodes[name] = n
	k, err := lease.New(lease.Config{Store: n, Name: name, Now: time.Now, Clock: n, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := k.Begin(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = k.Run(ctx) })
	b := newBase(r.t, func(c *Config) {
		c.KV, c.CA, c.Elsewhere, c.Lost = k.KV(), ca, r, r.lost[name].count
		c.Board = presence.New(presence.Config{KV: c.KV, Lease: k, Now: time.Now, Log: log})
		c.Journal.(*base).ca = ca
	})
	running.Go(func() { _ = b.Run(ctx) })
	r.t.Cleanup(func() {
		n.Continue()
		n.Mend()
		cancel()
		running.Wait()
	})
	return b
}

func (r *relays) at(h store.Holder) (*base, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apart {
		return nil, &wire.Error{Code: wire.RelayUnreachable}
	}
	if h.Relay == "a" {
		return r.a, nil
	}
	return r.b, nil
}

func (r *relays) Open(ctx context.Context, at store.Holder, open *wire.Open, early []byte) (*Tunnel, error) {
	b, err := r.at(at)
	if err != nil {
		return nil, err
	}
	t, err := b.Fleet.Open(ctx, at.Envoy, open, early)
	if err != nil {
		return nil, err
	}
	return NewTunnel(t.Stream, t.Opened, t.link), nil
}

func (r *relays) Authenticated(_ context.Context, at store.Holder, session wire.SessionID) error {
	b, err := r.at(at)
	if err != nil {
		return err
	}
	return b.AuthenticatedHere(at.Envoy, session)
}

func (r *relays) Ask(ctx context.Context, at store.Holder, n Newcomer) (Answer, error) {
	b, err := r.at(at)
	if err != nil {
		return Answer{}, err
	}
	return b.Asked(ctx, n)
}

func (r *relays) separate(apart bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apart = apart
}

// has says which relay has an envoy.
func (r *relays) has(id wire.EnvoyID, name string) {
	r.t.Helper()
	h, ok, err := r.b.Board.Look(r.t.Context(), id)
	if err != nil || ok != (name != "") || ok && h.Relay != name {
		r.t.Errorf("held by %+v, %v, %v", h, ok, err)
	}
}

// at is the machine at another relay.
func (m *named) at(b *base) *named {
	other := *m
	other.base = b
	return &other
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// A session opens at whatever relay it is asked for.
func TestOpenElsewhere(t *testing.T) {
	r := newRelays(t)
	m := r.a.comes(Order{Name: "web1"}, "web1").road(wire.Hello{}).welcome()
	r.has(m.id, "a")
	there := *m
	there.named = m.named.at(r.b)
	there.echoes(there.session(), "hello")
	within(t, "b to know", func() bool {
		e, err := r.b.Find(t.Context(), "web1")
		return err == nil && e.State == Online && e.Transport == m.link.Peer().Road
	})
	r.b.Elsewhere = nil
	if _, err := r.b.Fleet.Open(t.Context(), m.id, &wire.Open{}, nil); wire.CodeOf(err) != wire.EnvoyOffline {
		t.Errorf("without a way to the other: %v", err)
	}
	_ = m.link.Close(wire.None, "")
	within(t, "it to be gone", func() bool {
		_, ok, err := r.b.Board.Look(t.Context(), m.id)
		return err == nil && !ok
	})
	r.b.Elsewhere = r
	if _, err := r.b.Fleet.Open(t.Context(), m.id, &wire.Open{}, nil); wire.CodeOf(err) != wire.EnvoyOffline {
		t.Errorf("at nobody: %v", err)
	}
}

// An agent that does not answer on its link any more goes on at another relay, whether that can ask or not.
func TestNewestElsewhere(t *testing.T) {
	for name, apart := range map[string]bool{"asked": false, "not asked": true} {
		t.Run(name, func(t *testing.T) {
			r := newRelays(t)
			r.separate(apart)
			m := r.a.comes(Order{Name: "web1"}, "web1").up("web1") // it answers no pings
			now := m.at(r.b).road(wire.Hello{}).welcome()
			r.has(m.id, "b")
			within(t, "the first link's end", func() bool { return r.a.agent(m.id) == nil })
			if why := r.lost["a"].all(); len(why) != 1 || wire.CodeOf(why[0]) != wire.AgentLost {
				t.Errorf("its sessions ended with %v", why)
			}
			r.separate(false)
			there := *now
			there.named = now.named.at(r.a)
			there.echoes(there.session(), "hello")
			r.has(m.id, "b")
		})
	}
}

// An agent moves to another relay as it does to another link: its sessions go on, and new ones are opened there.
func TestMoveElsewhere(t *testing.T) {
	r := newRelays(t)
	first := r.a.comes(Order{Name: "web1"}, "web1").road(wire.Hello{}).welcome()
	tunnel := first.session()
	first.says(&wire.Move{ID: moveID("x")})
	second := first.named.at(r.b).road(wire.Hello{Move: moveID("x")}).welcome()
	r.has(first.id, "b")
	within(t, "a to know", func() bool { a := r.a.agent(first.id); return a != nil && a.isTaken() })
	first.echoes(tunnel, "before")
	there := *second
	there.named = second.named.at(r.a) // asked for at a, opened at b
	there.echoes(there.session(), "behind")
	first.echoes(tunnel, "still")
	if n := len(r.b.records("envoy.duplicate")); n > 0 {
		t.Errorf("%d copies", n)
	}
	_ = second.link.Close(wire.None, "")
	within(t, "a to have it again", func() bool {
		h, ok, err := r.a.Board.Look(t.Context(), first.id)
		return err == nil && ok && h.Relay == "a"
	})
}

// A copy of a machine is found at another relay as it is at the same one.
func TestCopyElsewhere(t *testing.T) {
	r := newRelays(t)
	m := r.a.comes(Order{Name: "web1"}, "web1").road(wire.Hello{}).welcome()
	m.named.at(r.b).road(wire.Hello{}).refused(wire.DuplicateIdentity)
	m.named.at(r.b).road(wire.Hello{Move: moveID("y")}).refused(wire.DuplicateIdentity)
	r.has(m.id, "a")
	if n := len(r.b.records("envoy.duplicate")); n == 0 {
		t.Error("nothing was written down")
	}
	m.echoes(m.session(), "hello")
}

// What is ended at one relay ends at the one that has it.
func TestRevokedElsewhere(t *testing.T) {
	r := newRelays(t)
	m := r.a.comes(Order{Name: "web1"}, "web1").road(wire.Hello{}).welcome()
	if err := r.b.Revoke(t.Context(), audit.Event{Operator: "ann"}, m.id); err != nil {
		t.Fatal(err)
	}
	m.ended(wire.Revoked)
	within(t, "it to be gone", func() bool { return r.a.agent(m.id) == nil })
	r.has(m.id, "")
}

// A relay that is cut off ends its agents' links before the others may take them; nothing passes through a tunnel of one that
// stood still.
func TestLeaseOfAFleet(t *testing.T) {
	r := newRelays(t)
	m := r.a.comes(Order{Name: "web1"}, "web1").road(wire.Hello{}).welcome()
	tunnel := m.session()
	m.echoes(tunnel, "hello")
	o := r.a.Board.Lease.Owner()
	if err := r.nodes["b"].Release(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	// With its next change it knows.
	if err := r.a.KV.Update(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrLost) {
		t.Fatal(err)
	}
	if _, err := tunnel.Write([]byte("late")); !errors.Is(err, store.ErrLost) {
		t.Errorf("a write: %v", err)
	}
	m.ended(wire.RelayLost)
	if why := r.lost["a"].all(); len(why) != 1 || !errors.Is(why[0], store.ErrLost) {
		t.Errorf("its sessions ended with %v", why)
	}
	within(t, "the next lease", func() bool { return r.a.Board.Lease.Held(r.a.Board.Lease.Owner()) })
	again := m.named.road(wire.Hello{}).welcome()
	r.has(m.id, "a")
	again.echoes(again.session(), "again")
}
