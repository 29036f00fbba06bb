package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"scrier/relay/store"
)

// maxBatch is how many changes share one transaction of bbolt's at most.
const maxBatch = 1024

// batch is one transaction of bbolt's that the changes of several callers share, as it takes long until
// the disk has it. Who begins one leaves it open, and lines up for the turn again to commit it: so all who
// wait for the turn by then are in it. Each change runs in its caller's goroutine, sees what those before it
// in the batch have done, and is taken back alone if it fails. Nobody returns before the batch is durable,
// also not with an error of their own: what they have seen might come to nothing.
//
//	begin -> open -- committed --------> durable
//	          |---- the commit failed -> nothing was done; each change is tried again, alone
//	          '---- a change panicked -> the same
//
// All but done is guarded by [DB.turn] until done is closed, and does not change then.
type batch struct {
	bolt    *bbolt.Tx
	changes int  // that were tried in it
	writes  bool // something is different

	done  chan struct{} // closed when it is over
	err   error         // why it is not durable
	again bool          // nothing of it was done, and its changes are to be tried again, each alone
}

var errUnfinished = errors.New("commit state: it came to no end")

// try runs f in a batch, or alone. again says that nothing was done, and that it is to be tried alone.
func (d *DB) try(ctx context.Context, f func(store.Tx) error, alone bool) (again bool, err error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("wait for other changes of the state: %w", context.Cause(ctx))
	}
	mine := true
	defer func() {
		if mine {
			<-d.turn
		}
	}()
	if d.open != nil && (alone || d.open.changes >= maxBatch) {
		d.commit()
	}
	b := d.open
	first := b == nil
	if first {
		begun, err := d.file.DB.Begin(true)
		if err != nil {
			return false, fmt.Errorf("change state: %w", err)
		}
		b = &batch{bolt: begun, done: make(chan struct{})}
		d.open = b
	}
	failed := d.change(ctx, b, f)
	switch {
	case d.open != b: // it was given up
	case first && (alone || failed != nil): // nobody else is in it
		d.commit()
	case first:
		<-d.turn
		d.turn <- struct{}{}
		if d.open == b {
			d.commit()
		}
	}
	<-d.turn
	mine = false
	<-b.done
	return b.again, cmp.Or(b.err, failed)
}

// change runs f in a batch, and takes back what it has done if it fails. The caller has the turn.
func (d *DB) change(ctx context.Context, b *batch, f func(store.Tx) error) error {
	whole := false
	defer func() {
		if !whole { // after a panic nobody knows what is in it
			d.giveUp()
		}
	}()
	b.changes++
	t := &tx{ctx: ctx, bucket: b.bolt.Bucket(kvBucket), writable: true, before: map[string][]byte{}}
	err := t.run(f)
	if err == nil {
		b.writes = b.writes || t.writes > 0
		whole = true
		return nil
	}
	whole = t.undo() == nil
	return err
}

// commit makes the open batch durable. The caller has the turn.
func (d *DB) commit() {
	b := d.open
	d.open = nil
	defer close(b.done)
	b.err = errUnfinished // unless bbolt returns
	if !b.writes {
		b.err = b.bolt.Rollback()
		return
	}
	used, id := b.bolt.Size(), b.bolt.ID()
	defer b.bolt.Rollback() // does nothing after Commit
	if err := b.bolt.Commit(); err != nil {
		b.err = fmt.Errorf("commit state: %w", err)
		b.again = b.changes > 1 && !d.has(id)
		return
	}
	b.err = nil
	d.noteHeadroom(d.file.Allocate(used))
}

// has says whether a transaction whose commit has failed can be seen all the same, or may be.
func (d *DB) has(id int) bool {
	newest, err := d.file.DB.Begin(false)
	if err != nil {
		return true
	}
	defer newest.Rollback()
	return newest.ID() >= id
}

// giveUp ends the open batch as if it had never been. The caller has the turn.
func (d *DB) giveUp() {
	b := d.open
	d.open = nil
	defer close(b.done)
	b.again = true
	b.err = b.bolt.Rollback()
}
