package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"scrier/wire"
)

// SignIn is a browser that an operator signed in with. Its cookie is not kept, only the hash.
type SignIn struct {
	Hash     [32]byte  `cbor:"1,keyasint"` // SHA-256 of the cookie's value
	Operator string    `cbor:"2,keyasint"` // id
	Epoch    uint64    `cbor:"3,keyasint"` // the operator's when it began; another epoch ends the sign-in
	Created  time.Time `cbor:"4,keyasint,omitzero"`
	Seen     time.Time `cbor:"5,keyasint,omitzero"`
	Source   string    `cbor:"6,keyasint,omitempty"` // address
	Agent    string    `cbor:"7,keyasint,omitempty"` // what the browser calls itself
	Method   string    `cbor:"8,keyasint"`           // "link" or "passkey"
	// Doubt is who made the link, if that was another operator: whoever opened it may be that one. It is
	// taken away when the operator proves a key or passkey of their own.
	Doubt string `cbor:"9,keyasint,omitempty"`
	// Maker and MakerEpoch are those of the link, as in [SignInLink]: a doubtful sign-in ends as the link does.
	Maker      string `cbor:"10,keyasint,omitempty"`
	MakerEpoch uint64 `cbor:"11,keyasint,omitempty"`
}

// maxSignIns is how many one operator has at a time: more browsers than anybody uses.
const maxSignIns = 32

const (
	signInPrefix   = "signin/"    // + hash in hex
	signInOfPrefix = "signin-of/" // + operator's id, NUL, hash in hex
)

// SignInID is the public name of the sign-in with this hash: half of the hash, which is worth
// nothing without the cookie.
func SignInID(hash [32]byte) string { return hex.EncodeToString(hash[:16]) }

// ID is [SignInID] of s.
func (s SignIn) ID() string { return SignInID(s.Hash) }

func signInKey(hash [32]byte) string { return signInPrefix + hex.EncodeToString(hash[:]) }

func signInsOf(operator string) string { return signInOfPrefix + operator + "\x00" }

// PutSignIn writes a new sign-in. Of an operator who has [maxSignIns] already, the oldest goes.
func PutSignIn(tx Tx, s SignIn) error {
	if s.Operator == "" || s.Hash == ([32]byte{}) {
		return wire.Errorf(wire.BadRequest, "a sign-in has no operator or no hash")
	}
	others, err := SignIns(tx, s.Operator)
	if err != nil {
		return err
	}
	for len(others) >= maxSignIns {
		oldest := 0
		for i, o := range others {
			if o.Created.Before(others[oldest].Created) {
				oldest = i
			}
		}
		if err := DeleteSignIn(tx, others[oldest]); err != nil {
			return err
		}
		others = append(others[:oldest], others[oldest+1:]...)
	}
	if err := tx.Put(signInsOf(s.Operator)+hex.EncodeToString(s.Hash[:]), nil); err != nil {
		return err
	}
	return put(tx, signInKey(s.Hash), s)
}

// GetSignIn finds a sign-in by its cookie's hash, or returns [wire.NotFound].
func GetSignIn(tx Tx, hash [32]byte) (SignIn, error) {
	s, err := get[SignIn](tx, signInKey(hash))
	return s, missing(err, wire.NotFound, "there is no such sign-in")
}

// SignInByID finds a sign-in by its public name, or returns [wire.NotFound].
func SignInByID(tx Tx, id string) (SignIn, error) {
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == 16 && hex.EncodeToString(raw) == id {
		for key, data := range tx.Scan(signInPrefix + id) {
			return decode[SignIn](key, data)
		}
	}
	return SignIn{}, missing(ErrNotFound, wire.NotFound, "there is no such sign-in")
}

// SignIns lists an operator's sign-ins in no meaningful order, also those that have expired or ended.
func SignIns(tx Tx, operator string) ([]SignIn, error) {
	var all []SignIn
	prefix := signInsOf(operator)
	for key := range tx.Scan(prefix) {
		s, err := get[SignIn](tx, signInPrefix+strings.TrimPrefix(key, prefix))
		if err != nil {
			return nil, fmt.Errorf("read index %q: %w", key, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// SeeSignIn notes that a sign-in was used. If it was deleted meanwhile, this does not bring it back.
func SeeSignIn(tx Tx, hash [32]byte, at time.Time) error {
	s, err := get[SignIn](tx, signInKey(hash))
	if errors.Is(err, ErrNotFound) || err == nil && !s.Seen.Before(at) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Seen = at
	return put(tx, signInKey(hash), s)
}

// TrustSignIn takes a sign-in's Doubt away, and lets it go on in the operator's epoch.
func TrustSignIn(tx Tx, hash [32]byte, epoch uint64) error {
	s, err := GetSignIn(tx, hash)
	if err != nil {
		return err
	}
	s.Doubt, s.Maker, s.MakerEpoch, s.Epoch = "", "", 0, epoch
	return put(tx, signInKey(hash), s)
}

// DeleteSignIn removes a sign-in if it is there.
func DeleteSignIn(tx Tx, s SignIn) error {
	if err := tx.Delete(signInsOf(s.Operator) + hex.EncodeToString(s.Hash[:])); err != nil {
		return err
	}
	return tx.Delete(signInKey(s.Hash))
}

// DeleteSignInsOf removes all sign-ins of an operator.
func DeleteSignInsOf(tx Tx, operator string) (deleted int, err error) {
	all, err := SignIns(tx, operator)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if err := DeleteSignIn(tx, s); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// DeleteSignInsWhere removes the sign-ins for which over says true: it is for those that expired.
func DeleteSignInsWhere(tx Tx, over func(SignIn) bool) (deleted int, err error) {
	all, err := list[SignIn](tx, signInPrefix)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if !over(s) {
			continue
		}
		if err := DeleteSignIn(tx, s); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}
