package etcd

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/store"
)

const (
	// maxBatch is how many changes share one transaction of etcd's at most, and maxBytes how much they write before no other
	// joins: etcd takes 1.5 MiB.
	maxBatch = 1024
	maxBytes = 512 << 10

	// maxRequest is how many bytes a transaction may have, a little less than etcd takes; opBytes is what each key adds to its
	// own and its value's.
	maxRequest, opBytes = 1400 << 10, 64
)

var errNoRoom = errors.New("there is no room in the transaction")

// batch is one transaction of etcd's that the changes of several callers share, as it takes long until most members' disks
// have it. Who begins one leaves it open, and lines up for the turn again to commit it: so all who wait for the turn by then
// are in it. Each change runs in its caller's goroutine, sees what those before it in the batch have done, and is taken back
// alone if it fails. Nobody returns before the batch is durable, also not with an error of their own: what they have seen
// might come to nothing.
//
//	begin -> open -- committed -----------------> durable
//	          |---- another relay was faster ---> nothing was done; each change is run again, in a new batch
//	          '---- a change panicked ----------> the same
//
// All but done is guarded by [DB.turn] until done is closed, and does not change then.
type batch struct {
	owner  store.Owner // whose lease has to be there when it is committed; zero: none
	base   snapshot
	writes changes
	tried  int // changes that were run in it

	done chan struct{} // closed when it is over
	err  error         // why it is not durable
	next next
}

// next is what is to become of the changes of a batch.
type next int

const (
	finished next = iota
	runAgain      // nothing was done
	runAlone      // nothing was done, as they are too large together
)

// try runs f for an owner, in a batch of the owner's or alone.
func (d *DB) try(ctx context.Context, o store.Owner, f func(store.Tx) error, alone bool) (next, error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return finished, fmt.Errorf("wait for other changes of the state: %w", context.Cause(ctx))
	}
	mine := true
	defer func() {
		if mine {
			<-d.turn
		}
	}()
	if d.closed {
		return finished, fmt.Errorf("change state: %w", ErrClosed)
	}
	if b := d.open; b != nil && (alone || b.owner != o || b.tried >= maxBatch || b.writes.bytes >= maxBytes || len(b.writes.keys) >= d.maxOps/2) {
		d.commit()
	}
	b := d.open
	first := b == nil
	if first {
		base, err := d.now(ctx)
		if err != nil {
			return finished, fmt.Errorf("change state: %w", err)
		}
		b = &batch{owner: o, base: base, done: make(chan struct{})}
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
	switch {
	case errors.Is(failed, errNoRoom):
		return runAlone, failed
	case errors.Is(failed, rpctypes.ErrCompacted):
		return runAgain, failed
	}
	return b.next, cmp.Or(b.err, failed)
}

// change runs f in a batch, and takes back what it has done if it fails. The caller has the turn.
func (d *DB) change(ctx context.Context, b *batch, f func(store.Tx) error) error {
	whole := false
	defer func() {
		if !whole { // after a panic nobody knows what is in it
			d.giveUp()
		}
	}()
	b.tried++
	t := &tx{ctx: ctx, owner: b.owner, base: b.base, writes: &b.writes, before: map[string]before{}}
	err := t.run(f)
	whole = true
	if n := len(b.writes.keys); err == nil && (n > d.maxOps || b.writes.bytes+n*opBytes > maxRequest) {
		err = errNoRoom
		if b.tried == 1 {
			err = fmt.Errorf("change state: %d keys and %d bytes in one transaction, which may have %d and %d: %w", n, b.writes.bytes, d.maxOps, maxRequest, store.ErrTooLarge)
		}
	}
	if err != nil {
		t.undo()
	}
	return err
}

// commit makes the open batch durable. The caller has the turn.
func (d *DB) commit() {
	b := d.open
	d.open = nil
	defer close(b.done)
	// It is finished, whoever has given up waiting.
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if len(b.writes.keys) == 0 {
		if b.owner != (store.Owner{}) {
			if _, err := d.leaseOf(ctx, b.owner); err != nil {
				b.err = fmt.Errorf("change state: %w", err)
				return
			}
		}
		// Who joined it late may have been told of a change that it has not seen.
		if b.tried > 1 {
			s, err := d.now(ctx)
			switch {
			case err != nil:
				b.err = fmt.Errorf("read state: %w", err)
			case s.head != b.base.head:
				b.next, b.err = runAgain, errContended
			}
		}
		return
	}
	name := rand.Text()
	ops := []clientv3.Op{clientv3.OpPut(headKey, name), clientv3.OpPut(d.last, name)}
	for _, key := range b.writes.keys {
		if to := b.writes.by[key]; to == nil {
			ops = append(ops, clientv3.OpDelete(stateKey+key))
		} else {
			ops = append(ops, clientv3.OpPut(stateKey+key, string(to)))
		}
	}
	still := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(headKey), "=", b.base.head)}
	if b.base.head != 0 { // a cluster that was put back to a backup may give out a revision twice
		still = append(still, clientv3.Compare(clientv3.Value(headKey), "=", string(b.base.name)))
	}
	var lease []clientv3.Op // who reads why nothing was done
	if b.owner != (store.Owner{}) {
		still = append(still, clientv3.Compare(clientv3.Value(epochOf(b.owner)), "=", epochValue(b.owner)))
		lease = append(lease, clientv3.OpGet(epochOf(b.owner)))
	}
	resp, err := d.client.Txn(ctx).If(still...).Then(ops...).Else(lease...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		b.err = fmt.Errorf("commit state: %w: %w", store.ErrTooLarge, err)
		if b.tried > 1 {
			b.next = runAlone
		}
	case err != nil:
		if !d.has(name) {
			b.err = fmt.Errorf("commit state: %w", told(ctx, err))
		}
	case !resp.Succeeded && len(lease) > 0 && !hasLease(resp.Responses[0].GetResponseRange().Kvs, b.owner):
		b.err = fmt.Errorf("commit state: %w", store.ErrLost)
	case !resp.Succeeded:
		b.next, b.err = runAgain, errContended
	}
}

// has says that a transaction whose answer was lost has been done. If it says no, it may still happen.
func (d *DB) has(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	resp, err := d.client.Get(ctx, d.last)
	return err == nil && len(resp.Kvs) == 1 && string(resp.Kvs[0].Value) == name
}

// giveUp ends the open batch as if it had never been. The caller has the turn.
func (d *DB) giveUp() {
	b := d.open
	d.open = nil
	b.next = runAgain
	b.err = errors.New("a change beside it broke off")
	close(b.done)
}
