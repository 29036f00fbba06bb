package store

import (
	"errors"
	"time"

	"scrier/wire"
)

// Holder is the relay that has an envoy's link, of several on a state. It counts while that relay has the lease of then.
type Holder struct {
	Envoy wire.EnvoyID `cbor:"1,keyasint"`
	Relay string       `cbor:"2,keyasint"`
	Epoch uint64       `cbor:"3,keyasint"`
	Turn  uint64       `cbor:"4,keyasint"`           // how often the envoy was taken: the newest link has the highest
	Since time.Time    `cbor:"5,keyasint,omitzero"`  // by the relay's clock
	Road  string       `cbor:"6,keyasint,omitempty"` // what carries the link
}

// Owner is the relay, with the lease that it had then.
func (h Holder) Owner() Owner { return Owner{h.Relay, h.Epoch} }

const holderPrefix = "holder/" // + the envoy's id

// MaxRoad is the longest road of a [Holder], in bytes.
const MaxRoad = 64

func holderKey(id wire.EnvoyID) string { return holderPrefix + id.String() }

// TakeEnvoy makes the relay that tx belongs to the holder of an envoy, whoever was it before: the newest link counts. It
// returns the row.
func TakeEnvoy(tx Tx, h Holder) (Holder, error) {
	o := OwnerOf(tx)
	if o == (Owner{}) || h.Envoy == (wire.EnvoyID{}) || len(h.Road) > MaxRoad {
		return h, wire.Errorf(wire.BadRequest, "the holder of an envoy is a relay that has a lease")
	}
	before, err := get[Holder](tx, holderKey(h.Envoy))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return h, err
	}
	h.Relay, h.Epoch, h.Turn = o.Name, o.Epoch, before.Turn+1
	return h, put(tx, holderKey(h.Envoy), h)
}

// LeaveEnvoy takes a holder's row away, unless the envoy was taken again meanwhile.
func LeaveEnvoy(tx Tx, h Holder) error {
	now, err := get[Holder](tx, holderKey(h.Envoy))
	if errors.Is(err, ErrNotFound) || err == nil && (now.Turn != h.Turn || now.Owner() != h.Owner()) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.Delete(holderKey(h.Envoy))
}

// EvictEnvoy takes the row away, whoever has it: that relay looks whether the envoy may still be served.
func EvictEnvoy(tx Tx, id wire.EnvoyID) error { return tx.Delete(holderKey(id)) }

// HolderOf finds which relay has an envoy's link. ok is false if none has: also if the one of the row has lost its lease.
func HolderOf(tx Tx, id wire.EnvoyID) (h Holder, ok bool, err error) {
	h, err = get[Holder](tx, holderKey(id))
	if errors.Is(err, ErrNotFound) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, err
	}
	ok, err = Alive(tx, h.Owner())
	return h, ok, err
}

// Holders are the relays that have envoys' links, in the order of the envoys' ids; stale are rows of relays that have lost
// their lease, at most limit.
func Holders(tx Tx, limit int) (held, stale []Holder, err error) {
	alive, err := living(tx)
	if err != nil {
		return nil, nil, err
	}
	for key, data := range tx.Scan(holderPrefix) {
		h, err := decode[Holder](key, data)
		switch {
		case err != nil:
			return nil, nil, err
		case alive[h.Owner()]:
			held = append(held, h)
		case len(stale) < limit:
			stale = append(stale, h)
		}
	}
	return held, stale, nil
}
