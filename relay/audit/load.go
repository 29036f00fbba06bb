package audit

import (
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/wire"
)

// load finds the head of the log, and compares all that is known of it:
//
//   - the last signed checkpoint in the file against the stored hashes, and the record it ends
//     with against a proof from them;
//   - the records after that checkpoint against each other and their stored hashes;
//   - the anchor against the stored hashes.
//
// The records under the checkpoint are not read again: that is what an export's [Verify] is for.
func (l *Log) load() (*rollback, error) {
	var size uint64
	err := l.file.GuardedView(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(recordsBucket).Cursor().Last(); k != nil {
			size = number(k) + 1
		}
		return nil
	})
	if err != nil {
		return nil, damaged(l.file.Path(), err)
	}
	create := size == 0 && (!l.cfg.Expected || l.cfg.AcceptRollback)
	if l.key, err = loadKey(l.cfg.KeyPath, l.cfg.Name, create); err != nil {
		return nil, err
	}
	err = l.file.GuardedView(func(tx *bbolt.Tx) error {
		var err error
		l.head, l.writer.signed, err = readHead(tx, l.key, size)
		return err
	})
	if err != nil {
		if !errors.Is(err, ErrTampered) {
			err = damaged(l.file.Path(), err)
		}
		return nil, err
	}
	if l.writer.signed != nil {
		c, err := openCheckpoint(l.writer.signed, l.key.verifier)
		if err != nil {
			return nil, err
		}
		l.writer.covered = c.size
	}
	return l.compareAnchor()
}

// readHead returns the head and the last signed checkpoint, nil if there is none.
func readHead(tx *bbolt.Tx, key signingKey, size uint64) (head, []byte, error) {
	hashes := storedHashes(tx)
	var (
		c      checkpoint
		signed []byte
	)
	if k, v := tx.Bucket(checkpointsBucket).Cursor().Last(); k != nil {
		var err error
		signed = append([]byte(nil), v...)
		if c, err = openCheckpoint(signed, key.verifier); err != nil {
			return head{}, nil, tampered("its last checkpoint is not signed by %s (%v)", key.public, err)
		}
		if c.size != number(k) || c.size == 0 {
			return head{}, nil, tampered("a checkpoint of %d records is filed under %d", c.size, number(k))
		}
	}
	if c.size > size {
		return head{}, nil, tampered("a checkpoint of %d records is signed, but there are only %d", c.size, size)
	}
	h, err := readCovered(tx, hashes, c)
	if err != nil {
		return head{}, nil, err
	}
	if err := replay(tx, hashes, &h, size); err != nil {
		return head{}, nil, err
	}
	if k, _ := tx.Bucket(hashesBucket).Cursor().Last(); k != nil && number(k)+1 != uint64(tlog.StoredHashCount(int64(size))) {
		return head{}, nil, tampered("it has hashes of records that do not exist")
	}
	return h, signed, nil
}

// readCovered is the head at the checkpoint.
func readCovered(tx *bbolt.Tx, hashes tlog.HashReader, c checkpoint) (head, error) {
	if c.size == 0 {
		return head{}, nil
	}
	t, err := loadTree(c.size, hashes)
	if err != nil {
		return head{}, err
	}
	if t.root() != c.root {
		return head{}, tampered("its first %d records are not those of the signed checkpoint", c.size)
	}
	last := leaf(tx.Bucket(recordsBucket).Get(key(c.size - 1)))
	n := int64(c.size)
	proof, err := tlog.ProveRecord(n, n-1, hashes)
	if err != nil {
		return head{}, err
	}
	if err := tlog.CheckRecord(proof, n, c.root, n-1, last); err != nil {
		return head{}, tampered("record %d is not the one that was signed", c.size-1)
	}
	return head{tree: t, last: last}, nil
}

// replay takes the head from the checkpoint to the end of the log.
func replay(tx *bbolt.Tx, hashes tlog.HashReader, h *head, size uint64) error {
	records := tx.Bucket(recordsBucket)
	var computed []tlog.Hash
	for seq := h.tree.size; seq < size; seq++ {
		data := records.Get(key(seq))
		r, err := decodeRecord(data)
		if err != nil || r.Seq != seq || r.Prev != h.last {
			return tampered("record %d does not follow the one before it", seq)
		}
		h.last = leaf(data)
		computed = h.tree.add(h.last, computed[:0])
		first := tlog.StoredHashIndex(0, int64(seq))
		for i, want := range computed {
			got, err := hashes.ReadHashes([]int64{first + int64(i)})
			if err != nil {
				return err
			}
			if got[0] != want {
				return tampered("the hash of record %d is not that of the record", seq)
			}
		}
	}
	return nil
}

// storedHashes reads the tree's hashes, valid as long as tx.
func storedHashes(tx *bbolt.Tx) tlog.HashReader {
	b := tx.Bucket(hashesBucket)
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			v := b.Get(key(uint64(n)))
			if len(v) != tlog.HashSize {
				return nil, tampered("hash %d is missing", n)
			}
			copy(hashes[i][:], v)
		}
		return hashes, nil
	})
}

// rollback is a log that the administrator accepted although it is shorter than it was, or may be.
type rollback struct {
	anchored uint64
	size     uint64
	lost     bool // there is no anchor: nobody knows how many records there were
}

func (r rollback) event() Event {
	e := Event{Type: "scrier.audit.rollback", Detail: "a shorter log than before was accepted", Fields: map[string]string{
		"anchored": strconv.FormatUint(r.anchored, 10), "size": strconv.FormatUint(r.size, 10),
	}}
	if r.lost {
		e.Detail, e.Fields["anchored"] = "a log without its anchor was accepted", "unknown"
	}
	return e
}

// compareAnchor compares the log with the anchor, the newest checkpoint that was written beside it. If
// somebody replaced the file by an older one, the file itself does not show that; the anchor does.
func (l *Log) compareAnchor() (*rollback, error) {
	size := l.head.tree.size
	signed, err := readAnchor(l.cfg.Path)
	if err != nil {
		return nil, err
	}
	if signed == nil {
		return l.withoutAnchor()
	}
	c, err := openCheckpoint(signed, l.key.verifier)
	if err != nil {
		return nil, tampered("the anchor %s is not signed by %s", anchorPath(l.cfg.Path), l.key.public)
	}
	if c.size > size {
		if !l.cfg.AcceptRollback {
			return nil, wire.Errorf(wire.AuditUnavailable, "%w: it has %d records of %d", ErrRollback, size, c.size).
				Advise("put the newer one back; if a backup was restored on purpose, start with --accept-rollback")
		}
		l.cfg.Log.Warn("the audit log is older than it was, which was accepted", "records", size, "anchored", c.size)
		return &rollback{anchored: c.size, size: size}, nil
	}
	if c.size == 0 {
		return nil, nil
	}
	var root tlog.Hash
	err = l.file.GuardedView(func(tx *bbolt.Tx) error {
		t, err := loadTree(c.size, storedHashes(tx))
		root = t.root()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare anchor: %w", err)
	}
	if root != c.root {
		return nil, tampered("its first %d records are not those of the anchor %s", c.size, anchorPath(l.cfg.Path))
	}
	return nil, nil
}

// withoutAnchor gives a new log its anchor, so that every log with records has one. If an old log has
// none, somebody has removed it, perhaps to hide that the log was replaced by an older one.
func (l *Log) withoutAnchor() (*rollback, error) {
	size := l.head.tree.size
	if size == 0 && !l.cfg.Expected {
		signed, err := checkpoint{origin: l.cfg.Name, root: l.head.tree.root()}.sign(l.key.signer)
		if err != nil {
			return nil, err
		}
		return nil, writeAnchor(l.cfg.Path, signed)
	}
	if !l.cfg.AcceptRollback {
		return nil, wire.Errorf(wire.AuditUnavailable, "%w: it has %d records, and %s, which says how many there were, is gone", ErrNoAnchor, size, anchorPath(l.cfg.Path)).
			Advise("put it back, or, if the log is the right one, start with --accept-rollback")
	}
	l.cfg.Log.Warn("the audit log has lost its anchor, which was accepted", "records", size)
	return &rollback{size: size, lost: true}, nil
}
