package cluster

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// vouchFor is what the CA signs a member's statement for.
const vouchFor = "cluster member"

// maxSealed is many times what a sealed key of the largest cluster needs, in bytes.
const maxSealed = 16 << 10

// maxKey is many times what a P-256 key needs.
const maxKey = 4 << 10

// Seal encrypts the CA's key to members, each of which can open it with the identity in its own state directory. It takes only those
// for whom this very CA has vouched: in an etcd outside, others than relays may write rows, and must not get the key by writing one.
func Seal(ca *certs.CA, members []store.Member) (store.CAKey, error) {
	cert, err := x509.ParseCertificate(ca.Certificate())
	if err != nil {
		return store.CAKey{}, fmt.Errorf("seal the CA's key: %w", err)
	}
	var to []age.Recipient
	var names []string
	for _, m := range members {
		if !certs.Vouched(cert, vouchFor, m.Statement(), m.Vouch) {
			return store.CAKey{}, wire.Errorf(wire.Conflict, "the CA has not vouched for the member %s: somebody else has written its row", m.Name).
				Advise("remove that member, and find out who can write to the cluster's store")
		}
		r, err := parseRecipient(m.Recipient)
		if err != nil {
			return store.CAKey{}, err
		}
		to, names = append(to, r), append(names, m.Name)
	}
	if len(to) == 0 {
		return store.CAKey{}, errors.New("seal the CA's key: there is no member to seal it for")
	}
	key, err := ca.MarshalKey()
	if err != nil {
		return store.CAKey{}, fmt.Errorf("seal the CA's key: %w", err)
	}
	defer clear(key)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to...)
	if err == nil {
		_, err = w.Write(key)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return store.CAKey{}, fmt.Errorf("seal the CA's key: %w", err)
	}
	return store.CAKey{Sealed: sealed.Bytes(), Names: names}, nil
}

// open decrypts a CA's key with a member's identity. Whoever has sealed it, it counts only if it is the key of the certificate that
// this member trusts.
func open(sealed []byte, identity age.Identity, cert *x509.Certificate, now func() time.Time) (*certs.CA, error) {
	if len(sealed) > maxSealed {
		return nil, wire.Errorf(wire.Protocol, "a sealed key of %d bytes", len(sealed))
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			return nil, wire.Errorf(wire.Forbidden, "the CA's key is not sealed for this member")
		}
		return nil, &wire.Error{Code: wire.BadConfig, Detail: "the sealed key of the CA is damaged", Err: err}
	}
	key, err := io.ReadAll(io.LimitReader(r, maxKey+1))
	defer clear(key)
	if err != nil || len(key) > maxKey {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: "the sealed key of the CA is damaged", Err: err}
	}
	return certs.UnmarshalCA(cert, key, now)
}

// parseRecipient reads an age recipient. Only X25519 is taken: what a member says must not choose a plugin or a passphrase.
func parseRecipient(text string) (*age.X25519Recipient, error) {
	if len(text) > 128 {
		return nil, wire.Errorf(wire.BadRequest, "an age recipient of %d bytes", len(text))
	}
	r, err := age.ParseX25519Recipient(text)
	if err != nil {
		return nil, wire.Errorf(wire.BadRequest, "%q is no age recipient of type X25519", wire.Printable(text))
	}
	return r, nil
}

// sealedFor says whether a key is sealed for just these members.
func sealedFor(k store.CAKey, members []store.Member) bool {
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	have := slices.Sorted(slices.Values(k.Names))
	return slices.Equal(names, have)
}
