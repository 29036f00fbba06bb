package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"scrier/wire"
)

// NewKey makes a P-256 key, the kind that every certificate of Scrier has.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// NewRequest is a PKCS #10 request for key, DER: proof that its maker holds the key.
func NewRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return der, nil
}

// maxRequest is many times what a request for a P-256 key needs.
const maxRequest = 4 << 10

// ParseRequest checks the proof in a request and returns its public key, which must be on P-256.
// Names, extensions and usages in it are ignored.
func ParseRequest(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxRequest {
		return nil, wire.Errorf(wire.BadRequest, "certificate request of %d bytes, at most %d", len(der), maxRequest)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &wire.Error{Code: wire.BadRequest, Detail: "malformed certificate request", Err: err}
	}
	if err := req.CheckSignature(); err != nil {
		return nil, &wire.Error{Code: wire.BadRequest, Detail: "the certificate request is not signed by its key", Err: err}
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, wire.Errorf(wire.BadRequest, "the certificate request is not for a P-256 key")
	}
	return pub, nil
}
