package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"

	"scrier/wire"
)

// Probe does a TLS handshake as a client on conn and returns the server's certificate. It verifies
// nothing, and that is right for its one use: the certificate is reported, and nothing is trusted
// because of it. Nothing is sent or read in the connection, which ends with the handshake; who
// connects later holds the server to what was reported here.
//
// Old versions and cipher suites are good enough for that, as the server at the other end is on
// this machine, and refusing them would hide servers that a viewer can use.
func Probe(ctx context.Context, conn net.Conn) (*x509.Certificate, error) {
	c := tls.Client(conn, &tls.Config{
		InsecureSkipVerify:     true,
		MinVersion:             tls.VersionTLS10,
		CipherSuites:           everySuite(),
		SessionTicketsDisabled: true,
		// Without the key shares that make a ClientHello longer than one packet: old servers
		// break off.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	})
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, &wire.Error{Code: wire.DesktopSecurity, Detail: "the TLS handshake failed: " + wire.Printable(err.Error()), Err: err}
	}
	chain := c.ConnectionState().PeerCertificates
	_ = c.CloseWrite() // an orderly end; the server may have gone already
	if len(chain) == 0 {
		return nil, wire.Errorf(wire.DesktopSecurity, "the server shows no certificate")
	}
	return chain[0], nil
}

// everySuite is the ones that package crypto/tls leaves out of its own choice, too.
func everySuite() []uint16 {
	var all []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		all = append(all, s.ID)
	}
	return all
}

// Fingerprint is the SHA-256 of a certificate (DER).
func Fingerprint(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	return sum[:]
}
