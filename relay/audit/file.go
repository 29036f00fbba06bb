package audit

import (
	"errors"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"scrier/relay/boltfile"
	"scrier/wire"
)

var (
	recordsBucket     = []byte("records")     // seq, 8 bytes big endian -> encoding
	hashesBucket      = []byte("hashes")      // tlog's stored hash index, the same way -> hash
	checkpointsBucket = []byte("checkpoints") // size, the same way -> signed note
	probeKey          = []byte("probe")       // in boltfile.Meta; written to see whether it can be
)

const (
	lockTimeout = time.Second
	mapped      = 1 << 30 // bytes that the file may have before readers notice its growth
)

// openFile opens the log's bbolt file. It is this package's own and not the store's: a full or
// damaged store must not keep the log from saying so.
func openFile(cfg Config) (*boltfile.File, error) {
	return boltfile.Open(boltfile.Config{
		Path: cfg.Path, LockTimeout: lockTimeout, Mapped: mapped,
		Buckets: [][]byte{recordsBucket, hashesBucket, checkpointsBucket},
		Reserve: cfg.Reserve, Extra: cfg.Reserve / 4,
		Walk:    walk,
		Damaged: func(err error) error { return damaged(cfg.Path, err) },
		Name:    "the audit log", Log: cfg.Log,
	})
}

// checkWhole looks, before anything is written, whether a log is there with what belongs to it.
func (c Config) checkWhole() error {
	info, err := os.Lstat(c.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	gone := err != nil || info.Size() == 0 // a crash at the first start leaves an empty one
	anchored, keyed := exists(anchorPath(c.Path)), exists(c.KeyPath)
	switch {
	case gone && !c.Expected && !anchored:
		return nil // a new one
	case gone && !c.AcceptRollback:
		return wire.Errorf(wire.AuditUnavailable, "%w: %s is gone", ErrRollback, c.Path).
			Advise("put it back, or, to begin a new log, start with --accept-rollback")
	case gone && anchored && !keyed:
		return wire.Errorf(wire.AuditUnavailable, "%s and its key %s are gone, but %s is there", c.Path, c.KeyPath, anchorPath(c.Path)).
			Advise("put all three back, or, to begin a new log, move %s away as well", anchorPath(c.Path))
	case !gone && c.Expected && !keyed:
		return keyGone(c.KeyPath)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// walk reads everything that is in the file.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if len(k) > 8 || len(v) > MaxRecord { // a length that is wrong may reach beyond the file
				return errors.New("a record has an impossible length")
			}
			return nil
		})
	})
}

func damaged(path string, err error) error {
	return wire.Errorf(wire.AuditUnavailable, "the audit log %s is damaged (%w) and was left as it is", path, err).
		Advise("keep a copy of it as evidence; then put the newest backup in its place, or, to begin a new log, move it away, and start with --accept-rollback")
}
