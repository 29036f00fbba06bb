package access

import (
	"scrier/relay/store"
	"scrier/wire"
)

// adminLeft refuses, within the transaction of a change, what would leave no admin who can log in: nobody could mend it
// from anywhere but the relay's host, whose root is not held back here. before is the operator who is changed, and
// after what is left of them, a zero one if they are deleted; bare says that their passkeys go.
//
// Of other admins only keys and passkeys that count are taken for a way in. The changed one may have just got a key
// that they claim at their next login.
func adminLeft(tx store.Tx, by Operator, before, after store.Operator, bare bool) error {
	if by.ID == "" || Role(before.Role) != Admin {
		return nil
	}
	rows, err := store.Operators(tx)
	if err != nil {
		return err
	}
	passkeys, err := store.CountPasskeys(tx)
	if err != nil {
		return err
	}
	for _, o := range rows {
		ways := passkeys[o.ID]
		if o.ID == before.ID {
			o = after
			if bare {
				ways = 0
			}
			ways += len(o.Keys)
		}
		for _, k := range o.Keys {
			if !k.Proved.IsZero() {
				ways++
			}
		}
		if Role(o.Role) == Admin && ways > 0 {
			return nil
		}
	}
	if err := unchanged(tx, by); err != nil { // they hear that first
		return err
	}
	return wire.Errorf(wire.LastAdmin, "%s is the only one", before.Username)
}
