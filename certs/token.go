package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"scrier/wire"
)

// tokenPrefix makes a token recognisable, to people and to scanners that look for leaked ones.
const tokenPrefix = "scrier_join_"

// tokenSecret is 192 bits.
const tokenSecret = 24

// Token lets one machine enrol: a secret for the relay, and the relay's pin for the machine, so
// that the machine trusts nothing on first sight.
type Token struct {
	Secret [tokenSecret]byte
	Pin    Pin
}

// NewToken makes a token of a relay.
func NewToken(pin Pin) Token {
	t := Token{Pin: pin}
	rand.Read(t.Secret[:])
	return t
}

// Hash is what the relay keeps instead of the secret.
func (t Token) Hash() [32]byte { return sha256.Sum256(t.Secret[:]) }

// String is the token's form for a command line. It is a secret.
func (t Token) String() string {
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(t.Secret[:], t.Pin[:]...))
}

// ParseToken reads what [Token.String] wrote. Its error does not repeat the token.
func ParseToken(s string) (Token, error) {
	var t Token
	b64, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(b64)
	if !ok || err != nil || len(raw) != tokenSecret+len(t.Pin) {
		return t, wire.Errorf(wire.TokenInvalid, "this is no token, or not the whole of one: a token is %s and %d characters", tokenPrefix, base64.RawURLEncoding.EncodedLen(tokenSecret+len(t.Pin))).Advise("copy all of the line that `scrier token create` printed, or make a new token with it")
	}
	copy(t.Secret[:], raw)
	copy(t.Pin[:], raw[tokenSecret:])
	return t, nil
}
