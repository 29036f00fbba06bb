package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"slices"
	"testing"
	"time"

	"scrier/wire"
)

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// handshake is what a client that asks for a name gets, with the server's configuration.
func handshake(t *testing.T, conf *tls.Config, name string, alpn ...string) (tls.ConnectionState, error) {
	t.Helper()
	near, far := net.Pipe()
	deadline := time.Now().Add(20 * time.Second)
	if err := near.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if err := far.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		_ = tls.Server(far, conf).Handshake() // the client sees what came of it
	}()
	client := tls.Client(near, &tls.Config{ServerName: name, NextProtos: alpn, InsecureSkipVerify: true})
	err := client.Handshake()
	near.Close()
	<-done
	return client.ConnectionState(), err
}

func hashOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestBrowserCertificate(t *testing.T) {
	ca := newCA(t, time.Now)
	s := &Server{CA: ca, Name: "relay", Hosts: []string{"localhost", "::1", "relay.example.com"}}
	hashes := s.Hashes("relay.example.com:8443")
	cs, err := handshake(t, s.QUIC(), "relay.example.com", wire.ALPNH3)
	if err != nil {
		t.Fatal(err)
	}
	leaf := cs.PeerCertificates[0]
	if len(hashes) != 1 || hashes[0] != hashOf(leaf) {
		t.Errorf("the hashes are %q, the client sees %s", hashes, hashOf(leaf))
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("a key %T", leaf.PublicKey)
	}
	// Chromium counts both ends in.
	if life := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; life > 14*24*time.Hour || life < 12*24*time.Hour {
		t.Errorf("a life of %s", life)
	}
	if now := time.Now(); !leaf.NotBefore.Before(now.Add(-time.Hour)) || !leaf.NotAfter.After(now.Add(7*24*time.Hour)) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	for _, host := range s.Hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if err := leaf.CheckSignatureFrom(ca.cert); err != nil {
		t.Error(err)
	}
	if cs.NegotiatedProtocol != "h3" || cs.Version != tls.VersionTLS13 {
		t.Errorf("%s, TLS %x", cs.NegotiatedProtocol, cs.Version)
	}
	// It is no relay's to Scrier's own programs.
	pin := ca.Pin()
	if err := (Client{Pin: &pin, Now: time.Now}).TLS().VerifyConnection(cs); err == nil {
		t.Error("a browser's certificate passed for a relay's")
	}
	// Over TCP it is the relay's.
	cs, err = handshake(t, s.TCP(), "relay.example.com", "h2")
	if err != nil || hashOf(cs.PeerCertificates[0]) == hashes[0] {
		t.Errorf("pages over TCP: %v", err)
	}
	if err := (Client{Pin: &pin, Now: time.Now}).TLS().VerifyConnection(cs); err != nil {
		t.Error(err)
	}
}

func TestBrowserCertificateIsMadeAnew(t *testing.T) {
	start := time.Now()
	c := &clock{at: start}
	s := &Server{CA: newCA(t, c.now), Name: "relay", Hosts: []string{"localhost"}}
	shown := func() string {
		t.Helper()
		cs, err := handshake(t, s.QUIC(), "localhost", wire.ALPNH3)
		if err != nil {
			t.Fatal(err)
		}
		return hashOf(cs.PeerCertificates[0])
	}
	first := shown()
	// Whatever the hashes are that a page gets, the handshake some seconds later fits one of them.
	for c.at = start; c.at.Before(start.Add(60 * 24 * time.Hour)); c.at = c.at.Add(37 * time.Minute) {
		hashes := s.Hashes("localhost")
		c.at = c.at.Add(10 * time.Second)
		cert, _, err := s.browser.get(s.CA, s.Hosts)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(hashes, hashOf(cert.Leaf)) {
			t.Fatalf("after %s the certificate is not among those announced", c.at.Sub(start))
		}
		if age := c.at.Sub(s.browser.current.made); age > 7*24*time.Hour {
			t.Fatalf("after %s a certificate of age %s is shown", c.at.Sub(start), age)
		}
	}
	// Nobody came for weeks: what is over is not shown.
	c.at = c.at.Add(40 * 24 * time.Hour)
	hashes := s.Hashes("localhost")
	if now := shown(); len(hashes) != 1 || hashes[0] != now || now == first || !s.browser.current.usable(c.at) {
		t.Errorf("after a long silence: %q", hashes)
	}
	// Nobody came from the half to shortly before the end.
	c.at = s.browser.current.tls.Leaf.NotAfter.Add(-time.Second)
	if hashes = s.Hashes("localhost"); len(hashes) != 2 || shown() != hashes[0] {
		t.Errorf("shortly before the end: %q", hashes)
	}
	c.at = c.at.Add(2 * time.Second)
	if shown() != hashes[1] {
		t.Error("the successor is not shown after the end")
	}
	// The clock was ahead and is set right: the old ones are not valid yet for anybody else.
	c.at = start
	if now := shown(); slices.Contains(hashes, now) || !s.browser.current.tls.Leaf.NotBefore.Before(start) {
		t.Error("a certificate of the future is still shown")
	}
}
