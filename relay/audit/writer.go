package audit

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/relay/boltfile"
	"scrier/wire"
)

// writer is the state of the one goroutine that writes the log.
type writer struct {
	signed   []byte    // the last checkpoint that is durable, nil if none
	covered  uint64    // its size
	anchored time.Time // when the anchor was written last
	failed   error     // why the last write failed, nil if it did not
	broken   error     // the file is not what was written; for good
	shares   shares
}

// may says whether a request may be served with this little space, nil for enough.
func (w *writer) may(r *request, low error) bool {
	switch {
	case w.broken != nil:
		return false
	case low == nil || r.use == all:
		return true
	case r.use == share:
		return w.shares.take(r.event.Operator)
	}
	return false
}

// write serves requests until Close. Those that wait at the same time share a commit.
func (l *Log) write() {
	defer close(l.done)
	armed := l.head.tree.size > l.writer.covered // the records that Open found without a checkpoint
	timer := time.NewTimer(0)
	if !armed {
		timer.Stop()
	}
	for {
		select {
		case r := <-l.requests:
			l.serve(l.gather(r), false)
		case <-timer.C:
			armed = false
			l.serve(nil, true)
		case <-l.quit:
			timer.Stop()
			l.closeErr = l.finish()
			return
		}
		if !armed && l.head.tree.size > l.writer.covered {
			timer.Reset(l.cfg.CheckpointInterval)
			armed = true
		}
	}
}

// gather adds to a request those that wait already.
func (l *Log) gather(first *request) []*request {
	batch := []*request{first}
	for len(batch) < maxBatch {
		select {
		case r := <-l.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// finish serves what waits, signs the end, and closes the file.
func (l *Log) finish() error {
	for {
		select {
		case r := <-l.requests:
			l.serve(l.gather(r), false)
			continue
		default:
		}
		break
	}
	err := l.serve(nil, true)
	if l.writer.broken != nil {
		return errors.Join(err, l.file.Abandon()) // not marked as clean
	}
	if err := errors.Join(err, l.file.Close()); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}

// serve answers all of the batch after one commit at most. With sign it also makes a checkpoint
// of everything.
func (l *Log) serve(batch []*request, sign bool) error {
	w := &l.writer
	low := w.broken
	if low == nil {
		if low = l.allocate(); low == nil {
			w.shares = shares{}
		}
	}
	var accepted []*request
	probe := false
	for _, r := range batch {
		if !w.may(r, low) {
			r.answer <- answer{err: unavailable(low)}
			continue
		}
		accepted = append(accepted, r)
		sign = sign || r.checkpoint
		probe = probe || r.probe && w.failed != nil
	}
	if w.broken != nil {
		return w.broken
	}
	b, err := l.prepare(accepted, sign, probe)
	if err == nil && b.writes() {
		err = l.commit(b)
		w.failed = err
	}
	if err == nil {
		l.advance(b, sign)
	}
	for i, r := range accepted {
		a := answer{record: b.records[i], signed: w.signed}
		if err != nil {
			a = answer{err: unavailable(err)}
		} else if r.event != nil {
			l.took.Since(r.begun)
		}
		r.answer <- a
	}
	return err
}

func (l *Log) allocate() error {
	used, err := l.file.Used()
	if err != nil {
		return err
	}
	return l.file.Allocate(used)
}

// batch is what one commit writes.
type batch struct {
	head    head
	first   uint64   // seq of the first row
	rows    [][]byte // encoded records
	records []Record // one for each request, zero for those that append nothing
	hashes  []tlog.Hash
	signed  []byte // nil: no checkpoint is due
	probe   bool
}

func (b *batch) writes() bool {
	return len(b.rows) > 0 || b.signed != nil && b.head.tree.size > 0 || b.probe
}

// prepare chains the events of the requests to the head.
func (l *Log) prepare(requests []*request, sign, probe bool) (*batch, error) {
	b := &batch{head: l.head, first: l.head.tree.size, records: make([]Record, len(requests)), probe: probe}
	for i, r := range requests {
		if r.event == nil {
			continue
		}
		record := Record{Seq: b.head.tree.size, Time: time.Unix(0, l.cfg.Now().UnixNano()).UTC(), Prev: b.head.last, Event: *r.event}
		data, err := record.encode()
		if err != nil {
			return b, err
		}
		b.records[i] = record
		b.rows = append(b.rows, data)
		b.head.last = leaf(data)
		b.hashes = b.head.tree.add(b.head.last, b.hashes)
	}
	size := b.head.tree.size
	due := size-l.writer.covered >= uint64(l.cfg.CheckpointEvery)
	if (due || sign) && size > l.writer.covered || sign && l.writer.signed == nil {
		signed, err := checkpoint{origin: l.cfg.Name, size: size, root: b.head.tree.root()}.sign(l.key.signer)
		if err != nil {
			return b, err
		}
		b.signed = signed
	}
	return b, nil
}

// commit makes the batch durable.
func (l *Log) commit(b *batch) error {
	err := l.file.DB.Update(func(tx *bbolt.Tx) error { return l.put(tx, b) })
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit audit log: %w", err)
	if l.writer.failed == nil {
		l.cfg.Log.Error("the audit log cannot be written", "path", l.file.Path(), "error", err, "code", wire.AuditUnavailable)
	}
	// A commit that returned an error may have been written all the same: look what the file holds.
	if rerr := l.reload(b); rerr != nil {
		l.writer.broken = rerr
		return errors.Join(err, rerr)
	}
	return err
}

func (l *Log) put(tx *bbolt.Tx, b *batch) error {
	records, hashes, checkpoints := tx.Bucket(recordsBucket), tx.Bucket(hashesBucket), tx.Bucket(checkpointsBucket)
	records.FillPercent, hashes.FillPercent, checkpoints.FillPercent = 1, 1, 1 // keys only grow
	for i, data := range b.rows {
		if err := records.Put(key(b.first+uint64(i)), data); err != nil {
			return err
		}
	}
	index := uint64(tlog.StoredHashCount(int64(b.first)))
	for i := range b.hashes {
		if err := hashes.Put(key(index+uint64(i)), b.hashes[i][:]); err != nil {
			return err
		}
	}
	if b.signed != nil {
		// Of each block of CheckpointEvery records the newest checkpoint is kept. That is enough to say
		// in which block a log was changed.
		every := uint64(l.cfg.CheckpointEvery)
		if old := l.writer.covered; old > 0 && (old-1)/every == (b.head.tree.size-1)/every {
			if err := checkpoints.Delete(key(old)); err != nil {
				return err
			}
		}
		if err := checkpoints.Put(key(b.head.tree.size), b.signed); err != nil {
			return err
		}
	}
	if b.probe {
		return tx.Bucket(boltfile.Meta).Put(probeKey, key(uint64(l.cfg.Now().UnixNano())))
	}
	return nil
}

// advance makes the batch the head.
func (l *Log) advance(b *batch, sign bool) {
	l.mu.Lock()
	l.head = b.head
	l.mu.Unlock()
	if b.signed == nil {
		return
	}
	w := &l.writer
	w.signed, w.covered = b.signed, b.head.tree.size
	// Writing the anchor takes a sync of its own, so under load it is written once in an interval.
	if now := time.Now(); w.covered > 0 && (sign || now.Sub(w.anchored) >= l.cfg.CheckpointInterval) {
		w.anchored = now
		if err := writeAnchor(l.cfg.Path, w.signed); err != nil {
			l.cfg.Log.Warn("the anchor of the audit log cannot be written", "error", err)
		}
	}
}

// reload looks which of the two the file holds after a commit that returned an error: the head
// from before, or the batch.
func (l *Log) reload(b *batch) error {
	var (
		now    head
		signed []byte
	)
	err := l.file.GuardedView(func(tx *bbolt.Tx) error {
		size := uint64(0)
		if k, _ := tx.Bucket(recordsBucket).Cursor().Last(); k != nil {
			size = number(k) + 1
		}
		var err error
		now, signed, err = readHead(tx, l.key, size)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the audit log after a failed write: %w", err)
	case now.same(l.head):
		return nil
	case now.same(b.head):
		l.mu.Lock()
		l.head = now
		l.mu.Unlock()
		if b.signed != nil && string(signed) == string(b.signed) {
			l.writer.signed, l.writer.covered = signed, b.head.tree.size
		}
		return nil
	}
	return tampered("it is not what was written")
}
