package store

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"scrier/wire"
)

// Operator is a person who uses the relay.
type Operator struct {
	ID       string    `cbor:"1,keyasint"` // a UUID, never used twice
	Username string    `cbor:"2,keyasint"` // unique
	Role     string    `cbor:"3,keyasint"`
	Keys     []Key     `cbor:"4,keyasint,omitempty"`
	Epoch    uint64    `cbor:"5,keyasint"` // goes up to make all earlier logins invalid
	Created  time.Time `cbor:"6,keyasint,omitzero"`
	Changed  time.Time `cbor:"7,keyasint,omitzero"`
}

// Key is an SSH public key of an operator.
type Key struct {
	Authorized  string    `cbor:"1,keyasint"` // authorized_keys form without options: type base64 comment
	Fingerprint string    `cbor:"2,keyasint"` // SHA256:…, of the key in Authorized; unique over all operators
	Added       time.Time `cbor:"3,keyasint,omitzero"`
	// Proved is when its owner proved that it is to count for this operator, or root of the relay's host said so.
	// Until then it opens nothing.
	Proved time.Time `cbor:"4,keyasint,omitzero"`
}

// maxOperatorKeys keeps an operator's row, and a change of all its indexes, small.
const maxOperatorKeys = 64

const (
	operatorPrefix     = "operator/"
	operatorNamePrefix = "operator-name/" // username -> id
	operatorKeyPrefix  = "operator-key/"  // fingerprint -> id
)

// PutOperator writes o, new or changed, with the indexes of its username and its keys. An empty
// Fingerprint is filled in. A username or a key that another operator has is [wire.Conflict];
// the error does not name the other.
func PutOperator(tx Tx, o Operator) error {
	keys, err := checkKeys(o.Keys)
	if err != nil {
		return err
	}
	o.Keys = keys
	switch {
	case o.ID == "" || len(o.ID) > 64:
		return wire.Errorf(wire.BadRequest, "an operator has no valid id")
	case o.Username == "" || len(o.Username) > 256:
		return wire.Errorf(wire.BadRequest, "a username has 1 to 256 bytes")
	}
	switch old, err := get[Operator](tx, operatorPrefix+o.ID); {
	case err == nil:
		if err := dropOperatorIndex(tx, old); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if err := claim(tx, operatorNamePrefix+o.Username, o.ID, "the username is taken"); err != nil {
		return err
	}
	for _, k := range o.Keys {
		if err := claim(tx, operatorKeyPrefix+k.Fingerprint, o.ID, "the key is taken: it belongs to an operator already"); err != nil {
			return err
		}
	}
	return put(tx, operatorPrefix+o.ID, o)
}

// claim writes an index entry that must not exist. PutOperator has removed the entries of the
// operator's former state by then. So an entry that exists belongs to another operator, or this one
// has the same key twice.
func claim(tx Tx, key, id, taken string) error {
	switch _, err := tx.Get(key); {
	case err == nil:
		return &wire.Error{Code: wire.Conflict, Detail: taken}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return tx.Put(key, []byte(id))
}

func dropOperatorIndex(tx Tx, o Operator) error {
	if err := tx.Delete(operatorNamePrefix + o.Username); err != nil {
		return err
	}
	for _, k := range o.Keys {
		if err := tx.Delete(operatorKeyPrefix + k.Fingerprint); err != nil {
			return err
		}
	}
	return nil
}

// checkKeys returns a copy whose fingerprints are those of the keys: a caller that named another
// one would get around the uniqueness of keys.
func checkKeys(keys []Key) ([]Key, error) {
	if len(keys) > maxOperatorKeys {
		return nil, wire.Errorf(wire.BadRequest, "an operator has at most %d keys", maxOperatorKeys)
	}
	checked := make([]Key, len(keys))
	for i, k := range keys {
		f, err := fingerprint(k.Authorized)
		if err != nil {
			return nil, err
		}
		if k.Fingerprint != "" && k.Fingerprint != f {
			return nil, wire.Errorf(wire.BadRequest, "the fingerprint %s is not that of the key", wire.Printable(k.Fingerprint))
		}
		k.Fingerprint = f
		checked[i] = k
	}
	return checked, nil
}

// fingerprint is the one that ssh-keygen -l shows.
func fingerprint(authorized string) (string, error) {
	fields := strings.Fields(authorized)
	if len(fields) < 2 || len(authorized) > 16<<10 {
		return "", wire.Errorf(wire.BadRequest, "a key is not in the form `type base64 comment`")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil || len(blob) == 0 {
		return "", wire.Errorf(wire.BadRequest, "a key is not in the form `type base64 comment`")
	}
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), nil
}

// GetOperator finds an operator by id, or returns [wire.NotFound].
func GetOperator(tx Tx, id string) (Operator, error) {
	o, err := get[Operator](tx, operatorPrefix+id)
	return o, missing(err, wire.NotFound, "there is no such operator")
}

// OperatorByName finds an operator by username, or returns [wire.NotFound].
func OperatorByName(tx Tx, username string) (Operator, error) {
	o, err := byIndex(tx, operatorNamePrefix+username)
	if errors.Is(err, ErrNotFound) {
		return o, (&wire.Error{Code: wire.NotFound, Detail: fmt.Sprintf("there is no operator %q", wire.Printable(username)), Err: err}).Advise("see `scrier operators list`")
	}
	return o, err
}

// OperatorByKey finds the operator who has the key with this fingerprint (SHA256:…), or returns
// [wire.NotFound].
func OperatorByKey(tx Tx, fingerprint string) (Operator, error) {
	o, err := byIndex(tx, operatorKeyPrefix+fingerprint)
	return o, missing(err, wire.NotFound, "no operator has this key")
}

func byIndex(tx Tx, key string) (Operator, error) {
	id, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadKey) {
		return Operator{}, ErrNotFound
	}
	if err != nil {
		return Operator{}, err
	}
	o, err := get[Operator](tx, operatorPrefix+string(id))
	if errors.Is(err, ErrNotFound) {
		return o, fmt.Errorf("index %q names an operator that does not exist", key)
	}
	return o, err
}

// Operators lists all operators in the order of their usernames.
func Operators(tx Tx) ([]Operator, error) {
	var all []Operator
	for key := range tx.Scan(operatorNamePrefix) {
		o, err := byIndex(tx, key)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// DeleteOperator removes an operator with all sign-ins, links and passkeys, and frees username and
// keys, or returns [wire.NotFound].
func DeleteOperator(tx Tx, id string) error {
	o, err := GetOperator(tx, id)
	if err != nil {
		return err
	}
	if _, err := DeleteSignInsOf(tx, id); err != nil {
		return err
	}
	if _, err := DeleteLinksOf(tx, id); err != nil {
		return err
	}
	if err := DeletePasskeysOf(tx, id); err != nil {
		return err
	}
	if err := dropOperatorIndex(tx, o); err != nil {
		return err
	}
	return tx.Delete(operatorPrefix + id)
}
