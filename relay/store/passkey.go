package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"scrier/wire"
)

// Passkey is a WebAuthn credential of an operator.
type Passkey struct {
	Credential     []byte    `cbor:"1,keyasint"` // the authenticator's id for it; unique over all operators
	Operator       string    `cbor:"2,keyasint"` // id
	Name           string    `cbor:"3,keyasint,omitempty"`
	RPID           string    `cbor:"4,keyasint"` // the host name that it was made for, and is good for
	PublicKey      []byte    `cbor:"5,keyasint"` // COSE
	SignCount      uint32    `cbor:"6,keyasint,omitempty"`
	BackupEligible bool      `cbor:"7,keyasint,omitempty"` // may be copied by its owner; never changes
	BackupState    bool      `cbor:"8,keyasint,omitempty"` // was copied
	AAGUID         []byte    `cbor:"9,keyasint,omitempty"` // the authenticator's model
	Transports     []string  `cbor:"10,keyasint,omitempty"`
	Created        time.Time `cbor:"11,keyasint,omitzero"`
	Used           time.Time `cbor:"12,keyasint,omitzero"`
}

// The bounds of an operator's passkeys; a credential's is WebAuthn's own.
const (
	maxPasskeys   = 16
	maxCredential = 1023 // bytes
)

const (
	passkeyPrefix   = "passkey/"    // + operator's id, NUL, the passkey's id
	passkeyIDPrefix = "passkey-id/" // + the passkey's id -> operator's id
)

// PasskeyID is the public name of the passkey with this credential id, which itself may be too
// long for a key of the store.
func PasskeyID(credential []byte) string {
	sum := sha256.Sum256(credential)
	return hex.EncodeToString(sum[:16])
}

// ID is [PasskeyID] of p.
func (p Passkey) ID() string { return PasskeyID(p.Credential) }

func passkeysOf(operator string) string { return passkeyPrefix + operator + "\x00" }

// AddPasskey writes a new passkey. One that exists, whoever has it, is [wire.Conflict]; one more
// than an operator may have is [wire.Conflict] too.
func AddPasskey(tx Tx, p Passkey) error {
	if p.Operator == "" || len(p.Credential) == 0 || len(p.Credential) > maxCredential || p.RPID == "" {
		return wire.Errorf(wire.BadRequest, "a passkey has no operator, no host name or no valid id")
	}
	n := 0
	for range tx.Scan(passkeysOf(p.Operator)) {
		n++
	}
	if n >= maxPasskeys {
		return wire.Errorf(wire.Conflict, "an operator has at most %d passkeys", maxPasskeys).Advise("remove one first")
	}
	if err := claim(tx, passkeyIDPrefix+p.ID(), p.Operator, "the passkey is registered already"); err != nil {
		return err
	}
	return put(tx, passkeysOf(p.Operator)+p.ID(), p)
}

// UsePasskey notes that a passkey was used, and what its authenticator said about itself.
// A passkey that was removed meanwhile is [wire.NotFound].
func UsePasskey(tx Tx, p Passkey) error {
	if _, err := GetPasskey(tx, p.Operator, p.ID()); err != nil {
		return err
	}
	return put(tx, passkeysOf(p.Operator)+p.ID(), p)
}

// GetPasskey finds a passkey of an operator by its public name, or returns [wire.NotFound].
func GetPasskey(tx Tx, operator, id string) (Passkey, error) {
	p, err := get[Passkey](tx, passkeysOf(operator)+id)
	if errors.Is(err, ErrBadKey) {
		err = ErrNotFound
	}
	return p, missing(err, wire.NotFound, "there is no such passkey")
}

// PasskeyByCredential finds the passkey with this credential id, or returns [wire.NotFound].
func PasskeyByCredential(tx Tx, credential []byte) (Passkey, error) {
	id := PasskeyID(credential)
	operator, err := tx.Get(passkeyIDPrefix + id)
	if err != nil {
		return Passkey{}, missing(err, wire.NotFound, "there is no such passkey")
	}
	p, err := get[Passkey](tx, passkeysOf(string(operator))+id)
	if errors.Is(err, ErrNotFound) {
		return p, fmt.Errorf("index %q names a passkey that does not exist", passkeyIDPrefix+id)
	}
	return p, err
}

// Passkeys lists an operator's passkeys in no meaningful order.
func Passkeys(tx Tx, operator string) ([]Passkey, error) {
	return list[Passkey](tx, passkeysOf(operator))
}

// CountPasskeys is how many passkeys each operator has, by id.
func CountPasskeys(tx Tx) (map[string]int, error) {
	all, err := list[Passkey](tx, passkeyPrefix)
	counts := map[string]int{}
	for _, p := range all {
		counts[p.Operator]++
	}
	return counts, err
}

// DeletePasskey removes a passkey of an operator, or returns [wire.NotFound].
func DeletePasskey(tx Tx, operator, id string) error {
	if _, err := GetPasskey(tx, operator, id); err != nil {
		return err
	}
	if err := tx.Delete(passkeyIDPrefix + id); err != nil {
		return err
	}
	return tx.Delete(passkeysOf(operator) + id)
}

// DeletePasskeysOf removes all passkeys of an operator.
func DeletePasskeysOf(tx Tx, operator string) error {
	all, err := Passkeys(tx, operator)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := DeletePasskey(tx, operator, p.ID()); err != nil {
			return err
		}
	}
	return nil
}
