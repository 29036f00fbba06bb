package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"scrier/certs"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// linked is an agent's link whose relay a test plays.
func linked(t *testing.T) (*agentLink, *wire.Framed, *certs.CA) {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetDeadline(time.Now().Add(time.Minute)); err != nil { // what does not come is a failure, and not a test that hangs
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(wire.None, "") })
	a.enrolment.Pin = ca.Pin().String()
	first, err := x509.ParseCertificate(issue(t, ca, envoy, newRequest(t))[0])
	if err != nil {
		t.Fatal(err)
	}
	a.leaf = first
	return &agentLink{Agent: a, link: near, control: wire.NewFramed(s)}, wire.NewFramed(r), ca
}

var envoy = certs.Identity{Role: certs.RoleAgent, ID: "x", Generation: 1}

func newRequest(t *testing.T) []byte {
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

// chain issues the next certificate, for the key of a request.
func chain(t *testing.T, ca *certs.CA, csr []byte) [][]byte {
	t.Helper()
	next := envoy
	next.Generation++
	return issue(t, ca, next, csr)
}

func issue(t *testing.T, ca *certs.CA, id certs.Identity, csr []byte) [][]byte {
	t.Helper()
	pub, err := certs.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue(id, pub)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// free waits until nobody has the exchange: it is given back a moment after Kept was sent.
func (r *renewals) free() {
	r.exchange.Lock()
	defer r.exchange.Unlock()
}

// A relay whose disk is slow may answer after the next one would be due: its answer fits, and the link goes on.
func TestRenewalThatIsAnsweredLate(t *testing.T) {
	l, relay, ca := linked(t)
	done := make(chan error, 1)
	go func() { done <- l.listen() }()
	for range 3 {
		if err := l.askRenewal(); err != nil {
			t.Fatal(err)
		}
	}
	ask, err := wire.Expect[wire.Renew](relay)
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Send(&wire.Renewed{Chain: chain(t, ca, ask.CSR)}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Kept](relay); err != nil { // and no further request before it
		t.Fatal(err)
	}
	l.free()
	if err := l.askRenewal(); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Renew](relay); err != nil {
		t.Fatal(err)
	}
	_ = l.link.Close(wire.None, "")
	<-done
}

// A renewal on an open link saves a certificate and its key, while heartbeats and pings go on.
func TestRenewalOnTheLink(t *testing.T) {
	l, relay, ca := linked(t)
	done := make(chan error, 1)
	go func() { done <- l.listen() }()
	if err := l.askRenewal(); err != nil {
		t.Fatal(err)
	}
	ask, err := wire.Expect[wire.Renew](relay)
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Send(&wire.Ping{N: 7}); err != nil {
		t.Fatal(err)
	}
	if pong, err := wire.Expect[wire.Pong](relay); err != nil || pong.N != 7 {
		t.Fatalf("%+v, %v", pong, err)
	}
	issued := chain(t, ca, ask.CSR)
	if err := relay.Send(&wire.Renewed{Chain: issued}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Kept](relay); err != nil { // it is saved by then
		t.Fatal(err)
	}
	pair, err := l.State.certificate()
	if err != nil {
		t.Fatal(err)
	}
	if string(pair.Certificate[0]) != string(issued[0]) {
		t.Error("another certificate was saved")
	}
	if _, err := tls.X509KeyPair(pemOf(t, pair)); err != nil {
		t.Errorf("key and certificate do not fit: %v", err)
	}
	// A certificate that was not asked for is refused.
	if err := relay.Send(&wire.Renewed{Chain: issued}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; wire.CodeOf(err) != wire.Protocol {
		t.Errorf("a second certificate: %v", err)
	}
}

// A certificate that cannot be saved is not kept, and ends no link: sessions go on with the old one, and
// it is asked for again.
func TestRenewalThatCannotBeSaved(t *testing.T) {
	l, relay, ca := linked(t)
	if err := relay.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	good := l.State.Dir
	l.State.Dir = filepath.Join(good, "gone")
	done := make(chan error, 1)
	go func() { done <- l.listen() }()
	renew := func() *wire.Renewed {
		t.Helper()
		if err := l.askRenewal(); err != nil {
			t.Fatal(err)
		}
		ask, err := wire.Expect[wire.Renew](relay)
		if err != nil {
			t.Fatal(err)
		}
		return &wire.Renewed{Chain: chain(t, ca, ask.CSR)}
	}
	if err := errors.Join(relay.Send(renew()), relay.Send(&wire.Ping{N: 7})); err != nil {
		t.Fatal(err)
	}
	if pong, err := wire.Expect[wire.Pong](relay); err != nil || pong.N != 7 { // and not Kept
		t.Fatalf("%+v, %v", pong, err)
	}
	if err := os.Mkdir(l.State.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := relay.Send(renew()); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Kept](relay); err != nil {
		t.Fatal(err)
	}
	_ = l.link.Close(wire.None, "")
	<-done
}

// An agent that connects when its certificate is due asks at once, as its link may not live long.
func TestRenewalIsDueWhenItConnects(t *testing.T) {
	l, relay, _ := linked(t)
	l.leaf = certificate(time.Now().Add(-20*time.Hour), time.Now().Add(4*time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.renewInTime(ctx) }()
	if err := relay.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil { // it looks again after a minute
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Renew](relay); err != nil {
		t.Error(err)
	}
	cancel()
	<-done
}

// A relay that answers with a certificate that would not serve as the next one changes nothing: the agent
// could not come back with it.
func TestRenewalThatDoesNotFit(t *testing.T) {
	other, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func(ca *certs.CA, csr []byte) [][]byte{
		"nothing":     func(*certs.CA, []byte) [][]byte { return nil },
		"junk":        func(*certs.CA, []byte) [][]byte { return [][]byte{[]byte("junk"), []byte("junk")} },
		"no CA":       func(ca *certs.CA, csr []byte) [][]byte { return chain(t, ca, csr)[:1] },
		"another key": func(ca *certs.CA, _ []byte) [][]byte { return chain(t, ca, newRequest(t)) },
		"another CA":  func(_ *certs.CA, csr []byte) [][]byte { return chain(t, other, csr) },
		"another CA's leaf": func(ca *certs.CA, csr []byte) [][]byte {
			return [][]byte{chain(t, other, csr)[0], ca.Certificate()}
		},
		"another machine": func(ca *certs.CA, csr []byte) [][]byte {
			return issue(t, ca, certs.Identity{Role: certs.RoleAgent, ID: "y", Generation: 2}, csr)
		},
		"an operator": func(ca *certs.CA, csr []byte) [][]byte {
			return issue(t, ca, certs.Identity{Role: certs.RoleOperator, ID: "x", Generation: 2}, csr)
		},
		"the same generation": func(ca *certs.CA, csr []byte) [][]byte { return issue(t, ca, envoy, csr) },
	} {
		l, relay, ca := linked(t)
		if err := l.askRenewal(); err != nil {
			t.Fatal(err)
		}
		ask, err := wire.Expect[wire.Renew](relay)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.renewed(&wire.Renewed{Chain: answer(ca, ask.CSR)}); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.State.certificate(); err == nil {
			t.Errorf("%s was saved", name)
		}
	}
}

func pemOf(t *testing.T, pair *tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// A machine whose clock is far ahead sees every certificate as old: one renewal is enough, and it
// connects.
func TestClockAheadDoesNotRenewForEver(t *testing.T) {
	a := &Agent{Settings: Settings{Now: func() time.Time { return time.Now().Add(20 * time.Hour) }}}
	leaf := certificate(time.Now(), time.Now().Add(24*time.Hour))
	if !a.due(leaf, 0) {
		t.Error("not due on a machine that is 20 h ahead")
	}
	a.last = time.Now()
	if a.due(leaf, 0) {
		t.Error("due again right after a renewal")
	}
}
