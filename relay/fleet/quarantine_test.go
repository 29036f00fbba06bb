package fleet

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// caller is an agent at an address, which a test plays in memory.
type caller struct {
	b     *base
	id    certs.Identity
	chain [][]byte
	addr  string
}

// enrolledAt is an identity that was given to an address.
func (b *base) enrolledAt(addr string) *caller {
	b.t.Helper()
	token, _, err := b.MakeToken(b.t.Context(), Order{Name: "web1", TTL: time.Minute})
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.Enrol(b.t.Context(), addr, &wire.Enrol{Secret: token.Secret[:], CSR: request(b.t), Facts: wire.Facts{Hostname: "web1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	return &caller{b, certs.Identity{Role: certs.RoleAgent, ID: answer.Envoy.String(), Generation: 1}, answer.Chain, addr}
}

func request(t *testing.T) []byte {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// at is a copy somewhere else.
func (c *caller) at(addr string) *caller {
	d := *c
	d.addr = addr
	return &d
}

// welcomed is connect of one that the relay takes. What else it is told comes in answers.
func (c *caller) welcomed() (id wire.EnvoyID, answers <-chan wire.Message) {
	c.b.t.Helper()
	_, answers = c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok {
		c.b.t.Fatalf("it was answered with %T", m)
	}
	id, err := wire.ParseEnvoyID(c.id.ID)
	if err != nil {
		c.b.t.Fatal(err)
	}
	return id, answers
}

// connect says Hello, answers pings until the test ends, and gives what the relay answered.
func (c *caller) connect() (*wire.Framed, <-chan wire.Message) {
	t := c.b.t
	t.Helper()
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.ParseIP(c.addr), Port: 1000}, Certificates: []*x509.Certificate{leaf}})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := c.b.Serve(context.Background(), far, c.id, false)
		_ = far.Close(wire.CodeOf(err), "")
	})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	control := wire.NewFramed(s)
	answers := make(chan wire.Message, 8)
	wg.Go(func() {
		defer close(answers)
		for {
			m, err := control.Receive()
			if err != nil {
				return
			}
			if p, ok := m.(*wire.Ping); ok {
				_ = control.Send(&wire.Pong{N: p.N})
			} else {
				answers <- m
			}
		}
	})
	t.Cleanup(func() {
		_ = near.Close(wire.None, "")
		wg.Wait()
	})
	_ = control.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now())}) // it may be refused already
	return control, answers
}

func (b *base) envoy(id string) (store.Envoy, Envoy) {
	b.t.Helper()
	envoy, err := wire.ParseEnvoyID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	var row store.Envoy
	if err := b.KV.View(b.t.Context(), func(tx store.Tx) (err error) {
		row, err = store.GetEnvoy(tx, envoy)
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	v, err := b.Find(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return row, v
}

// An administrator decides by addresses: those of a copy never stand for the machine.
func TestAddressesOfACopy(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	control, answers := c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok {
		t.Fatalf("%T", m)
	}
	_, refused := c.at("198.51.100.9").connect()
	if m, ok := (<-refused).(*wire.Refused); !ok || m.Code != wire.DuplicateIdentity {
		t.Fatalf("%+v", m)
	}
	row, v := b.envoy(c.id.ID)
	if row.Source != "192.0.2.1" || len(v.Warnings) == 0 || v.Warnings[0] != "another machine, at 198.51.100.9, tried to connect with its identity" {
		t.Errorf("the machine is at %s, warnings %q", row.Source, v.Warnings)
	}
	if err := control.Send(&wire.Renew{CSR: request(t)}); err != nil {
		t.Fatal(err)
	}
	if m, ok := (<-answers).(*wire.Renewed); !ok {
		t.Fatalf("%T", m)
	}
	if err := control.Send(&wire.Kept{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if row, _ := b.envoy(c.id.ID); row.Generation == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate does not count")
		}
	}
	c.at("203.0.113.5").connect()
	for range answers { // until the machine's link has ended
	}
	_, v = b.envoy(c.id.ID)
	if q := v.Quarantine; v.State != Quarantined || q.Counts.Source != "192.0.2.1" || q.Counts.Generation != 2 || q.Other.Source != "203.0.113.5" || q.Other.Generation != 1 {
		t.Errorf("%s, %+v", v.State, q)
	}
	found := b.records("envoy.quarantine")
	if len(found) != 1 || found[0].Source != "203.0.113.5" || found[0].Fields["counts_source"] != "192.0.2.1" || found[0].Fields["other_source"] != "203.0.113.5" {
		t.Errorf("%+v", found)
	}
	if err := b.Release(t.Context(), audit.Event{Operator: "ann"}, v.ID, v.Quarantine.Since); err != nil {
		t.Error(err)
	}
	if found := b.records("envoy.release"); len(found) != 1 || found[0].Operator != "ann" || found[0].Fields["other_source"] != "203.0.113.5" {
		t.Errorf("%+v", found)
	}
}

// silent is the machine's link, whose every message the test sends.
func (c *caller) silent() *wire.Framed {
	t := c.b.t
	t.Helper()
	near, served := c.dial()
	t.Cleanup(func() { _ = near.Close(wire.None, ""); <-served })
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	control := wire.NewFramed(s)
	if err := control.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now())}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](control); err != nil {
		t.Fatal(err)
	}
	return control
}

// dial is a new link, and when the relay has done with it.
func (c *caller) dial() (wire.Link, <-chan struct{}) {
	t := c.b.t
	t.Helper()
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.ParseIP(c.addr), Port: 1000}, Certificates: []*x509.Certificate{leaf}})
	served := make(chan struct{})
	go func() {
		defer close(served)
		err := c.b.Serve(context.Background(), far, c.id, false)
		_ = far.Close(wire.CodeOf(err), "")
	}()
	return near, served
}

// A copy that connects just when the machine renews its certificate is refused like any other: the machine
// still answers.
func TestCopyDuringARenewal(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	control := c.silent()
	_, answers := c.at("203.0.113.9").connect()
	ping, err := wire.Expect[wire.Ping](control)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []wire.Message{&wire.Renew{CSR: request(t)}, &wire.Pong{N: ping.N}} { // it was under way before
		if err := control.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if m, ok := (<-answers).(*wire.Refused); !ok || wire.CodeOf(m.Err()) != wire.DuplicateIdentity {
		t.Errorf("the copy was answered with %v", m)
	}
	if _, err := wire.Expect[wire.Renewed](control); err != nil {
		t.Errorf("the machine: %v", err)
	}
}

// A copy that hangs up before the machine has answered ends nothing by that, whether the machine answers
// then or not.
func TestCopyThatHangsUp(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	control := c.silent()
	for _, answers := range []bool{true, false} {
		near, served := c.at("203.0.113.9").dial()
		s, err := near.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.NewFramed(s).Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now())}); err != nil {
			t.Fatal(err)
		}
		ping, err := wire.Expect[wire.Ping](control)
		if err != nil {
			t.Fatal(err)
		}
		if err := near.Close(wire.None, ""); err != nil {
			t.Fatal(err)
		}
		if answers {
			if err := control.Send(&wire.Pong{N: ping.N}); err != nil {
				t.Fatal(err)
			}
		}
		<-served
		if _, v := b.envoy(c.id.ID); v.State != Online {
			t.Fatalf("the machine is %s", v.State)
		}
	}
}

// A copy that comes again and again has the machine answer each time, and does not get in by that.
func TestCopyThatInsists(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	_, answers := c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok {
		t.Fatalf("the machine was answered with %T", m)
	}
	for i := range 2 * controlBurst {
		_, answers := c.at("203.0.113.9").connect()
		m := <-answers
		if r, ok := m.(*wire.Refused); !ok || wire.CodeOf(r.Err()) != wire.DuplicateIdentity {
			t.Fatalf("copy %d was answered with %T", i, m)
		}
	}
}

// A machine that was away for a while, suspended or on a bad line, answers what was asked in the meantime all at
// once. It may, as it was asked; and no more often than that.
func TestLateAnswers(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	control, answers := c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok {
		t.Fatalf("the machine was answered with %T", m)
	}
	envoy, err := wire.ParseEnvoyID(c.id.ID)
	if err != nil {
		t.Fatal(err)
	}
	a := b.newest(envoy)
	late, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 * controlBurst { // its answers come when nobody waits for them any more
		_ = a.ping(late)
	}
	asked := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.asked
	}
	for asked() > 0 {
		select {
		case <-a.link.Context().Done():
			t.Fatalf("late answers ended the link: %v", a.link.Err())
		case <-time.After(time.Millisecond):
		}
	}
	for range 2 * controlBurst {
		if control.Send(&wire.Pong{N: 1}) != nil {
			break
		}
	}
	select {
	case <-a.link.Context().Done():
	case <-time.After(20 * time.Second):
		t.Error("answers to nothing are taken without end")
	}
}
