package etcd

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/store"
)

// scanPage is how many keys a scan asks for at a time.
const scanPage = 512

// tx lives as long as one call of View or Update, and so may hold that call's context.
type tx struct {
	ctx    context.Context
	owner  store.Owner // whose change it is; zero: nobody's
	base   snapshot
	over   bool
	err    error             // why something could not be read; fails the transaction
	writes *changes          // of the batch; nil: read-only
	before map[string]before // what writes had of the keys that were written here
}

type before struct {
	change change
	known  bool
}

// run calls f and makes sure that the transaction is not used afterwards.
func (t *tx) run(f func(store.Tx) error) error {
	defer func() { t.over = true }()
	if err := f(t); err != nil {
		return err
	}
	return t.err
}

// Owner is what [store.OwnerOf] asks for.
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

// fail has the transaction fail, also if its function does not care.
func (t *tx) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

func (t *tx) Get(key string) ([]byte, error) {
	if err := t.usable(key); err != nil {
		return nil, err
	}
	if t.writes != nil {
		if c, ok := t.writes.get(key); ok {
			if c == nil {
				return nil, store.ErrNotFound
			}
			return bytes.Clone(c), nil
		}
	}
	resp, err := t.base.get(t.ctx, key)
	if err != nil {
		return nil, t.fail(fmt.Errorf("read %q: %w", key, err))
	}
	if len(resp.Kvs) == 0 {
		return nil, store.ErrNotFound
	}
	return some(resp.Kvs[0].Value), nil
}

// some is a value that is not nil: etcd does not tell empty from absent.
func some(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

func (t *tx) Put(key string, value []byte) error {
	switch err := t.usable(key); {
	case err != nil:
		return err
	case t.writes == nil:
		return store.ErrReadOnly
	case strings.HasPrefix(key, store.LeasePrefix):
		return store.ErrLeased
	case len(value) > store.MaxValue:
		return store.ErrTooLarge
	}
	t.write(key, append([]byte{}, value...))
	return nil
}

func (t *tx) Delete(key string) error {
	switch err := t.usable(key); {
	case err != nil:
		return err
	case t.writes == nil:
		return store.ErrReadOnly
	case strings.HasPrefix(key, store.LeasePrefix):
		return store.ErrLeased
	}
	t.write(key, nil)
	return nil
}

func (t *tx) write(key string, to change) {
	if _, known := t.before[key]; !known {
		c, ok := t.writes.get(key)
		t.before[key] = before{c, ok}
	}
	t.writes.set(key, to)
}

// undo puts everything back to where it was.
func (t *tx) undo() {
	for key, b := range t.before {
		if b.known {
			t.writes.set(key, b.change)
		} else {
			t.writes.forget(key)
		}
	}
}

func (t *tx) Scan(prefix string) iter.Seq2[string, []byte] { return t.ScanFrom(prefix, prefix) }

// ScanFrom merges what the cluster has, a page at a time, with what was written here, which may grow meanwhile.
func (t *tx) ScanFrom(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if t.over {
			t.err = store.ErrTxDone
			return
		}
		rest := pages{base: t.base, prefix: prefix, next: max(prefix, from)}
		at := rest.next // the smallest key that may come next
		for {
			if t.ctx.Err() != nil {
				_ = t.fail(fmt.Errorf("scan state: %w", context.Cause(t.ctx)))
				return
			}
			theirs, err := rest.peek(t.ctx, at)
			if err != nil {
				_ = t.fail(fmt.Errorf("scan state: %w", err))
				return
			}
			key, value, ok := t.first(prefix, at, theirs)
			if !ok {
				return
			}
			at = key + "\x00"
			if value == nil { // deleted here
				continue
			}
			if !yield(key, bytes.Clone(value)) || t.over {
				return
			}
		}
	}
}

// first is the smaller of the next key that was written here and the next one of the cluster. Of the same key, what was
// written here counts; its value is nil if it was deleted.
func (t *tx) first(prefix, at string, theirs *mvccpb.KeyValue) (key string, value []byte, ok bool) {
	if theirs != nil {
		key, value, ok = strings.TrimPrefix(string(theirs.Key), stateKey), some(theirs.Value), true
	}
	if t.writes == nil {
		return key, value, ok
	}
	ours, found := t.writes.from(at)
	if found && strings.HasPrefix(ours, prefix) && (!ok || ours <= key) {
		c, _ := t.writes.get(ours)
		return ours, c, true
	}
	return key, value, ok
}

// pages are the cluster's keys of a scan.
type pages struct {
	base         snapshot
	prefix, next string // next is where the page after this one begins
	page         []*mvccpb.KeyValue
	last         bool // nothing follows the page
}

// peek is the first key that is not before at, or nil.
func (p *pages) peek(ctx context.Context, at string) (*mvccpb.KeyValue, error) {
	for {
		for len(p.page) > 0 && string(p.page[0].Key) < stateKey+at {
			p.page = p.page[1:]
		}
		if len(p.page) > 0 {
			return p.page[0], nil
		}
		if p.last {
			return nil, nil
		}
		end := clientv3.GetPrefixRangeEnd(stateKey + p.prefix)
		resp, err := p.base.get(ctx, p.next, clientv3.WithRange(end), clientv3.WithLimit(scanPage))
		if err != nil {
			return nil, err
		}
		p.page, p.last = resp.Kvs, !resp.More
		if n := len(p.page); n > 0 {
			p.next = strings.TrimPrefix(string(p.page[n-1].Key), stateKey) + "\x00"
		}
	}
}
