package bolt

import (
	"go.etcd.io/bbolt"

	"scrier/relay/boltfile"
	"scrier/relay/store"
	"scrier/wire"
)

var kvBucket = []byte("kv")

const mapped = 256 << 20 // bytes that the file may have before readers notice its growth

// openFile opens the store's bbolt file.
func openFile(cfg Config) (*boltfile.File, error) {
	f, err := boltfile.Open(boltfile.Config{
		Path: cfg.Path, LockTimeout: cfg.LockTimeout, Mapped: mapped,
		Buckets: [][]byte{kvBucket},
		Reserve: reserve(cfg.Headroom), Extra: cfg.Headroom - reserve(cfg.Headroom),
		Walk:    walk,
		Damaged: func(err error) error { return damaged(cfg.Path, err) },
		Name:    "the state", Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	used, err := f.Used()
	if err == nil {
		err = f.Allocate(used)
	}
	if err != nil {
		cfg.Log.Warn("the disk is nearly full: no space ahead for the state", "path", cfg.Path, "error", err)
	}
	return f, nil
}

// reserve is the part of the headroom that must be there. The other half may be used up, so that not
// every change has to allocate.
func reserve(headroom int64) int64 {
	if headroom < 0 {
		return headroom
	}
	return headroom / 2
}

// walk reads all of the file and every value.
func walk(tx *bbolt.Tx) error {
	if err := walkBucket(tx.Bucket(boltfile.Meta), nil); err != nil {
		return err
	}
	return walkBucket(tx.Bucket(kvBucket), func(k, v []byte) error {
		_, err := unseal(string(k), v)
		return err
	})
}

func walkBucket(b *bbolt.Bucket, check func(k, v []byte) error) error {
	if b == nil {
		return nil // the process died before it had made its buckets
	}
	return b.ForEach(func(k, v []byte) error {
		if len(k) > store.MaxKey { // a length that is wrong may reach beyond the file
			return store.ErrBadKey
		}
		if check == nil {
			return nil
		}
		return check(k, v)
	})
}

func damaged(path string, err error) error {
	return wire.Errorf(wire.BadConfig, "the state file %s is damaged (%w) and was left as it is", path, err).
		Advise("keep a copy of it; then put the newest backup in its place, or save what can be read with `bbolt compact -o NEW %s` "+
			"(go.etcd.io/bbolt/cmd/bbolt), or move it away to begin with an empty state, in which case every envoy has to be enrolled again", path)
}
