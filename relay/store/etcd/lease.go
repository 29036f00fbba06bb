package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/store"
	"scrier/wire"
)

// A relay's lease is one of etcd's, which two keys are bound to: the row that transactions read, and the epoch by itself, which
// they are compared with when they are committed. So what a relay has begun comes to nothing if its lease is gone in the moment
// in which etcd would do it, however long it was on the way. The number that was given out last is an ordinary key.
//
// A lease that is gone does not touch the head: who has read that it was there may be late, and who has read that it is gone
// never is, as no epoch comes back.

const epochKey = "scrier/epoch/"

func epochOf(o store.Owner) string    { return epochKey + o.Name }
func epochValue(o store.Owner) string { return strconv.FormatUint(o.Epoch, 10) }

func hasLease(kvs []*mvccpb.KeyValue, o store.Owner) bool {
	return len(kvs) == 1 && string(kvs[0].Value) == epochValue(o)
}

var _ store.Shared = (*DB)(nil)

var errNoLeases = errors.New("this state was opened without leases")

// Register implements [store.Shared].
func (d *DB) Register(ctx context.Context, l store.Lease, ttl time.Duration) (store.Lease, time.Duration, error) {
	l, ttl, err := d.register(ctx, l, ttl)
	if err != nil {
		return l, 0, fmt.Errorf("register relay %q: %w", l.Name, err)
	}
	return l, ttl, nil
}

func (d *DB) register(ctx context.Context, l store.Lease, ttl time.Duration) (_ store.Lease, _ time.Duration, err error) {
	if d.leases == nil {
		return l, 0, errNoLeases
	}
	if err := store.CheckRelayName(l.Name); err != nil {
		return l, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	granted, err := d.leases.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return l, 0, told(ctx, err)
	}
	defer func() {
		if err != nil { // it would end by itself
			_ = d.revoke(context.WithoutCancel(ctx), granted.ID)
		}
	}()
	counter := stateKey + store.EpochPrefix + l.Name
	for {
		resp, err := d.client.Get(ctx, counter)
		if err != nil {
			return l, 0, told(ctx, err)
		}
		l.Epoch = 1
		still := clientv3.Compare(clientv3.ModRevision(counter), "=", 0)
		if len(resp.Kvs) > 0 {
			before, err := strconv.ParseUint(string(resp.Kvs[0].Value), 10, 63)
			if err != nil {
				return l, 0, wire.Errorf(wire.VersionMismatch, "the epoch %q of relay %q is not a number", resp.Kvs[0].Value, l.Name)
			}
			l.Epoch = before + 1
			still = clientv3.Compare(clientv3.ModRevision(counter), "=", resp.Kvs[0].ModRevision)
		}
		row, err := l.Encode()
		if err != nil {
			return l, 0, err
		}
		number := epochValue(l.Owner())
		done, err := d.client.Txn(ctx).If(still).Then(
			clientv3.OpPut(counter, number),
			clientv3.OpPut(epochOf(l.Owner()), number, clientv3.WithLease(granted.ID)),
			clientv3.OpPut(stateKey+store.LeasePrefix+l.Name, string(row), clientv3.WithLease(granted.ID)),
		).Commit()
		if err != nil {
			return l, 0, told(ctx, err)
		}
		if done.Succeeded {
			return l, time.Duration(granted.TTL) * time.Second, nil
		}
	}
}

// Renew implements [store.Shared].
func (d *DB) Renew(ctx context.Context, o store.Owner) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	id, err := d.leaseOf(ctx, o)
	if err != nil {
		return 0, fmt.Errorf("keep the lease of relay %q: %w", o.Name, err)
	}
	kept, err := d.leases.KeepAliveOnce(ctx, id)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		err = store.ErrLost
	case err != nil:
		err = told(ctx, err)
	}
	if err != nil {
		return 0, fmt.Errorf("keep the lease of relay %q: %w", o.Name, err)
	}
	return time.Duration(kept.TTL) * time.Second, nil
}

// Release implements [store.Shared].
func (d *DB) Release(ctx context.Context, o store.Owner) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	id, err := d.leaseOf(ctx, o)
	if err == nil {
		err = d.revoke(ctx, id)
	}
	if err != nil && !errors.Is(err, store.ErrLost) {
		return fmt.Errorf("release the lease of relay %q: %w", o.Name, err)
	}
	return nil
}

func (d *DB) revoke(ctx context.Context, id clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := d.leases.Revoke(ctx, id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return store.ErrLost
	}
	return err
}

// leaseOf is etcd's name for an owner's lease, or [store.ErrLost]: also if another one of the same name has come meanwhile.
func (d *DB) leaseOf(ctx context.Context, o store.Owner) (clientv3.LeaseID, error) {
	if d.leases == nil {
		return 0, errNoLeases
	}
	resp, err := d.client.Get(ctx, epochOf(o))
	if err != nil {
		return 0, told(ctx, err)
	}
	if !hasLease(resp.Kvs, o) {
		return 0, store.ErrLost
	}
	return clientv3.LeaseID(resp.Kvs[0].Lease), nil
}

// As implements [store.Shared].
func (d *DB) As(o store.Owner) store.KV { return &of{d, o} }

// of is the state for one lease of a relay.
type of struct {
	*DB
	owner store.Owner
}

func (s *of) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.update(ctx, s.owner, f)
}
