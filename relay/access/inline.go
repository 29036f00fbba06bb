package access

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// InlineKeys is what becomes of a key that an operator proves to hold when they open a session, and that does not count for them.
type InlineKeys string

// What may become of it.
const (
	InlineSession  InlineKeys = "session"  // it counts for this session
	InlineRegister InlineKeys = "register" // and from then on, once a machine has let it in
	InlineRefuse   InlineKeys = "refuse"
)

// VerifyKey checks a proof, made on this connection, that the operator holds a key, and returns the key. inline says that the
// key does not count for them otherwise: nobody has registered it, or nobody has proved that it is theirs. It opens
// what this key opens, in the operator's own name; it signs no change and logs nobody in. A key that is another
// operator's is refused.
func (a *Access) VerifyKey(ctx context.Context, who Operator, peer wire.Peer, c *wire.Connect) (key ssh.PublicKey, inline bool, err error) {
	key, err = ssh.ParsePublicKey(c.Key)
	if err != nil {
		return nil, false, &wire.Error{Code: wire.BadRequest, Detail: "malformed public key", Err: err}
	}
	exporter, err := peer.Export(certs.ExporterLabel, certs.ExporterSize)
	if err != nil {
		return nil, false, fmt.Errorf("bind the proof to its connection: %w", err)
	}
	message, err := certs.KeyMessage(exporter, c.Envoy, c.Login)
	if err != nil {
		return nil, false, err
	}
	if err := verifiedBy(key, c.Proof, certs.NamespaceKey(a.CA.Cluster()), message); err != nil {
		return nil, false, err
	}
	if err := who.Undoubted(); err != nil {
		return nil, false, err
	}
	var row, other store.Operator
	print := ssh.FingerprintSHA256(key)
	err = a.KV.View(ctx, func(tx store.Tx) (err error) {
		if row, err = self(tx, who); err != nil {
			return err
		}
		if other, err = store.OperatorByKey(tx, print); wire.CodeOf(err) == wire.NotFound {
			other, err = store.Operator{}, nil
		}
		return err
	})
	switch {
	case err != nil:
		return nil, false, err
	case counts(row, print):
		return key, false, nil
	case other.ID != "" && other.ID != row.ID:
		return nil, false, wire.Errorf(wire.NoSSHPubkey, "the key %s is registered for another operator", print)
	case a.Inline == InlineRefuse:
		return nil, false, wire.Errorf(wire.NoSSHPubkey, "the key %s is not registered for %s, or nobody has proved yet that it is theirs, and this relay takes no other keys (operators.inline_keys in server.yaml)", print, who.Username)
	}
	return key, true, certs.AcceptableKey(key)
}

// RegisterInline makes a key count from now on that [Access.VerifyKey] found to be inline, if the relay is configured for that.
func (a *Access) RegisterInline(ctx context.Context, who Operator, key ssh.PublicKey, session wire.SessionID) error {
	if a.Inline != InlineRegister {
		return nil
	}
	now := a.Now()
	k := store.Key{Authorized: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), Fingerprint: ssh.FingerprintSHA256(key), Added: now, Proved: now}
	e := record("operator.key_register", who, map[string]string{"key": k.Fingerprint})
	e.Session = session.String()
	register := func(tx store.Tx) (store.Operator, error) {
		if err := Current(tx, who); err != nil {
			return store.Operator{}, err
		}
		return claim(tx, who, k)
	}
	if err := a.KV.View(ctx, func(tx store.Tx) error { // so that what cannot be done is not in the audit log as done
		_, err := register(tx)
		return err
	}); err != nil {
		return err
	}
	return a.change(ctx, who, e, func(tx store.Tx) error {
		row, err := register(tx)
		if err == nil {
			err = store.PutOperator(tx, row)
		}
		return err
	})
}

// ParseInlineKeys reads what server.yaml says.
func ParseInlineKeys(s string) (InlineKeys, error) {
	k := InlineKeys(s)
	if !slices.Contains([]InlineKeys{InlineSession, InlineRegister, InlineRefuse}, k) {
		return "", fmt.Errorf("%q is none of session, register and refuse", s)
	}
	return k, nil
}
