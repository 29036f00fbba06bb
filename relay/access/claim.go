package access

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// An SSH key counts for an operator when its owner has claimed it: signed with it that it is to count for this
// operator. An administrator can name any public key; that alone opens nothing. Root of the relay's host names
// keys that count at once.
//
// The first key of an operator is claimed at a login, or by who is signed in. All further ones need a signature by
// one that counts already: else an administrator who names a key of their own could claim it, and have the others.

// Key is an SSH key of an operator as they see it.
type Key struct {
	Key         string    `json:"key"` // authorized_keys form
	Fingerprint string    `json:"fingerprint"`
	Added       time.Time `json:"added"`
	Proved      time.Time `json:"proved,omitzero"` // since when it counts
}

// OwnKeys lists an operator's own SSH keys.
func (a *Access) OwnKeys(ctx context.Context, who Operator) ([]Key, error) {
	keys := []Key{}
	err := a.KV.View(ctx, func(tx store.Tx) error {
		o, err := self(tx, who)
		for _, k := range o.Keys {
			keys = append(keys, keyOf(k))
		}
		return err
	})
	return keys, err
}

func keyOf(k store.Key) Key {
	return Key{Key: k.Authorized, Fingerprint: k.Fingerprint, Added: k.Added.UTC(), Proved: utc(k.Proved)}
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// ChallengeClaim makes a challenge for a key's owner.
func (a *Access) ChallengeClaim(ctx context.Context, who Operator) (Challenge, error) {
	if err := a.KV.View(ctx, func(tx store.Tx) error {
		_, err := self(tx, who)
		return err
	}); err != nil {
		return Challenge{}, err
	}
	id, nonce, expires := a.proofs.begin(who.ID, Change{}, a.Now())
	return Challenge{
		ID: id, Text: certs.ClaimText(who.Username, a.CA.Pin(), nonce), Namespace: certs.NamespaceClaim(a.CA.Cluster()), Keys: []string{}, Expires: expires,
	}, nil
}

// Claim makes a key count for who is signed in; who has gone through [Access.Prove]. signature is by that key,
// under the challenge with this id, and may be as ssh-keygen prints it. The key is registered if it was not. If it
// is the operator's first, all else ends that is open in their name, but for the sign-in that asks.
func (a *Access) Claim(ctx context.Context, who Operator, id, signature string) (Key, error) {
	nonce, ok := a.proofs.find(who.ID, id, Change{}, a.Now())
	if !ok {
		return Key{}, wire.Errorf(wire.BadRequest, "the challenge was used already, or is older than 5 minutes; begin anew")
	}
	key, err := signedBy(signature, certs.NamespaceClaim(a.CA.Cluster()), certs.ClaimText(who.Username, a.CA.Pin(), nonce))
	if err == nil {
		err = a.proofs.use(who.ID, nonce, a.Now())
	}
	if err != nil {
		return Key{}, err
	}
	claimed := store.Key{Authorized: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), Fingerprint: ssh.FingerprintSHA256(key), Added: a.Now(), Proved: a.Now()}
	if err := a.KV.View(ctx, func(tx store.Tx) error { // so that what cannot be done is not in the audit log as done
		_, err := claim(tx, who, claimed)
		return err
	}); err != nil {
		return Key{}, err
	}
	var out store.Key
	err = a.change(ctx, who, record("operator.key_claim", who, map[string]string{"key": claimed.Fingerprint}), func(tx store.Tx) error {
		row, err := claim(tx, who, claimed)
		if err != nil {
			return err
		}
		out = row.Keys[slices.IndexFunc(row.Keys, func(k store.Key) bool { return k.Fingerprint == claimed.Fingerprint })]
		return settle(tx, who, row)
	})
	if err == nil {
		a.settled(who)
	}
	return keyOf(out), err
}

// claim is the operator's row with a key that counts.
func claim(tx store.Tx, who Operator, key store.Key) (store.Operator, error) {
	row, err := self(tx, who)
	if err != nil {
		return row, err
	}
	if err := stillFirst(tx, who, row); err != nil {
		return row, err
	}
	switch other, err := store.OperatorByKey(tx, key.Fingerprint); {
	case err == nil && other.ID != row.ID:
		return row, wire.Errorf(wire.Conflict, "the key belongs to another operator already")
	case err != nil && wire.CodeOf(err) != wire.NotFound:
		return row, err
	}
	row.Keys = slices.Clone(row.Keys)
	if i := slices.IndexFunc(row.Keys, func(k store.Key) bool { return k.Fingerprint == key.Fingerprint }); i >= 0 {
		row.Keys[i].Proved = key.Proved
		return row, nil
	}
	if len(row.Keys) >= maxUserKeys {
		return row, wire.Errorf(wire.BadRequest, "an operator has at most %d keys", maxUserKeys)
	}
	row.Keys = append(row.Keys, key)
	return row, nil
}

// stillFirst refuses who was let through without a signature, if the operator has got something to sign with since.
func stillFirst(tx store.Tx, who Operator, row store.Operator) error {
	if !who.First {
		return nil
	}
	has, err := credentialsOf(tx, row)
	if err == nil && !has.none() {
		err = &wire.Error{Code: wire.ProofRequired}
	}
	return err
}

// settle writes an operator's row, and notes that whoever is signed in has proved to be the operator. If they are
// the first to do so, nobody knows who came before them: only their own sign-in goes on.
func settle(tx store.Tx, who Operator, row store.Operator) error {
	if who.First {
		row.Epoch++
	}
	if err := store.PutOperator(tx, row); err != nil {
		return err
	}
	rows, err := store.SignIns(tx, who.ID)
	if err != nil {
		return err
	}
	for _, s := range rows {
		switch {
		case s.ID() == who.SignIn && (s.Doubt != "" || who.First):
			err = store.TrustSignIn(tx, s.Hash, row.Epoch)
		case s.ID() != who.SignIn && who.First:
			err = store.DeleteSignIn(tx, s)
		}
		if err != nil {
			return err
		}
	}
	if who.First {
		_, err = store.DeleteLinksOf(tx, who.ID)
	}
	return err
}

// settled ends what is open, after [settle].
func (a *Access) settled(who Operator) {
	if who.First {
		a.Changed(who.ID)
	}
}

// Confirm notes that whoever is signed in has proved to be the operator, after [Access.Prove].
func (a *Access) Confirm(ctx context.Context, who Operator) error {
	if who.First {
		return wire.Errorf(wire.KeyUnproved, "%s has no key or passkey yet that could prove anything; add one first", who.Username)
	}
	if who.Doubt == "" {
		return nil
	}
	return a.change(ctx, who, record("operator.confirm", who, map[string]string{"signin": who.SignIn, "link_by": who.Doubt}), func(tx store.Tx) error {
		row, err := self(tx, who)
		if err == nil {
			err = settle(tx, who, row)
		}
		return err
	})
}

// claimAtLogin makes the key of a login count that nobody has claimed yet. It must be the operator's first. Logins
// and sign-ins from before end. message is what was signed to log in.
func (a *Access) claimAtLogin(ctx context.Context, source string, row store.Operator, key ssh.PublicKey, message, signature []byte) (store.Operator, error) {
	text := certs.ClaimText(row.Username, a.CA.Pin(), certs.LoginNonce(message))
	if len(signature) == 0 {
		return row, wire.Errorf(wire.KeyUnproved, "the login does not say that the key is to count for %s; update scrier and log in again", row.Username)
	}
	if err := verifiedBy(key, signature, certs.NamespaceClaim(a.CA.Cluster()), []byte(text)); err != nil {
		return row, err
	}
	edit := func(tx store.Tx) (err error) {
		if row, err = store.GetOperator(tx, row.ID); err != nil {
			return err
		}
		has, err := credentialsOf(tx, row)
		if err != nil {
			return err
		}
		if !has.none() {
			return wire.Errorf(wire.KeyUnproved, "%s has other keys or passkeys that count; sign in with one of them and add this key on the page My account, or have it registered by root of the relay's host", row.Username)
		}
		i := slices.IndexFunc(row.Keys, func(k store.Key) bool { return bytes.Equal(blobOf(k), key.Marshal()) })
		if i < 0 {
			return &wire.Error{Code: wire.OperatorChanged}
		}
		row.Keys = slices.Clone(row.Keys)
		row.Keys[i].Proved = a.Now()
		row.Epoch++
		return nil
	}
	if err := a.KV.View(ctx, edit); err != nil {
		return row, err
	}
	err := a.change(ctx, Operator{}, audit.Event{
		Type: "operator.key_claim", Operator: row.Username, Source: source, Fields: map[string]string{"key": ssh.FingerprintSHA256(key)},
	}, func(tx store.Tx) error {
		if err := edit(tx); err != nil {
			return err
		}
		if _, err := store.DeleteLinksOf(tx, row.ID); err != nil {
			return err
		}
		return store.PutOperator(tx, row)
	})
	if err == nil {
		a.Changed(row.ID)
	}
	return row, err
}

// blobOf is a key in SSH's wire format.
func blobOf(k store.Key) []byte {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Authorized))
	if err != nil {
		return nil
	}
	return pub.Marshal()
}

// counts says whether the key with this fingerprint counts for an operator.
func counts(o store.Operator, fingerprint string) bool {
	return slices.ContainsFunc(o.Keys, func(k store.Key) bool { return !k.Proved.IsZero() && k.Fingerprint == fingerprint })
}
