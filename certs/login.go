package certs

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"scrier/wire"
)

// ExporterLabel derives the bytes that bind a login to its TLS connection (RFC 8446, 7.5). So a
// signature that was made for one connection is refused on every other.
const ExporterLabel = "EXPORTER-scrier-proof"

// ExporterSize is how many bytes are derived.
const ExporterSize = 32

// NamespaceLogin is the SSHSIG namespace of logins to one cluster.
func NamespaceLogin(cluster string) string { return "scrier-login@" + cluster }

// NamespaceKey is the SSHSIG namespace of a proof, inside a session's request, that the operator
// holds the key that the request names.
func NamespaceKey(cluster string) string { return "scrier-key@" + cluster }

// NamespaceChange is the SSHSIG namespace of signatures under a change ([ChangeText]), NamespaceClaim that of
// claims of a key ([ClaimText]).
func NamespaceChange(cluster string) string { return "scrier-change@" + cluster }
func NamespaceClaim(cluster string) string  { return "scrier-claim@" + cluster }

// ChangeText is what an operator signs so that a change is made: what is asked for, the SHA-256 of the request's
// body, the relay and its nonce. It is one line that a person can read, and sign with ssh-keygen.
func ChangeText(method, path string, body [sha256.Size]byte, operator string, relay Pin, nonce string) string {
	return fmt.Sprintf("scrier change: %s %s, sha256:%x, by %s at the relay %s, once: %s", method, path, body, operator, relay, nonce)
}

// ClaimText is what the owner of a key signs with it, so that it counts for an operator. nonce is that of a
// challenge, or at a login its [LoginNonce].
func ClaimText(operator string, relay Pin, nonce string) string {
	return fmt.Sprintf("scrier claim: this key is to count for %s at the relay %s, once: %s", operator, relay, nonce)
}

// LoginMessage is what an operator signs to log in: the relay's nonce, the connection's exporter
// bytes and the request for the certificate that the login is to yield.
func LoginMessage(nonce, exporter, csr []byte) ([]byte, error) {
	sum := sha256.Sum256(csr)
	return proof(nonce, exporter, sum[:])
}

// LoginNonce is the nonce of a claim that is made at a login with this message: the claim is good in this login, on
// this connection, and nowhere else. A relay that passes another one's challenge on gets nothing for it.
func LoginNonce(message []byte) string {
	sum := sha256.Sum256(message)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// KeyMessage is what an operator signs when a session's request names one key.
func KeyMessage(exporter []byte, envoy, login string) ([]byte, error) {
	return proof([]byte(envoy), exporter, []byte(login))
}

// proof encodes its parts so that no two lists of parts share an encoding.
func proof(parts ...[]byte) ([]byte, error) {
	b, err := wire.Marshal(parts)
	if err != nil {
		return nil, fmt.Errorf("encode proof: %w", err)
	}
	return b, nil
}
