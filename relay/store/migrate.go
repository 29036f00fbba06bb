package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"

	"scrier/wire"
)

// ErrHalf is the error of opening a store into which a state was being copied and did not come whole. Nothing of it is good for
// anything: what it was copied from is still there.
var ErrHalf = errors.New("half a copy")

// halfSchema stands in place of the version while a state is copied. It is no number, so that older versions refuse it too.
const halfSchema = "half a copy"

// Bounds of what is copied in one transaction. etcd takes 1.5 MiB, and a value may have [MaxValue].
const (
	copyKeys  = 100
	copyBytes = 512 << 10
)

// Moved says what [Migrate] has copied.
type Moved struct {
	Keys  int
	Bytes int64 // of the keys and values
}

// Migrate copies the state of one store into another, which must be empty and stays so in the eyes of everybody until the copy is
// whole: a copy that was broken off is [ErrHalf] when it is opened. What is about the cluster itself ([ClusterPrefix]) is neither copied nor
// touched: the members of one cluster are not those of another.
//
// Nobody may change the first store meanwhile. Migrate notices at the end if somebody did, with [wire.Conflict]; then the copy is half
// for good. The first store is only read.
func Migrate(ctx context.Context, from, to KV) (Moved, error) {
	var moved Moved
	var version []byte
	if err := from.View(ctx, func(tx Tx) (err error) {
		if err := checkSchema(tx); err != nil {
			return err
		}
		version, err = tx.Get(SchemaKey)
		return err
	}); err != nil {
		return moved, fmt.Errorf("read the state to copy: %w", err)
	}
	if err := to.Update(ctx, beginCopy); err != nil {
		return moved, fmt.Errorf("begin the copy: %w", err)
	}
	copied := newDigest()
	for next := ""; ; {
		page, end, err := pageOf(ctx, from, next)
		if err != nil {
			return moved, fmt.Errorf("read the state to copy: %w", err)
		}
		if len(page) > 0 {
			if err := to.Update(ctx, func(tx Tx) error {
				if v, err := tx.Get(SchemaKey); err != nil || string(v) != halfSchema {
					return wire.Errorf(wire.Conflict, "another one writes to the copy (%v)", err)
				}
				for _, p := range page {
					if err := tx.Put(p.key, p.value); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return moved, fmt.Errorf("write the copy: %w", err)
			}
		}
		for _, p := range page {
			copied.add(p.key, p.value)
			moved.Keys++
			moved.Bytes += int64(len(p.key) + len(p.value))
			next = p.key + "\x00"
		}
		if end {
			break
		}
	}
	was, err := digestOf(ctx, from)
	if err != nil {
		return moved, fmt.Errorf("compare the copy: %w", err)
	}
	is, err := digestOf(ctx, to)
	if err != nil {
		return moved, fmt.Errorf("compare the copy: %w", err)
	}
	if sum := copied.sum(); was != sum || is != sum {
		return moved, wire.Errorf(wire.Conflict, "the state was changed while it was copied; stop all relays that use it, and begin anew")
	}
	if err := to.Update(ctx, func(tx Tx) error {
		if v, err := tx.Get(SchemaKey); err != nil || string(v) != halfSchema {
			return wire.Errorf(wire.Conflict, "another one writes to the copy (%v)", err)
		}
		return tx.Put(SchemaKey, version)
	}); err != nil {
		return moved, fmt.Errorf("end the copy: %w", err)
	}
	return moved, nil
}

// beginCopy marks an empty store.
func beginCopy(tx Tx) error {
	for key := range tx.Scan("") {
		if key != SchemaKey && !strings.HasPrefix(key, ClusterPrefix) {
			return wire.Errorf(wire.Conflict, "there is a state already where the copy is to go")
		}
	}
	if err := checkSchema(tx); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return tx.Put(SchemaKey, []byte(halfSchema))
}

type pair struct {
	key   string
	value []byte
}

// pageOf reads what is copied in one transaction; end says that nothing follows.
func pageOf(ctx context.Context, kv KV, from string) (page []pair, end bool, err error) {
	err = kv.View(ctx, func(tx Tx) error {
		page, end = nil, true
		size := 0
		for key, value := range tx.ScanFrom("", from) {
			if !moves(key) {
				continue
			}
			if len(page) >= copyKeys || size >= copyBytes {
				end = false
				break
			}
			page = append(page, pair{key, value})
			size += len(key) + len(value)
		}
		return nil
	})
	return page, end, err
}

// moves says that a key is part of the state that is copied.
func moves(key string) bool { return key != SchemaKey && !strings.HasPrefix(key, ClusterPrefix) }

// digest is one number for all keys and values.
type digest struct{ h hash.Hash }

func newDigest() digest { return digest{sha256.New()} }

func (d digest) add(key string, value []byte) {
	d.h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	d.h.Write([]byte(key))
	d.h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(value))))
	d.h.Write(value)
}

func (d digest) sum() [sha256.Size]byte { return [sha256.Size]byte(d.h.Sum(nil)) }

func digestOf(ctx context.Context, kv KV) (sum [sha256.Size]byte, err error) {
	err = kv.View(ctx, func(tx Tx) error {
		d := newDigest()
		for key, value := range tx.Scan("") {
			if moves(key) {
				d.add(key, value)
			}
		}
		sum = d.sum()
		return nil
	})
	return sum, err
}
