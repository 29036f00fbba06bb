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
// nothing. That is right for its one use: the certificate is reported, and nothing is trusted because
// of it. No data is sent or read after the handshake, and the connection ends. The program that
// connects later compares the server's certificate with the one that was reported.
//
// Old versions and cipher suites are accepted, as the server is on this machine, and a viewer may be
// able to use a server that has nothing newer.
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

// everySuite is all cipher suites, also those that package crypto/tls does not offer by itself.
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
