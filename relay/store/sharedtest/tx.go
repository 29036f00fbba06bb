package sharedtest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"scrier/relay/store"
)

type tx struct {
	ctx     context.Context
	owner   store.Owner
	rows    []row
	mine    bool // rows is a copy
	changes map[string][]byte
	write   bool
	over    bool
	err     error
}

func (t *tx) run(f func(store.Tx) error) error {
	defer func() { t.over = true }()
	if err := f(t); err != nil {
		return err
	}
	return t.err
}

func (t *tx) Owner() store.Owner { return t.owner }

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
	at, found := find(t.rows, key)
	if !found {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(t.rows[at].value), nil
}

func (t *tx) Put(key string, value []byte) error {
	if len(value) > store.MaxValue && t.write {
		return store.ErrTooLarge
	}
	return t.change(key, append([]byte{}, value...))
}

func (t *tx) Delete(key string) error { return t.change(key, nil) }

func (t *tx) change(key string, to []byte) error {
	switch err := t.usable(key); {
	case err != nil:
		return err
	case !t.write:
		return store.ErrReadOnly
	case strings.HasPrefix(key, store.LeasePrefix):
		return store.ErrLeased
	}
	if !t.mine {
		t.rows, t.mine, t.changes = slices.Clone(t.rows), true, map[string][]byte{}
	}
	t.rows = set(t.rows, key, to)
	t.changes[key] = to
	return nil
}

func (t *tx) Scan(prefix string) iter.Seq2[string, []byte] { return t.ScanFrom(prefix, prefix) }

func (t *tx) ScanFrom(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for at := max(prefix, from); ; {
			if t.over {
				t.err = store.ErrTxDone
				return
			}
			if t.ctx.Err() != nil {
				t.err = fmt.Errorf("scan state: %w", context.Cause(t.ctx))
				return
			}
			i, _ := find(t.rows, at)
			if i == len(t.rows) || !strings.HasPrefix(t.rows[i].key, prefix) {
				return
			}
			r := t.rows[i]
			if !yield(r.key, bytes.Clone(r.value)) {
				return
			}
			at = r.key + "\x00"
		}
	}
}
