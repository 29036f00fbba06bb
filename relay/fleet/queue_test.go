package fleet

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"testing"
	"time"

	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// watchedKV tells of each change that is asked for.
type watchedKV struct {
	store.KV
	asked chan struct{}
}

func (w *watchedKV) Update(ctx context.Context, f func(store.Tx) error) error {
	w.asked <- struct{}{}
	return w.KV.Update(ctx, f)
}

// H37: an agent that has given up takes no turn of a slow disk any more. Otherwise those that are served
// are always those that have gone, and a fleet that comes back all at once never gets in.
func TestWhoGaveUpTakesNoTurn(t *testing.T) {
	var kv watchedKV
	b := newBase(t, func(c *Config) {
		kv = watchedKV{c.KV, make(chan struct{}, 100)}
		c.KV = &kv
	})
	c := b.enrolledAt("192.0.2.1")
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	begun, over, busy := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { // the disk does not answer
		busy <- kv.KV.Update(context.Background(), func(store.Tx) error { close(begun); <-over; return nil })
	}()
	<-begun
	for name, m := range map[string]wire.Message{
		"Hello": &wire.Hello{Boot: "boot", Time: wire.Millis(time.Now())}, "Renew": &wire.Renew{CSR: request(t)},
	} {
		for len(kv.asked) > 0 {
			<-kv.asked
		}
		// It has moved, which is to be written.
		near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1000}, Certificates: []*x509.Certificate{leaf}})
		served := make(chan error, 1)
		go func() { served <- b.Serve(context.Background(), far, c.id, name == "Renew") }()
		s, err := near.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.NewFramed(s).Send(m); err != nil {
			t.Fatal(err)
		}
		<-kv.asked
		if err := near.Close(wire.None, ""); err != nil {
			t.Fatal(err)
		}
		select {
		case <-served:
		case <-time.After(patience):
			t.Errorf("%s of an agent that has gone still waits", name)
			close(over)
			<-served
			over = nil
		}
		if over == nil {
			break
		}
	}
	if over != nil {
		close(over)
	}
	if err := <-busy; err != nil {
		t.Error(err)
	}
}

// When many agents go while the disk is busy, they are written together.
func TestAFleetGoesInFewTransactions(t *testing.T) {
	const n = 20
	var kv watchedKV
	b := newBase(t, func(c *Config) {
		kv = watchedKV{c.KV, make(chan struct{}, 10*n)}
		c.KV = &kv
	})
	var all []*agent
	for range n {
		c := b.enrolledAt("192.0.2.1")
		id, _ := c.welcomed()
		all = append(all, b.agent(id))
	}
	for len(kv.asked) > 0 {
		<-kv.asked
	}
	begun, over, busy := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		busy <- kv.KV.Update(context.Background(), func(store.Tx) error { close(begun); <-over; return nil })
	}()
	<-begun
	var wg sync.WaitGroup
	drop := func(a *agent) {
		wg.Go(func() { b.dropAll(a, &wire.Error{Code: wire.AgentLost}) })
	}
	drop(all[0])
	<-kv.asked
	for _, a := range all[1:] {
		drop(a)
	}
	waiting := func() int {
		b.Fleet.mu.Lock()
		defer b.Fleet.mu.Unlock()
		return len(b.gone)
	}
	for late := time.Now().Add(patience); waiting() < n-1 && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	close(over)
	wg.Wait()
	if err := <-busy; err != nil {
		t.Error(err)
	}
	if more := len(kv.asked); more != 1 || waiting() != 0 {
		t.Errorf("%d agents were written in %d transactions, and %d wait", n-1, more, waiting())
	}
	for _, a := range all {
		row, _ := b.envoy(a.id.String())
		if row.LastSeen.UnixNano() != a.seen.UnixNano() {
			t.Errorf("%s was last seen at %s, not at %s", a.id, row.LastSeen, a.seen)
		}
	}
}

// An agent that comes back as it was does not wait for the disk: what it says is written later, and when it
// goes. That a certificate is new, or comes from another address, is written before anything is served.
func TestWhoComesBackIsNotWritten(t *testing.T) {
	var kv watchedKV
	b := newBase(t, func(c *Config) {
		kv = watchedKV{c.KV, make(chan struct{}, 100)}
		c.KV = &kv
	})
	c := b.enrolledAt("192.0.2.1")
	id, err := wire.ParseEnvoyID(c.id.ID)
	if err != nil {
		t.Fatal(err)
	}
	comes := func(from *caller, want int) {
		t.Helper()
		for len(kv.asked) > 0 {
			<-kv.asked
		}
		_, answers := from.connect()
		if m, ok := (<-answers).(*wire.Welcome); !ok {
			t.Fatalf("it was answered with %T", m)
		}
		if got := len(kv.asked); got != want {
			t.Errorf("it was welcomed after %d changes, want %d", got, want)
		}
		if row, v := b.envoy(c.id.ID); v.State != Online || row.Source != from.addr || row.Generation != from.id.Generation {
			t.Errorf("it is %s, generation %d at %s", v.State, row.Generation, row.Source)
		}
		a := b.agent(id)
		b.dropAll(a, &wire.Error{Code: wire.AgentLost})
		if row, _ := b.envoy(c.id.ID); row.LastSeen.UnixNano() != a.seen.UnixNano() || row.Boot != "boot" {
			t.Errorf("it was last seen at %s with boot %q", row.LastSeen, row.Boot)
		}
	}
	comes(c, 0)
	comes(c.at("192.0.2.2"), 1)
	comes(c.at("192.0.2.2"), 0)
	newer := c.at("192.0.2.2") // this state is a backup
	newer.id.Generation = 2
	comes(newer, 1)
}
