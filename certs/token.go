package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"scrier/wire"
)

// The prefixes make a token recognisable, to people and to scanners that look for leaked ones. A token for a relay has one of its own,
// so that nobody gives it to a machine: it is worth the whole cluster.
const (
	tokenPrefix      = "scrier_join_"
	relayTokenPrefix = "scrier_relay_"
)

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
func (t Token) String() string { return tokenPrefix + t.text() }

// RelayString is String of a token with which a relay joins a cluster.
func (t Token) RelayString() string { return relayTokenPrefix + t.text() }

func (t Token) text() string {
	return base64.RawURLEncoding.EncodeToString(slices.Concat(t.Secret[:], t.Pin[:]))
}

// ParseRelayToken reads what [Token.RelayString] wrote. Its error does not repeat the token.
func ParseRelayToken(s string) (Token, error) {
	t, ok := parseToken(relayTokenPrefix, s)
	if !ok {
		return t, wire.Errorf(wire.TokenInvalid, "this is no token for a relay, or not the whole of one: it is %s and %d characters", relayTokenPrefix, tokenChars)
	}
	return t, nil
}

var tokenChars = base64.RawURLEncoding.EncodedLen(tokenSecret + len(Pin{}))

func parseToken(prefix, s string) (t Token, ok bool) {
	b64, ok := strings.CutPrefix(strings.TrimSpace(s), prefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(b64)
	if !ok || err != nil || len(raw) != tokenSecret+len(t.Pin) {
		return t, false
	}
	copy(t.Secret[:], raw)
	copy(t.Pin[:], raw[tokenSecret:])
	return t, true
}

// ParseToken reads what [Token.String] wrote. Its error does not repeat the token.
func ParseToken(s string) (Token, error) {
	t, ok := parseToken(tokenPrefix, s)
	if !ok {
		return t, wire.Errorf(wire.TokenInvalid, "this is no token, or not the whole of one: a token is %s and %d characters", tokenPrefix, tokenChars).Advise("copy all of the line that `scrier token create` printed, or make a new token with it")
	}
	return t, nil
}
