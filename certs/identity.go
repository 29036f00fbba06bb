// Package certs says who somebody is: it makes the relay's certificate authority, issues
// certificates, reads identities out of verified ones, and is the only place that builds a
// tls.Config.
//
// Agents and operators trust one thing, the public key of the relay's CA, which they keep as a [Pin].
// Agents get it in their enrolment token, operators compare it at their first login. Between Scrier's
// own programs host names and the system's root certificates are not used.
//
// An identity is a URI in the certificate, chosen by the relay; whatever a signing request asks
// for beyond its public key is ignored. Session tickets and 0-RTT are off everywhere, as a
// resumed connection would skip the check for revocation.
package certs

import (
	"crypto/x509"
	"net/url"
	"strconv"
	"strings"

	"scrier/wire"
)

// Role is what the holder of a certificate may be.
type Role string

// The roles. A certificate of one role is refused wherever another is asked for.
const (
	RoleAgent    Role = "agent"
	RoleOperator Role = "operator"
	RoleRelay    Role = "relay"
	RoleMember   Role = "member" // a relay, towards the others of its cluster alone
)

// Identity is who a certificate speaks for: scrier://CLUSTER/ROLE/ID/GENERATION.
type Identity struct {
	Cluster string
	Role    Role
	ID      string // an envoy's UUID, an operator's UUID, a relay's name
	// Generation grows with each renewal of an agent's certificate, so that a copy of an old one is
	// noticed. In an operator's certificate it is the operator's epoch.
	Generation uint64
}

func (id Identity) uri() *url.URL {
	return &url.URL{
		Scheme: "scrier", Host: id.Cluster,
		Path: "/" + string(id.Role) + "/" + id.ID + "/" + strconv.FormatUint(id.Generation, 10),
	}
}

func (id Identity) String() string { return id.uri().String() }

// Issued reads the identity out of a chain that a relay gave its client (DER, leaf first, the CA last). It
// refuses one of another CA than the pinned one: no relay would take it later. It looks at no clock, as
// this machine's may be wrong.
func Issued(pin Pin, chain [][]byte) (Identity, error) {
	if len(chain) < 2 {
		return Identity{}, wire.Errorf(wire.Protocol, "a certificate chain of %d", len(chain))
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return Identity{}, &wire.Error{Code: wire.Protocol, Detail: "malformed certificate", Err: err}
	}
	ca, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		return Identity{}, &wire.Error{Code: wire.Protocol, Detail: "malformed certificate of a CA", Err: err}
	}
	if !pin.matches(ca) {
		return Identity{}, wire.Errorf(wire.Protocol, "a certificate of a CA with the fingerprint %s, expected %s", PinOf(ca), pin)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	at := leaf.NotBefore
	if ca.NotBefore.After(at) {
		at = ca.NotBefore
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return Identity{}, &wire.Error{Code: wire.Protocol, Detail: "a certificate that is not signed by the relay's CA", Err: err}
	}
	id, err := identityOf(leaf)
	if err != nil {
		return id, &wire.Error{Code: wire.Protocol, Detail: "a certificate without an identity", Err: err}
	}
	return id, nil
}

// Follows refuses a chain that cannot take the place of the certificate old: see [Issued], and it must be
// of the same identity, in a newer generation.
func Follows(old *x509.Certificate, pin Pin, chain [][]byte) error {
	was, err := identityOf(old)
	if err != nil {
		return err
	}
	is, err := Issued(pin, chain)
	if err != nil {
		return err
	}
	if is.Cluster != was.Cluster || is.Role != was.Role || is.ID != was.ID || is.Generation <= was.Generation {
		return wire.Errorf(wire.Protocol, "the certificate of %s does not follow that of %s", is, was)
	}
	return nil
}

// identityOf reads the identity of a certificate that was verified already.
func identityOf(cert *x509.Certificate) (Identity, error) {
	bad := wire.Errorf(wire.Unauthenticated, "the certificate holds no Scrier identity")
	if len(cert.URIs) != 1 {
		return Identity{}, bad
	}
	u := cert.URIs[0]
	parts := strings.Split(u.Path, "/")
	if u.Scheme != "scrier" || u.Host == "" || len(parts) != 4 || parts[0] != "" || parts[2] == "" {
		return Identity{}, bad
	}
	g, err := strconv.ParseUint(parts[3], 10, 64)
	if err != nil {
		return Identity{}, bad
	}
	id := Identity{Cluster: u.Host, Role: Role(parts[1]), ID: parts[2], Generation: g}
	if id.uri().String() != u.String() {
		return Identity{}, bad
	}
	return id, nil
}
