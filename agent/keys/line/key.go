package line

import (
	"encoding/base64"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// Key is one public key of the operator.
type Key struct {
	name string // e.g. ssh-ed25519
	Text string // in base64
}

// NewKey makes key comparable, or reports false for keys that never match: DSA, RSA below
// 2048 or above 8192 bits. A certificate stands for its key.
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
