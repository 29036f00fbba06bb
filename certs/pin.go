package certs

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"scrier/wire"
)

// Pin is the SHA-256 of a public key (SubjectPublicKeyInfo, DER): the CA's where one is trusted, and an
// agent's where two are told apart.
type Pin [sha256.Size]byte

// PinOf is the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// PinOfKey is the pin of a key that has no certificate yet.
func PinOfKey(pub *ecdsa.PublicKey) (Pin, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Pin{}, fmt.Errorf("hash a key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// String is the pin as people compare it: like an OpenSSH fingerprint.
func (p Pin) String() string { return "SHA256:" + base64.RawStdEncoding.EncodeToString(p[:]) }

// ParsePin reads what [Pin.String] wrote.
func ParsePin(s string) (Pin, error) {
	var p Pin
	b64, ok := strings.CutPrefix(s, "SHA256:")
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(b64, "="))
	if !ok || err != nil || len(raw) != len(p) {
		return p, wire.Errorf(wire.BadRequest, "%q is not a fingerprint; it looks like SHA256:… and has 43 characters after the colon", wire.Printable(s))
	}
	copy(p[:], raw)
	return p, nil
}

func (p Pin) matches(ca *x509.Certificate) bool {
	q := PinOf(ca)
	return subtle.ConstantTimeCompare(p[:], q[:]) == 1
}
