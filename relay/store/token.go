package store

import (
	"encoding/hex"
	"errors"
	"time"

	"scrier/wire"
)

// Token is the right to enrol one envoy. The token itself is not kept, only its hash.
type Token struct {
	Hash      [32]byte          `cbor:"1,keyasint"`
	Name      string            `cbor:"2,keyasint,omitempty"`
	Labels    map[string]string `cbor:"3,keyasint,omitempty"`
	CreatedBy string            `cbor:"4,keyasint,omitempty"`
	Created   time.Time         `cbor:"5,keyasint,omitzero"`
	Expires   time.Time         `cbor:"6,keyasint,omitzero"`
	Maker     string            `cbor:"7,keyasint,omitempty"` // the operator's id; empty: the relay's host, or a row from before
	Epoch     uint64            `cbor:"8,keyasint,omitempty"` // the maker's, when the token was made
	Replaces  wire.EnvoyID      `cbor:"9,keyasint,omitzero"`  // the envoy that is removed when the token is used; zero: none
}

// ID is the token's public name. It does not help anybody to enrol: the secret has 192 bits, and its
// hash is not the secret.
func (t Token) ID() string { return hex.EncodeToString(t.Hash[:8]) }

const tokenPrefix = "token/"

func tokenKey(hash [32]byte) string { return tokenPrefix + hex.EncodeToString(hash[:]) }

// PutToken writes a new token; one with the same hash is [wire.Conflict].
func PutToken(tx Tx, t Token) error {
	switch _, err := tx.Get(tokenKey(t.Hash)); {
	case err == nil:
		return wire.Errorf(wire.Conflict, "the token exists already")
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return put(tx, tokenKey(t.Hash), t)
}

// FindToken is [RedeemToken] that leaves the token there.
func FindToken(tx Tx, hash [32]byte, now time.Time) (Token, error) {
	t, err := get[Token](tx, tokenKey(hash))
	if errors.Is(err, ErrNotFound) || err == nil && !now.Before(t.Expires) {
		return Token{}, &wire.Error{Code: wire.TokenInvalid}
	}
	return t, err
}

// RedeemToken takes the token with this hash: it is gone when the transaction commits, so of all
// that redeem it at once one succeeds. A token that does not exist, was used or has expired is
// [wire.TokenInvalid], without saying which.
func RedeemToken(tx Tx, hash [32]byte, now time.Time) (Token, error) {
	t, err := FindToken(tx, hash, now)
	if err != nil {
		return Token{}, err
	}
	if err := tx.Delete(tokenKey(hash)); err != nil {
		return Token{}, err
	}
	return t, nil
}

// TokenByID finds a token that has not expired by its [Token.ID], or returns [wire.NotFound].
func TokenByID(tx Tx, id string, now time.Time) (Token, error) {
	all, err := Tokens(tx)
	if err != nil {
		return Token{}, err
	}
	for _, t := range all {
		if t.ID() == id && now.Before(t.Expires) {
			return t, nil
		}
	}
	return Token{}, wire.Errorf(wire.NotFound, "there is no such token: it was used, it has expired, or it was revoked").Advise("see `scrier token list`") // id is not repeated: it may be a token
}

// DeleteToken removes a token if there is one.
func DeleteToken(tx Tx, hash [32]byte) error { return tx.Delete(tokenKey(hash)) }

// DeleteExpiredTokens removes the tokens that no one can redeem any more.
func DeleteExpiredTokens(tx Tx, now time.Time) (deleted int, err error) {
	all, err := Tokens(tx)
	if err != nil {
		return 0, err
	}
	for _, t := range all {
		if now.Before(t.Expires) {
			continue
		}
		if err := DeleteToken(tx, t.Hash); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// Tokens lists all tokens, expired ones too, in no meaningful order.
func Tokens(tx Tx) ([]Token, error) { return list[Token](tx, tokenPrefix) }
