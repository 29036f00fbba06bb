package access

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	nonceLife    = 60 * time.Second
	maxLoginKeys = 64 // offered at once, as many as a full ssh-agent
)

// Login serves a Login message on a stream: a challenge for one of the offered keys, and for its
// proof a certificate of 8 hours. The proof is an SSH signature over our nonce and bytes of this TLS
// connection, so it is refused on any other connection.
func (a *Access) Login(ctx context.Context, s *wire.Framed, peer wire.Peer, m *wire.Login) error {
	source := wire.Host(peer.Addr.String())
	if err := a.attempts.allow(source); err != nil {
		return err
	}
	row, key, err := a.owner(ctx, m)
	if err != nil {
		return a.refused(ctx, source, m.Username, err)
	}
	var nonce [32]byte
	rand.Read(nonce[:])
	if err := s.SetDeadline(time.Now().Add(nonceLife)); err != nil {
		return err
	}
	challenge := &wire.Challenge{Cluster: a.CA.Cluster(), Key: key.Marshal(), Nonce: nonce[:]}
	if !counts(row, ssh.FingerprintSHA256(key)) {
		challenge.Claim = row.Username
	}
	if err := s.Send(challenge); err != nil {
		return err
	}
	proof, err := wire.Expect[wire.Proof](s)
	if err != nil {
		return err
	}
	pub, message, err := a.verifyLogin(key, nonce[:], peer, proof)
	if err == nil && challenge.Claim != "" {
		row, err = a.claimAtLogin(ctx, source, row, key, message, proof.Claim)
	}
	var chain [][]byte
	if err == nil {
		chain, err = a.CA.Issue(certs.Identity{Role: certs.RoleOperator, ID: row.ID, Generation: row.Epoch}, pub)
	}
	if err != nil {
		return a.refused(ctx, source, row.Username, err)
	}
	if err := a.pace.arrive(row.ID); err != nil {
		return err
	}
	if _, err := a.Journal.Append(ctx, audit.Event{
		Type: "operator.login", Operator: row.Username, Source: source,
		Fields: map[string]string{"key": ssh.FingerprintSHA256(key), "role": row.Role},
	}); err != nil {
		return err
	}
	a.attempts.succeed(source)
	return s.Send(&wire.Certified{Chain: chain, Username: row.Username, Role: row.Role, Time: wire.Millis(a.Now())})
}

// owner finds the operator who has one of the offered keys, the named one if a name was given. Keys that count go before
// those that somebody has merely named.
func (a *Access) owner(ctx context.Context, m *wire.Login) (store.Operator, ssh.PublicKey, error) {
	if len(m.Keys) == 0 || len(m.Keys) > maxLoginKeys {
		return store.Operator{}, nil, wire.Errorf(wire.BadRequest, "%d keys offered; between 1 and %d are expected", len(m.Keys), maxLoginKeys)
	}
	var found [2]store.Operator // of a key that counts, and of one that does not
	var with [2]ssh.PublicKey
	var several [2]bool
	err := a.KV.View(ctx, func(tx store.Tx) error {
		for _, blob := range m.Keys {
			key, err := ssh.ParsePublicKey(blob)
			if err != nil || certs.AcceptableKey(key) != nil {
				continue
			}
			o, err := store.OperatorByKey(tx, ssh.FingerprintSHA256(key))
			i := 0
			if !counts(o, ssh.FingerprintSHA256(key)) {
				i = 1
			}
			switch {
			case wire.CodeOf(err) == wire.NotFound, err == nil && m.Username != "" && o.Username != m.Username:
				continue
			case err != nil:
				return err
			case with[i] != nil && found[i].ID != o.ID:
				several[i] = true
			case with[i] == nil:
				found[i], with[i] = o, key
			}
		}
		return nil
	})
	if err != nil {
		return store.Operator{}, nil, err
	}
	for i := range with {
		if several[i] {
			return store.Operator{}, nil, wire.Errorf(wire.BadRequest, "your keys belong to several operators; name one with --username")
		}
		if with[i] != nil {
			return found[i], with[i], nil
		}
	}
	// The same words whether the operator exists or not.
	return store.Operator{}, nil, wire.Errorf(wire.NoSSHPubkey, "none of the keys that were offered (%d) is registered%s", len(m.Keys), forName(m.Username))
}

func forName(username string) string {
	if username == "" {
		return ""
	}
	return " for " + wire.Printable(short(username))
}

// verifyLogin checks that a proof is by key and for this connection, and returns the key to certify and what was
// signed.
func (a *Access) verifyLogin(key ssh.PublicKey, nonce []byte, peer wire.Peer, p *wire.Proof) (pub crypto.PublicKey, message []byte, err error) {
	exporter, err := peer.Export(certs.ExporterLabel, certs.ExporterSize)
	if err != nil {
		return nil, nil, fmt.Errorf("bind the login to its connection: %w", err)
	}
	if message, err = certs.LoginMessage(nonce, exporter, p.CSR); err != nil {
		return nil, nil, err
	}
	if err := verifiedBy(key, p.Signature, certs.NamespaceLogin(a.CA.Cluster()), message); err != nil {
		return nil, nil, err
	}
	pub, err = certs.ParseRequest(p.CSR)
	return pub, message, err
}

func verifiedBy(key ssh.PublicKey, sig []byte, namespace string, message []byte) error {
	by, err := certs.VerifySSH(sig, namespace, message)
	if err != nil {
		return &wire.Error{Code: wire.Unauthenticated, Detail: "the signature is not valid", Err: err}
	}
	if string(by.Marshal()) != string(key.Marshal()) {
		return wire.Errorf(wire.Unauthenticated, "the signature is by another key")
	}
	return nil
}

// refused writes a failed login down and counts it against its source.
func (a *Access) refused(ctx context.Context, source, username string, err error) error {
	a.attempts.fail(source)
	_, jerr := a.Journal.Append(context.WithoutCancel(ctx), audit.Event{
		Type: "operator.login_refused", Operator: short(username), Source: source,
		Code: wire.CodeOf(err).String(), Detail: wire.DetailOf(err),
	})
	return errors.Join(err, jerr)
}
