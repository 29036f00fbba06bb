package certs

import (
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// pairOf saves a certificate of one of a CA's roles with a new key.
func pairOf(t *testing.T, issue func(pub any) ([][]byte, error)) string {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := issue(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pair.pem")
	if err := SavePair(path, key, chain); err != nil {
		t.Fatal(err)
	}
	return path
}

// shake has a client and a server shake hands, and returns what each of them thinks of it. Over TLS 1.3 a client is through
// before the server has looked at its certificate, so both have to be asked.
func shake(t *testing.T, client, server *tls.Config) (c, s error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		conn := tls.Server(raw, server)
		err = conn.HandshakeContext(t.Context())
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		served <- errors.Join(err, conn.Close())
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
		_ = conn.Close()
	}
	return err, <-served
}

// Members take each other, and nobody else: not the cluster's agents, operators and relays as others see them, not members of
// another CA, and not one that is no member any more. And a member's certificate is good for nothing else.
func TestMembers(t *testing.T) {
	ca, other := newCA(t, time.Now), newCA(t, time.Now)
	member := func(ca *CA, name string) string {
		return pairOf(t, func(pub any) ([][]byte, error) { return ca.IssueMember(name, pub, "127.0.0.1") })
	}
	issued := func(ca *CA, role Role) string {
		return pairOf(t, func(pub any) ([][]byte, error) {
			return ca.Issue(Identity{Role: role, ID: "b", Generation: 1}, pub)
		})
	}
	gone := member(ca, "gone")
	pair, err := LoadPair(gone)
	if err != nil {
		t.Fatal(err)
	}
	removed := PinOf(pair.Leaf)
	as := func(pair string, root *CA) Member {
		return Member{Pair: pair, CA: root.cert, Now: time.Now, Admit: func(_ string, key Pin) error {
			if key == removed {
				return wire.Errorf(wire.Revoked, "removed")
			}
			return nil
		}}
	}
	a := as(member(ca, "a"), ca)
	for name, c := range map[string]struct {
		pair string
		in   bool
	}{
		"a member":                   {member(ca, "b"), true},
		"a removed member":           {gone, false},
		"an agent":                   {issued(ca, RoleAgent), false},
		"an operator":                {issued(ca, RoleOperator), false},
		"a member without the mark":  {issued(ca, RoleMember), false},
		"the relay, as agents see":   {pairOf(t, func(pub any) ([][]byte, error) { return ca.issueRelay("b", pub, []string{"127.0.0.1"}) }), false},
		"another CA's member":        {member(other, "b"), false},
		"a forger, in our CA's name": {forged(t, ca, newKey(t)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := shake(t, as(c.pair, ca).Client("a"), a.Server()); (err == nil) != c.in {
				t.Errorf("as who comes: %v", err)
			}
			if err, _ := shake(t, a.Client("b"), as(c.pair, ca).Server()); (err == nil) != c.in {
				t.Errorf("as who is called: %v", err)
			}
		})
	}
	if _, err := shake(t, &tls.Config{InsecureSkipVerify: true}, a.Server()); err == nil {
		t.Error("somebody without a certificate is in")
	}
	if err, _ := shake(t, a.Client("b"), as(member(ca, "c"), ca).Server()); wire.CodeOf(err) != wire.RelayUntrusted {
		t.Errorf("c in place of b: %v", err)
	}
	old := as(member(ca, "b"), ca)
	conf := old.Client("a")
	conf.MaxVersion, conf.MinVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := shake(t, conf, a.Server()); err == nil {
		t.Error("a member with TLS 1.2 is in")
	}

	// Towards agents and operators a member's certificate is neither a relay's nor theirs.
	s, pin := &Server{CA: ca, Name: "relay"}, ca.Pin()
	own, err := LoadPair(a.Pair)
	if err != nil {
		t.Fatal(err)
	}
	for _, alpn := range []string{wire.ALPNAgent, wire.ALPNClient} {
		if _, err := shake(t, Client{ALPN: alpn, Pin: &pin, Cert: own, Now: time.Now}.TLS(), s.TCP()); err == nil {
			t.Errorf("a member's certificate is in with %s", alpn)
		}
		conf := s.TCP()
		conf.GetConfigForClient = nil
		conf.NextProtos = []string{alpn}
		conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return LoadPair(a.Pair) }
		if err, _ := shake(t, Client{ALPN: alpn, Pin: &pin, Now: time.Now}.TLS(), conf); wire.CodeOf(err) != wire.RelayUntrusted {
			t.Errorf("a member's certificate in place of the relay's: %v", err)
		}
	}
}

// forged is a member's certificate that says it is of a CA, and is signed by another key.
func forged(t *testing.T, like *CA, key crypto.Signer) string {
	t.Helper()
	parent := *like.cert
	parent.PublicKey = key.Public()
	return pairOf(t, func(pub any) ([][]byte, error) {
		return (&CA{cert: &parent, key: key, now: time.Now}).IssueMember("b", pub, "127.0.0.1")
	})
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeyOfTheCAElsewhere(t *testing.T) {
	ca, other := newCA(t, time.Now), newCA(t, time.Now)
	der, err := ca.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	again, err := UnmarshalCA(ca.cert, der, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	one, err := ca.Derive("x")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := again.Derive("x"); err != nil || one != two {
		t.Errorf("another derived key (%v)", err)
	}
	for name, f := range map[string]func() (*CA, error){
		"another CA's certificate": func() (*CA, error) { return UnmarshalCA(other.cert, der, time.Now) },
		"half a key":               func() (*CA, error) { return UnmarshalCA(ca.cert, der[:len(der)/2], time.Now) },
		"no key":                   func() (*CA, error) { return UnmarshalCA(ca.cert, nil, time.Now) },
	} {
		if _, err := f(); wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	sig, err := ca.Vouch("one", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if !Vouched(again.cert, "one", []byte("text"), sig) {
		t.Error("the signature does not count")
	}
	if Vouched(ca.cert, "two", []byte("text"), sig) || Vouched(ca.cert, "one", []byte("texT"), sig) || Vouched(other.cert, "one", []byte("text"), sig) || Vouched(ca.cert, "one", []byte("text"), nil) {
		t.Error("a signature counts for what it is not")
	}
}

// A token for a relay is none for a machine, and the other way round.
func TestRelayToken(t *testing.T) {
	token := NewToken(Pin{1, 2, 3})
	if got, err := ParseRelayToken(" " + token.RelayString() + "\n"); err != nil || got != token {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{token.String(), token.RelayString()[:40], token.RelayString() + "A", "", strings.ToUpper(token.RelayString())} {
		if _, err := ParseRelayToken(s); wire.CodeOf(err) != wire.TokenInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := ParseToken(token.RelayString()); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("a machine takes a relay's token: %v", err)
	}
}
