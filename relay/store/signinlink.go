package store

import (
	"encoding/hex"
	"errors"
	"time"

	"scrier/wire"
)

// SignInLink is the right to sign in once as an operator. What is in the link is not kept, only its
// hash.
type SignInLink struct {
	Hash      [32]byte  `cbor:"1,keyasint"`
	Operator  string    `cbor:"2,keyasint"` // id
	Epoch     uint64    `cbor:"3,keyasint"` // the operator's when the link was made; another epoch makes the link invalid
	CreatedBy string    `cbor:"4,keyasint,omitempty"`
	Expires   time.Time `cbor:"5,keyasint,omitzero"`
	// Maker is the id of the operator who made it, and MakerEpoch their epoch then: it ends with what they were
	// allowed. Without one it was made by root of the relay's host.
	Maker      string `cbor:"6,keyasint,omitempty"`
	MakerEpoch uint64 `cbor:"7,keyasint,omitempty"`
}

// maxLinks is how many one operator has at a time. A person who asks several times uses the last one.
const maxLinks = 8

const linkPrefix = "link/"

func linkKey(hash [32]byte) string { return linkPrefix + hex.EncodeToString(hash[:]) }

// PutSignInLink writes a new link and removes those that expired; one with the same hash is
// [wire.Conflict]. Of an operator who has [maxLinks] already, the oldest goes.
func PutSignInLink(tx Tx, l SignInLink, now time.Time) error {
	switch _, err := tx.Get(linkKey(l.Hash)); {
	case err == nil:
		return wire.Errorf(wire.Conflict, "the link exists already")
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if _, err := DeleteSignInLinksWhere(tx, func(o SignInLink) bool { return !now.Before(o.Expires) }); err != nil {
		return err
	}
	all, err := list[SignInLink](tx, linkPrefix) // few: none is older than a quarter of an hour
	if err != nil {
		return err
	}
	n, oldest := 0, SignInLink{}
	for _, o := range all {
		if o.Operator != l.Operator {
			continue
		}
		if n++; n == 1 || o.Expires.Before(oldest.Expires) {
			oldest = o
		}
	}
	if n >= maxLinks {
		if err := tx.Delete(linkKey(oldest.Hash)); err != nil {
			return err
		}
	}
	return put(tx, linkKey(l.Hash), l)
}

// RedeemSignInLink takes the link with this hash: it is gone when the transaction commits, so of all
// that redeem it at once one succeeds. A link that does not exist, was used or has expired is
// [wire.LinkInvalid], without saying which; and so is one whose operator or maker changed.
func RedeemSignInLink(tx Tx, hash [32]byte, now time.Time) (SignInLink, Operator, error) {
	l, o, err := GetSignInLink(tx, hash, now)
	if err != nil {
		return SignInLink{}, Operator{}, err
	}
	return l, o, tx.Delete(linkKey(hash))
}

// GetSignInLink finds the link with this hash and its operator, as [RedeemSignInLink] does, and leaves it.
func GetSignInLink(tx Tx, hash [32]byte, now time.Time) (SignInLink, Operator, error) {
	l, err := get[SignInLink](tx, linkKey(hash))
	if errors.Is(err, ErrNotFound) || err == nil && !now.Before(l.Expires) {
		return SignInLink{}, Operator{}, &wire.Error{Code: wire.LinkInvalid}
	}
	if err != nil {
		return SignInLink{}, Operator{}, err
	}
	o, err := get[Operator](tx, operatorPrefix+l.Operator)
	if errors.Is(err, ErrNotFound) || err == nil && o.Epoch != l.Epoch {
		return SignInLink{}, Operator{}, &wire.Error{Code: wire.LinkInvalid}
	}
	if err != nil {
		return SignInLink{}, Operator{}, err
	}
	ok, err := Maker{l.Maker, l.MakerEpoch}.Still(tx)
	if err == nil && !ok {
		err = &wire.Error{Code: wire.LinkInvalid}
	}
	return l, o, err
}

// Maker is who made something for somebody else: an operator in an epoch. Without an ID it was root of the relay's host.
type Maker struct {
	ID    string
	Epoch uint64
}

// Still says whether the maker is allowed what they were then: whether the operator is there, in the same epoch. Root
// always is.
func (m Maker) Still(tx Tx) (bool, error) {
	if m.ID == "" {
		return true, nil
	}
	o, err := get[Operator](tx, operatorPrefix+m.ID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && o.Epoch == m.Epoch, err
}

// Now is the maker's epoch, which must be m's if that is known, or it is [wire.OperatorChanged]; for root 0.
func (m Maker) Now(tx Tx) (uint64, error) {
	if m.ID == "" {
		return 0, nil
	}
	o, err := get[Operator](tx, operatorPrefix+m.ID)
	if errors.Is(err, ErrNotFound) || err == nil && m.Epoch != 0 && o.Epoch != m.Epoch {
		err = &wire.Error{Code: wire.OperatorChanged}
	}
	return o.Epoch, err
}

// DeleteLinksOf removes all links of an operator.
func DeleteLinksOf(tx Tx, operator string) (deleted int, err error) {
	return DeleteSignInLinksWhere(tx, func(l SignInLink) bool { return l.Operator == operator })
}

// DeleteSignInLinksWhere removes the links for which over says true.
func DeleteSignInLinksWhere(tx Tx, over func(SignInLink) bool) (deleted int, err error) {
	all, err := list[SignInLink](tx, linkPrefix)
	if err != nil {
		return 0, err
	}
	for _, l := range all {
		if !over(l) {
			continue
		}
		if err := tx.Delete(linkKey(l.Hash)); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}
