package line

import (
	"encoding/base64"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// Key is one public key of the operator.
type Key struct {
	name string // e.g. ssh-ed25519
	Text string // the key in base64, as it stands on a line
}

// NewKey is key in the form in which it is compared. ok is false for keys that never match: DSA, and
// RSA below 2048 or above 8192 bits. Of a certificate it takes the key.
func NewKey(key ssh.PublicKey) (Key, bool) {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	switch name := key.Type(); name {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return Key{name, base64.StdEncoding.EncodeToString(key.Marshal())}, true
	case ssh.KeyAlgoRSA:
		bits := RSABits(key)
		return Key{name, base64.StdEncoding.EncodeToString(key.Marshal())}, bits >= 2048 && bits <= 8192
	}
	return Key{}, false
}

// RSABits is the size of an RSA key's modulus; 0 for other keys.
func RSABits(key ssh.PublicKey) int {
	var rsa struct {
		Name string
		E, N []byte
	}
	if key.Type() != ssh.KeyAlgoRSA || ssh.Unmarshal(key.Marshal(), &rsa) != nil {
		return 0
	}
	return new(big.Int).SetBytes(rsa.N).BitLen()
}
