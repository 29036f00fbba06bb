package bolt

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"go.etcd.io/bbolt"

	"scrier/relay/store"
)

// tx lives as long as one call of View or Update, and so may hold that call's context.
type tx struct {
	ctx      context.Context
	bucket   *bbolt.Bucket
	writable bool
	over     bool
	writes   int               // a cursor must be placed anew after each
	before   map[string][]byte // what the keys that were written had, sealed; nil: nothing
	err      error             // why a scan stopped early; fails the transaction
}

// run calls f and makes sure that the transaction is not used afterwards.
func (t *tx) run(f func(store.Tx) error) error {
	defer func() { t.over = true }()
	if err := f(t); err != nil {
		return err
	}
	return t.err
}

func (t *tx) usable(key string) error {
	switch {
	case t.over:
		return store.ErrTxDone
	case key == "" || len(key) > store.MaxKey:
		return store.ErrBadKey
	}
	return nil
}

func (t *tx) Get(key string) ([]byte, error) {
	if err := t.usable(key); err != nil {
		return nil, err
	}
	v := t.bucket.Get([]byte(key))
	if v == nil {
		return nil, store.ErrNotFound
	}
	value, err := unseal(key, v)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", key, err)
	}
	return value, nil
}

func (t *tx) Put(key string, value []byte) error {
	switch err := t.usable(key); {
	case err != nil:
		return err
	case !t.writable:
		return store.ErrReadOnly
	case strings.HasPrefix(key, store.LeasePrefix):
		return store.ErrLeased
	case len(value) > store.MaxValue:
		return store.ErrTooLarge
	}
	t.remember(key)
	return t.bucket.Put([]byte(key), seal(key, value))
}

func (t *tx) Delete(key string) error {
	switch err := t.usable(key); {
	case err != nil:
		return err
	case !t.writable:
		return store.ErrReadOnly
	case strings.HasPrefix(key, store.LeasePrefix):
		return store.ErrLeased
	}
	t.remember(key)
	return t.bucket.Delete([]byte(key))
}

// remember counts a write, and keeps what the key had before the first one.
func (t *tx) remember(key string) {
	t.writes++
	if _, known := t.before[key]; !known {
		t.before[key] = bytes.Clone(t.bucket.Get([]byte(key)))
	}
}

// undo puts everything back to where it was.
func (t *tx) undo() error {
	for key, sealed := range t.before {
		var err error
		if sealed == nil {
			err = t.bucket.Delete([]byte(key))
		} else {
			err = t.bucket.Put([]byte(key), sealed)
		}
		if err != nil {
			return fmt.Errorf("undo a change of %q: %w", key, err)
		}
	}
	return nil
}

func (t *tx) Scan(prefix string) iter.Seq2[string, []byte] { return t.ScanFrom(prefix, prefix) }

func (t *tx) ScanFrom(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if t.over {
			t.err = store.ErrTxDone
			return
		}
		cursor := t.bucket.Cursor()
		k, v := cursor.Seek([]byte(max(prefix, from)))
		for k != nil && bytes.HasPrefix(k, []byte(prefix)) {
			if t.ctx.Err() != nil {
				t.err = fmt.Errorf("scan state: %w", context.Cause(t.ctx))
				return
			}
			key, writes := string(k), t.writes
			value, err := unseal(key, v)
			if err != nil {
				t.err = fmt.Errorf("scan state: %q: %w", key, err)
				return
			}
			if !yield(key, value) || t.over {
				return
			}
			if t.writes == writes {
				k, v = cursor.Next()
				continue
			}
			cursor = t.bucket.Cursor()
			if k, v = cursor.Seek([]byte(key)); string(k) == key && k != nil {
				k, v = cursor.Next()
			}
		}
	}
}
