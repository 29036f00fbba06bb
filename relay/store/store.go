// Package store is what a relay remembers: envoys, operators, enrolment tokens and sessions.
//
// It has two halves. [KV] is the small interface that a backend fulfils: flat keys, snapshots,
// serialisable updates; package bolt keeps it in one file, and a shared backend for several
// relays can follow without a change above. The rest of the package are the records, each in a
// file of its own, as functions that take a [Tx]: a caller composes several of them in one
// transaction, and either all of them happen or none.
//
//	err := kv.Update(ctx, func(tx store.Tx) error {
//		if err := store.DeleteOperator(tx, id); err != nil {
//			return err
//		}
//		…
//	})
//
// This package, not its callers, keeps records consistent with each other: a username and a key have
// one owner, a token is redeemed once, a session's slot is taken and given back together with its
// row ([ReserveSession], [CloseSession]), and a closed session never changes again.
//
// The package decides nothing about who may do what, keeps no private key, no ticket and no
// session content, and writes no audit record.
package store

import (
	"context"
	"errors"
	"iter"
	"math"
)

// Limits of a [KV]; a backend refuses what is longer before it copies it.
const (
	MaxKey   = 512       // bytes; the longest key made here is a username's, about 300
	MaxValue = 256 << 10 // bytes; the largest record is an envoy with its facts, some KiB
)

// The errors of a [KV] and its transactions, to be tested with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrReadOnly = errors.New("the transaction is read-only")
	ErrBadKey   = errors.New("the key is empty or too long")
	ErrTooLarge = errors.New("the value is too large")
	ErrTxDone   = errors.New("the transaction is over")
)

// KV is a store of flat keys. It is small on purpose: bbolt now, etcd later.
//
// All methods are safe for concurrent use. A transaction must not begin another one inside
// itself, and ends within seconds: a backend may end a View that lasts longer.
type KV interface {
	// View calls f with a snapshot. What others commit meanwhile is not seen.
	View(ctx context.Context, f func(Tx) error) error
	// Update calls f with a transaction that sees its own writes and takes effect as a whole,
	// as if no other ran at the same time. When Update returns nil the writes are durable;
	// when f returns an error nothing of it was done. Any other error leaves open whether it
	// was. f may run more than once, so it has no effect but on its Tx and on variables that
	// it sets anew.
	//
	// ctx ends the waiting for other writers and the scans within f; a commit that has begun
	// is finished.
	Update(ctx context.Context, f func(Tx) error) error
	// Close waits for the running transactions. It may be called twice.
	Close() error
}

// MaxWrites is how many keys one Update of a KV may write. More than that are done in several.
func MaxWrites(kv KV) int {
	if l, ok := kv.(interface{ MaxWrites() int }); ok {
		return l.MaxWrites()
	}
	return math.MaxInt
}

// Tx is one transaction. It is valid until the function that got it returns, and for one
// goroutine at a time; what it returns are copies that stay valid.
type Tx interface {
	// Get returns the value of key, or [ErrNotFound].
	Get(key string) ([]byte, error)
	// Put sets the value of key; in a View it returns [ErrReadOnly], and for the row of a lease [ErrLeased].
	Put(key string, value []byte) error
	// Delete removes key, and does nothing when there is none.
	Delete(key string) error
	// Scan yields the keys that begin with prefix and their values, in the order of the keys'
	// bytes. Writing while it runs is allowed, and seen if it lies ahead. A scan that cannot go
	// on (the context ended, the transaction is over) stops early and fails the transaction.
	Scan(prefix string) iter.Seq2[string, []byte]
	// ScanFrom is Scan that leaves out all keys before from.
	ScanFrom(prefix, from string) iter.Seq2[string, []byte]
}
