package cluster

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/relay/store/etcd"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// journal is an audit log in memory.
type journal struct {
	mu     sync.Mutex
	events []audit.Event
}

func (j *journal) Append(_ context.Context, e audit.Event) (audit.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return audit.Record{Event: e}, nil
}

func (j *journal) types() (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		all = append(all, e.Type)
	}
	return all
}

// node is a relay of a cluster, as far as this package goes.
type node struct {
	*Roll
	t       *testing.T
	cfg     Config
	kv      *etcd.DB
	journal *journal
	stop    func()
}

// run brings a member to work, and keeps it there until the test ends or it is stopped.
func run(t *testing.T, cfg Config, ca *certs.CA, local bool, m *Member) *node {
	t.Helper()
	n := &node{t: t, cfg: cfg, journal: &journal{}}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	n.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if n.kv != nil {
			_ = n.kv.Close()
		}
		if err := m.Close(); err != nil {
			t.Errorf("close %s: %v", m.Name(), err)
		}
	})
	t.Cleanup(n.stop)
	if err := m.Ready(within(t)); err != nil {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	var err error
	if n.kv, err = etcd.Open(within(t), etcd.Config{Client: m.Client(), MaxOps: MaxOps, Name: m.Name()}); err != nil {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	n.Roll = NewRoll(RollConfig{KV: n.kv, CA: ca, Local: local, Member: m, Journal: n.journal, Now: time.Now, Log: cfg.Log})
	if err := n.Begin(within(t)); err != nil {
		t.Fatal(err)
	}
	if ca == nil {
		if k := n.key(); len(k.Sealed) > 0 {
			if n.CA, err = m.CA(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	group.Go(func() { _ = n.Run(ctx) })
	return n
}

func (n *node) key() (k store.CAKey) {
	n.t.Helper()
	if err := n.kv.View(within(n.t), func(tx store.Tx) (err error) {
		k, err = store.GetCAKey(tx)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	return k
}

// first is a cluster of one.
func first(t *testing.T, local bool) *node {
	t.Helper()
	ca, listen := newCA(t), port(t)
	cfg := configOf(t, listen)
	m, err := Form(within(t), cfg, ca, "a", listen)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, cfg, ca, local, m)
}

func (n *node) token(name string) certs.Token {
	n.t.Helper()
	token, _, err := n.MakeToken(within(n.t), Order{By: audit.Event{Operator: "alice"}, Name: name, TTL: time.Minute})
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// stream is one to a member, which serves Join there.
func (n *node) stream() wire.Stream {
	near, far := wiretest.Streams()
	n.t.Cleanup(func() { near.Reset(wire.None) })
	go func() {
		f := wire.NewFramed(far)
		m, err := f.ReceiveSmall(wire.MaxControl)
		if err != nil {
			far.Reset(wire.CodeOf(err))
			return
		}
		j, ok := m.(*wire.Join)
		if !ok {
			far.Reset(wire.Protocol)
			return
		}
		if err := n.Serve(context.Background(), f, "192.0.2.1", j); err != nil {
			_ = f.Send(wire.Refuse(err))
		}
		_ = far.CloseWrite()
	}()
	return near
}

// join makes a new relay a member by asking one that is there.
func (n *node) join(name string) *node {
	n.t.Helper()
	return n.joinIn(name, filepath.Join(n.t.TempDir(), "cluster"))
}

func (n *node) joinIn(name, dir string) *node {
	n.t.Helper()
	listen := port(n.t)
	cfg := configOf(n.t, listen)
	cfg.Dir = dir
	if err := Join(within(n.t), cfg, Request{Token: n.token(name), Name: name, Peer: listen}, n.stream()); err != nil {
		n.t.Fatalf("%s joins: %v", name, err)
	}
	m, err := Start(within(n.t), cfg)
	if err != nil {
		n.t.Fatalf("%s joins: %v", name, err)
	}
	return run(n.t, cfg, nil, false, m)
}

// again starts a member that was stopped.
func (n *node) again() *node {
	n.t.Helper()
	m, err := Start(within(n.t), n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return run(n.t, n.cfg, nil, false, m)
}

func (n *node) put(key, value string) error {
	return n.kv.Update(within(n.t), func(tx store.Tx) error { return tx.Put(key, []byte(value)) })
}

func (n *node) get(key string) (value string) {
	n.t.Helper()
	if err := n.kv.View(within(n.t), func(tx store.Tx) error {
		v, err := tx.Get(key)
		value = string(v)
		return err
	}); err != nil {
		n.t.Errorf("%s reads %s: %v", n.Member.Name(), key, err)
	}
	return value
}

func (n *node) names() (all []string) {
	n.t.Helper()
	list, err := n.List(within(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, m := range list {
		name := m.Name
		if m.Joining {
			name += " (joining)"
		}
		if m.Half {
			name += " (half)"
		}
		all = append(all, name)
	}
	return all
}

func (n *node) want(names ...string) {
	n.t.Helper()
	if got := n.names(); !slices.Equal(got, names) {
		n.t.Errorf("the members are %q, want %q", got, names)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
