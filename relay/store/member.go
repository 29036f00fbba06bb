package store

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"scrier/wire"
)

// Member is a relay of a cluster. Its row is what makes it one: other members take no connection of a relay that has none.
type Member struct {
	Name      string    `cbor:"1,keyasint"`
	Key       []byte    `cbor:"2,keyasint"` // SHA-256 of the public key of its member's certificate
	Recipient string    `cbor:"3,keyasint"` // for whom the CA's key is sealed: an age recipient
	Peer      string    `cbor:"4,keyasint"` // HOST:PORT at which the other members reach it
	ID        uint64    `cbor:"5,keyasint"` // its number in etcd; 0: it has none
	Since     time.Time `cbor:"6,keyasint,omitzero"`
	// Vouch is the CA's signature over [Member.Statement]: who can write to the store alone cannot have the CA's key sealed for
	// themselves.
	Vouch   []byte `cbor:"7,keyasint"`
	Token   []byte `cbor:"8,keyasint,omitempty"` // hash of the token that it came with, and may come again with if the answer was lost
	Version string `cbor:"9,keyasint,omitempty"` // of the program, when it joined
}

// Statement is what the CA signs of a member.
func (m Member) Statement() []byte {
	data, err := encodeMode.Marshal([]any{m.Name, m.Key, m.Recipient})
	if err != nil {
		panic(err) // of such types nothing can be refused
	}
	return data
}

// RelayToken is the right of one relay to join the cluster. The token itself is not kept, only its hash. It has rows of its own,
// so that no version of the program takes it for the token of a machine.
type RelayToken struct {
	Hash      [32]byte  `cbor:"1,keyasint"`
	Name      string    `cbor:"2,keyasint,omitempty"` // the member's, if it is given
	CreatedBy string    `cbor:"3,keyasint,omitempty"`
	Created   time.Time `cbor:"4,keyasint,omitzero"`
	Expires   time.Time `cbor:"5,keyasint,omitzero"`
}

// ID is the token's public name, as [Token.ID].
func (t RelayToken) ID() string { return hex.EncodeToString(t.Hash[:8]) }

// CAKey says where the key of the cluster's CA is.
type CAKey struct {
	// Sealed is the key, encrypted with age for the members in Names; empty: Local has it.
	Sealed []byte   `cbor:"1,keyasint,omitempty"`
	Names  []string `cbor:"2,keyasint,omitempty"`
	Local  string   `cbor:"3,keyasint,omitempty"` // the one member that has it, in a file
}

// ClusterPrefix is in front of all keys that are about the cluster itself. They stay behind when a state moves elsewhere.
const ClusterPrefix = "cluster/"

const (
	memberPrefix     = ClusterPrefix + "member/"
	relayTokenPrefix = ClusterPrefix + "token/"
	caKeyKey         = ClusterPrefix + "ca"
)

const (
	// MaxMembers is how many relays a cluster has at most. Each more makes every write slower; etcd advises no more than seven.
	MaxMembers = 7

	maxMemberName = 32
	maxPeer       = 256
)

// CheckMemberName refuses what is no name for a member. It stands in certificates, file names and command lines.
func CheckMemberName(name string) error {
	ok := name != "" && len(name) <= maxMemberName && !strings.HasPrefix(name, "-") && !strings.HasSuffix(name, "-")
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	if !ok {
		return wire.Errorf(wire.BadRequest, "%q is not a name for a relay: 1 to %d small letters, digits and dashes, none at its ends", wire.Printable(name), maxMemberName)
	}
	return nil
}

// PutMember writes a member, new or changed. A name belongs to one key: [wire.Conflict] is the error for another one, and for a
// key or an address that another member has.
func PutMember(tx Tx, m Member) error {
	if err := CheckMemberName(m.Name); err != nil {
		return err
	}
	if len(m.Key) != 32 || m.Recipient == "" || len(m.Recipient) > 128 || m.Peer == "" || len(m.Peer) > maxPeer || len(m.Version) > 256 {
		return wire.Errorf(wire.BadRequest, "the row of the member %s is not whole", m.Name)
	}
	all, err := Members(tx)
	if err != nil {
		return err
	}
	known := false
	for _, o := range all {
		switch {
		case o.Name == m.Name && !slices.Equal(o.Key, m.Key):
			return wire.Errorf(wire.Conflict, "there is a member %s already, with another key", m.Name)
		case o.Name == m.Name:
			known = true
		case slices.Equal(o.Key, m.Key):
			return wire.Errorf(wire.Conflict, "the key is that of the member %s", o.Name)
		case o.Peer == m.Peer:
			return wire.Errorf(wire.Conflict, "the address %s is that of the member %s", wire.Printable(m.Peer), o.Name)
		}
	}
	if !known && len(all) >= MaxMembers {
		return wire.Errorf(wire.Conflict, "the cluster has %d members, and can have no more", len(all))
	}
	return put(tx, memberPrefix+m.Name, m)
}

// GetMember finds a member by its name, or returns [wire.NotFound].
func GetMember(tx Tx, name string) (Member, error) {
	if err := CheckMemberName(name); err != nil {
		return Member{}, err
	}
	m, err := get[Member](tx, memberPrefix+name)
	return m, missing(err, wire.NotFound, "the cluster has no member %s", name)
}

// Members lists all members by name.
func Members(tx Tx) ([]Member, error) { return list[Member](tx, memberPrefix) }

// DeleteMember removes a member if it is there.
func DeleteMember(tx Tx, name string) error { return tx.Delete(memberPrefix + name) }

func relayTokenKey(hash [32]byte) string { return relayTokenPrefix + hex.EncodeToString(hash[:]) }

// PutRelayToken writes a new token, and removes those that have expired.
func PutRelayToken(tx Tx, t RelayToken, now time.Time) error {
	all, err := list[RelayToken](tx, relayTokenPrefix)
	if err != nil {
		return err
	}
	left := 0
	for _, o := range all {
		if now.Before(o.Expires) {
			left++
		} else if err := tx.Delete(relayTokenKey(o.Hash)); err != nil {
			return err
		}
	}
	if left >= maxRelayTokens {
		return wire.Errorf(wire.Busy, "there are %d tokens for relays that nobody has used", left)
	}
	return put(tx, relayTokenKey(t.Hash), t)
}

// maxRelayTokens is more than a cluster can have relays.
const maxRelayTokens = 64

// FindRelayToken is the token with a hash. One that does not exist, was used or has expired is [wire.TokenInvalid], without
// saying which.
func FindRelayToken(tx Tx, hash [32]byte, now time.Time) (RelayToken, error) {
	t, err := get[RelayToken](tx, relayTokenKey(hash))
	if errors.Is(err, ErrNotFound) || err == nil && !now.Before(t.Expires) {
		return RelayToken{}, wire.Errorf(wire.TokenInvalid, "the token is unknown, used or expired")
	}
	return t, err
}

// DeleteRelayToken removes a token if there is one; of all that do so after [FindRelayToken] at once one succeeds.
func DeleteRelayToken(tx Tx, hash [32]byte) error { return tx.Delete(relayTokenKey(hash)) }

// GetCAKey is where the CA's key is, or [ErrNotFound].
func GetCAKey(tx Tx) (CAKey, error) { return get[CAKey](tx, caKeyKey) }

// PutCAKey writes where the CA's key is.
func PutCAKey(tx Tx, k CAKey) error { return put(tx, caKeyKey, k) }
