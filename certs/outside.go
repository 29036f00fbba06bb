package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"scrier/wire"
)

// Outside is how a relay shows itself to a server that others run, with certificates that they have made: an etcd outside. The files
// are PEM. The key's must be private.
type Outside struct {
	Cert, Key string // of this relay; read again at each handshake, as another program renews them
	CA        string // who signs the server's
}

// TLS is the configuration. The server's certificate must be of the CA, and for the name or address that is dialled.
func (o Outside) TLS() (*tls.Config, error) {
	pem, err := readPEM("CA", o.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, wire.Errorf(wire.BadConfig, "%s holds no certificate in PEM", o.CA)
	}
	if err := CheckPrivate(o.Key); err != nil {
		return nil, err
	}
	pair := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, wire.Errorf(wire.BadConfig, "%s and %s are not a certificate and its key: %w", o.Cert, o.Key, err)
		}
		return &c, nil
	}
	if _, err := os.Stat(o.Cert); err != nil {
		return nil, wire.Errorf(wire.BadConfig, "the certificate: %w", err)
	}
	if _, err := pair(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS12, // servers of others may know no more; there is nothing older
		RootCAs:                roots,
		SessionTicketsDisabled: true,
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() },
	}, nil
}
