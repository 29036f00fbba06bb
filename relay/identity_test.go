package relay

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/wire"
)

// clock is a relay's clock that a test turns.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) turn(d time.Duration) { c.ahead.Add(int64(d)) }
func (c *clock) settings(s *Settings) { s.Now = c.now }

// H31: of a hundred that spend one token at once, one gets an identity.
func TestTokenIsSpentOnce(t *testing.T) {
	r := start(t)
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{Name: "once", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var won, lost atomic.Int32
	for range 100 {
		wg.Go(func() {
			key, err := certs.NewKey()
			if err != nil {
				t.Error(err)
				return
			}
			csr, err := certs.NewRequest(key)
			if err != nil {
				t.Error(err)
				return
			}
			switch _, err := r.fleet.Enrol(t.Context(), "test", &wire.Enrol{Secret: token.Secret[:], CSR: csr, Facts: wire.Facts{Hostname: "h"}}); wire.CodeOf(err) {
			case wire.None:
				won.Add(1)
			case wire.TokenInvalid:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 99 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	if all, err := r.fleet.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d envoys, %v", len(all), err)
	}
}

func TestTokenExpires(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{Name: "late", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	c.turn(time.Minute)
	if _, err := enrol(t, r, token, nil); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("an expired token: %v", err)
	}
	if audited(t, r, "envoy.enrol_refused") != 1 {
		t.Error("the refusal is not in the audit log")
	}
}

// H32: whatever a request asks for, the relay chooses the identity.
func TestHostileRequests(t *testing.T) {
	r := start(t)
	other := &url.URL{Scheme: "scrier", Host: r.ca.Cluster(), Path: "/operator/root/1"}
	relayURI := &url.URL{Scheme: "scrier", Host: r.ca.Cluster(), Path: "/relay/relay/0"}
	for name, template := range map[string]*x509.CertificateRequest{
		"operator":    {URIs: []*url.URL{other}},
		"relay":       {URIs: []*url.URL{relayURI}},
		"both":        {URIs: []*url.URL{other, relayURI}},
		"names":       {DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"subject":     {Subject: pkix.Name{CommonName: "Scrier CA " + r.ca.Cluster()}},
		"mail":        {EmailAddresses: []string{"root@localhost"}},
		"is a CA":     {ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}},
		"server auth": {ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 37}, Value: []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}}}},
	} {
		token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{Name: "hostile", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		m, err := enrol(t, r, token, func(m *machine) []byte {
			der, err := x509.CreateCertificateRequest(rand.Reader, template, m.cert.PrivateKey)
			if err != nil {
				t.Fatal(err)
			}
			return der
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		leaf := m.cert.Leaf
		id, _, err := r.tls.Identify([]*x509.Certificate{leaf})
		if err != nil || id.Role != certs.RoleAgent || id.ID != m.id.String() || len(leaf.URIs) != 1 {
			t.Errorf("%s: identity %s, %v", name, id, err)
		}
		if leaf.IsCA || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("%s: the request got more than an identity", name)
		}
	}
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"garbage": []byte("x"), "huge": make([]byte, 5000), "empty": nil} {
		if _, err := enrol(t, r, token, func(*machine) []byte { return der }); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An agent's certificate is good for nothing but being that agent, and an operator's the same.
func TestCertificatesServeOneRole(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	link, err := tryDial(t, r, wire.ALPNClient, m.cert)
	if err == nil { // TLS 1.3: the client learns of the refusal after its own handshake
		if code := ended(t, link); code == wire.None {
			t.Error("an agent was let in as an operator")
		}
	}
	link, err = tryDial(t, r, wire.ALPNAgent, nil)
	if err == nil {
		if code := ended(t, link); code == wire.None {
			t.Error("a stranger was let in as an agent")
		}
	}
}

// H33: what a second connection of one identity means.
func TestSecondConnection(t *testing.T) {
	for _, boot := range []string{"boot-2", "boot-1"} { // that of the first can be read by every user there
		t.Run("a copy is refused while the first lives, "+boot, func(t *testing.T) {
			r := start(t)
			m := enrolled(t, r, "web1")
			first := m.must()
			clone := *m
			clone.boot = boot
			for range 3 {
				if _, err := clone.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
					t.Errorf("the copy: %v", err)
				}
			}
			if first.link.Err() != nil {
				t.Error("the copy pushed the first out")
			}
			if n := audited(t, r, "envoy.duplicate"); n != 1 {
				t.Errorf("%d audit records of it", n)
			}
			if e, err := r.fleet.Find(t.Context(), "web1"); err != nil || e.State != fleet.Online || !strings.Contains(strings.Join(e.Warnings, "; "), "another machine, at 127.0.0.1") {
				t.Errorf("the list shows %s, %q, %v", e.State, e.Warnings, err)
			}
		})
	}
	t.Run("a silent first gives way", func(t *testing.T) {
		r := start(t)
		m := enrolled(t, r, "web1")
		first := m.must()
		first.mute.Store(true)
		rebooted := *m
		rebooted.boot = "boot-2"
		rebooted.must()
		if code := ended(t, first.link); code != wire.AgentLost {
			t.Errorf("the first link ended with %s", code)
		}
	})
}

// H34: a revocation ends the live link, and no new one is served.
func TestRevokeEndsTheLink(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	u := m.must()
	if err := r.fleet.Revoke(t.Context(), audit.Event{Operator: "test"}, m.id); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, u.link); code != wire.Revoked {
		t.Errorf("the link ended with %s", code)
	}
	if _, err := m.connect(); wire.CodeOf(err) != wire.Revoked {
		t.Errorf("a revoked machine came back: %v", err)
	}
}

// A certificate that is over serves for 30 days to get a new one, and for nothing else.
func TestExpiredCertificate(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	m := enrolled(t, r, "laptop")
	c.turn(certs.AgentLife + time.Hour)
	if _, err := m.connect(); wire.CodeOf(err) != wire.Expired {
		t.Errorf("hello with an expired certificate: %v", err)
	}
	if err := m.renew(); err != nil {
		t.Fatalf("renewal within the grace: %v", err)
	}
	m.must()
	c.turn(32 * 24 * time.Hour)
	if err := m.renew(); err == nil {
		t.Error("renewal after the grace")
	}
}

// A link whose certificate runs out is ended when it was not renewed.
func TestFleetSeesClockAndSilence(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	m := enrolled(t, r, "web1")
	u := m.must()
	if err := u.control.Send(&wire.Heartbeat{Time: wire.Millis(c.now().Add(-20 * time.Minute)), Facts: wire.Facts{Hostname: "host", Disk: 97, SSH: true}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the heartbeat", func() bool {
		e, err := r.fleet.Find(t.Context(), "web1")
		return err == nil && e.Facts.Disk == 97
	})
	e, err := r.fleet.Find(t.Context(), "web1")
	if err != nil || len(e.Warnings) != 2 {
		t.Fatalf("warnings %q, %v", e.Warnings, err)
	}
	c.turn(time.Minute)
	if e, err = r.fleet.Find(t.Context(), "web1"); err != nil || e.State != "stale" {
		t.Errorf("state %s after a minute of silence, %v", e.State, err)
	}
}
