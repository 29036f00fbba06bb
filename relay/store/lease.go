package store

import (
	"context"
	"errors"
	"time"

	"scrier/wire"
)

// Lease is that a relay is one of several on a state. The row is there for as long as the relay keeps it, and never again
// with this epoch when it is gone. No transaction writes it ([ErrLeased]), and a copy of a state is made without it.
type Lease struct {
	Name    string    `cbor:"1,keyasint"`
	Epoch   uint64    `cbor:"2,keyasint"` // greater than those of all leases of the name before
	Since   time.Time `cbor:"3,keyasint,omitzero"`
	Address string    `cbor:"4,keyasint,omitempty"` // where other relays reach it
}

// Owner is the relay with this lease.
func (l Lease) Owner() Owner { return Owner{l.Name, l.Epoch} }

// Encode is the lease's row.
func (l Lease) Encode() ([]byte, error) { return encodeMode.Marshal(l) }

// DecodeLease is Encode the other way round.
func DecodeLease(row []byte) (Lease, error) { return decode[Lease]("a lease", row) }

// LeasePrefix is what the keys of leases begin with; behind it is the relay's name.
const LeasePrefix = "lease/"

// EpochPrefix is what the keys of the epochs that were given out last begin with; behind it is the relay's name.
const EpochPrefix = "epoch/"

// MaxRelayName is the longest name of a relay, in bytes.
const MaxRelayName = 64

// CheckRelayName refuses what cannot be the name of a relay: it is in keys, rows and the audit log.
func CheckRelayName(name string) error {
	ok := name != "" && len(name) <= MaxRelayName
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
	}
	if !ok {
		return wire.Errorf(wire.BadConfig, "%.80q is not the name of a relay: it has up to %d of a-z, 0-9, '-', '.' and '_'", name, MaxRelayName)
	}
	return nil
}

// The errors of leases, to be tested with errors.Is.
var (
	// ErrLost is that a relay has not kept its lease, and may change nothing any more. Its code is [wire.RelayLost].
	ErrLost error = &wire.Error{Code: wire.RelayLost, Detail: "the relay has lost its place among the others"}
	// ErrLeased is that a transaction would write the row of a lease.
	ErrLeased = errors.New("only who has the lease writes the key")
)

// Shared is a state that several relays have together. Each has a lease there.
type Shared interface {
	KV
	// Register gives the relay l.Name a lease for about ttl, and says for how long. Whoever had one of that name has lost it.
	// Who asks has to measure from before it asked. An error leaves open whether another lease of the name is there; it ends by
	// itself.
	Register(ctx context.Context, l Lease, ttl time.Duration) (Lease, time.Duration, error)
	// Renew keeps a lease, from when it was asked at the earliest for as long as it says. [ErrLost] is final, any other error
	// leaves open whether it was kept.
	Renew(ctx context.Context, o Owner) (time.Duration, error)
	// Release gives a lease up.
	Release(ctx context.Context, o Owner) error
	// As is the state for the relay with this lease. Its Update takes effect only if the lease is there in the moment in
	// which it does, and else is [ErrLost]. Its transactions say whose they are ([OwnerOf]).
	As(o Owner) KV
}

// Leases are those of all relays that have one, by name.
func Leases(tx Tx) ([]Lease, error) { return list[Lease](tx, LeasePrefix) }

// Alive says whether a relay still has this lease. If it has not, it never has it again.
func Alive(tx Tx, o Owner) (bool, error) {
	if o.Name == "" {
		return false, nil
	}
	l, err := get[Lease](tx, LeasePrefix+o.Name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && l.Epoch == o.Epoch, err
}

// living are the owners that have a lease.
func living(tx Tx) (map[Owner]bool, error) {
	all, err := Leases(tx)
	alive := map[Owner]bool{}
	for _, l := range all {
		alive[l.Owner()] = true
	}
	return alive, err
}
