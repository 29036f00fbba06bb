package certs

import (
	"crypto/rsa"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// The sizes of RSA moduli that are accepted, in bits. A smaller key is weak; with a larger one,
// checking a signature takes the relay too much time.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// skUserPresent is the flag by which a security key says that somebody touched it.
const skUserPresent = 0x01

// AcceptableKey says whether k may stand for an operator: Ed25519, ECDSA on a NIST curve, RSA of
// 2048 to 8192 bits, and the security-key forms of the first two. DSA and certificates are
// refused. The error is [wire.KeyUnusable].
func AcceptableKey(k ssh.PublicKey) error {
	if k == nil {
		return wire.Errorf(wire.KeyUnusable, "no key")
	}
	switch k.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		bits, err := rsaBits(k)
		if err != nil {
			return wire.Errorf(wire.KeyUnusable, "read RSA key: %w", err)
		}
		if bits < minRSABits || bits > maxRSABits {
			return wire.Errorf(wire.KeyUnusable, "RSA key has %d bits; %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		return nil
	}
	if _, ok := k.(*ssh.Certificate); ok {
		return wire.Errorf(wire.KeyUnusable, "an SSH certificate is not a key")
	}
	return wire.Errorf(wire.KeyUnusable, "keys of type %s are not accepted", wire.Printable(k.Type()))
}

// rsaBits is the size of an RSA key's modulus. The key of an ssh-agent knows only its bytes, so
// it is parsed again.
func rsaBits(k ssh.PublicKey) (int, error) {
	parsed, err := ssh.ParsePublicKey(k.Marshal())
	if err != nil {
		return 0, err
	}
	c, ok := parsed.(ssh.CryptoPublicKey)
	if !ok {
		return 0, errors.New("no RSA key inside")
	}
	r, ok := c.CryptoPublicKey().(*rsa.PublicKey)
	if !ok {
		return 0, errors.New("no RSA key inside")
	}
	return r.N.BitLen(), nil
}

// checkSSHSignature verifies sig over data and holds it to more than x/crypto does: no SHA-1, no
// bytes behind the signature, and a security key must have been touched.
func checkSSHSignature(key ssh.PublicKey, data []byte, sig *ssh.Signature) error {
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		if sig.Format != ssh.KeyAlgoRSASHA256 && sig.Format != ssh.KeyAlgoRSASHA512 {
			return fmt.Errorf("algorithm %s is not accepted", wire.Printable(sig.Format))
		}
	default:
		if sig.Format != key.Type() {
			return fmt.Errorf("algorithm %s does not fit the key", wire.Printable(sig.Format))
		}
	}
	switch key.Type() {
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		if len(sig.Rest) != 5 { // flags, then a counter of four bytes
			return errors.New("malformed security-key signature")
		}
		if sig.Rest[0]&skUserPresent == 0 {
			return errors.New("the security key was not touched")
		}
	default:
		if len(sig.Rest) != 0 {
			return errors.New("bytes behind the signature")
		}
	}
	return key.Verify(data, sig)
}
