package certs

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"scrier/wire"
)

// Pin is the SHA-256 of a CA's public key (SubjectPublicKeyInfo, DER).
type Pin [sha256.Size]byte

// PinOf is the pin of a CA certificate.
func PinOf(ca *x509.Certificate) Pin { return sha256.Sum256(ca.RawSubjectPublicKeyInfo) }

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
