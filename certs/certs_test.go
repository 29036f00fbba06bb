package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

func newCA(t *testing.T, now func() time.Time) *CA {
	t.Helper()
	ca, err := LoadOrMakeCA(t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCASurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrMakeCA(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrMakeCA(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if first.Pin() != again.Pin() || first.Cluster() != again.Cluster() || first.Cluster() == "" {
		t.Error("another CA after a restart")
	}
	k1, err1 := first.Derive("x")
	k2, err2 := again.Derive("x")
	k3, err3 := again.Derive("y")
	if err1 != nil || err2 != nil || err3 != nil || k1 != k2 || k1 == k3 {
		t.Error("derived keys differ after a restart, or are the same for two purposes")
	}
	for _, f := range []string{"ca.key", "ca.crt"} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	// A key that is not the certificate's is found before anything is signed with it.
	other := t.TempDir()
	if _, err := LoadOrMakeCA(other, time.Now); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(other, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeCA(dir, time.Now); wire.CodeOf(err) != wire.BadConfig {
		t.Errorf("a foreign key: %v", err)
	}
}

// verify is a client's check of a server's chain, without a network.
func verify(c Client, s *Server) error {
	cert, err := s.relayCert()
	if err != nil {
		return err
	}
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = append(chain, x)
	}
	return c.TLS().VerifyConnection(shaken(c, chain...))
}

// shaken is what a client knows of a server that speaks as it should, with a chain.
func shaken(c Client, chain ...*x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: c.ALPN, PeerCertificates: chain}
}

func TestClientsTrustThePinAlone(t *testing.T) {
	ca, other := newCA(t, time.Now), newCA(t, time.Now)
	pin, wrong := ca.Pin(), other.Pin()
	s := &Server{CA: ca, Name: "relay"}
	if err := verify(Client{Pin: &pin, Now: time.Now}, s); err != nil {
		t.Errorf("the pinned relay: %v", err)
	}
	if err := verify(Client{Pin: &wrong, Now: time.Now}, s); wire.CodeOf(err) != wire.RelayUntrusted {
		t.Errorf("another relay: %v", err)
	}
	yesterday := func() time.Time { return time.Now().Add(-25 * time.Hour) }
	if err := verify(Client{Pin: &pin, Now: yesterday}, s); wire.CodeOf(err) != wire.ClockSkew {
		t.Errorf("a clock that is a day behind: %v", err)
	}
	hours := func() time.Time { return time.Now().Add(-20 * time.Hour) }
	if err := verify(Client{Pin: &pin, Now: hours}, s); err != nil {
		t.Errorf("a clock that is hours behind must still connect, to be told so: %v", err)
	}
	// An agent's certificate of the same CA is no relay's.
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue(Identity{Role: RoleAgent, ID: "x"}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(chain[1])
	if err != nil {
		t.Fatal(err)
	}
	c := Client{Pin: &pin, Now: time.Now}
	if err := c.TLS().VerifyConnection(shaken(c, leaf, root)); wire.CodeOf(err) != wire.RelayUntrusted {
		t.Errorf("an agent as a relay: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	var ahead time.Duration
	now := func() time.Time { return time.Now().Add(ahead) }
	ca := newCA(t, now)
	s := &Server{CA: ca, Name: "relay"}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ca *CA, role Role) *x509.Certificate {
		chain, err := ca.Issue(Identity{Role: role, ID: "id", Generation: 7}, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	agent, operator, foreign := issue(ca, RoleAgent), issue(ca, RoleOperator), issue(newCA(t, now), RoleAgent)
	check := func(name string, leaf *x509.Certificate, wantExpired bool, want wire.Code) {
		t.Helper()
		id, expired, err := s.Identify([]*x509.Certificate{leaf})
		if wire.CodeOf(err) != want || expired != wantExpired || want == wire.None && (id.Generation != 7 || id.Cluster != ca.Cluster()) {
			t.Errorf("%s: %s, expired %t, %v", name, id, expired, err)
		}
	}
	check("agent", agent, false, wire.None)
	check("operator", operator, false, wire.None)
	check("another CA's", foreign, false, wire.Unauthenticated)
	ahead = OperatorLife + time.Minute
	check("operator after 8 h", operator, false, wire.ClockSkew)
	ahead = AgentLife + time.Minute
	check("agent after a day", agent, true, wire.None)
	ahead = AgentLife + renewalGrace
	check("agent after the grace", agent, false, wire.ClockSkew)
}

// A client shows its own certificate, and not the relay's CA behind it: the relay would keep that for each link.
func TestClientsShowNoCA(t *testing.T) {
	ca := newCA(t, time.Now)
	s, pin := &Server{CA: ca, Name: "relay"}, ca.Pin()
	for alpn, role := range map[string]Role{wire.ALPNAgent: RoleAgent, wire.ALPNClient: RoleOperator} {
		key, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ca.Issue(Identity{Role: role, ID: "id", Generation: 1}, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		server := tls.Server(far, s.QUIC())
		client := tls.Client(near, Client{ALPN: alpn, Pin: &pin, Cert: &tls.Certificate{Certificate: chain, PrivateKey: key}, Now: time.Now}.TLS())
		shaken := make(chan error, 1)
		go func() { shaken <- client.HandshakeContext(t.Context()) }()
		if err := server.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		shown := server.ConnectionState().PeerCertificates
		if len(shown) != 1 {
			t.Errorf("%s: %d certificates are shown", role, len(shown))
		}
		if id, _, err := s.Identify(shown); err != nil || id.Role != role {
			t.Errorf("%s is taken for %s: %v", role, id.Role, err)
		}
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
	}
}

// What a peer must show does not depend on the road: an agent its certificate, a CLI its own or none. Browsers over TCP are
// not asked for one, as they would ask the person.
func TestWhatIsAskedFor(t *testing.T) {
	ca := newCA(t, time.Now)
	s := &Server{CA: ca, Name: "relay"}
	own := func(ca *CA, role Role) *tls.Certificate {
		key, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ca.Issue(Identity{Role: role, ID: "id", Generation: 1}, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: chain[:1], PrivateKey: key}
	}
	agent, operator, foreign := own(ca, RoleAgent), own(ca, RoleOperator), own(newCA(t, time.Now), RoleAgent)
	for road, conf := range map[string]*tls.Config{"QUIC": s.QUIC(), "TCP": s.TCP()} {
		for _, c := range []struct {
			alpn      []string
			cert      *tls.Certificate
			in, asked bool
			gets      string
		}{
			{[]string{wire.ALPNAgent}, agent, true, true, wire.ALPNAgent},
			{[]string{wire.ALPNAgent}, nil, false, true, wire.ALPNAgent},
			{[]string{wire.ALPNAgent}, operator, false, true, wire.ALPNAgent},
			{[]string{wire.ALPNAgent}, foreign, false, true, wire.ALPNAgent},
			{[]string{wire.ALPNClient}, operator, true, true, wire.ALPNClient},
			{[]string{wire.ALPNClient}, nil, true, true, wire.ALPNClient},
			{[]string{wire.ALPNClient}, agent, false, true, wire.ALPNClient},
			{[]string{"h2", wire.ALPNAgent}, nil, false, true, wire.ALPNAgent},
			{[]string{"h2", "http/1.1"}, operator, road == "TCP", false, "h2"},
			{[]string{"http/1.1"}, nil, road == "TCP", false, "http/1.1"},
			{nil, operator, true, false, ""},
			{[]string{"scrier-agent/99"}, agent, false, false, ""},
		} {
			near, far := net.Pipe()
			asked := false
			client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, NextProtos: c.alpn,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					asked = true
					if c.cert == nil {
						return new(tls.Certificate), nil
					}
					return c.cert, nil
				}})
			shaken := make(chan struct{})
			go func() {
				defer close(shaken)
				if client.HandshakeContext(t.Context()) == nil {
					_, _ = client.Read(make([]byte, 1)) // what the server thinks of the certificate
				}
			}()
			server := tls.Server(far, conf)
			err := server.HandshakeContext(t.Context())
			_ = far.Close()
			<-shaken
			_ = near.Close()
			if (err == nil) != c.in || asked != c.asked {
				t.Errorf("%s, %q: %v, asked %t", road, c.alpn, err, asked)
			}
			if got := server.ConnectionState().NegotiatedProtocol; err == nil && got != c.gets {
				t.Errorf("%s, %q: it gets %q", road, c.alpn, got)
			}
		}
	}
}

// The relay's own certificate is made anew while it is still good for a month.
func TestRelayCertificateIsRotated(t *testing.T) {
	var ahead time.Duration
	ca := newCA(t, func() time.Time { return time.Now().Add(ahead) })
	s := &Server{CA: ca, Name: "relay"}
	first, err := s.relayCert()
	if err != nil {
		t.Fatal(err)
	}
	if same, err := s.relayCert(); err != nil || same != first {
		t.Error("a new certificate for each connection")
	}
	ends := s.Expiries()
	if len(ends) != 2 || !ends[RelayCertificate].Equal(first.Leaf.NotAfter) || !ends[CACertificate].Equal(ca.cert.NotAfter) {
		t.Errorf("they end at %v", ends)
	}
	s.Hashes("localhost")
	if at, ok := s.Expiries()[BrowserCertificate]; !ok || !at.After(time.Now()) {
		t.Errorf("that of browsers ends at %v", at)
	}
	ahead = relayLife * 3 / 4
	if next, err := s.relayCert(); err != nil || next == first || !s.Expiries()[RelayCertificate].Equal(next.Leaf.NotAfter) {
		t.Errorf("no new certificate, %v", err)
	}
}

func TestTokensAndPins(t *testing.T) {
	token := NewToken(newCA(t, time.Now).Pin())
	again, err := ParseToken(token.String() + "\n")
	if err != nil || again != token {
		t.Errorf("a token came back as %v, %v", again, err)
	}
	for _, bad := range []string{"", "scrier_join_", token.String()[:50], token.String() + "A", "x" + token.String(), strings.ToUpper(token.String())} {
		if _, err := ParseToken(bad); wire.CodeOf(err) != wire.TokenInvalid || !strings.Contains(wire.DetailOf(err), "a token is scrier_join_ and 75 characters") || bad != "" && len(bad) > 20 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	pin, err := ParsePin(token.Pin.String())
	if err != nil || pin != token.Pin {
		t.Errorf("a pin came back as %v, %v", pin, err)
	}
	for _, bad := range []string{"", "SHA256:", "MD5:abc", token.Pin.String()[:30]} {
		if _, err := ParsePin(bad); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzParseRequest: no request, however hostile, yields anything but a P-256 key.
func FuzzParseRequest(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	der, err := NewRequest(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(der[:len(der)-1])
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := ParseRequest(der)
		if err == nil && pub.Params().BitSize != 256 {
			t.Error("a key of another kind")
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(Token{}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := ParseToken(s); err == nil && token.String() != strings.TrimSpace(s) {
			t.Errorf("%q has two forms", s)
		}
	})
}
