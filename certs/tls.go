package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"scrier/wire"
)

// renewalGrace is how long an agent's certificate that has expired can still be renewed. It is good
// for nothing else then. So a machine that was switched off over the holidays comes back by itself.
const renewalGrace = 30 * 24 * time.Hour

// Server makes the relay's TLS configurations.
type Server struct {
	CA   *CA
	Name string // this relay's name
	// Hosts are the names and addresses that browsers use.
	Hosts []string
	// Public is shown to browsers that ask for one of its names; nil: there is none.
	Public Public
	// Members says whom of the other relays of a cluster this one takes, and how it shows itself to them; nil: it is the only one.
	Members *Member

	mu      sync.Mutex
	cert    *tls.Certificate
	browser browserCerts
}

// alpnACME is what a CA that looks whether a name is ours wants to speak (RFC 8737).
const alpnACME = "acme-tls/1"

// challenger is a Public that proves its name to a CA in a handshake of its own (RFC 8737).
type challenger interface {
	// Challenge answers the CA's handshake.
	Challenge(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Run keeps Public fresh until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if s.Public == nil {
		return nil
	}
	return s.Public.Run(ctx)
}

// QUIC is the configuration for QUIC. ALPN decides what a client must show: an agent must show a
// certificate, a CLI may show one, a browser has none.
func (s *Server) QUIC() *tls.Config {
	c := s.config(wire.ALPNAgent, wire.ALPNClient, wire.ALPNH3)
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c := s.link(hello); c != nil {
			return c, nil
		}
		if slices.Contains(hello.SupportedProtos, wire.ALPNH3) {
			c := s.config(wire.ALPNH3)
			c.GetCertificate = s.h3Cert
			return c, nil
		}
		return nil, nil // TLS goes on with the configuration as it is, and says that no protocol fits
	}
	return c
}

// TCP is the configuration for TCP: for agents and CLIs the same as over QUIC, and for other relays of a cluster, for browsers, who
// are asked for no certificate, and the ACME CA that looks whether a name is ours.
func (s *Server) TCP() *tls.Config {
	c := s.config("h2", "http/1.1")
	if _, ok := s.Public.(challenger); ok {
		c.NextProtos = append(c.NextProtos, alpnACME)
	}
	c.GetCertificate = s.webCert
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if s.Members != nil && slices.Contains(hello.SupportedProtos, wire.ALPNPeer) {
			return s.Members.PeerServer(), nil
		}
		return s.link(hello), nil
	}
	return c
}

// link is the configuration for an agent or a CLI; nil for all others.
func (s *Server) link(hello *tls.ClientHelloInfo) *tls.Config {
	switch {
	case slices.Contains(hello.SupportedProtos, wire.ALPNAgent):
		c := s.config(wire.ALPNAgent)
		c.ClientAuth = tls.RequireAnyClientCert
		c.VerifyConnection = s.verifyPeer(RoleAgent)
		return c
	case slices.Contains(hello.SupportedProtos, wire.ALPNClient):
		c := s.config(wire.ALPNClient)
		c.ClientAuth = tls.RequestClientCert
		c.VerifyConnection = s.verifyPeer(RoleOperator)
		return c
	case slices.Contains(hello.SupportedProtos, wire.ALPNLane):
		c := s.config(wire.ALPNLane)
		c.ClientAuth = tls.RequireAnyClientCert
		c.VerifyConnection = s.verifyLane
		c.DynamicRecordSizingDisabled = true // as the other side
		return c
	}
	return nil
}

// verifyLane takes whoever has a link. Which one that is, is seen by the certificate, which must be the link's.
func (s *Server) verifyLane(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return wire.Errorf(wire.Unauthenticated, "the peer shows no certificate")
	}
	_, expired, err := s.Identify(cs.PeerCertificates)
	if err == nil && expired {
		err = wire.Errorf(wire.Expired, "the certificate has expired")
	}
	return err
}

func (s *Server) webCert(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if ca, ok := s.Public.(challenger); ok && slices.Equal(hello.SupportedProtos, []string{alpnACME}) {
		return ca.Challenge(hello)
	}
	if cert := s.public(hello.ServerName); cert != nil {
		return cert.Certificate, nil
	}
	return s.relayCert()
}

func (s *Server) h3Cert(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cert := s.public(hello.ServerName); cert != nil && cert.Known {
		return cert.Certificate, nil
	}
	cert, _, err := s.browser.get(s.CA, s.Hosts)
	return cert, err
}

// public is the certificate for host, with or without a port; nil: the relay's own is shown.
func (s *Server) public(host string) *PublicCert {
	if s.Public == nil {
		return nil
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if cert := s.Public.Certificate(); cert.covers(host, s.CA.now()) {
		return cert
	}
	return nil
}

// Covers says whether pages at host, with or without a port, have the configured certificate or
// that of ACME.
func (s *Server) Covers(host string) bool { return s.public(host) != nil }

// Known says whether pages at host, with or without a port, can have HTTP/3: whether browsers
// take the certificate there without a hash.
func (s *Server) Known(host string) bool {
	cert := s.public(host)
	return cert != nil && cert.Known
}

// Hashes are what a page at host, with or without a port, gives to WebTransport as
// serverCertificateHashes: SHA-256, base64. None means that the browser trusts the certificate
// without. It is asked for at each connection: hashes change within a week.
func (s *Server) Hashes(host string) []string {
	if s.Known(host) {
		return nil
	}
	_, hashes, err := s.browser.get(s.CA, s.Hosts)
	if err != nil {
		return nil // the handshake fails for the same reason, and the page uses the WebSocket
	}
	return hashes
}

func (s *Server) config(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		SessionTicketsDisabled: true, // a resumed handshake shows no certificate to check
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.relayCert() },
	}
}

// relayCert makes the relay's own certificate, with a key that never touches a disk, and again
// when two thirds of its life are over.
func (s *Server) relayCert() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert != nil {
		// A new one is also made if the clock was set back to before the old one was made: nobody would
		// accept the old one.
		now, made := s.CA.now(), s.cert.Leaf.NotBefore.Add(relayBackdate)
		if now.After(made.Add(-time.Hour)) && now.Before(s.cert.Leaf.NotAfter.Add(-relayLife/3)) {
			return s.cert, nil
		}
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	chain, err := s.CA.issueRelay(s.Name, key.Public(), s.Hosts)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	s.cert = &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}
	return s.cert, nil
}

// verifyPeer is called by VerifyConnection, because every kind of handshake calls that;
// VerifyPeerCertificate is skipped by some.
func (s *Server) verifyPeer(want Role) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			if want == RoleAgent {
				return wire.Errorf(wire.Unauthenticated, "the peer shows no certificate")
			}
			return nil
		}
		id, _, err := s.Identify(cs.PeerCertificates)
		if err != nil {
			return err
		}
		if id.Role != want {
			return wire.Errorf(wire.Unauthenticated, "a certificate of role %s, not %s", id.Role, want)
		}
		return nil
	}
}

// Identify verifies a peer's chain and reads its identity. An agent's certificate that ended
// less than 30 days ago, or begins within the next 30, is still an identity, with expired set: it
// may renew and nothing else.
func (s *Server) Identify(chain []*x509.Certificate) (id Identity, expired bool, err error) {
	leaf := chain[0]
	roots := x509.NewCertPool()
	roots.AddCert(s.CA.cert)
	now := s.CA.now()
	id, err = identityOf(leaf)
	if err != nil {
		return id, false, err
	}
	at := now
	if id.Role == RoleAgent {
		switch {
		case now.After(leaf.NotAfter) && now.Before(leaf.NotAfter.Add(renewalGrace)):
			at, expired = leaf.NotAfter, true
		case now.Before(leaf.NotBefore) && now.After(leaf.NotBefore.Add(-renewalGrace)):
			at, expired = leaf.NotBefore, true // issued while this relay's clock was wrong
		}
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Identity{}, false, invalid(leaf, now, err)
	}
	if id.Cluster != s.CA.Cluster() {
		return Identity{}, false, wire.Errorf(wire.Unauthenticated, "a certificate of another cluster")
	}
	return id, expired, nil
}

// Client says how an agent or a CLI connects to a relay.
type Client struct {
	ALPN string
	// Pin is the CA that is trusted. Without one every relay is accepted: only to show its pin to
	// a person, see [Client.Seen].
	Pin *Pin
	// Chain and Key are the client's own certificate, if it has one.
	Cert *tls.Certificate
	Now  func() time.Time

	// Seen is told the relay's CA when Pin is nil; an error ends the handshake.
	Seen func(ca *x509.Certificate) error
}

// TLS is the configuration.
func (c Client) TLS() *tls.Config {
	conf := &tls.Config{
		// verify refuses what is older than 1.3, and by then it knows who speaks it: proxies that look into TLS do.
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{c.ALPN},
		ServerName: "scrier", // sent where the relay is known by an address alone; certificates are not compared with it
		// The chain is verified below, against the pinned key and the role in the certificate; what
		// is switched off here is only the check against the system's roots and the host name.
		InsecureSkipVerify:     true,
		VerifyConnection:       c.verify,
		SessionTicketsDisabled: true,
	}
	if c.Cert != nil {
		// The CA that comes behind it is the relay's own: it would parse it, and keep it, for each link.
		leaf := *c.Cert
		leaf.Certificate = leaf.Certificate[:1]
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &leaf, nil }
	}
	return conf
}

// verify is called in every kind of handshake, before anything but that was sent.
func (c Client) verify(cs tls.ConnectionState) error {
	ca, err := c.relay(cs.PeerCertificates)
	if err != nil {
		return err
	}
	if cs.Version < tls.VersionTLS13 || cs.NegotiatedProtocol != c.ALPN {
		return wire.Errorf(wire.VersionMismatch, "the relay takes no agents and terminals over TCP, or speaks another version of the protocol than %s", c.ALPN)
	}
	if c.Pin == nil {
		return c.Seen(ca)
	}
	return nil
}

// relay says whether a chain is that of the relay, and returns its CA.
func (c Client) relay(chain []*x509.Certificate) (ca *x509.Certificate, err error) {
	if len(chain) == 0 {
		return nil, wire.Errorf(wire.RelayUntrusted, "the peer shows no certificate")
	}
	leaf, ca := chain[0], chain[len(chain)-1]
	id, err := identityOf(leaf)
	// Who intercepts TLS may copy all that stands in the relay's certificate, and signs it with another CA.
	if err != nil || clusterOf(ca) != id.Cluster {
		return nil, strange(leaf)
	}
	if c.Pin != nil && !c.Pin.matches(ca) {
		return nil, wire.Errorf(wire.RelayUntrusted, "the relay's fingerprint is %s, expected %s", PinOf(ca), *c.Pin)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	now := c.Now()
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if skew := expired("the relay's certificate", leaf, now, err); skew != nil {
		return nil, skew
	}
	if id.Role != RoleRelay {
		return nil, wire.Errorf(wire.RelayUntrusted, "the peer is an %s, not a relay", id.Role)
	}
	if err != nil {
		return nil, strange(leaf)
	}
	return ca, nil
}

// strange refuses a certificate that no relay's CA has issued, and names who did: most likely a proxy or a firewall that
// looks into TLS.
func strange(leaf *x509.Certificate) error {
	return wire.Errorf(wire.RelayUntrusted, "the certificate that was shown is not a Scrier relay's: it is for %s, issued by %s", named(leaf.Subject), named(leaf.Issuer)).
		Advise("a proxy or firewall on the way looks into TLS, or another server is at this address: let whoever runs it leave connections to the relay alone, or check HOST:PORT. Nothing was sent")
}

// named is a name in a stranger's certificate, as one line.
func named(n pkix.Name) string {
	const most = 200
	text := n.String()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.Quote(wire.Printable(text))
}

// invalid says why a peer's chain was refused.
func invalid(leaf *x509.Certificate, now time.Time, err error) error {
	if skew := expired("the certificate", leaf, now, err); skew != nil {
		return skew
	}
	return &wire.Error{Code: wire.Unauthenticated, Detail: "the certificate is not signed by the relay's CA", Err: err}
}

// expired says that err, a chain's, is about its time, which is nearly always a clock; nil: it is not.
func expired(what string, leaf *x509.Certificate, now time.Time, err error) error {
	e, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || e.Reason != x509.Expired {
		return nil
	}
	cert := e.Cert
	if cert == nil {
		cert = leaf
	}
	return &wire.Error{Code: wire.ClockSkew, Err: err, Detail: fmt.Sprintf(
		"%s is valid from %s to %s, but this clock says %s", what,
		cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), now.Format(time.RFC3339))}
}
