package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"

	"scrier/wire"
)

// memberLife is long: a member whose CA's key stays at another relay cannot make itself a new one, and which members count is
// looked up at each connection anyway.
const memberLife = 365 * 24 * time.Hour

// MinVersion is the version of TLS that members speak at least, for what dials by itself.
const MinVersion = tls.VersionTLS13

// ClusterOf is the name that a CA's identities carry; empty: it is not a Scrier CA's.
func ClusterOf(ca *x509.Certificate) string { return clusterOf(ca) }

// MemberMark is the DNS name that every member's certificate of a cluster has, and no other certificate of its CA. etcd's own
// dialler can ask for a name and knows nothing of roles. The name is never looked up: .internal belongs to nobody.
func MemberMark(cluster string) string { return cluster + ".member.scrier.internal" }

// IssueMember signs the certificate with which a relay is a member of its cluster: server and client towards the other members,
// and nothing towards anybody else. host is the name or the address under which they reach it.
func (ca *CA) IssueMember(name string, pub crypto.PublicKey, host string) ([][]byte, error) {
	template := &x509.Certificate{
		NotBefore:   ca.now().Add(-relayBackdate), // a relay whose clock is wrong must still get in, and be told so
		NotAfter:    ca.now().Add(memberLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	setHosts(template, []string{host, MemberMark(ca.Cluster())})
	return ca.issue(Identity{Role: RoleMember, ID: name}, pub, template)
}

// MemberFresh says that a member's certificate is for a host, and good for two thirds of its life yet.
func (ca *CA) MemberFresh(cert *x509.Certificate, host string) bool {
	now := ca.now()
	return cert.VerifyHostname(host) == nil && cert.CheckSignatureFrom(ca.cert) == nil &&
		now.After(cert.NotBefore) && now.Before(cert.NotAfter.Add(-memberLife/3))
}

// Member is how a relay shows itself to the other members of its cluster, and whom of them it takes.
type Member struct {
	// Pair is the file with the key and the certificate, as [SavePair] writes it. It is read at each handshake, so that a new one
	// counts at once; etcd, which dials by itself, reads the same file.
	Pair string
	CA   *x509.Certificate // the cluster's
	Now  func() time.Time
	// Admit says whether who shows a certificate of a member is one still.
	Admit func(name string, key Pin) error
}

// Server is the configuration for the port at which other members come: TLS 1.3, and nobody without a member's certificate.
func (m Member) Server() *tls.Config {
	return &tls.Config{
		MinVersion:             MinVersion,
		NextProtos:             []string{"http/1.1"}, // what etcd's members say to each other
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed handshake shows no certificate to check
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return LoadPair(m.Pair) },
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := m.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// Client is the configuration for a connection to one member, by its name.
func (m Member) Client(name string) *tls.Config {
	return &tls.Config{
		MinVersion:             MinVersion,
		ServerName:             MemberMark(clusterOf(m.CA)),
		SessionTicketsDisabled: true,
		// verify looks at the pinned CA, the role and the name, in place of the system's roots.
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return LoadPair(m.Pair) },
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := m.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth)
			if err == nil && id.ID != name {
				err = wire.Errorf(wire.RelayUntrusted, "the member %s answers in place of %s", id.ID, name)
			}
			return err
		},
	}
}

// PeerServer is the configuration for links of other members: as Server, and for our own protocol.
func (m Member) PeerServer() *tls.Config {
	conf := m.Server()
	conf.NextProtos = []string{wire.ALPNPeer}
	return conf
}

// Peer is the configuration for a link to one member, by its name.
func (m Member) Peer(name string) *tls.Config {
	conf := m.Client(name)
	conf.NextProtos = []string{wire.ALPNPeer}
	return conf
}

// MemberName is the name in a member's certificate that was verified already.
func MemberName(cert *x509.Certificate) string {
	id, err := identityOf(cert)
	if err != nil || id.Role != RoleMember {
		return ""
	}
	return id.ID
}

// verify is called by VerifyConnection, because every kind of handshake calls that.
func (m Member) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, wire.Errorf(wire.Unauthenticated, "the peer shows no certificate")
	}
	leaf := chain[0]
	id, err := identityOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(m.CA)
	now := m.Now()
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Identity{}, invalid(leaf, now, err)
	}
	switch {
	case id.Cluster != clusterOf(m.CA):
		return Identity{}, wire.Errorf(wire.Unauthenticated, "a certificate of another cluster")
	case id.Role != RoleMember:
		return Identity{}, wire.Errorf(wire.Unauthenticated, "a certificate of role %s, not %s", id.Role, RoleMember)
	case leaf.VerifyHostname(MemberMark(id.Cluster)) != nil:
		return Identity{}, wire.Errorf(wire.Unauthenticated, "a member's certificate without the members' mark")
	}
	return id, m.Admit(id.ID, PinOf(leaf))
}

// Vouch signs a text for one purpose with the CA's key, for what is kept where others may write. No certificate can be made of
// such a signature: what is signed begins with a word, and a certificate does not.
func (ca *CA) Vouch(purpose string, text []byte) ([]byte, error) {
	return ca.key.Sign(rand.Reader, vouched(purpose, text), crypto.SHA256)
}

// Vouched says whether a CA's key has signed a text for a purpose.
func Vouched(ca *x509.Certificate, purpose string, text, signature []byte) bool {
	pub, ok := ca.PublicKey.(*ecdsa.PublicKey)
	return ok && ecdsa.VerifyASN1(pub, vouched(purpose, text), signature)
}

func vouched(purpose string, text []byte) []byte {
	h := sha256.New()
	h.Write([]byte("scrier " + purpose + "\x00"))
	h.Write(text)
	return h.Sum(nil)
}
